package transports

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/time/rate"

	"hubstream/internal/ratelimit"
	"hubstream/internal/sleep"
	"hubstream/streams"
	"hubstream/transports/hubprotocol"
)

// closeTimeout is how long a client may take to answer a WebSocket close frame.
const closeTimeout = 5 * time.Second

// webSocket is one WebSocket of a connection. One goroutine reads; its outlet writes.
type webSocket struct {
	outlet

	// What each write needs stands beside it: see outlet.

	// set by the reading goroutine before the first schedule that needs them
	att    atomic.Pointer[streams.Attachment]
	proto  atomic.Uint32 // a hubprotocol.Protocol; 0 before the handshake
	ready  atomic.Bool   // the handshake is answered, or the connection taken over
	held   atomic.Bool   // nothing but pings goes out
	ping   atomic.Bool   // a ping is due
	over   atomic.Bool   // the connection has ended, or has been given up here
	ackDue atomic.Uint64 // number to acknowledge; 0: nothing new

	// static
	s       *Server
	hub, id string
	user    string
	owner   string
	who     *client // of a connection that has work, or is to have; nil: none. Its protocol is set by the handshake
	ticket  uint64  // of a returning stateful connection
	left    bool    // its client has another connection; see streams.OpenAbandoned
	counted departure

	// owned by the reading goroutine
	frames  frames
	begun   []byte // of the handshake, so far
	parser  *hubprotocol.Parser
	inbound inbound
	rate    *rate.Limiter // of messages; nil: none
	unheard bool          // a stateful client that has not said anything since its handshake was answered

	stateful atomic.Bool // before the handshake: it may become so
	decided  atomic.Bool // the handshake is about to be answered
	timedOut atomic.Bool // its client, a stateful one, has been silent for too long

	// in milliseconds of the server's clock
	opened        atomic.Int64 // when the socket was, then when the handshake was answered
	pinged, acked atomic.Int64
	received      atomic.Int64 // dispatching, while something is
	clientPings   atomic.Bool
	handshakeTime int64        // that it may take, in milliseconds; static
	closeAt       int64        // when the access token wants it closed, in milliseconds since 1970; 0: not; static
	expired       atomic.Bool  // it is being closed for that
	silent        atomic.Int64 // when a client that has said nothing counts as one that will not
}

// dispatching stands in for the time of what was received last: a client is not silent
// while the server is busy with what it has sent.
const dispatching = math.MaxInt64

// serveWebSocket upgrades, and serves the socket on goroutines of its own: the
// request's, with its buffers and its grown stack, ends.
func (s *Server) serveWebSocket(c *request) {
	if !s.begin() {
		c.refuse(http.StatusServiceUnavailable, "the node is stopping")
		return
	}
	r := s.openRequest(c, streams.OpenWebSocket, s.node.NewOwner())
	opened, err := s.openWaiting(c, r)
	if err != nil {
		s.active.Done()
		s.refuseError(c, err)
		return
	}
	leave, full := s.admission.enter(c, c.token.User, waits(opened.Outcome))
	if full != "" {
		if !waits(opened.Outcome) {
			s.end(c.hub, c.token.ConnectionID, r.Owner)
		}
		s.active.Done()
		s.tooMany(c, full)
		return
	}
	upgrader := ws.HTTPUpgrader{Timeout: s.cfg.SendTimeout, Header: c.w.Header()}
	conn, rw, _, err := upgrader.Upgrade(c.Request, c.w)
	if err != nil {
		if conn != nil {
			_ = conn.Close()
		}
		if !waits(opened.Outcome) {
			s.end(c.hub, c.token.ConnectionID, r.Owner)
		}
		leave.call()
		s.active.Done()
		return
	}
	socket := s.newSocket(c, unwrapped(conn), early(rw.Reader), r.Owner)
	socket.counted = leave
	go socket.run(r, opened)
}

// early returns the frames that came along with the upgrade.
func early(r *bufio.Reader) []byte {
	b, _ := r.Peek(r.Buffered())
	return bytes.Clone(b)
}

func (s *Server) newSocket(c *request, conn net.Conn, early []byte, owner string) *webSocket {
	socket := &webSocket{s: s, hub: strings.Clone(c.hub), id: c.token.ConnectionID, user: c.token.User, owner: owner} // the hub is part of the address
	socket.init(s, conn, socket)
	socket.who = s.workingClient(c)
	socket.stateful.Store(s.cfg.StatefulReconnect && c.token.StatefulReconnect)
	socket.opened.Store(s.wheel.now())
	socket.rate = ratelimit.Limiter(s.cfg.MessageRate)
	socket.closeAt, socket.handshakeTime = closeAt(&c.who), s.handshakeTimeout(c).Milliseconds()
	socket.frames.in = newInput(conn, early)
	return socket
}

// waits tells whether a socket displaces nobody until its client has spoken.
func waits(o streams.OpenOutcome) bool { return o == streams.OpenTicket || o == streams.OpenAbandoned }

// run takes the connection into service, and serves the socket.
func (c *webSocket) run(r streams.OpenRequest, opened streams.OpenReply) {
	if waits(opened.Outcome) {
		c.awaitSequence(opened)
	} else {
		att, err := c.s.attachWaiting(c.s.ctx, c.hub, r, &opened, c.schedule)
		if err != nil {
			c.s.end(c.hub, c.id, c.owner)
			c.release()
			return
		}
		c.att.Store(att)
		c.follow(att)
	}
	c.s.wheel.add(c)
	if c.s.isDraining() { // since the upgrade
		go c.drainOut()
	}
	c.serve()
}

// serve reads until the socket ends. After each message it goes on on a fresh goroutine:
// handling it has grown this one's stack, which an idle connection would keep.
func (c *webSocket) serve() {
	err := c.read()
	if errors.Is(err, errHandled) {
		go c.serve()
		return
	}
	c.leave(err)
	c.s.wheel.remove(c)
	c.release()
}

func (c *webSocket) release() {
	c.hangUp()
	c.counted.call()
	c.s.active.Done()
}

// Ends of a socket that the reading goroutine decides.
var (
	errClientClosed = errors.New("the client closed the connection")
	// errHandled: it goes on, on another goroutine.
	errHandled = errors.New("what has come is handled")
)

// read reads until the socket ends. After the connection's end it goes on, for a while,
// until the client has answered the close frame: a socket that is closed with
// something left to read is reset, and the client may lose what was written last.
func (c *webSocket) read() error {
	for {
		op, control, err := c.frames.next(c.receive)
		if err != nil {
			return err
		}
		switch op {
		case ws.OpPing:
			_ = c.write(ws.MustCompileFrame(ws.NewPongFrame(control)))
		case ws.OpPong:
			if string(control) == handled {
				c.unhold()
			}
		case ws.OpClose:
			c.closedByClient(control)
			// The clients check for 1000, whatever they have sent themselves.
			c.writeLast(ws.CompiledCloseNormalClosure)
			return io.EOF
		}
		if !c.frames.in.buffered() {
			c.frames.in.release()
			return errHandled
		}
	}
}

// closedByClient ends a stateful connection whose client has closed the socket in order: it means to leave, whereas a socket
// that was cut off ends without a close frame. A JavaScript client that gives its connection up opens it again at once,
// only to abandon that socket, and must be refused.
func (c *webSocket) closedByClient(body []byte) {
	if c.att.Load() == nil || !c.isStateful() || c.closedForAnother(body) || !c.over.CompareAndSwap(false, true) {
		return
	}
	c.s.end(c.hub, c.id, c.owner)
}

// closedForAnother tells whether the client may go on at another socket: when an older one ends, JavaScript's code closes the
// newest in its place, without a status, and comes back.
func (c *webSocket) closedForAnother(body []byte) bool {
	return len(body) == 0 && c.s.wheel.now()-c.opened.Load() < newSocketTime.Milliseconds()
}

// newSocketTime is less than the time after which any client gives up a connection for its silence.
const newSocketTime = 5 * time.Second

// leave gives the connection up, or ends it, when its socket has ended.
func (c *webSocket) leave(err error) {
	att := c.att.Load()
	if att == nil { // it never took the connection over
		c.s.counters.ghosts.Add(1)
		return
	}
	if isFrameError(err) {
		c.close(closing{text: "Connection closed with an error. " + err.Error(), reconnect: true, reason: "protocol_error", frame: ws.CompiledCloseProtocolError})
		c.linger()
	}
	switch {
	case c.over.Load():
	case c.isStateful() && !c.unheard:
		ctx, cancel := context.WithTimeout(context.Background(), c.s.cfg.StoreTimeout)
		defer cancel()
		_ = att.Detach(ctx, c.s.cfg.DetachedTimeout, c.leaving(err))
		return
	default:
		c.s.end(c.hub, c.id, c.owner)
	}
	_ = att.Detach(context.Background(), 0, streams.LeavingNone)
}

// leaving is why the socket of a client that may come back has ended, as err says or who has closed it.
func (c *webSocket) leaving(err error) streams.Leaving {
	switch {
	case c.s.isDraining():
		return streams.LeavingDrain
	case c.timedOut.Load():
		return streams.LeavingTimeout
	case c.failed.Load():
		return streams.LeavingWrite
	case errors.Is(err, errDropped):
		return streams.LeavingDropped
	default:
		return streams.LeavingSocket
	}
}

// linger is what read does after the end, for a client whose frames cannot be read.
func (c *webSocket) linger() {
	_ = c.conn.SetReadDeadline(time.Now().Add(closeTimeout))
	_, _ = io.Copy(io.Discard, &c.frames.in)
}

// isProtocolError tells whether the client sent a hub message that cannot be read.
func isProtocolError(err error) bool {
	var message *hubprotocol.MessageError
	var large *hubprotocol.TooLargeError
	return errors.As(err, &message) || errors.As(err, &large) || errors.Is(err, errSequence)
}

// receive takes a piece of the client's byte stream.
func (c *webSocket) receive(b []byte) error {
	if c.over.Load() {
		return nil // the rest is of no interest
	}
	c.received.Store(dispatching)
	err := c.take(b)
	c.received.Store(c.s.wheel.now())
	switch {
	case err == nil || c.over.Load():
		return nil
	case errors.Is(err, errClientClosed):
		c.over.Store(true)
		c.s.end(c.hub, c.id, c.owner)
		c.writeLast(ws.CompiledCloseNormalClosure)
		return nil
	case errors.Is(err, errRate):
		c.s.counters.tooFast.Add(1)
		c.close(closingFor(err))
		return nil
	case isProtocolError(err):
		c.s.counters.refused(err)
		c.close(closing{text: "Connection closed with an error. " + err.Error(), reconnect: true, reason: "protocol_error"})
		return nil
	default:
		return err
	}
}

func (c *webSocket) take(b []byte) error {
	if c.protocol() == 0 {
		rest, err := c.shakeHands(b)
		if err != nil || len(rest) == 0 {
			return err
		}
		b = rest
	} else {
		c.unheard = false
		c.unhold()
	}
	c.parser.Feed(b)
	for {
		m, ok, err := c.parser.Next()
		if err == nil && ok {
			err = c.message(&m)
		}
		if err == nil && ok {
			continue
		}
		if err == nil || errors.Is(err, errClientClosed) || errors.Is(err, errRate) || isProtocolError(err) { // what came before counts
			err = errors.Join(err, c.finish())
		}
		return err
	}
}

// message takes one hub message.
func (c *webSocket) message(m *hubprotocol.Message) error {
	if c.att.Load() == nil {
		if m.Type != hubprotocol.Sequence {
			return nil // every client that means to come back sends it first
		}
		return c.takeOver(m.SequenceID)
	}
	if c.stateful.Load() {
		c.att.Load().Heard()
	}
	if isCall(m.Type) {
		if err := c.admit(); err != nil {
			return err
		}
	}
	switch {
	case m.Type == hubprotocol.Ping:
		c.clientPings.Store(true)
	case m.Type == hubprotocol.Close:
		return errClientClosed
	case c.stateful.Load():
		return c.numbered(m)
	case ours(m):
		return c.result(m)
	case c.inbound.works:
		if isWork(m) {
			c.inbound.items = append(c.inbound.items, workItem(c.protocol(), m))
		}
	default:
		if reply := c.s.unanswered(m, c.protocol()); reply != nil {
			return c.writeMessage(reply)
		}
	}
	return nil
}

// admit holds the client to its rate. One that has come back sends all at once what was not acknowledged, however long it has taken to
// send that before: it waits.
func (c *webSocket) admit() error {
	for wait := ratelimit.Take(c.rate); wait > 0; wait = ratelimit.Take(c.rate) {
		if c.ticket == 0 {
			return errRate
		}
		if err := c.finish(); err != nil {
			return err
		}
		if sleep.For(c.s.ctx, wait) != nil || c.isClosed() {
			return errDropped
		}
	}
	return nil
}

// result passes the client's answer to a call on, or drops the socket: what it has sent must not be passed over.
func (c *webSocket) result(m *hubprotocol.Message) error {
	if c.s.result(c.s.ctx, c.hub, c.id, c.protocol(), m) != nil {
		c.drop()
		return errDropped
	}
	return nil
}

func (c *webSocket) protocol() hubprotocol.Protocol { return hubprotocol.Protocol(c.proto.Load()) }

// isStateful tells whether the connection is one that can be re-attached.
func (c *webSocket) isStateful() bool { return c.protocol() != 0 && c.stateful.Load() }

func (c *webSocket) writeMessage(payload []byte) error {
	return c.write(protocolFrame(payload, c.protocol()))
}

// writeLast writes frames of which the last is a close frame. Nothing follows them but
// the client's close frame, for which there is a time limit.
func (c *webSocket) writeLast(b []byte) {
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.finished {
		return
	}
	c.finished = true
	if c.writeNow(b) == nil {
		_ = c.conn.SetReadDeadline(time.Now().Add(closeTimeout))
	}
}

// drop cuts the socket without a word: a stateful client comes back, to another node
// if need be, and misses nothing. A close frame would keep .NET from doing so.
func (c *webSocket) drop() {
	if tcp, ok := c.conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	c.hangUp()
}
