package transports_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/r3labs/sse/v2"
	"gopkg.in/cenkalti/backoff.v1"

	"hubstream/negotiate/access"
	"hubstream/streams"
	"hubstream/transports"
	"hubstream/transports/hubprotocol"
)

// events is the client's side of an event stream.
type events struct {
	*connection
	conn  net.Conn
	head  http.Header
	in    chan string // pieces of the body
	rest  string      // of the last piece, not expected yet
	pause pause
}

// get asks a node for an event stream.
func (k *connection) get(by int) (*events, answer) {
	k.Helper()
	conn := k.nodes[by].dial()
	_ = conn.SetDeadline(time.Now().Add(soon))
	if _, err := io.WriteString(conn, "GET /"+hubName+"?id="+k.token+" HTTP/1.1\r\nHost: node\r\nAccept: text/event-stream\r\n\r\n"); err != nil {
		k.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		k.Fatal(err)
	}
	_ = conn.SetDeadline(time.Time{})
	k.Cleanup(func() { _ = conn.Close() })
	if response.StatusCode != 200 {
		defer conn.Close()
		body, err := io.ReadAll(response.Body)
		return nil, answer{status: response.StatusCode, body: string(body), err: err}
	}
	e := &events{connection: k, conn: conn, head: response.Header, in: make(chan string, 1<<16)}
	go e.receive(response.Body)
	return e, answer{status: 200}
}

func (e *events) receive(body io.Reader) {
	defer close(e.in)
	b := make([]byte, 64<<10)
	for {
		n, err := body.Read(b)
		if n > 0 {
			e.pause.wait()
			e.in <- string(b[:n])
		}
		if err != nil {
			return
		}
	}
}

// openEvents opens an event stream and takes its first bytes.
func (k *connection) openEvents(by int) *events {
	k.Helper()
	e, a := k.get(by)
	if e == nil {
		k.Fatalf("GET: got %d %q, want 200", a.status, a.body)
	}
	e.expect(":\r\n")
	return e
}

// shakesHands posts the handshake at a node and takes its answer.
func (e *events) shakesHands(by int) *events {
	e.Helper()
	e.post(by, handshakeJSON)
	e.expectEvents(accepted)
	return e
}

// expect takes exact bytes.
func (e *events) expect(want string) {
	e.Helper()
	for want != "" {
		if e.rest == "" {
			select {
			case piece, ok := <-e.in:
				if !ok {
					e.Fatalf("got the end, want %q", want)
				}
				e.rest = piece
			case <-time.After(soon):
				e.Fatalf("nothing came, want %q", want)
			}
		}
		n := min(len(e.rest), len(want))
		if e.rest[:n] != want[:n] {
			e.Fatalf("got %q, want %q", e.rest, want)
		}
		e.rest, want = e.rest[n:], want[n:]
	}
}

// expectEvents takes messages, each an event of its own.
func (e *events) expectEvents(messages string) {
	e.Helper()
	for m := range strings.SplitAfterSeq(messages, "\x1e") {
		if m != "" {
			e.expect("data: " + m + "\r\n\r\n")
		}
	}
}

func (e *events) expectEnd() {
	e.Helper()
	select {
	case piece, ok := <-e.in:
		if ok || e.rest != "" {
			e.Fatalf("got %q, want the end", e.rest+piece)
		}
	case <-time.After(soon):
		e.Fatal("the stream is still open, want its end")
	}
}

func (e *events) expectNothing(d time.Duration) {
	e.Helper()
	time.Sleep(d)
	synctest.Wait()
	select {
	case piece, ok := <-e.in:
		e.Fatalf("got %q (open %v), want nothing for %v", piece, ok, d)
	default:
	}
}

func (k *connection) wantNoEvents(by, status int, body string) {
	k.Helper()
	e, a := k.get(by)
	if e != nil {
		k.Fatalf("the stream was opened, want %d %q", status, body)
	}
	k.want("GET", a, status, body)
}

func TestEventStreamsBytes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		e := c.negotiate().openEvents(0)
		for name, want := range map[string]string{
			"Content-Type": "text/event-stream", "Cache-Control": "no-cache,no-store", "Pragma": "no-cache",
			"Content-Encoding": "identity", "X-Accel-Buffering": "no",
		} {
			if got := e.head.Get(name); got != want {
				t.Errorf("%s: got %q, want %q", name, got, want)
			}
		}
		c.publish(1, 0) // before the handshake
		e.expectNothing(5 * time.Second)
		e.post(1, handshakeJSON)
		e.expect("data: {}\x1e\r\n\r\n")
		c.publish(1, 1)
		e.expect("data: {\"type\":1,\"target\":\"m\",\"arguments\":[1]}\x1e\r\n\r\n")
		e.expect("data: {\"type\":6}\x1e\r\n\r\n")
		// Line ends within the message are legal JSON; the receiver puts them back.
		c.publishBody(1, "{\"type\":1,\n\"target\":\"m\",\r\n\"arguments\":[2]}\x1e")
		e.expect("data: {\"type\":1,\r\ndata: \"target\":\"m\",\r\ndata: \"arguments\":[2]}\x1e\r\n\r\n")
	})
}

func TestEventStreamStaysUpAndIsPinged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1)
		e := c.negotiate().openEvents(0).shakesHands(0)
		for range 40 {
			began := time.Now()
			e.expectEvents(ping)
			if d := time.Since(began); d > 15*time.Second {
				t.Fatalf("%v between two pings", d)
			}
		}
	})
}

func TestEventStreamCarriesTheAnswersToPosts(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3)
		e := c.negotiate().openEvents(0).shakesHands(1)
		want := ""
		for n := range 20 {
			e.post(n%3, call(n)+ping)
			c.publish(n%3, n)
			want += failure(n) + invocation(n)
		}
		e.expectEvents(want)
	})
}

func TestSecondEventStreamIsAConflictAfterTheHandshake(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		k := c.negotiate()
		older := k.openEvents(0)
		newer := k.openEvents(1) // a proxy sent it again
		older.expectEnd()
		newer.shakesHands(0)
		k.wantNoEvents(0, 409, "")
		c.publish(0, 1)
		newer.expectEvents(invocation(1))
	})
}

// Node's EventSource would ask again every second for ever.
func TestEventStreamIsNeverRefusedWith5xx(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		k := c.negotiate()
		c.store.goAway()
		began := time.Now()
		k.wantNoEvents(0, 404, "the connection's store is not reachable")
		if d := time.Since(began); d > 11*time.Second {
			t.Errorf("refused after %v", d)
		}
		c.store.comeBack()
		c.store.refuse("open", streams.ErrFull)
		k.wantNoEvents(0, 404, "the connection's store is not reachable")
		c.store.onBefore(func(string) error { return nil })
		k.openEvents(0)
		synctest.Wait()
		if _, err := c.nodes[0].End(c.ctx, hubName, k.id, ""); err != nil {
			t.Fatal(err)
		}
		k.wantNoEvents(1, 404, "No Connection with that ID")
		go c.nodes[1].server.Drain(c.ctx)
		synctest.Wait()
		c.negotiate().wantNoEvents(1, 404, "the node is stopping")
	})
}

// The log cannot be followed although the record was opened: the stream must not hang.
func TestEventStreamDoesNotHangOnATailThatIsAway(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		c.publish(1, 1)
		c.store.refuse("range", streams.ErrUnavailable)
		began := time.Now()
		c.negotiate().wantNoEvents(0, 404, "No Connection with that ID")
		if d := time.Since(began); d < 9*time.Second || d > 11*time.Second {
			t.Errorf("refused after %v, want 10 s", d)
		}
	})
}

var messagePackRefusal = `{"error":"Cannot use the 'messagepack' protocol on the current transport. The transport does not support 'Binary' transfer format."}` + "\x1e"

func TestMessagePackIsRefusedOnAnEventStream(t *testing.T) {
	bubbleRun(t, "after the stream", func(t *testing.T) {
		c := newCluster(t, 2)
		k := c.negotiate()
		e := k.openEvents(0)
		k.post(1, handshakeMessagePack)
		e.expectEvents(messagePackRefusal)
		e.expectEnd()
		k.wantRecord(false)
	})
	bubbleRun(t, "before the stream", func(t *testing.T) {
		c := newCluster(t, 2)
		k := c.negotiate()
		k.post(1, handshakeMessagePack)
		c.publish(0, 1)
		e := k.openEvents(0)
		e.expectEvents(messagePackRefusal)
		e.expectEnd()
		k.wantRecord(false)
	})
}

func TestHandshakePostedBeforeTheStream(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		k := c.negotiate()
		k.post(1, handshakeJSON)
		c.publish(0, 1)
		e := k.openEvents(0)
		e.expectEvents(accepted + invocation(1))
		k.wantNoEvents(1, 409, "")
	})
}

// Each step of the store is a round trip.
func TestPostedHandshakeIsOneStep(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		e := c.negotiate().openEvents(0)
		var steps []string
		c.store.onBefore(func(step string) error {
			steps = append(steps, step)
			return nil
		})
		e.post(1, handshakeJSON+ping)
		c.store.onBefore(func(string) error { return nil })
		e.expectEvents(accepted)
		if got := strings.Join(steps, " "); got != "open" {
			t.Errorf("steps of the POST: %s, want open", got)
		}
	})
}

// The store makes the step, and its reply is lost: asked again it must not take the handshake for a message.
func TestPostedHandshakeWhoseReplyWasLost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		e := c.negotiate().openEvents(0)
		lost := false
		c.store.onAfter(func(step string) error {
			if step == "open" && !lost {
				lost = true
				return streams.ErrUnavailable
			}
			return nil
		})
		e.shakesHands(1)
		c.publish(0, 1)
		e.expectEvents(invocation(1))
		e.wantRecord(true)
		if !lost {
			t.Error("no reply was lost")
		}
	})
}

func TestEventStreamWithoutAHandshakeIsEnded(t *testing.T) {
	for _, pause := range []time.Duration{0, 333 * time.Microsecond, 1700 * time.Microsecond} {
		bubbleRun(t, fmt.Sprint(pause), func(t *testing.T) {
			c := newCluster(t, 2)
			time.Sleep(pause)
			k := c.negotiate()
			e := k.openEvents(0)
			e.expectNothing(14900 * time.Millisecond) // not even a ping
			e.expectEvents(`{"error":"Handshake was canceled."}` + "\x1e")
			e.expectEnd()
			k.wantRecord(false)
		})
	}
}

func TestMessagesBeforeACloseComeFirstOnAnEventStream(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		k := c.negotiate()
		e := k.openEvents(0).shakesHands(1)
		for n := range 50 {
			c.publish(n%2, n)
		}
		if _, err := c.nodes[1].CloseConnection(c.ctx, hubName, k.id, "enough", false); err != nil {
			t.Fatal(err)
		}
		c.publish(0, 50)
		e.expectEvents(invocations(0, 49) + `{"type":7,"error":"enough"}` + "\x1e")
		e.expectEnd()
		k.wantRecord(false)
	})
}

func TestClientThatGoesAwayEndsTheConnection(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		k := c.negotiate()
		e := k.openEvents(0).shakesHands(1)
		_ = e.conn.Close()
		k.wantRecord(false)
		k.want("POST", k.do(1, http.MethodPost, "", clientClose), 404, "No Connection with that ID")
	})
}

func TestClientsCloseMessageEndsTheEventStream(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		k := c.negotiate()
		e := k.openEvents(0).shakesHands(1)
		k.post(1, clientClose)
		e.expectEnd()
		k.wantRecord(false)
	})
}

// A client that does not read is given up after the time that a write may take.
func TestEventStreamThatIsNotRead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1)
		k := c.negotiate()
		conn := c.nodes[0].dial()
		defer conn.Close()
		go io.WriteString(conn, "GET /"+hubName+"?id="+k.token+" HTTP/1.1\r\nHost: node\r\nAccept: text/event-stream\r\n\r\n")
		if _, err := conn.Read(make([]byte, 16)); err != nil {
			t.Fatal(err)
		}
		k.post(0, handshakeJSON)
		other := c.negotiate().openEvents(0).shakesHands(0)
		for n := range 1000 {
			c.publish(0, n)
		}
		other.expectEvents(invocations(0, 999))
		time.Sleep(31 * time.Second)
		k.wantRecord(false)
		k.wantNoEvents(0, 404, "No Connection with that ID")
	})
}

func TestEventStreamStaysWhileTheStoreIsAway(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		e := c.negotiate().openEvents(0).shakesHands(0)
		c.store.goAway()
		for range 8 {
			e.expectEvents(ping)
		}
		c.store.comeBack()
		time.Sleep(2 * time.Second)
		c.publish(1, 1)
		e.expectEvents(invocation(1))
	})
}

// r3labs' client is an implementation of event streams that is not ours.
func TestAnotherImplementationReadsTheEventStream(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		k := c.negotiate()
		client := sse.NewClient("http://node/"+hubName+"?id="+k.token, sse.ClientMaxBufferSize(1<<20))
		client.Connection = c.nodes[0].client
		client.ReconnectStrategy = &backoff.StopBackOff{}
		ctx, cancel := context.WithCancel(c.ctx)
		defer cancel()
		records, done := make(chan string, 100), make(chan error, 1)
		go func() {
			done <- client.SubscribeRawWithContext(ctx, func(m *sse.Event) {
				if len(m.ID) > 0 || len(m.Event) > 0 || len(m.Retry) > 0 {
					t.Errorf("got an event with id %q, event %q, retry %q", m.ID, m.Event, m.Retry)
				}
				for record := range strings.SplitAfterSeq(string(m.Data), "\x1e") {
					if record != "" {
						records <- record
					}
				}
			})
		}()
		synctest.Wait()
		k.post(1, handshakeJSON)
		large, err := hubprotocol.AppendInvocation(nil, "m", []byte(`["`+strings.Repeat("ü", 100<<10)+`"]`))
		if err != nil {
			t.Fatal(err)
		}
		c.publish(1, 1)
		c.publishBody(0, string(large))
		for _, want := range []string{accepted, invocation(1), string(large), ping} {
			select {
			case got := <-records:
				if got != want {
					t.Fatalf("got %.100q, want %.100q", got, want)
				}
			case <-time.After(soon):
				t.Fatalf("nothing came, want %.100q", want)
			}
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the client ended with %v", err)
		}
		k.wantRecord(false)
	})
}

// What could not be opened leaves no connection, is not counted as open, and holds up no drain.
func TestEventStreamThatWasNotOpenedIsForgotten(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2, func(cfg *transports.Config) { cfg.MaxAddressConnections = 1 })
		c.who.Store(&access.Identity{Address: "10.0.0.1"})
		c.store.goAway()
		c.negotiate().wantNoEvents(0, http.StatusNotFound, "the connection's store is not reachable")
		c.store.comeBack()
		time.Sleep(soon)
		open := c.negotiate().openEvents(0)
		k := c.negotiate()
		if e, a := k.get(0); e != nil || a.status != http.StatusTooManyRequests {
			t.Errorf("a second stream: got %+v", a)
		}
		k.wantRecord(false)
		_ = open.conn.Close()
		synctest.Wait()

		// The other node, which does not read the log yet, loses the store between the two steps.
		c.store.onceAfterOpen(c.store.goAway)
		c.negotiate().wantNoEvents(1, http.StatusNotFound, "No Connection with that ID")
		c.store.comeBack()
		time.Sleep(soon)
		c.negotiate().openEvents(1).conn.Close()
		synctest.Wait()
		for i := range c.nodes {
			began := time.Now()
			<-c.drain(i)
			if took := time.Since(began); took > drainTime/2 {
				t.Errorf("the drain of node %d took %v", i, took)
			}
		}
	})
}
