package integration_test

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"hubstream/integration/internal/jsclient"
	"hubstream/integration/internal/nodes"
	"hubstream/integration/internal/proxytest"
	"hubstream/integration/internal/rawclient"
	"hubstream/integration/valkeytest"
)

// A polling client whose node is killed goes on elsewhere: the proxy sends its poll again, and nothing is lost.
func TestKilledNodeLosesNoPollingClient(t *testing.T) {
	t.Parallel()
	c := &cluster{nodes.ThreeProcesses(t, valkeytest.Start(t).Addr)}
	name := newHub(t)
	proxy := c.haproxy(t, proxytest.CheckHealth(), proxytest.RetryPolls())
	var conns []*jsclient.Conn
	for range 6 {
		conns = append(conns, sharedJS(t).Open(t, jsclient.Options{URL: proxy + "/hubs/" + name, Transport: jsclient.LongPolling}))
	}
	b := &backend{t: t, hub: name, bases: []string{c.nodes[1].URL, c.nodes[2].URL}}
	for i := range 20 {
		b.toAll(i)
	}
	c.nodes[0].Kill()
	for i := 20; i < 60; i++ {
		b.toAll(i)
	}
	for _, conn := range conns {
		for i := range 60 {
			conn.Expect("message", i)
		}
		if events := conn.Events(); len(events) > 0 {
			t.Errorf("the client noticed: %v", events)
		}
	}
}

// Of a killed node's other clients those with stateful reconnect go on elsewhere, and those without start anew.
func TestClientsOfAKilledNode(t *testing.T) {
	t.Parallel()
	c := &cluster{nodes.ThreeProcesses(t, valkeytest.Start(t).Addr)}
	hub := newHub(t)
	proxy := c.haproxy(t, proxytest.CheckHealth(), proxytest.RetryPolls())
	open := func(transport string, stateful bool) (conns []*jsclient.Conn) {
		for range 4 { // two requests each, to three nodes in turn: one of them is at the first
			conns = append(conns, sharedJS(t).Open(t, jsclient.Options{
				URL: proxy + "/hubs/" + hub, Transport: transport, Stateful: stateful,
				Reconnect: slices.Repeat([]time.Duration{100 * time.Millisecond}, 100),
			}))
		}
		return conns
	}
	stateful := open(jsclient.WebSockets, true)
	others := append(open(jsclient.WebSockets, false), open(jsclient.ServerSentEvents, false)...)
	b := &backend{t: t, hub: hub, bases: []string{c.nodes[1].URL, c.nodes[2].URL}}
	b.toAll("before")
	for _, conn := range append(stateful, others...) {
		conn.Expect("message", "before")
	}
	c.nodes[0].Kill()
	for i := range 20 {
		b.toAll(i)
	}
	went, back := 0, 0
	for _, conn := range stateful {
		for i := range 20 {
			conn.Expect("message", i)
		}
		if events := conn.Events(); len(events) > 0 {
			t.Errorf("a stateful client noticed: %v", events)
		}
		went += len(conn.Requests("websocket")) - 1
	}
	for _, conn := range others {
		if conn.Requests("websocket", "events")[0].Node != c.nodes[0].Name {
			continue
		}
		conn.Event("reconnected")
		back++
	}
	b.toAll("after")
	for _, conn := range append(stateful, others...) {
		for m := conn.Next(); m.Args != `["after"]`; m = conn.Next() {
		}
	}
	if went == 0 || back == 0 {
		t.Errorf("%d stateful clients and %d others were at the killed node, want some of each", went, back)
	}
}

// A polling client whose own node is killed while its poll waits there (raw, so that the test knows where it waits).
func TestPollOfAKilledNodeIsRepeatedElsewhere(t *testing.T) {
	t.Parallel()
	c := &cluster{nodes.ThreeProcesses(t, valkeytest.Start(t).Addr)}
	p := openPolling(t, c, newHub(t))
	url := p.at(0).With(p.token) + "&_=1"
	lost := make(chan error, 1)
	go func() {
		_, err := rawclient.Do(t.Context(), http.MethodGet, url, "")
		lost <- err
	}()
	select {
	case err := <-lost:
		t.Fatalf("a poll with nothing to say was answered: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	c.nodes[0].Kill()
	if err := <-lost; err == nil {
		t.Fatal("the poll at the killed node was answered")
	}
	b := &backend{t: t, hub: p.hub, bases: []string{c.nodes[1].URL}}
	b.toAll(1)
	again := rawclient.Hub(t, p.at(2).With(p.token)+"&_=1") // the proxy's copy has the same mark
	if a := again.Do(http.MethodGet, "", ""); a.Body != messageRecord(1)+rawclient.Separator {
		t.Errorf("got %d %q, want the message", a.Status, a.Body)
	}
}

// While Valkey is away nodes live, are not ready, refuse sends so that they may be repeated, and keep their clients;
// when it is back everything goes on.
func TestValkeyAwayAndBack(t *testing.T) {
	t.Parallel()
	for what, fault := range map[string]struct{ away, back func(*valkeytest.Server) }{
		"frozen": {(*valkeytest.Server).Pause, (*valkeytest.Server).Resume},
		"killed": {(*valkeytest.Server).Kill, (*valkeytest.Server).Start},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			server := valkeytest.Start(t, valkeytest.AppendOnly())
			c := &cluster{nodes.Three(t, server.Addr)}
			name := newHub(t)
			proxy := c.haproxy(t)
			var conns []*jsclient.Conn
			for _, k := range kindsOf("10") {
				conns = append(conns, sharedJS(t).Open(t, jsclient.Options{
					URL: proxy + "/hubs/" + name, Transport: k.transport, Protocol: k.protocol,
				}))
			}
			b := c.backend(t, name)
			b.toAll("before")
			for _, conn := range conns {
				conn.Expect("message", "before")
			}

			fault.away(server)
			for _, n := range c.nodes {
				awaitReadiness(t, n, http.StatusServiceUnavailable)
				if a, err := rawclient.Do(t.Context(), http.MethodGet, n.URL+"/healthz", ""); err != nil || a.Status != http.StatusOK {
					t.Errorf("/healthz without Valkey: %d %v, want 200", a.Status, err)
				}
				a, err := rawclient.Do(t.Context(), http.MethodPost, n.URL+"/api/hubs/"+name+"/send", `{"target":"lost","arguments":[]}`, "Content-Type", "application/json")
				if err != nil || a.Status != http.StatusServiceUnavailable {
					t.Errorf("send without Valkey: got %d %q (%v), want 503", a.Status, a.Body, err)
				}
			}
			fault.back(server)
			for _, n := range c.nodes {
				awaitReadiness(t, n, http.StatusOK)
			}
			b.toAll("after")
			for _, conn := range conns {
				m := conn.Next()
				for m.Target == "lost" { // its outcome was said to be unknown
					m = conn.Next()
				}
				if m.Args != `["after"]` {
					t.Errorf("over %s: got %v, want the message after", conn.Transport, m)
				}
				if events := conn.Events(); len(events) > 0 {
					t.Errorf("over %s the client noticed: %v", conn.Transport, events)
				}
			}
		})
	}
}

func awaitReadiness(t *testing.T, n *nodes.Node, status int) {
	t.Helper()
	for end := time.Now().Add(rawclient.Patience); ; time.Sleep(20 * time.Millisecond) {
		a, err := rawclient.Do(t.Context(), http.MethodGet, n.URL+"/readyz", "")
		if err != nil {
			t.Fatal(err)
		}
		if a.Status == status {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("/readyz of %s: still %d %q, want %d", n.Name, a.Status, a.Body, status)
		}
	}
}

// A Valkey that comes back empty has lost what was accepted. That is never silent: connections are closed so that their
// clients start anew, and then everything works again.
func TestClientsOfALostLogStartAnew(t *testing.T) {
	t.Parallel()
	c, server := ownCluster(t)
	name := newHub(t)
	proxy := c.haproxy(t)
	var conns []*jsclient.Conn
	for _, k := range kindsOf("10") {
		conns = append(conns, sharedJS(t).Open(t, jsclient.Options{
			URL: proxy + "/hubs/" + name, Transport: k.transport, Protocol: k.protocol,
			Reconnect: slices.Repeat([]time.Duration{500 * time.Millisecond}, 60),
		}))
	}
	c.backend(t, name).toAll("before")
	for _, conn := range conns {
		conn.Expect("message", "before")
	}
	server.Kill()
	server.Start()
	for _, n := range c.nodes {
		awaitReadiness(t, n, http.StatusOK)
	}
	// So that the hub has a log again. The nodes' connections to Valkey come back one after the other.
	while := `{"target":"message","arguments":["while they come back"]}`
	for end := time.Now().Add(rawclient.Patience); c.backend(t, name).call(http.MethodPost, "/send", while).Status != http.StatusAccepted; {
		if time.Now().After(end) {
			t.Fatal("no message is accepted after the log was lost")
		}
		time.Sleep(20 * time.Millisecond)
	}
	deadline := time.Now().Add(60 * time.Second) // closes are spread over 30 s
	for _, conn := range conns {
		for !slices.ContainsFunc(conn.Events(), func(e jsclient.Event) bool { return e.Name == "reconnected" }) {
			if time.Now().After(deadline) {
				t.Fatalf("over %s: %v after the log was lost, want a reconnect", conn.Transport, conn.Events())
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
	c.backend(t, name).send(audience{}, "message", "after")
	for _, conn := range conns {
		for m := conn.Next(); m.Args != `["after"]`; m = conn.Next() {
			if m.Args != `["while they come back"]` {
				t.Errorf("got %v", m)
			}
		}
	}
}

// A client that reads nothing for a while is nobody else's problem, and gets everything in the end.
func TestSlowReaderDelaysNobody(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	name := newHub(t)
	slow, _ := c.hub(t, name, 0).OpenWebSocket()
	quick, _ := c.hub(t, name, 0).OpenWebSocket()
	b := c.backend(t, name)
	const n, size = 8, 1_000_000 // far more than socket buffers hold, in few steps: a client that reads nothing for 30 s is closed
	text := make([]byte, size)
	for i := range text {
		text[i] = 'x'
	}
	for i := range n {
		b.toAll(i, string(text))
		quick.ExpectText(largeRecord(i, string(text)))
	}
	for i := 0; i < n; {
		for _, record := range rawclient.Records(slow.Next().Payload) {
			if record+rawclient.Separator != largeRecord(i, string(text)) {
				t.Fatalf("message %d: got %.80q", i, record)
			}
			i++
		}
	}
}

func largeRecord(i int, text string) string {
	r := messageRecord(i)
	return r[:len(r)-2] + `,"` + text + `"]}` + rawclient.Separator
}
