package integration_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"hubstream/integration/internal/jsclient"
	"hubstream/integration/internal/nodes"
	"hubstream/integration/internal/proxytest"
	"hubstream/integration/valkeytest"
)

// kind is one way to be connected.
type kind struct{ version, transport, protocol string }

func (k kind) String() string { return "client " + k.version + "/" + k.transport + "/" + k.protocol }

// kinds are the official client's over each transport and protocol: the newest, and older majors down to the one that
// negotiates with version 0. Server-sent events carry text only.
func kinds() (all []kind) {
	for _, version := range []string{"10", "8", "7", "3", "1"} {
		all = append(all, kindsOf(version)...)
	}
	return all
}

func kindsOf(version string) (all []kind) {
	for _, transport := range []string{jsclient.WebSockets, jsclient.ServerSentEvents, jsclient.LongPolling} {
		for _, protocol := range []string{jsclient.JSON, jsclient.MessagePack} {
			if transport != jsclient.ServerSentEvents || protocol != jsclient.MessagePack {
				all = append(all, kind{version, transport, protocol})
			}
		}
	}
	return all
}

func TestEveryMessageOnceInOrderWhicheverNodesServe(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	for _, k := range kinds() {
		t.Run(k.String(), func(t *testing.T) {
			t.Parallel()
			testDelivery(t, c, sharedJS(t), k)
		})
	}
}

// The same through real processes, with a Node process of its own, so that nothing is shared by accident.
func TestEveryMessageOnceInOrderFromThreeProcesses(t *testing.T) {
	t.Parallel()
	c := &cluster{nodes.ThreeProcesses(t, valkeytest.Start(t).Addr)}
	js := jsclient.Start(t)
	for _, k := range kindsOf("10") {
		t.Run(k.String(), func(t *testing.T) { testDelivery(t, c, js, k) })
	}
}

// Without Valkey there is one node, and it behaves the same.
func TestEveryMessageOnceInOrderFromMemory(t *testing.T) {
	t.Parallel()
	c := &cluster{[]*nodes.Node{nodes.Start(t, nodes.Options{})}}
	for _, k := range kindsOf("10") {
		t.Run(k.String(), func(t *testing.T) {
			t.Parallel()
			testDelivery(t, c, sharedJS(t), k)
		})
	}
}

const deliveryRounds = 6

// testDelivery sends a client, whose requests all go to different nodes, messages for every audience, and moves it in
// and out of groups between them.
func testDelivery(t *testing.T, c *cluster, js *jsclient.Client, k kind) {
	hub := newHub(t)
	proxy := c.haproxy(t)
	conn := js.Open(t, jsclient.Options{
		URL: proxy + "/hubs/" + hub + "?user=alice", Version: k.version, Transport: k.transport, Protocol: k.protocol,
	})
	if conn.Transport != k.transport {
		t.Fatalf("the client uses %s, want %s", conn.Transport, k.transport)
	}
	me, b := conn.ConnectionID, c.backend(t, hub)
	other := js.Open(t, jsclient.Options{URL: proxy + "/hubs/" + hub + "?user=bob"})

	// Texts that are wanted start with "+", in order; what starts with "-" is for others.
	var want []string
	n := 0
	say := func(text string) string {
		n++
		text = fmt.Sprintf("%s %d héllo 你好 \u2028 \x1e", text, n)
		if text[0] == '+' {
			want = append(want, text)
		}
		return text
	}
	for range deliveryRounds {
		b.toAll(say("+ all"))
		b.toGroup("blue", say("- group before the join"))
		b.join("blue", me)
		b.toGroup("blue", say("+ group after the join"))
		b.join("blue", me) // once more is nothing new
		b.toUser("alice", say("+ user"))
		b.toUser("bob", say("- another user"))
		b.send(audience{Groups: []string{"blue", "red/ü"}, Users: []string{"alice"}}, "message", say("+ twice addressed"))
		b.join("red/ü", me)
		b.send(audience{Groups: []string{"blue", "red/ü"}}, "message", say("+ two groups"))
		b.leave("blue", me)
		b.toGroup("blue", say("- group after the leave"))
		b.toGroup("red/ü", say("+ the other group"))
		b.toConnection(me, say("+ connection"))
		b.toConnection(other.ConnectionID, say("- another connection"))
		b.send(audience{Excluded: []string{me}}, "message", say("- all but me"))
		b.send(audience{Excluded: []string{other.ConnectionID}}, "message", say("+ all but the other"))
		b.send(audience{Users: []string{"alice"}, Excluded: []string{me}}, "message", say("- user but me"))
		b.leave("red/ü", me)
		b.leave("red/ü", me)
		b.toGroup("red/ü", say("- the other group after the leave"))
		if result, err := conn.Invoke("NoSuchMethod", n); err == nil {
			t.Errorf("a call without an upstream returned %s, want an error", result)
		}
	}
	b.toAll("end")

	for _, text := range want {
		conn.Expect("message", text)
	}
	conn.Expect("message", "end")
	if extra := conn.Unread(); len(extra) > 0 {
		t.Errorf("after the last message came %v", extra)
	}
	if events := conn.Events(); len(events) > 0 {
		t.Errorf("the connection did not simply stay: %v", events)
	}
	if len(c.nodes) > 1 {
		assertNodesDiffer(t, conn, k.transport, proxy)
	}
}

// assertNodesDiffer looks at X-Hubstream-Node of all that the client was answered through the proxy.
func assertNodesDiffer(t *testing.T, conn *jsclient.Conn, transport, proxy string) {
	t.Helper()
	// Where each message makes three requests, as its POSTs and polls may, a proxy that takes turns brings each kind of
	// request to the same node every time. Requests of somebody else put them out of step.
	for range 30 {
		if servedByAll(conn, transport) {
			break
		}
		for range rand.IntN(3) {
			resp, err := http.Get(proxy + "/healthz")
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
		}
		if _, err := conn.Invoke("NoSuchMethod"); err == nil {
			t.Error("a call without an upstream succeeded")
		}
	}
	t.Logf("served by: %v", conn.Requests())
	for _, r := range conn.Requests() {
		if r.Node == "" {
			t.Errorf("an answer without X-Hubstream-Node: %v", r)
		}
	}
	connect := map[string]string{
		jsclient.WebSockets: "websocket", jsclient.ServerSentEvents: "events", jsclient.LongPolling: "poll",
	}[transport]
	if first := conn.Requests(connect); len(first) == 0 || slices.Contains(conn.Nodes("negotiate"), first[0].Node) {
		t.Errorf("negotiate at %v, connect at %v: want different nodes", conn.Nodes("negotiate"), first)
	}
	if !servedByAll(conn, transport) {
		t.Errorf("polls were served by %v, POSTs by %v, want all three nodes and several", conn.Nodes("poll"), conn.Nodes("send"))
	}
}

// servedByAll tells whether all three nodes have answered polls, if there are any, and several have answered POSTs.
func servedByAll(conn *jsclient.Conn, transport string) bool {
	return (transport != jsclient.LongPolling || len(conn.Nodes("poll")) >= 3) &&
		(transport == jsclient.WebSockets || len(conn.Nodes("send")) >= 2)
}

const (
	senders       = 3
	perSender     = 700
	orderedEvents = senders * perSender
)

// All entries of a hub are totally ordered: whoever listens, and however, sees the same sequence.
func TestAllClientsSeeOneOrder(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	hub := newHub(t)
	proxy := c.haproxy(t)
	var conns []*jsclient.Conn
	for _, k := range kindsOf("10") {
		conns = append(conns, sharedJS(t).Open(t, jsclient.Options{
			URL: proxy + "/hubs/" + hub, Version: k.version, Transport: k.transport, Protocol: k.protocol,
		}))
	}

	var sending sync.WaitGroup
	for s := range senders {
		sending.Go(func() {
			b := c.backend(t, hub)
			b.turn = s
			for i := range perSender {
				b.toAll(s, i)
			}
		})
	}
	sending.Wait()

	var first []jsclient.Message
	for _, conn := range conns {
		var got []jsclient.Message
		for range orderedEvents {
			got = append(got, conn.Next())
		}
		next := [senders]int{}
		for _, m := range got {
			var s, i int
			if _, err := fmt.Sscanf(m.Args, "[%d,%d]", &s, &i); err != nil {
				t.Fatalf("%s: %v", m.Args, err)
			}
			if i != next[s] {
				t.Fatalf("over %s: sender %d: got its message %d, want %d", conn.Transport, s, i, next[s])
			}
			next[s]++
		}
		if first == nil {
			first = got
		}
		if !slices.Equal(got, first) {
			t.Errorf("over %s the order differs from that over %s", conn.Transport, conns[0].Transport)
		}
		if extra := conn.Unread(); len(extra) > 0 {
			t.Errorf("over %s %d messages too many", conn.Transport, len(extra))
		}
	}
}

// Positions are opaque, but no two messages share one.
func TestEverySendHasItsOwnPosition(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	b := c.backend(t, newHub(t))
	var positions []string
	for i := range 9 {
		positions = append(positions, b.send(audience{}, "message", i))
	}
	slices.Sort(positions)
	if unique := slices.Compact(slices.Clone(positions)); len(unique) != len(positions) {
		t.Errorf("positions repeat: %s", strings.Join(positions, " "))
	}
}

// What is appended to a hub is nobody else's business.
func TestHubsAreSeparate(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	here, there := newHub(t), newHub(t)
	proxy := c.haproxy(t)
	conn := sharedJS(t).Open(t, jsclient.Options{URL: proxy + "/hubs/" + here, Transport: jsclient.LongPolling})
	c.backend(t, there).toAll("for the other hub")
	c.backend(t, here).toAll("for this hub")
	conn.Expect("message", "for this hub")
}

// Hub names are one in upper and in lower case.
func TestHubNamesIgnoreCase(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	hub := newHub(t)
	conn := sharedJS(t).Open(t, jsclient.Options{URL: c.haproxy(t) + "/hubs/" + strings.ToUpper(hub)})
	c.backend(t, hub).toAll("same")
	conn.Expect("message", "same")
}

// Arguments arrive as they were sent, on every transport and protocol.
func TestArgumentsSurviveEveryProtocol(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	for _, k := range kindsOf("10") {
		t.Run(k.String(), func(t *testing.T) {
			t.Parallel()
			hub := newHub(t)
			conn := sharedJS(t).Open(t, jsclient.Options{URL: c.haproxy(t) + "/hubs/" + hub, Transport: k.transport, Protocol: k.protocol})
			args := []any{
				nil, true, 0, -1, 1.5, 1e21, 9007199254740991, "", "line\nfeed\r\n\u2028\u0000\x1e\"\\", strings.Repeat("x", 100_000),
				[]any{[]any{}, map[string]any{}}, map[string]any{"ü": []any{1, map[string]any{"k": nil}}},
			}
			c.backend(t, hub).send(audience{}, "message", args...)
			conn.Expect("message", args...)
		})
	}
}

// A proxy is not what makes it work: HAProxy and nginx do alike.
func TestNginxRoundRobin(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	for _, k := range kindsOf("10") {
		t.Run(k.String(), func(t *testing.T) {
			t.Parallel()
			hub := newHub(t)
			proxy := proxytest.Nginx(t, c.addrs())
			conn := sharedJS(t).Open(t, jsclient.Options{URL: proxy.URL + "/hubs/" + hub, Transport: k.transport, Protocol: k.protocol})
			b := c.backend(t, hub)
			for i := range 20 {
				b.toAll(i)
			}
			for range 3 {
				if _, err := conn.Invoke("NoSuchMethod"); err == nil {
					t.Error("a call without an upstream succeeded")
				}
			}
			for i := range 20 {
				conn.Expect("message", i)
			}
			assertNodesDiffer(t, conn, k.transport, proxy.URL)
		})
	}
}
