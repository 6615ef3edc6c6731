package integration_test

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"hubstream/integration/internal/jsclient"
	"hubstream/integration/internal/nodes"
	"hubstream/integration/internal/proxytest"
	"hubstream/integration/valkeytest"
)

// A JavaScript client that gives its connection up by its own time-out opens it once more, only to abandon that socket. That is
// refused, unless the close of the first socket comes late or not at all; then the client has an abandoned socket beside its
// new connection. When that one's node dies its code opens the old connection again; refused, it would take the new connection
// for ended, go on receiving from it, and mix the two.
func TestScriptKeepsItsConnectionWhenAnAbandonedSocketDies(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]struct {
		protocol string
		ended    bool // the old connection has, before the abandoned socket's node dies
	}{
		"JSON, after the end":             {jsclient.JSON, true},
		"MessagePack, while it is waited": {jsclient.MessagePack, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hub := newHub(t)
			conn, abandoned, others := abandonASocket(t, hub, o.protocol)
			b := &backend{t: t, hub: hub}
			for _, n := range others {
				b.bases = append(b.bases, n.URL)
			}
			b.toAll(1)
			conn.Expect("message", 1)
			time.Sleep(4 * time.Second) // a client that means to speak has spoken by then
			if o.ended {
				if a := b.call(http.MethodDelete, "/connections/"+conn.ConnectionID, ""); a.Status != http.StatusAccepted {
					t.Fatalf("close the old connection: got %d %s", a.Status, a.Body)
				}
			}
			sockets := len(conn.Requests("websocket"))
			abandoned.Kill()
			b.toAll(2)
			conn.Expect("message", 2)
			// The old connection's; the new one's, since it is cut off there; and that one's again, since the script closes it when
			// the new connection's first socket ends.
			conn.AwaitRequest("websocket", sockets+3)
			for i := 3; i < 10; i++ {
				b.toAll(i)
				conn.Expect("message", i)
			}
			if state := conn.State(); state != "Connected" {
				t.Errorf("state %s", state)
			}
			if events := conn.Events(); len(events) != 2 { // reconnecting and reconnected, by its own time-out
				t.Errorf("the client noticed: %v", events)
			}
		})
	}
}

func statefulOptions(url, protocol string) jsclient.Options {
	return jsclient.Options{
		URL: url, Transport: jsclient.WebSockets, Protocol: protocol, Stateful: true,
		Reconnect: []time.Duration{0, 100 * time.Millisecond, time.Second, time.Second, time.Second},
	}
}

// abandonASocket returns a client that was connected, timed out while its node did not answer, and is connected again; the
// node that has its abandoned socket; and the other nodes that are left, one of which has its connection.
func abandonASocket(t *testing.T, hub, protocol string) (conn *jsclient.Conn, abandoned *nodes.Node, others []*nodes.Node) {
	t.Helper()
	valkey := valkeytest.Start(t).Addr
	// Four: with two left the round robin would always take the abandoned and the new socket to the same one.
	c := &cluster{append(nodes.ThreeProcesses(t, valkey), nodes.StartProcess(t, nodes.Options{Name: "n4", Valkey: valkey}))}
	proxy := c.haproxy(t, proxytest.CheckHealth(), proxytest.RetryPolls(), proxytest.Retries(10))
	conn = sharedJS(t).Open(t, statefulOptions(proxy+"/hubs/"+hub, protocol))
	node := func(socket int) *nodes.Node {
		name := conn.Requests("websocket")[socket].Node
		return c.nodes[slices.IndexFunc(c.nodes, func(n *nodes.Node) bool { return n.Name == name })]
	}
	first := node(0)
	time.Sleep(time.Second) // until its node has noted that the client was heard, it is not let in again
	first.Freeze(true)
	conn.TimeOut()
	conn.AwaitRequest("websocket", 2)
	first.Kill()
	conn.Event("reconnected")
	conn.AwaitRequest("websocket", 3)
	abandoned = node(1)
	if abandoned == node(2) {
		t.Fatal("the new socket is at the abandoned one's node")
	}
	for _, n := range c.nodes {
		if n != first && n != abandoned {
			others = append(others, n)
		}
	}
	return conn, abandoned, others
}
