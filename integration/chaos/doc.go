// Package chaos tests the service in the style of Jepsen: real nodes on a real Valkey, under load, while a seeded
// schedule breaks things; and a checker that compares afterwards what every client saw with what was sent.
//
//	publishers  number their messages; the answer to a send gives its outcome and its position in the hub's log
//	members     join and leave groups by backend calls, and close connections; the answers give positions
//	clients     official JavaScript clients, and light ones of every transport, record what they see, in order; half of them through
//	            a proxy that goes round the nodes, half through one that stays with a connection's node while it is there
//	faults      kill, drain and freeze nodes; kill, restart, freeze and fail over Valkey; cut, delay and black-hole
//	            connections; stall readers
//	Check       lost, repeated, reordered, misdelivered, delivered after leaving or after a close, ended twice
//
// The unit of every guarantee is a Session: a connection, by its connection ID, from its start to its end as its
// client saw it. Within a session nothing may be lost, repeated or reordered, whatever breaks. Sessions of stateful
// WebSockets and of long polling go on at other nodes; what a client misses between two sessions is no loss.
//
// The long run is `make chaos DURATION=10m SEED=...`; a short one is part of the tests. Both print their seed and schedule.
package chaos
