package chaos

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gobwas/ws"

	"hubstream/internal/sleep"
)

const (
	ackInterval    = time.Second
	pingInterval   = 5 * time.Second
	invokeInterval = 2 * time.Second
	// resumeFor is how long a stateful client tries to come back: less than the service waits for it.
	resumeFor = 40 * time.Second
)

// socket is one WebSocket. A goroutine reads it.
type socket struct {
	conn     net.Conn
	payloads chan []byte // closed when the socket has ended
}

// errStatus is an upgrade that was refused.
type errStatus int

func (e errStatus) Error() string { return fmt.Sprintf("upgrade answered with %d", int(e)) }

func (r *recorder) dial(address string) (*socket, error) {
	ctx, cancel := context.WithTimeout(r.run.ctx, connectTimeout)
	defer cancel()
	conn, buffered, _, err := ws.Dialer{}.Dial(ctx, "ws"+strings.TrimPrefix(address, "http"))
	if err != nil {
		var status ws.StatusError
		if errors.As(err, &status) {
			return nil, errStatus(status)
		}
		return nil, err
	}
	var in io.Reader = conn
	if buffered != nil {
		in = io.MultiReader(io.LimitReader(buffered, int64(buffered.Buffered())), conn)
	}
	s := &socket{conn: conn, payloads: make(chan []byte)}
	stop := context.AfterFunc(r.run.ctx, func() { conn.Close() })
	go func() {
		defer stop()
		defer close(s.payloads)
		defer conn.Close()
		s.read(r, bufio.NewReader(in))
	}()
	return s, nil
}

func (s *socket) read(r *recorder, in io.Reader) {
	for {
		r.wait()
		_ = s.conn.SetReadDeadline(time.Now().Add(serverTimeout))
		header, err := ws.ReadHeader(in)
		if err != nil || header.OpCode == ws.OpClose {
			return
		}
		payload := make([]byte, header.Length)
		if _, err := io.ReadFull(in, payload); err != nil {
			return
		}
		if header.OpCode == ws.OpPing {
			s.write(ws.NewPongFrame(payload))
		}
		if header.OpCode.IsData() {
			select {
			case s.payloads <- payload:
			case <-r.run.ctx.Done():
				return
			}
		}
	}
}

// send writes one message.
func (s *socket) send(text string) { s.write(ws.NewTextFrame([]byte(text))) }

// write writes one frame at once; a socket that cannot be written ends.
func (s *socket) write(f ws.Frame) {
	_ = s.conn.SetWriteDeadline(time.Now().Add(connectTimeout))
	if _, err := s.conn.Write(ws.MustCompileFrame(ws.MaskFrame(f))); err != nil {
		s.conn.Close()
	}
}

// close ends the socket and waits for its reader.
func (s *socket) close() {
	s.conn.Close()
	for range s.payloads {
	}
}

// webSocketClient is a WebSocket client, with stateful reconnect or without: the
// arithmetic is that of the official clients, but it tries to come back more than once.
type webSocketClient struct {
	*recorder
	version int // of the protocol: 2 with stateful reconnect

	address string
	socket  *socket

	// what the service sends
	expect, done, acked uint64
	synced              bool // the service's Sequence has come
	// what the client sends
	next    uint64
	unacked []string // numbers end at next-1

	invocations  int
	pinged, sent time.Time
	closing      string // why the connection is over, once it is
	over         bool
}

func (c *webSocketClient) serve() {
	for c.run.ctx.Err() == nil {
		c.begin()
		how, reason := c.session()
		if c.run.ctx.Err() != nil {
			return
		}
		c.end(how, reason)
		_ = sleep.For(c.run.ctx, between(100*time.Millisecond, time.Second))
	}
}

func (c *webSocketClient) session() (End, string) {
	*c = webSocketClient{recorder: c.recorder, version: c.version, expect: 1, next: 1, synced: true}
	connection, address, err := c.negotiate(c.version == 2)
	if err != nil {
		return Broken, err.Error()
	}
	c.address = address
	if c.socket, err = c.dial(address); err != nil {
		return Broken, err.Error()
	}
	c.socket.send(handshake(c.version))
	var rest [][]byte
	select {
	case payload, ok := <-c.socket.payloads:
		whole, _ := records(payload)
		if !ok || len(whole) == 0 || string(whole[0]) != "{}" {
			c.socket.close()
			return Broken, fmt.Sprintf("handshake answered with %q", payload)
		}
		rest = whole[1:]
	case <-time.After(connectTimeout):
		c.socket.close()
		return Broken, "handshake not answered"
	}
	c.opened(connection)
	c.ping() // what is numbered waits for the client's first message
	for {
		err := c.live(rest)
		c.socket.close()
		switch {
		case c.over:
			return Closed, c.closing
		case err != nil:
			return Broken, err.Error()
		case c.version == 1:
			return Broken, "the socket ended"
		}
		if how, err := c.resume(); err != nil {
			return how, err.Error()
		}
		rest = nil
	}
}

// live serves the socket until it ends.
func (c *webSocketClient) live(first [][]byte) error {
	for _, text := range first {
		if err := c.take(text); err != nil {
			return err
		}
	}
	tick := time.NewTicker(ackInterval)
	defer tick.Stop()
	for {
		select {
		case payload, open := <-c.socket.payloads:
			if !open {
				return nil
			}
			whole, rest := records(payload)
			if len(rest) > 0 {
				return fmt.Errorf("a frame ends within a record: %q", rest)
			}
			for _, text := range whole {
				if err := c.take(text); err != nil {
					return err
				}
			}
		case <-tick.C:
			c.tick()
		}
	}
}

func (c *webSocketClient) ping() {
	c.pinged = time.Now()
	c.socket.send(`{"type":6}` + separator)
}

func (c *webSocketClient) tick() {
	if c.over {
		return
	}
	if time.Since(c.pinged) >= pingInterval {
		c.ping()
	}
	if c.version == 2 && c.synced && c.done > c.acked {
		c.acked = c.done
		c.socket.send(fmt.Sprintf(`{"type":8,"sequenceId":%d}`, c.acked) + separator)
	}
	if time.Since(c.sent) >= invokeInterval && !c.run.quiet.Load() {
		c.invoke()
	}
}

// invoke calls a hub method, which there is none of: the answer is an error, and comes once.
func (c *webSocketClient) invoke() {
	c.sent = time.Now()
	c.invocations++
	c.update(func(s *Session) { s.Invocations = c.invocations })
	text := fmt.Sprintf(`{"type":1,"invocationId":"%d","target":"x","arguments":[]}`, c.invocations) + separator
	c.next++
	if c.version == 2 {
		c.unacked = append(c.unacked, text)
	}
	c.socket.send(text)
}

var (
	errSequence = errors.New("fatal: Sequence beyond what was received")
	errRecord   = errors.New("fatal: unreadable record")
)

// take takes one record of the service.
func (c *webSocketClient) take(text []byte) error {
	m, err := parseRecord(text)
	if err != nil {
		return fmt.Errorf("%w: %q", errRecord, text)
	}
	if !c.synced && m.Type != typeSequence {
		return nil // as the JavaScript client does
	}
	switch {
	case m.Type == typeSequence:
		if m.SequenceID > c.expect {
			return fmt.Errorf("%w: %d after %d", errSequence, m.SequenceID, c.expect)
		}
		c.expect, c.synced = m.SequenceID, true
	case m.Type == typeAck:
		if keep := c.next - 1 - min(m.SequenceID, c.next-1); keep < uint64(len(c.unacked)) {
			c.unacked = c.unacked[uint64(len(c.unacked))-keep:]
		}
	case m.Type == typeClose:
		c.over, c.closing = true, m.Error
		c.update(func(s *Session) { s.Closes++ })
	case m.Type <= lastTrackable:
		if c.version == 2 {
			number := c.expect
			c.expect++
			if number <= c.done {
				return nil // sent again
			}
			c.done = number
		}
		c.effect(&m)
	}
	return nil
}

func (c *webSocketClient) effect(m *record) {
	if id, ok := m.message(); ok {
		c.received(id)
		return
	}
	if m.Type == typeCompletion {
		if n, err := strconv.Atoi(m.InvocationID); err == nil {
			c.update(func(s *Session) { s.Completions = append(s.Completions, n) })
		}
	}
}

// resume comes back to the same connection.
func (c *webSocketClient) resume() (End, error) {
	began := time.Now()
	for {
		socket, err := c.dial(c.address)
		var status errStatus
		switch {
		case err == nil:
			c.socket = socket
			c.synced, c.acked = false, 0 // the last Ack may be lost
			c.pinged = time.Now()
			c.update(func(s *Session) { s.Resumed++ })
			text := fmt.Sprintf(`{"type":9,"sequenceId":%d}`, c.next-uint64(len(c.unacked))) + separator
			c.socket.send(text + strings.Join(c.unacked, ""))
			return Alive, nil
		case errors.As(err, &status) && (status == http.StatusNotFound || status == http.StatusConflict):
			return Gone, err
		case c.run.ctx.Err() != nil || time.Since(began) > resumeFor:
			return Broken, fmt.Errorf("could not come back: %w", err)
		}
		_ = sleep.For(c.run.ctx, between(50*time.Millisecond, 300*time.Millisecond))
	}
}
