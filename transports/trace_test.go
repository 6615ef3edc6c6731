package transports_test

import (
	"bufio"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"hubstream/streams"
	"hubstream/transports"
)

// tracer writes down what it is told; it wants at most so many writes.
type tracer struct {
	mu   sync.Mutex
	left int
	told []string
}

func (t *tracer) Wants(*streams.Item) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.left--
	return t.left >= 0
}

func (t *tracer) Wrote(i *streams.Item, to transports.Write, failed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	name := ""
	if to.ConnectionID != "" {
		name = " to a connection"
	}
	t.told = append(t.told, fmt.Sprintf("%q to %s by %q%s, failed: %v", i.Body, to.Hub, to.Transport, name, failed))
}

func (t *tracer) tells(tb testing.TB, want ...string) {
	tb.Helper()
	synctest.Wait()
	t.mu.Lock()
	defer t.mu.Unlock()
	slices.Sort(t.told)
	slices.Sort(want)
	if !slices.Equal(t.told, want) {
		tb.Errorf("the tracer was told\n%q\nwant\n%q", t.told, want)
	}
	t.told = nil
}

// newTracedCluster is a node whose writes are traced.
func newTracedCluster(t *testing.T, wants int) (*cluster, *tracer) {
	tr := &tracer{left: wants}
	c := newCluster(t, 1, func(cfg *transports.Config) { cfg.Tracer = tr })
	return c, tr
}

func (c *cluster) publishTraced(body string) {
	c.Helper()
	e := streams.Entry{Kind: streams.KindMessage, Flags: streams.FlagAll, Body: []byte(body)}
	e.SetTrace("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	c.publishEntry(0, &e)
}

// Whatever the transport, a write is told of when it is done, and only that of a message that has a trace context.
func TestWritesOfTracedMessagesAreTold(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c, tr := newTracedCluster(t, 100)
		socket := c.negotiate().openSocket(0, handshakeJSON)
		events := c.negotiate().openEvents(0).shakesHands(0)
		poll := c.openPolling(handshakeJSON).poll(0, "1")
		plain := c.openPlain(0, "")
		time.Sleep(time.Second)
		traced := invocation(1)
		c.publishTraced(traced)
		socket.expect(traced)
		events.expectEvents(traced)
		poll.expect(200, traced)
		for !strings.Contains(plain.line(), `"arguments":[1]`) {
		}
		to := func(transport, connection string) string {
			return fmt.Sprintf("%q to %s by %q%s, failed: false", traced, hubName, transport, connection)
		}
		tr.tells(t, to("WebSockets", " to a connection"), to("ServerSentEvents", " to a connection"), to("LongPolling", " to a connection"), to("", ""))
		c.publish(0, 2)
		socket.expect(invocation(2))
		events.expectEvents(invocation(2))
		tr.tells(t)
	})
}

func TestWriteThatFailsIsTold(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c, tr := newTracedCluster(t, 1)
		in := bufio.NewReader(nil)
		conn := c.nodes[0].dial()
		go fmt.Fprintf(conn, "GET /%s?id=%s HTTP/1.1\r\nHost: node\r\n%s\r\n%s", hubName, c.negotiate().token, upgradeHeader, frameOf(ws.OpText, true, handshakeJSON))
		in.Reset(conn)
		for line := ""; line != "\r\n"; {
			line, _ = in.ReadString('\n')
		}
		_, _ = readFrame(in) // the handshake's answer; then it reads nothing more
		c.publishTraced(invocation(1))
		time.Sleep(time.Minute) // longer than a write may take
		tr.tells(t, fmt.Sprintf("%q to %s by %q to a connection, failed: true", invocation(1), hubName, "WebSockets"))
	})
}

// Over real sockets: the order stays, whether a message is traced or not, and whether the tracer has had enough.
func TestTracedMessagesKeepTheirPlace(t *testing.T) {
	t.Parallel()
	tr := &tracer{left: 50}
	c := startCluster(t, 1, newLoopback, func(cfg *transports.Config) { cfg.Tracer = tr })
	socket, events := c.negotiate().openSocket(0, handshakeJSON), c.rawEvents()
	const messages = 300
	for n := range messages {
		if n%3 == 0 {
			c.publishTraced(invocation(n))
		} else {
			c.publish(0, n)
		}
	}
	for n := range messages {
		socket.expect(invocation(n))
		if line, err := events.ReadString('\n'); err != nil || line != "data: "+invocation(n)+"\r\n" {
			t.Fatalf("message %d: got %q, %v", n, line, err)
		}
		_, _ = events.ReadString('\n')
	}
	told := func() int {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		return len(tr.told)
	}
	for end := time.Now().Add(10 * time.Second); told() < 50 && time.Now().Before(end); {
		time.Sleep(time.Millisecond) // it is told after the bytes are out
	}
	if n := told(); n != 50 {
		t.Errorf("told of %d writes, want 50", n)
	}
}
