package node

// NewLogger makes a node's logger.
var NewLogger = newLogger
