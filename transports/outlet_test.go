package transports_test

import (
	"bufio"
	"fmt"
	"net/http"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"hubstream/transports"
)

// A client that reads nothing has its socket's buffers filled, and holds up nobody. When it reads it gets everything, in order.
func TestClientThatDoesNotReadHoldsUpNobody(t *testing.T) {
	t.Parallel()
	const messages, others = 800, 5
	c := startCluster(t, 1, newLoopback, func(cfg *transports.Config) { cfg.KeepAlive = time.Hour })
	stuck := c.rawSocket()
	var sockets []*socket
	for range others {
		sockets = append(sockets, c.negotiate().openSocket(0, handshakeJSON))
	}
	filler := strings.Repeat("x", 20_000) // 16 MB in all, more than any socket takes
	body := func(n int) string {
		return fmt.Sprintf(`{"type":1,"target":"m","arguments":[%d,"%s"]}`+"\x1e", n, filler)
	}
	for n := range messages {
		c.publishBody(0, body(n))
		if last := n; n%100 == 99 { // they keep up
			for _, s := range sockets {
				for n := n - 99; n <= last; n++ {
					if f, err := s.next(); err != nil || string(f.Payload) != body(n) {
						t.Fatalf("message %d: got %.60q %v", n, f.Payload, err)
					}
				}
			}
		}
	}
	for n := range messages {
		f, err := readFrame(stuck)
		if err != nil || string(f.Payload) != body(n) {
			t.Fatalf("message %d: got %.60q %v", n, f.Payload, err)
		}
	}
}

// rawSocket opens a WebSocket that is read only by who asks.
func (c *cluster) rawSocket() *bufio.Reader {
	c.Helper()
	conn := c.nodes[0].dial()
	c.Cleanup(func() { _ = conn.Close() })
	fmt.Fprintf(conn, "GET /%s?id=%s HTTP/1.1\r\nHost: node\r\n%s\r\n%s", hubName, c.negotiate().token, upgradeHeader, frameOf(ws.OpText, true, handshakeJSON))
	in := bufio.NewReader(conn)
	for line := ""; line != "\r\n"; {
		var err error
		if line, err = in.ReadString('\n'); err != nil {
			c.Fatal(err)
		}
	}
	if f, err := readFrame(in); err != nil || string(f.Payload) != accepted {
		c.Fatalf("got %q %v, want the handshake's answer", f.Payload, err)
	}
	return in
}

// A deadline of a write that had to wait must not end a later one that does not.
func TestWriteDeadlineDoesNotOutliveItsWrite(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, newLoopback, func(cfg *transports.Config) { cfg.SendTimeout = 50 * time.Millisecond })
	s := c.negotiate().openSocket(0, handshakeJSON) // its answer was written with a deadline
	time.Sleep(100 * time.Millisecond)
	c.publish(0, 1)
	s.expect(invocation(1))
}

// A broadcast over real sockets allocates nothing for a receiver, and starts no goroutine.
func TestBroadcastOverTheNetworkAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	const receivers, messages = 200, 50
	c := startCluster(t, 1, newLoopback)
	var got atomic.Int64
	for range receivers {
		in := c.rawSocket()
		go func() {
			for buf := make([]byte, 4<<10); ; {
				n, err := in.Read(buf)
				if got.Add(int64(n)); err != nil {
					return
				}
			}
		}()
	}
	tell := func() {
		size := int64(len(ws.MustCompileFrame(ws.NewTextFrame([]byte(invocation(1))))))
		want := got.Load() + receivers*size
		c.publish(0, 1)
		for deadline := time.Now().Add(10 * time.Second); got.Load() < want; runtime.Gosched() {
			if time.Now().After(deadline) {
				t.Fatal("not everybody is told")
			}
		}
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	for range messages {
		tell()
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range messages {
		tell()
	}
	runtime.ReadMemStats(&after)
	if perReceiver := float64(after.Mallocs-before.Mallocs) / (messages * receivers); perReceiver > 0.2 {
		t.Errorf("%.2f allocations for each receiver of a message, want none", perReceiver)
	}
}

// An event stream goes the same way: chunk by chunk, in order, also to a client that does not read for a while.
func TestEventStreamThatIsNotReadHoldsUpNobody(t *testing.T) {
	t.Parallel()
	const messages = 600
	c := startCluster(t, 1, newLoopback, func(cfg *transports.Config) { cfg.KeepAlive = time.Hour })
	filler := strings.Repeat("x", 20_000)
	body := func(n int) string {
		return fmt.Sprintf(`{"type":1,"target":"m","arguments":[%d,"%s"]}`, n, filler) + "\x1e"
	}
	stuck, other := c.rawEvents(), c.rawEvents()
	expect := func(in *bufio.Reader, n int) {
		line, err := in.ReadString('\n')
		if want := "data: " + body(n) + "\r\n"; err != nil || line != want {
			t.Fatalf("message %d: got %.60q %v", n, line, err)
		}
		if line, err = in.ReadString('\n'); err != nil || line != "\r\n" {
			t.Fatalf("message %d: got %q %v, want the event's end", n, line, err)
		}
	}
	for n := range messages {
		c.publishBody(0, body(n))
		if n%50 == 49 {
			for n := n - 49; n%50 != 49; n++ {
				expect(other, n)
			}
			expect(other, n)
		}
	}
	for n := range messages {
		expect(stuck, n)
	}
}

// rawEvents opens an event stream that is read only by who asks, and shakes hands.
func (c *cluster) rawEvents() *bufio.Reader {
	c.Helper()
	k := c.negotiate()
	conn := c.nodes[0].dial()
	c.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
	fmt.Fprintf(conn, "GET /%s?id=%s HTTP/1.1\r\nHost: node\r\nAccept: text/event-stream\r\n\r\n", hubName, k.token)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || response.StatusCode != http.StatusOK {
		c.Fatalf("got %v %v", response, err)
	}
	k.post(0, handshakeJSON)
	in := bufio.NewReader(response.Body)
	for _, want := range []string{":\r\n", "data: " + accepted + "\r\n", "\r\n"} {
		if line, err := in.ReadString('\n'); err != nil || line != want {
			c.Fatalf("got %q %v, want %q", line, err, want)
		}
	}
	return in
}
