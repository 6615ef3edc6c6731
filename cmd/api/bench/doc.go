// Package bench measures nodes from outside, so that people can size their own machines: it connects many clients as the official
// ones do, publishes through the API, and checks at each client that what was published comes once and in order.
//
//	Options   what is asked for, checked
//	plan      which client hears which messages
//	stream    one sequence of numbered messages to one audience; a publisher has several
//	client    one simulated client: connects, receives, is cut off, returns
//	session   one connection of a client over a transport: WebSockets, event streams, long polling
//	ledger    what one client must still get: finds what is lost, repeated or out of order
//	Report    what came of it
//
// It knows nodes by their protocol and their API alone.
package bench
