// Package hubprotocol is the language of SignalR hubs as bytes: the handshake, the hub messages in JSON and in MessagePack, and
// their framing. It knows no connection, clock, socket or log; bytes go in, values come out, and the other way round.
//
// An exchange, with ␞ for the byte 0x1E that ends every JSON message:
//
//	C→S  {"protocol":"json","version":1}␞                      ParseHandshake, HandshakeRequest.Check
//	S→C  {}␞                                                   HandshakeResponse
//	C→S  {"type":6}␞                                           Parser
//	S→C  {"type":1,"target":"Send","arguments":[42]}␞          AppendInvocation, AppendMessagePack
//	C→S  {"type":1,"invocationId":"0","target":"Add","arguments":[1,2]}␞
//	S→C  {"type":3,"invocationId":"0","error":"..."}␞          AppendCompletionError
//	S→C  {"type":6}␞                                           AppendPing
//	S→C  {"type":7,"allowReconnect":true}␞                     AppendClose
//
// What is published is built once as a complete JSON message and checked there for both protocols; its MessagePack form is made
// from it when the first connection needs it and cannot fail then. What clients send is decoded only as far as routing needs:
// arguments, items and results stay as they came.
//
// The rules come from the specification (docs/specs/HubProtocol.md of dotnet/aspnetcore); where it and the shipped clients
// disagree, the clients win and the comment says so.
package hubprotocol
