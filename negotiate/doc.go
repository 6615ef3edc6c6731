// Package negotiate answers SignalR's negotiate request and makes the connection IDs and connection tokens in the answer.
//
// TransportProtocols.md, "POST [endpoint-base]/negotiate request":
//
//	client                                             any node
//	  POST /hub/negotiate?negotiateVersion=1  ------->  Negotiator.Negotiate
//	  {"negotiateVersion":1,                  <-------  seals connection ID, hub, user, deadline
//	   "connectionId":"<public>",
//	   "connectionToken":"<sealed>", ...}
//
//	client                                             any other node
//	  GET /hub?id=<sealed>                    ------->  Keyring.Open: the same connection ID, hub, user, deadline
//
// Nothing is stored: a token carries all that a node must know to accept the connection, and nodes that share a secret
// accept each other's tokens. So negotiating without connecting, which every transport fallback does, costs no memory.
// The connection ID is public and grants nothing; the connection token is the client's secret.
//
// Left to others: HTTP itself, who the user is, whether the connection exists, and refusing a token after its deadline
// or on another hub's address. A token stays openable for as long as its key is accepted, because the requests of a
// living connection carry it long after the deadline for creating one has passed.
package negotiate
