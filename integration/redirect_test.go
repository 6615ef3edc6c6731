package integration_test

import (
	"fmt"
	"testing"

	"hubstream/integration/internal/jsclient"
	"hubstream/integration/internal/nodes"
	"hubstream/integration/internal/proc"
	"hubstream/integration/internal/proxytest"
	"hubstream/integration/valkeytest"
)

// JavaScript clients that never heard of stateful reconnect get it where -stateful-address says so, and go on at
// another node when theirs dies.
func TestScriptsThatDidNotAskGoOnAtAnotherNode(t *testing.T) {
	t.Parallel()
	valkey := valkeytest.Start(t)
	var addrs []string
	for range 3 {
		port, err := proc.FreePort()
		if err != nil {
			t.Fatal(err)
		}
		addrs = append(addrs, fmt.Sprintf("127.0.0.1:%d", port))
	}
	proxy := proxytest.HAProxy(t, addrs).URL
	c := &cluster{}
	for i, addr := range addrs {
		n, err := nodes.Run(nodes.Options{
			Name: fmt.Sprint("n", i+1), Valkey: valkey.Addr, Args: []string{"-listen", addr, "-stateful-address", proxy},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = n.Stop() })
		c.nodes = append(c.nodes, n)
	}
	name := newHub(t)
	for _, version := range []string{"10", "8"} {
		t.Run(version, func(t *testing.T) {
			conn := sharedJS(t).Open(t, jsclient.Options{
				URL: proxy + "/hubs/" + name, Version: version, Transport: jsclient.WebSockets, Protocol: jsclient.JSON,
			})
			b := c.backend(t, name)
			b.toAll(1)
			conn.Expect("message", 1)
			if err := conn.Drop(); err != nil {
				t.Fatal(err)
			}
			b.toAll(2)
			conn.Expect("message", 2)
			if events := conn.Events(); len(events) > 0 {
				t.Errorf("the client noticed: %v", events)
			}
			if n := len(conn.Requests("websocket")); n < 2 {
				t.Errorf("%d upgrades, want another after the cut", n)
			}
		})
	}
	// Those that do not know it are served as before.
	old := sharedJS(t).Open(t, jsclient.Options{URL: proxy + "/hubs/" + name, Version: "7", Transport: jsclient.WebSockets, Protocol: jsclient.JSON})
	c.backend(t, name).toAll(3)
	old.Expect("message", 3)
}
