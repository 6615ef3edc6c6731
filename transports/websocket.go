package transports

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"

	"hubstream/streams"
	"hubstream/transports/hubprotocol"
)

// closeTimeout is how long a client may take to answer a WebSocket close frame.
const closeTimeout = 5 * time.Second

// webSocket is one WebSocket of a connection. One goroutine reads; another writes
// while there is something to write.
type webSocket struct {
	// static
	s       *Server
	conn    net.Conn
	hub, id string
	user    string
	ticket  uint64 // of a returning stateful connection

	// owned by the reading goroutine
	frames    frames
	handshake []byte // its bytes so far
	parser    *hubprotocol.Parser
	inbound   inbound

	// set by the reading goroutine before the first schedule that needs them
	owner    string
	proto    atomic.Uint32 // a hubprotocol.Protocol; 0 before the handshake
	stateful atomic.Bool
	att      atomic.Pointer[streams.Attachment]

	writing sync.Mutex // one write at a time

	flushing atomic.Int32
	ready    atomic.Bool // the handshake is answered, or the connection taken over
	held     atomic.Bool // nothing but pings goes out
	ping     atomic.Bool // a ping is due
	gone     atomic.Bool // the socket is closed
	over     atomic.Bool // the connection has ended, or has been given up here

	// in milliseconds of the server's clock
	opened, pinged, received, acked atomic.Int64 // opened: when the handshake was answered
	clientPings                     atomic.Bool
	ackDue                          atomic.Uint64 // number to acknowledge; 0: nothing new
}

// serveWebSocket upgrades, and serves the socket on goroutines of its own: the
// request's, with its buffers and its grown stack, ends.
func (s *Server) serveWebSocket(c *request) {
	if !s.begin() {
		c.refuse(http.StatusServiceUnavailable, "the node is stopping")
		return
	}
	owner := s.node.NewOwner()
	opened, err := s.openWaiting(c, s.openRequest(c, streams.OpenWebSocket, owner))
	if err != nil {
		s.active.Done()
		s.refuseError(c, err)
		return
	}
	upgrader := ws.HTTPUpgrader{Timeout: s.cfg.SendTimeout, Header: c.w.Header()}
	conn, rw, _, err := upgrader.Upgrade(c.Request, c.w)
	if err != nil {
		if conn != nil {
			_ = conn.Close()
		}
		if opened.Outcome != streams.OpenTicket {
			s.end(c.hub, c.token.ConnectionID, owner)
		}
		s.active.Done()
		return
	}
	socket := &webSocket{
		s: s, conn: conn, hub: c.hub, id: c.token.ConnectionID, user: c.token.User, owner: owner,
	}
	socket.stateful.Store(s.cfg.StatefulReconnect && c.token.StatefulReconnect)
	var in io.Reader = conn
	if n := rw.Reader.Buffered(); n > 0 { // a frame came along with the request
		early, _ := rw.Reader.Peek(n)
		in = io.MultiReader(bytes.NewReader(bytes.Clone(early)), conn)
	}
	socket.frames.in = bufio.NewReaderSize(in, readBufferBytes)
	go socket.run(opened)
}

// run takes the connection into service, and serves the socket.
func (c *webSocket) run(opened streams.OpenReply) {
	if opened.Outcome == streams.OpenTicket {
		c.awaitSequence(opened)
	} else if err := c.attach(opened); err != nil {
		c.s.end(c.hub, c.id, c.owner)
		c.release()
		return
	}
	c.s.wheel.add(c)
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
	if c.over.Load() {
		c.linger()
	}
	c.release()
}

func (c *webSocket) release() {
	_ = c.conn.Close()
	c.gone.Store(true)
	c.s.active.Done()
}

// linger lets what was written last arrive: a socket that is closed while there is
// something to read is reset.
func (c *webSocket) linger() {
	_ = c.conn.SetReadDeadline(time.Now().Add(closeTimeout))
	_, _ = io.Copy(io.Discard, c.conn)
}

func (c *webSocket) attach(opened streams.OpenReply) error {
	_ = c.conn.SetReadDeadline(time.Now().Add(c.s.cfg.HandshakeTimeout))
	ctx, cancel := context.WithTimeout(c.s.ctx, c.s.cfg.StoreTimeout)
	defer cancel()
	att, err := c.s.node.Attach(ctx, c.hub, opened, c.owner, liveLease, c.schedule)
	if err != nil {
		return err
	}
	c.att.Store(att)
	return nil
}

// Ends of a socket that the reading goroutine decides.
var (
	errClientClosed = errors.New("the client closed the connection")
	errDropped      = errors.New("the socket was given up")
	// errHandled: it goes on, on another goroutine.
	errHandled = errors.New("what has come is handled")
)

// read reads until the socket ends.
func (c *webSocket) read() error {
	for {
		op, control, err := c.frames.next(c.receive)
		if err != nil {
			return err
		}
		switch op {
		case ws.OpPing:
			_ = c.write(ws.MustCompileFrame(ws.NewPongFrame(control)))
		case ws.OpClose:
			if !c.over.Load() { // else ours went before
				// The clients check for 1000, whatever they have sent themselves.
				_ = c.write(ws.CompiledCloseNormalClosure)
			}
			return io.EOF
		}
		if c.frames.in.Buffered() == 0 {
			return errHandled
		}
	}
}

// leave gives the connection up, or ends it, when its socket has ended.
func (c *webSocket) leave(err error) {
	att := c.att.Load()
	var netErr net.Error
	switch {
	case att == nil: // never took the connection over
		return
	case c.over.Load():
	case c.protocol() == 0 && errors.As(err, &netErr) && netErr.Timeout():
		c.refuseHandshake(hubprotocol.HandshakeCanceled)
	case isProtocolError(err):
		c.close(closing{text: "Connection closed with an error. " + err.Error(), reconnect: true, reason: "protocol_error"})
	case errors.Is(err, errClientClosed):
		c.over.Store(true)
		c.s.end(c.hub, c.id, c.owner)
		_ = c.write(ws.CompiledCloseNormalClosure)
	case c.stateful.Load() && c.protocol() != 0:
		ctx, cancel := context.WithTimeout(context.Background(), c.s.cfg.StoreTimeout)
		defer cancel()
		_ = att.Detach(ctx, c.s.cfg.DetachedTimeout)
		return
	default:
		c.s.end(c.hub, c.id, c.owner)
	}
	_ = att.Detach(context.Background(), 0)
}

// isProtocolError tells whether the client sent what cannot be read.
func isProtocolError(err error) bool {
	var message *hubprotocol.MessageError
	var large *hubprotocol.TooLargeError
	var frame ws.ProtocolError
	return errors.As(err, &message) || errors.As(err, &large) || errors.As(err, &frame) || errors.Is(err, errSequence)
}

// receive takes a piece of the client's byte stream.
func (c *webSocket) receive(b []byte) error {
	if c.over.Load() {
		return nil // the rest is of no interest
	}
	c.received.Store(c.s.wheel.now())
	if c.protocol() == 0 {
		rest, err := c.shakeHands(b)
		if err != nil || len(rest) == 0 {
			return err
		}
		b = rest
	}
	c.parser.Feed(b)
	for {
		m, ok, err := c.parser.Next()
		if err == nil && ok {
			err = c.message(&m)
		}
		if err != nil {
			return err
		}
		if !ok {
			return c.finish()
		}
	}
}

// shakeHands takes bytes of the handshake and returns what follows it.
func (c *webSocket) shakeHands(b []byte) (rest []byte, err error) {
	c.handshake = append(c.handshake, b...)
	request, rest, err := hubprotocol.ParseHandshake(c.handshake)
	if errors.Is(err, hubprotocol.ErrIncomplete) && len(c.handshake) <= c.s.cfg.MaxMessageBytes {
		return nil, nil
	}
	if errors.Is(err, hubprotocol.ErrIncomplete) {
		err = errors.New(hubprotocol.HandshakeCanceled)
	}
	var proto hubprotocol.Protocol
	if err == nil {
		proto, err = request.Check(true)
	}
	if err != nil {
		c.refuseHandshake(handshakeText(err))
		return nil, nil
	}
	c.handshake = nil
	return rest, c.open(proto, request.Version)
}

// open records the handshake and answers it. It is answered on the socket; messages match from the log's end on
// at that moment.
func (c *webSocket) open(proto hubprotocol.Protocol, version int) error {
	stateful := version == 2 && c.stateful.Load()
	c.stateful.Store(stateful)
	if !stateful {
		version = min(version, 1)
	}
	ctx, cancel := context.WithTimeout(c.s.ctx, c.s.cfg.StoreTimeout)
	defer cancel()
	reply, err := c.s.node.Handshake(ctx, c.hub, streams.HandshakeRequest{
		ID: c.id, Owner: c.owner, Protocol: uint8(proto), Version: uint8(version), Lease: liveLease,
	})
	if err != nil {
		c.drop()
		return errDropped
	}
	c.parser = hubprotocol.NewParser(proto, c.s.cfg.MaxMessageBytes)
	c.proto.Store(uint32(proto))
	c.inbound.expect = 1
	if err := c.writeMessage(hubprotocol.HandshakeResponse("")); err != nil {
		return err
	}
	_ = c.conn.SetReadDeadline(time.Time{})
	// Clients begin to count only after they have handled the handshake's answer: what
	// would count waits for their first message, or a second.
	c.held.Store(stateful)
	c.opened.Store(c.s.wheel.now())
	c.pinged.Store(c.s.wheel.now())
	c.ready.Store(true)
	c.att.Load().Start(reply.Start, stateful)
	return nil
}

func (c *webSocket) refuseHandshake(text string) {
	c.over.Store(true)
	c.s.end(c.hub, c.id, c.owner)
	_ = c.write(append(textFrame(hubprotocol.HandshakeResponse(text)), ws.CompiledCloseNormalClosure...))
	_ = c.conn.SetReadDeadline(time.Now().Add(closeTimeout))
}

// message takes one hub message.
func (c *webSocket) message(m *hubprotocol.Message) error {
	if c.att.Load() == nil {
		if m.Type != hubprotocol.Sequence {
			return nil // every client that means to come back sends it first
		}
		return c.takeOver(m.SequenceID)
	}
	if c.held.CompareAndSwap(true, false) {
		c.schedule()
	}
	switch {
	case m.Type == hubprotocol.Ping:
		c.clientPings.Store(true)
	case m.Type == hubprotocol.Close:
		return errClientClosed
	case c.stateful.Load():
		return c.numbered(m)
	default:
		if reply := c.s.completion(m, c.protocol()); reply != nil {
			return c.writeMessage(reply)
		}
	}
	return nil
}

func (c *webSocket) protocol() hubprotocol.Protocol { return hubprotocol.Protocol(c.proto.Load()) }

func (c *webSocket) writeMessage(payload []byte) error {
	return c.write(protocolFrame(payload, c.protocol()))
}

// write writes finished frames. An error ends the socket.
func (c *webSocket) write(b []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	_ = c.conn.SetWriteDeadline(time.Now().Add(c.s.cfg.SendTimeout))
	if _, err := c.conn.Write(b); err != nil {
		_ = c.conn.Close()
		return err
	}
	return nil
}

// drop cuts the socket without a word: a stateful client comes back, to another node
// if need be, and misses nothing. A close frame would keep .NET from doing so.
func (c *webSocket) drop() {
	if tcp, ok := c.conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.conn.Close()
}
