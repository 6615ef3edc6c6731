// Package integration holds the black-box tests: whole nodes, a real Valkey, real proxies without affinity, and the
// official SignalR clients. Nothing here looks inside a node; what a test knows it learned over HTTP.
//
//	valkeytest            a real Valkey that may be stopped, killed and frozen (for other packages' tests, too)
//	internal/nodes        nodes in process or as processes
//	internal/proxytest    HAProxy and nginx as plain round robin, and as proxies with bad habits
//	internal/relay        a TCP relay that cuts, holds and delays
//	internal/jsclient     the official JavaScript clients (clients/), several versions
//	internal/rawclient    SignalR by hand, byte for byte
//
// Each test has a hub of its own on nodes that all tests share, or, where it harms them, nodes of its own.
package integration
