package transports_test

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hubstream/negotiate/access"
	"hubstream/streams"
	"hubstream/transports"
)

// plain is an EventSource, or curl: no SignalR, no connection.
type plain struct {
	*events
	lastID string
}

// openPlain opens a plain event stream at a node, after an event.
func (c *cluster) openPlain(by int, lastID string) *plain {
	c.Helper()
	conn := c.nodes[by].dial()
	header := ""
	if lastID != "" {
		header = "Last-Event-ID: " + lastID + "\r\n"
	}
	go io.WriteString(conn, "GET /"+hubName+"?plain HTTP/1.1\r\nHost: node\r\nAccept: text/event-stream\r\n"+header+"\r\n")
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || response.StatusCode != 200 {
		c.Fatalf("GET: %v %+v", err, response)
	}
	c.Cleanup(func() { _ = conn.Close() })
	p := &plain{events: &events{connection: &connection{cluster: c}, conn: conn, head: response.Header, in: make(chan string, 1<<16)}}
	go p.receive(response.Body)
	p.expect(":\r\n")
	return p
}

// line takes a line.
func (p *plain) line() string {
	p.Helper()
	for !strings.Contains(p.rest, "\r\n") {
		select {
		case piece, ok := <-p.in:
			if !ok {
				p.Fatalf("got the end after %q, want a line", p.rest)
			}
			p.rest += piece
		case <-time.After(soon):
			p.Fatalf("nothing came, want a line")
		}
	}
	line, rest, _ := strings.Cut(p.rest, "\r\n")
	p.rest = rest
	return line
}

// event takes an event as an EventSource does, and returns its name and data.
func (p *plain) event() (name, data string) {
	p.Helper()
	for {
		field, value, _ := strings.Cut(p.line(), ": ")
		switch field {
		case "id":
			p.lastID = value
		case "event":
			name = value
		case "data":
			data += value
		case "":
			if data != "" {
				return name, data
			}
		}
	}
}

func (p *plain) expectMessages(from, to int) {
	p.Helper()
	for n := from; n <= to; n++ {
		if name, data := p.event(); name != "" || data+"\x1e" != invocation(n) {
			p.Fatalf("got event %q %q, want message %d", name, data, n)
		}
	}
}

func TestPlainStreamGoesOnAtAnotherNode(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		a := c.openPlain(0, "")
		if got := a.line(); !strings.HasPrefix(got, "id: ") { // so that even the first message is not missed
			t.Fatalf("got %q, want an id", got)
		}
		for n := 1; n <= 5; n++ {
			c.publish(n%2, n)
		}
		a.expectMessages(1, 3)
		_ = a.conn.Close()
		b := c.openPlain(1, a.lastID)
		b.expectMessages(4, 5)
		c.publish(0, 6)
		b.expectMessages(6, 6)
	})
}

// Clients that take an id as soon as they have read it, as Node's does, must not have that of a message whose rest does not come any more.
func TestPlainStreamThatIsCutInTheMiddleOfAMessageGoesOnBeforeIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		a := c.openPlain(0, "")
		a.line()
		c.publish(0, 1)
		a.expectMessages(1, 1)
		c.publish(1, 2)
		for line := ""; !strings.HasPrefix(line, "data: "); line = a.line() { // the rest of this one does not come
			if id, ok := strings.CutPrefix(line, "id: "); ok {
				a.lastID = id
			}
		}
		_ = a.conn.Close()
		b := c.openPlain(1, a.lastID)
		c.publish(0, 3)
		b.expectMessages(2, 3)
	})
}

// Nor the id of what follows a gap that they are not told of.
func TestGapComesBeforeThePositionAfterIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1)
		a := c.openPlain(0, "nonsense")
		for _, want := range []string{"event: gap", "data: ", "id: ", ""} {
			if got := a.line(); !strings.HasPrefix(got, want) {
				t.Fatalf("got %q, want %q", got, want)
			}
		}
	})
}

// A quiet stream's position moves on with the log: it does not fall out of it.
func TestQuietPlainStreamKeepsItsPlace(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		a := c.openPlain(0, "")
		for range 100 {
			c.publishEntry(1, messageTo("another", invocation(0)))
			time.Sleep(4 * time.Second)
		}
		synctest.Wait()
		for len(a.in) > 0 {
			a.rest += <-a.in
		}
		for a.rest != "" {
			if id, ok := strings.CutPrefix(a.line(), "id: "); ok {
				a.lastID = id
			}
		}
		_ = a.conn.Close()
		c.publish(0, 1)
		c.openPlain(1, a.lastID).expectMessages(1, 1)
	})
}

func TestPlainStreamThatCannotGoOnSaysWhy(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		a := c.openPlain(0, "")
		c.publish(0, 1)
		a.expectMessages(1, 1)
		old := a.lastID
		_, position, _ := strings.Cut(old, ".")
		for range 100 {
			c.publish(1, 2)
			time.Sleep(4 * time.Second)
		}
		for id, reason := range map[string]string{
			old:                   "messages after the position are no longer kept",
			"nonsense":            "the Last-Event-ID is not a position",
			"another." + position: "the position belongs to an earlier log",
			strings.Split(old, ".")[0] + ".99999999999999-0": "the position is beyond the end of the log",
		} {
			b := c.openPlain(1, id)
			if name, data := b.event(); name != "gap" || data != `{"reason":"`+reason+`"}` {
				t.Fatalf("after %q: got event %q %q, want a gap: %s", id, name, data, reason)
			}
			c.publish(0, 3)
			b.expectMessages(3, 3)
			_ = b.conn.Close()
		}
	})
}

// The stream falls behind what its node keeps, while the store is away: it is neither
// ended nor silent, and goes on when the store is back.
func TestPlainStreamStaysWhileTheStoreIsAway(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		a := c.openPlain(0, "")
		a.line()
		c.store.goAway()
		began := time.Now()
		for pings := 0; pings < 8; {
			if a.line() == ":" {
				pings++
			}
		}
		if d := time.Since(began); d > 2*time.Minute+time.Second {
			t.Errorf("8 pings in %v, want one every 15 s", d)
		}
		c.store.comeBack()
		time.Sleep(2 * time.Second)
		c.publish(1, 1)
		a.expectMessages(1, 1)
	})
}

func TestPlainStreamIsNotClosedWithConnections(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1)
		a := c.openPlain(0, "")
		c.publishEntry(0, &streams.Entry{Kind: streams.KindClose, Flags: streams.FlagAll})
		c.publish(0, 1)
		a.expectMessages(1, 1)
		c.drain(0)
		for {
			if _, ok := <-a.in; !ok {
				return // EventSource comes back by itself
			}
		}
	})
}

// plainRefused asks for a plain event stream that is not opened.
func (c *cluster) plainRefused(by int, body string) {
	c.Helper()
	c.want("GET", c.do(c.ctx, by, http.MethodGet, "plain", ""), http.StatusServiceUnavailable, "refused: "+body)
}

// What could not be opened is not counted as open: its client would be refused from then on, and a node that drains wait for it.
func TestPlainStreamThatWasNotOpenedIsForgotten(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1, func(cfg *transports.Config) { cfg.MaxAddressConnections = 1 })
		c.who.Store(&access.Identity{Address: "10.0.0.1"})
		c.store.goAway()
		for range 3 {
			c.plainRefused(0, "the hub's log is not reachable\n")
		}
		c.store.comeBack()
		time.Sleep(soon)
		p := c.openPlain(0, "")
		a := c.do(c.ctx, 0, http.MethodGet, "plain", "")
		if a.status != http.StatusTooManyRequests {
			t.Errorf("a second stream: got %d %q", a.status, a.body)
		}
		_ = p.conn.Close()
		began := time.Now()
		<-c.drain(0)
		if took := time.Since(began); took > drainTime/2 {
			t.Errorf("the drain took %v", took)
		}
		c.plainRefused(0, "the node is stopping\n")
	})
}

// Who comes back with a position goes on there: with a stream's first, that after a gap, or that after a loss, which does not end the stream.
func TestPositionsOfAPlainStreamCanBeContinued(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		c.publish(0, 1)
		first := c.openPlain(0, "").id()
		gap := c.openPlain(1, "nonsense")
		gap.expectGap("the Last-Event-ID is not a position")
		c.publish(0, 2)
		for _, id := range []string{first, gap.id()} {
			c.openPlain(1, id).expectMessages(2, 2)
		}
		gap.expectMessages(2, 2)
		c.loseLog()
		gap.expectGap("messages were lost on the server")
		c.publish(0, 3)
		c.openPlain(0, gap.id()).expectMessages(3, 3)
		gap.expectMessages(3, 3)
	})
}

func (p *plain) expectGap(reason string) {
	p.Helper()
	if name, data := p.event(); name != "gap" || data != `{"reason":"`+reason+`"}` {
		p.Fatalf("got event %q %q, want a gap: %s", name, data, reason)
	}
}

// id takes lines until the stream has told a position, and returns the last.
func (p *plain) id() string {
	p.Helper()
	for p.lastID == "" {
		if id, ok := strings.CutPrefix(p.line(), "id: "); ok {
			p.lastID = id
		}
	}
	return p.lastID
}

// Its place is not given up because the store was away just long enough for one attempt.
func TestPlainStreamThatComesBackWhileTheStoreIsAwayKeepsItsPlace(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const patience = 2 * time.Second
		c := newCluster(t, 1)
		c.publish(0, 1)
		id := c.openPlain(0, "").id()
		c.publish(0, 2)
		c.nodes[0].stop()
		listener, dial := newPipes(t)
		c.start("n1", transports.Config{StoreTimeout: patience}, listener, dial) // which does not know the hub
		c.store.goAway()
		refused := make(chan answer, 1)
		go func() { refused <- c.do(c.ctx, 1, http.MethodGet, "plain", "", "Last-Event-ID", id) }()
		time.Sleep(patience + patience/2)
		c.store.comeBack()
		c.want("GET", <-refused, http.StatusServiceUnavailable, "refused: the hub's log is not reachable\n")
		time.Sleep(soon)
		c.openPlain(1, id).expectMessages(2, 2)
	})
}

func TestPlainStreamsLeaveNothingBehind(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1)
		a := c.openPlain(0, "nonsense")
		a.expectGap("the Last-Event-ID is not a position")
		c.loseLog()
		a.expectGap("messages were lost on the server")
		served := func() int64 { return c.nodes[0].Totals().Connections[streams.TransportNone] }
		if n := served(); n != 1 {
			t.Errorf("%d streams are served while one is open", n)
		}
		_ = a.conn.Close()
		time.Sleep(soon)
		if n := served(); n != 0 {
			t.Errorf("%d streams are served when none is open", n)
		}
	})
}
