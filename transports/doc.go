// Package transports serves SignalR connections over WebSockets, Server-Sent Events
// and long polling. It moves what a streams.Attachment gives to the client, and what the
// client sends into the log.
//
//	negotiate     -> (package negotiate)         a sealed connection token, nothing stored
//	GET /hub?id=  -> Server.ServeHub             Open the record, then one of
//	  upgrade        websocket.go                  a goroutine that reads; writing when there is something
//	  event stream   events.go                     the request's goroutine writes
//	  poll           longpolling.go, pollanswer.go the request's goroutine answers once
//	POST          -> post.go                     handshake and messages, into the log
//	DELETE        -> post.go                     ends a long polling connection
//
// Every request of a connection may reach another node than the one before.
// Whoever serves the connection owns its record under a token of its own, and is
// refused, and drops the transport, once another has taken it over.
//
// TransportProtocols.md of dotnet/aspnetcore is the specification.
package transports
