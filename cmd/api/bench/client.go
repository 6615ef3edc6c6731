package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"hubstream/internal/sleep"
	"hubstream/negotiate"
	"hubstream/transports/hubprotocol"
)

// client is one simulated client.
type client struct {
	*run
	index  int
	hub    string
	user   string
	groups []string
	slow   bool
	ledger *ledger

	mu       sync.Mutex
	session  session   // nil: there is none
	ended    time.Time // when the last one ended
	lastPing time.Time
	wasCut   atomic.Bool // by us

	n         negotiated
	resumable bool // the client can return to it
	parser    *hubprotocol.Parser
	// Of stateful reconnect (HubProtocol.md, "Stateful Reconnect"): the number of the next message, of the last that was new,
	// and of the last that was acknowledged; synced is false until the node's Sequence has come. Guarded by the ledger's mutex.
	expect, done, acked uint64
	synced              bool
}

// Pauses of official clients, and of ours between attempts.
const (
	pingInterval = 15 * time.Second
	ackInterval  = time.Second
	retryPause   = 100 * time.Millisecond
	// ackAfter is how many messages are acknowledged at once, before the interval is over.
	ackAfter = 1000
)

// serve connects, receives, and returns whenever the session ends, until ctx ends. It calls ready once, when the client is
// first connected, or cannot be.
func (c *client) serve(ctx context.Context, ready func(error)) {
	c.connecting <- struct{}{} // those that return are not held up
	err := c.start(ctx)
	<-c.connecting
	ready(err)
	if err != nil {
		return
	}
	for {
		cause := c.read(ctx)
		c.mu.Lock()
		c.session, c.ended = nil, time.Now()
		c.mu.Unlock()
		if ctx.Err() != nil {
			return
		}
		c.counts.ends.Add(1)
		if !c.wasCut.Swap(false) {
			c.counts.failed(cause)
		}
		if !c.comeBack(ctx) {
			return
		}
	}
}

// comeBack tries until the client is served again, or ctx ends.
func (c *client) comeBack(ctx context.Context) bool {
	pause := c.o.CutPause
	for ctx.Err() == nil {
		_ = sleep.For(ctx, pause)
		pause = retryPause/2 + rand.N(retryPause)
		err := c.again(ctx)
		if err == nil {
			c.counts.returns.add(c.index, time.Since(c.ended))
			return true
		}
		c.counts.failed(err)
	}
	return false
}

// again returns to the same connection, if that can be.
func (c *client) again(ctx context.Context) error {
	if !c.resumable {
		return c.start(ctx)
	}
	err := c.resume(ctx)
	var status *statusError
	if errors.As(err, &status) || errors.Is(err, errClosed) {
		c.resumable = false
		c.counts.refused.Add(1)
		c.counts.failed(err)
		return c.start(ctx)
	}
	return err
}

// start makes a new connection, and has it join its groups.
func (c *client) start(ctx context.Context) (err error) {
	if c.n, err = c.service.negotiate(ctx, c.hub, c.user, c.o.Stateful); err != nil {
		return fmt.Errorf("negotiate: %w", err)
	}
	s, err := c.service.connect(ctx, negotiate.Transport(c.o.Transport), c.n, c.o.protocol())
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	timer := time.AfterFunc(requestTimeout, s.cut)
	defer timer.Stop()
	c.ledger.unbound()
	if err := c.handshake(s); err != nil {
		s.cut()
		return fmt.Errorf("handshake: %w", err)
	}
	if err := c.join(ctx); err != nil {
		s.cut()
		return fmt.Errorf("join: %w", err)
	}
	// What is issued from now on is appended after the handshake and the joins, and must come.
	c.ledger.begin(func(stream int) uint32 { return c.plan.streams[stream].issued.Load() })
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session, c.lastPing, c.resumable = s, time.Now(), c.o.Stateful
	return nil
}

func (c *client) handshake(s session) error {
	version := 1
	if c.o.Stateful {
		version = 2
	}
	p := c.o.protocol()
	hello := fmt.Appendf(nil, `{"protocol":%q,"version":%d}`+"\x1e", p, version)
	if err := s.send(hello); err != nil {
		return err
	}
	var got []byte
	for {
		b, err := s.receive()
		if err != nil {
			return err
		}
		got = append(got, b...)
		answer, rest, whole := bytes.Cut(got, []byte{hubprotocol.RecordSeparator})
		if !whole {
			continue
		}
		if string(answer) != "{}" {
			return fmt.Errorf("the node says %s", answer)
		}
		c.parser = hubprotocol.NewParser(p, maxFrame)
		c.ledger.mu.Lock()
		c.expect, c.done, c.acked, c.synced = 1, 0, 0, true
		c.ledger.mu.Unlock()
		if c.o.Stateful { // what is numbered waits for the first message of a client that has seen the answer
			if err := s.send(hubprotocol.AppendPing(nil, p)); err != nil {
				return err
			}
		}
		return c.takeAll(rest)
	}
}

// join joins the groups, in one request.
func (c *client) join(ctx context.Context) error {
	if len(c.groups) == 0 {
		return nil
	}
	type operation struct {
		Op         string `json:"op"`
		Group      string `json:"group"`
		Connection string `json:"connection"`
	}
	var batch []operation
	for _, group := range c.groups {
		batch = append(batch, operation{"join", group, c.n.id})
	}
	body, err := json.Marshal(batch)
	if err != nil {
		return err
	}
	text, err := c.service.backend(ctx, c.hub, "/batch", c.backendTokens[c.hub], body)
	if err != nil {
		return err
	}
	var answer struct {
		Results []struct{ Status int }
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return err
	}
	for _, result := range answer.Results {
		if result.Status/100 != 2 {
			return &statusError{status: result.Status}
		}
	}
	return nil
}

// resume returns to the connection by a new WebSocket. It is served again when the node's Sequence has come.
func (c *client) resume(ctx context.Context) error {
	p := c.o.protocol()
	s, err := c.service.dial(ctx, c.n, p)
	if err != nil {
		return err
	}
	timer := time.AfterFunc(requestTimeout, s.cut)
	defer timer.Stop()
	c.ledger.mu.Lock()
	c.synced, c.acked = false, 0 // the last Ack may be lost
	c.ledger.mu.Unlock()
	c.parser = hubprotocol.NewParser(p, maxFrame)
	err = s.send(hubprotocol.AppendSequence(nil, p, 1)) // it has sent no message that is numbered
	for err == nil && !c.synced {
		var b []byte
		if b, err = s.receive(); err == nil {
			err = c.takeAll(b)
		}
	}
	if err != nil {
		s.cut()
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session, c.lastPing = s, time.Now()
	return nil
}

// read receives until the session ends, and says why it has.
func (c *client) read(ctx context.Context) error {
	s := c.session
	stop := context.AfterFunc(ctx, s.close)
	defer stop()
	if c.slow {
		<-ctx.Done()
		return ctx.Err()
	}
	for {
		b, err := s.receive()
		if err == nil {
			err = c.takeAll(b)
		}
		if err != nil {
			s.cut()
			return err
		}
	}
}

var errClosed = errors.New("the node closed the connection")

// takeAll takes what has been received.
func (c *client) takeAll(b []byte) error {
	c.parser.Feed(b)
	now := c.now()
	fresh := int64(0)
	c.ledger.mu.Lock()
	defer func() {
		due := c.o.Stateful && c.done-c.acked >= ackAfter
		c.ledger.mu.Unlock()
		c.counts.delivered.add(c.index, fresh)
		if due {
			c.ack()
		}
	}()
	for {
		m, ok, err := c.parser.Next()
		if err != nil || !ok {
			return err
		}
		isFresh, err := c.take(&m, now)
		if err != nil {
			return err
		}
		if isFresh {
			fresh++
		}
	}
}

// take takes one hub message, and tells whether it is a fresh one of this run.
func (c *client) take(m *hubprotocol.Message, now time.Duration) (fresh bool, err error) {
	switch {
	case m.Type == hubprotocol.Sequence:
		if m.SequenceID > c.expect {
			return false, fmt.Errorf("the node's Sequence is %d, %d was expected at most", m.SequenceID, c.expect)
		}
		c.expect, c.synced = m.SequenceID, true
		return false, nil
	case m.Type == hubprotocol.Close:
		return false, fmt.Errorf("%w: %s", errClosed, m.Error)
	case !m.Type.Trackable() || !c.synced:
		return false, nil
	}
	number := c.expect
	c.expect++
	if c.o.Stateful && number <= c.done {
		return false, nil // sent again
	}
	c.done = number
	return m.Type == hubprotocol.Invocation && c.message(m.Arguments, now), nil
}

// message takes a message, if it is of this run. It tells whether it is a fresh one.
func (c *client) message(arguments []byte, now time.Duration) (fresh bool) {
	s, err := readStamp(arguments, c.o.protocol())
	if err != nil || s.run != c.id || s.stream < 0 || s.stream >= len(c.plan.streams) || !c.ledger.take(s.stream, s.number, c.isExcused) {
		return false
	}
	if c.isMeasured(s.at) {
		c.counts.latency.add(c.index, now-s.at)
	}
	c.plan.streams[s.stream].arrived(s.number)
	return true
}

// keepAlive sends what is due: pings, as official clients do, and acknowledgements.
func (c *client) keepAlive(now time.Time) {
	c.mu.Lock()
	s := c.session
	due := s != nil && now.Sub(c.lastPing) >= pingInterval && c.o.Transport != string(negotiate.LongPolling)
	if due {
		c.lastPing = now
	}
	c.mu.Unlock()
	if due {
		_ = s.send(hubprotocol.AppendPing(nil, c.o.protocol())) // a session that has ended is found out by its reader
	}
	if c.o.Stateful && s != nil {
		c.ack()
	}
}

// ack acknowledges what has come, if there is something new.
func (c *client) ack() {
	c.mu.Lock()
	s := c.session
	c.mu.Unlock()
	if s == nil {
		return
	}
	c.ledger.mu.Lock()
	done, due := c.done, c.done > c.acked
	c.acked = c.done
	c.ledger.mu.Unlock()
	if due {
		_ = s.send(hubprotocol.AppendAck(nil, c.o.protocol(), done))
	}
}

// cut cuts the client off, if it is connected and reads.
func (c *client) cut() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session == nil || c.slow {
		return false
	}
	c.wasCut.Store(true)
	c.session.cut()
	return true
}
