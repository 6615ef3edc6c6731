// Package streams keeps the hubs' logs and the connections' records, and serves
// connections from them.
//
// Each hub has one ordered, append-only log: a Valkey stream, or a slice in
// process memory. Whatever one node must tell another, and whatever a client may
// still need, is an entry in it. A connection is a filter and a cursor over that
// log, so any node can take it over in the middle:
//
//	backend -> any node: Append(message)          one entry, whatever the audience
//	every node:          Tail -> window -> wake   one reader per bucket of hubs
//	a connection:        cursor, filter -> Next   the matches after the cursor, in order
//	another node:        Open(record) -> scan     the same matches, in the same order
//
// The pieces, from the bottom up:
//
//   - Position and Entry: what the log holds, as bytes and as values.
//   - Store: the log and the records, as atomic steps. Memory and Valkey implement
//     it; streamstest holds both to one suite.
//   - window: the newest part of a hub's log on this node, with postings by target.
//   - filter: which entries match a connection, decided from the entries alone.
//   - Node, hub, Attachment: the tails, and the connections that this node serves.
//
// The package knows nothing of HTTP, of transports and of SignalR's messages: a
// body is bytes. It is the only importer of valkey-go.
package streams
