package node

// NewLogger makes a node's logger.
var NewLogger = newLogger

// Listen listens for a node's clients.
var Listen = listen

// NewServer makes the server for clients and backends.
var NewServer = newServer
