package integration_test

import (
	"encoding/json"
	"net/http"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"hubstream/integration/internal/jsclient"
	"hubstream/integration/internal/nodes"
	"hubstream/integration/internal/proxytest"
	"hubstream/integration/internal/rawclient"
	"hubstream/integration/valkeytest"
)

const drainTime = 3 * time.Second

// drainCluster has nodes that take their time to end.
func drainCluster(t *testing.T, start func(testing.TB, nodes.Options) *nodes.Node) *cluster {
	t.Helper()
	server := valkeytest.Start(t)
	c := &cluster{}
	for _, name := range []string{"n1", "n2", "n3"} {
		c.nodes = append(c.nodes, start(t, nodes.Options{Name: name, Valkey: server.Addr, Drain: drainTime}))
	}
	return c
}

// A node that is drained says so, answers its polls, and the client goes on elsewhere as if nothing had happened.
func TestDrainingANodeLosesNoPollingClient(t *testing.T) {
	t.Parallel()
	c := drainCluster(t, nodes.StartProcess)
	name := newHub(t)
	proxy := c.haproxy(t, proxytest.CheckHealth(), proxytest.RetryPolls())
	var conns []*jsclient.Conn
	for _, protocol := range []string{jsclient.JSON, jsclient.MessagePack} {
		for range 5 {
			conns = append(conns, sharedJS(t).Open(t, jsclient.Options{
				URL: proxy + "/hubs/" + name, Transport: jsclient.LongPolling, Protocol: protocol, Reconnect: []time.Duration{},
			}))
		}
	}
	c.nodes[0].Drain()
	b := &backend{t: t, hub: name, bases: []string{c.nodes[1].URL, c.nodes[2].URL}}
	sent := 0
	for ended := false; !ended; sent++ {
		b.toAll(sent)
		select {
		case <-c.nodes[0].Done():
			ended = true
		case <-time.After(20 * time.Millisecond):
		}
	}
	for range 10 {
		b.toAll(sent)
		sent++
	}
	for _, conn := range conns {
		for i := range sent {
			conn.Expect("message", i)
		}
		if events := conn.Events(); len(events) > 0 {
			t.Errorf("the drain was noticed: %v", events)
		}
	}
	if err := c.nodes[0].Stop(); err != nil {
		t.Errorf("SIGTERM: %v", err)
	}
}

// A terminal that is closed, or who hopes that SIGHUP reads the settings again, drains the node.
func TestHangUpDrainsTheNode(t *testing.T) {
	t.Parallel()
	if signal.Ignored(syscall.SIGHUP) {
		t.Skip("SIGHUP is ignored here, as nohup has it, and so it would be by the node")
	}
	n := nodes.StartProcess(t, nodes.Options{Fast: true})
	n.Signal(syscall.SIGHUP)
	<-n.Done()
	if err := n.Stop(); err != nil || !strings.Contains(n.Output(), "msg=draining") {
		t.Errorf("it ended with %v:\n%s", err, n.Output())
	}
}

func TestDrainAnswersWaitingPollsEmpty(t *testing.T) {
	t.Parallel()
	c := drainCluster(t, nodes.Start)
	p := openPolling(t, c, newHub(t))
	poll := p.at(0).StartPoll(p.token)
	if poll.Answered(200 * time.Millisecond) {
		t.Fatal("a poll with nothing to say was answered")
	}
	c.nodes[0].Drain()
	if a := poll.Answer(drainTime + 5*time.Second); a.Status != http.StatusOK || a.Body != "" {
		t.Errorf("got %d %q, want an empty 200", a.Status, a.Body)
	}
	b := &backend{t: t, hub: p.hub, bases: []string{c.nodes[1].URL}}
	b.toAll(1)
	if a := p.at(1).Poll(p.token); a.Body != messageRecord(1)+rawclient.Separator {
		t.Errorf("poll elsewhere: got %d %q, want the message", a.Status, a.Body)
	}
}

// A balancer learns late that a node is not ready: what still reaches it is served, or the client would lose its
// connection to a clean shutdown.
func TestDrainingNodeServesWhatStillReachesIt(t *testing.T) {
	t.Parallel()
	c := drainCluster(t, nodes.Start)
	name := newHub(t)
	c.hub(t, name, 0).OpenWebSocket() // keeps the node busy draining
	p := openPolling(t, c, name)
	c.nodes[0].Drain()
	for end := time.Now().Add(drainTime); ; time.Sleep(10 * time.Millisecond) {
		if a, err := rawclient.Do(t.Context(), http.MethodGet, c.nodes[0].URL+"/readyz", ""); err != nil || time.Now().After(end) {
			t.Fatalf("the node was not seen to drain: %v", err)
		} else if a.Status == http.StatusServiceUnavailable {
			break
		}
	}
	if a := p.at(0).Post(p.token, invocation("late")); a.Status != http.StatusOK {
		t.Errorf("POST: got %d %q, want 200", a.Status, a.Body)
	}
	a := p.at(0).Poll(p.token)
	if a.Status != http.StatusOK {
		t.Fatalf("poll: got %d %q, want 200", a.Status, a.Body)
	}
	for a.Body == "" { // as good an answer: the client polls again, elsewhere
		a = p.at(1).Poll(p.token)
	}
	wantCompletionError(t, rawclient.Records(a.Body)[0], "late")
}

func TestDrainingNodeIsAliveAndNotReady(t *testing.T) {
	t.Parallel()
	c := drainCluster(t, nodes.Start)
	// Something that keeps the node busy draining.
	c.hub(t, newHub(t), 0).OpenWebSocket()
	c.nodes[0].Drain()
	for end := time.Now().Add(drainTime); ; time.Sleep(10 * time.Millisecond) {
		ready, err := rawclient.Do(t.Context(), http.MethodGet, c.nodes[0].URL+"/readyz", "")
		if err != nil {
			t.Fatalf("the node was gone before it said that it is not ready: %v", err)
		}
		if ready.Status == http.StatusServiceUnavailable {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("still ready after %v: %d", drainTime, ready.Status)
		}
	}
	if a, err := rawclient.Do(t.Context(), http.MethodGet, c.nodes[0].URL+"/healthz", ""); err == nil && a.Status != http.StatusOK {
		t.Errorf("/healthz: got %d %q, want 200", a.Status, a.Body)
	}
}

// Sockets and streams of a drained node are closed with the word that brings clients back.
func TestDrainClosesWithReconnect(t *testing.T) {
	t.Parallel()
	c := drainCluster(t, nodes.Start)
	name := newHub(t)
	w, _ := c.hub(t, name, 0).OpenWebSocket()
	events, _ := c.hub(t, name, 0).OpenEvents()
	c.nodes[0].Drain()
	records, code := w.ExpectClosed(drainTime + 5*time.Second)
	wantPlainClose(t, records)
	if code == 0 {
		t.Error("the WebSocket ended without a close frame")
	}
	wantPlainClose(t, events.ExpectEnd(drainTime+5*time.Second))
}

func wantPlainClose(t *testing.T, records []string) {
	t.Helper()
	var last struct {
		Type           int
		AllowReconnect bool
		Error          string
	}
	if len(records) > 0 {
		_ = json.Unmarshal([]byte(records[len(records)-1]), &last)
	}
	if last.Type != 7 || !last.AllowReconnect || last.Error != "" {
		t.Errorf("got %q, want a Close with allowReconnect and no error at the end", records)
	}
}

// Official clients on every transport are served again within the drain time, by the nodes that stay.
func TestClientsOfADrainedNodeComeBack(t *testing.T) {
	t.Parallel()
	c := drainCluster(t, nodes.StartProcess)
	name := newHub(t)
	proxy := c.haproxy(t, proxytest.CheckHealth(), proxytest.RetryPolls())
	var conns []*jsclient.Conn
	for _, transport := range []string{jsclient.WebSockets, jsclient.ServerSentEvents} {
		for range 6 { // whichever nodes they are on, some are on the one to be drained
			conns = append(conns, sharedJS(t).Open(t, jsclient.Options{
				URL: proxy + "/hubs/" + name, Transport: transport, Reconnect: []time.Duration{0, 200 * time.Millisecond, time.Second, time.Second},
			}))
		}
	}
	c.nodes[0].Drain()
	moved := 0
	for _, conn := range conns {
		connect := conn.Requests("websocket", "events")
		if connect[0].Node == "n1" {
			moved++
			conn.Event("reconnected")
		}
	}
	if moved == 0 {
		t.Fatal("no connection was on the drained node")
	}
	<-c.nodes[0].Done()
	b := &backend{t: t, hub: name, bases: []string{c.nodes[1].URL, c.nodes[2].URL}}
	b.toAll("after the drain")
	for _, conn := range conns {
		conn.Expect("message", "after the drain")
	}
}
