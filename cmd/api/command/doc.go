// Package command is hubstream's command line beside the node itself: making tokens, sending, following a hub, listing its
// connections. It knows nodes by their API alone.
//
// Where the node is, and the key for it, come from a connection string as Azure SignalR Service has it, from -connection or
// HUBSTREAM_CONNECTION_STRING. Without one it is a node in development mode on this machine.
package command
