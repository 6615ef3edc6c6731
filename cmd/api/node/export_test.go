package node

import (
	"log/slog"
	"net"
)

// Accepting logs why a listener does not accept.
func Accepting(l net.Listener, log *slog.Logger) net.Listener {
	return &accepting{Listener: l, log: log}
}

// NewLogger makes a node's logger.
var NewLogger = newLogger

// Listen listens for a node's clients.
var Listen = listen

// NewServer makes the server for clients and backends.
var NewServer = newServer
