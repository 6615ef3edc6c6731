// Package upstream calls the application's webhooks: the serverless upstream of Azure SignalR Service, with its URL
// templates, X-ASRS headers, bodies and signatures.
//
//	rules     -> Parse, ReadFile       which URL an event of a hub goes to: the first rule that matches
//	Client.Call                        one request and its whole answer; repeated, where that is safe
//	Client.Stream                      one request whose answer, or whose body, comes bit by bit
//
// What is asked of one upstream (a host) is bounded in time and in number, and left alone for a while when it keeps failing
// (a circuit breaker). Redirects are not followed. A client's text reaches a URL escaped, never its host, and where
// it could lead to another path it is refused.
//
// It knows nothing of connections, hubs or SignalR's messages: bodies are bytes, and what an answer means is its caller's to say.
package upstream
