package bench

import (
	"bufio"
	"bytes"
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

	"hubstream/negotiate"
	"hubstream/transports/hubprotocol"
)

// session is one connection over a transport. One goroutine receives; any may send, cut or close.
type session interface {
	// receive returns the next bytes of hub messages, which stay as they are until the next call.
	receive() ([]byte, error)
	// send sends whole hub messages.
	send(b []byte) error
	// cut ends the session as a broken network does: the node is told nothing.
	cut()
	// close ends the connection, as a client does that leaves.
	close()
}

// connect opens a session of a negotiated connection.
func (s *Service) connect(ctx context.Context, t negotiate.Transport, n negotiated, p hubprotocol.Protocol) (session, error) {
	switch t {
	case negotiate.WebSockets:
		return s.dial(ctx, n, p)
	case negotiate.ServerSentEvents:
		return s.listen(ctx, n)
	}
	return s.poll(ctx, n)
}

// webSocket is a session over a WebSocket.
type webSocket struct {
	conn    net.Conn
	in      *bufio.Reader
	op      ws.OpCode
	payload []byte // of frames that do not fit into the reader
	unread  int    // bytes of the reader that receive returned
}

// readBytes is how much is read of a connection at once.
const readBytes = 4 << 10 // 4 KiB

// maxFrame limits a frame from a node.
const maxFrame = 64 << 20 // 64 MiB

func (s *Service) dial(ctx context.Context, n negotiated, p hubprotocol.Protocol) (*webSocket, error) {
	dialer := ws.Dialer{Timeout: requestTimeout}
	if n.token != "" {
		dialer.Header = ws.HandshakeHeaderHTTP(http.Header{"Authorization": {"Bearer " + n.token}})
	}
	conn, early, err := s.upgrade(ctx, &dialer, n.path)
	if err != nil {
		var status ws.StatusError
		if errors.As(err, &status) {
			return nil, &statusError{status: int(status)}
		}
		return nil, err
	}
	w := &webSocket{conn: conn, op: ws.OpText}
	if p == hubprotocol.MessagePack {
		w.op = ws.OpBinary
	}
	var in io.Reader = conn
	if early != nil { // frames that came along with the answer
		head, _ := early.Peek(early.Buffered())
		in = io.MultiReader(bytes.NewReader(bytes.Clone(head)), conn)
		ws.PutReader(early)
	}
	w.in = bufio.NewReaderSize(in, readBytes)
	return w, nil
}

// upgrade opens a WebSocket at the next node that can be reached.
func (s *Service) upgrade(ctx context.Context, dialer *ws.Dialer, path string) (conn net.Conn, early *bufio.Reader, err error) {
	for range s.Nodes {
		conn, early, _, err = dialer.Dial(ctx, "ws"+strings.TrimPrefix(s.nodeForSession(), "http")+path)
		var network *net.OpError
		if !errors.As(err, &network) || network.Op != "dial" {
			break
		}
	}
	return conn, early, err
}

func (w *webSocket) receive() ([]byte, error) {
	for {
		_, _ = w.in.Discard(w.unread)
		w.unread = 0
		h, err := ws.ReadHeader(w.in)
		switch {
		case err != nil:
			return nil, err
		case h.Length > maxFrame:
			return nil, fmt.Errorf("a frame of %d bytes", h.Length)
		}
		payload, err := w.read(int(h.Length))
		switch {
		case err != nil:
			return nil, err
		case h.OpCode == ws.OpClose:
			return nil, io.EOF
		case h.OpCode == ws.OpPing:
			if err := w.write(ws.NewPongFrame(bytes.Clone(payload))); err != nil {
				return nil, err
			}
		case h.OpCode.IsData() || h.OpCode == ws.OpContinuation:
			return payload, nil
		}
	}
}

// read returns a frame's payload where it lies, if it fits.
func (w *webSocket) read(length int) (payload []byte, err error) {
	if length <= w.in.Size() {
		payload, err = w.in.Peek(length)
		w.unread = length
		return payload, err
	}
	if cap(w.payload) < length {
		w.payload = make([]byte, length)
	}
	_, err = io.ReadFull(w.in, w.payload[:length])
	return w.payload[:length], err
}

func (w *webSocket) send(b []byte) error { return w.write(ws.NewFrame(w.op, true, bytes.Clone(b))) }

// write writes a frame in one piece: several goroutines may.
func (w *webSocket) write(f ws.Frame) error {
	b, err := ws.CompileFrame(ws.MaskFrameInPlace(f))
	if err != nil {
		return err
	}
	_, err = w.conn.Write(b)
	return err
}

func (w *webSocket) cut() {
	if tcp, ok := w.conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = w.conn.Close()
}

func (w *webSocket) close() {
	_ = w.conn.SetWriteDeadline(time.Now().Add(time.Second))
	_ = w.write(ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusNormalClosure, "")))
	_ = w.conn.Close()
}

// posts sends by POST, for the transports that need it.
type posts struct {
	s      *Service
	n      negotiated
	ctx    context.Context // ends the session, and what is asked in it
	cancel context.CancelFunc
}

func (s *Service) posts(ctx context.Context, n negotiated) posts {
	ctx, cancel := context.WithCancel(ctx)
	return posts{s, n, ctx, cancel}
}

func (p *posts) send(b []byte) error {
	_, err := p.s.do(p.ctx, http.MethodPost, p.s.node()+p.n.path, p.n.token, b)
	return err
}

// eventStream is a session over server-sent events.
type eventStream struct {
	posts
	answer *http.Response
	in     *bufio.Reader
	long   []byte // a line that does not fit into the reader
}

func (s *Service) listen(ctx context.Context, n negotiated) (*eventStream, error) {
	e := &eventStream{posts: s.posts(ctx, n)}
	var err error
	if e.answer, err = s.start(e.ctx, http.MethodGet, s.nodeForSession()+n.path, n.token, nil, "text/event-stream"); err != nil {
		e.cancel()
		return nil, err
	}
	e.in = bufio.NewReaderSize(e.answer.Body, readBytes)
	return e, nil
}

// receive returns what one line has: every hub message has its own (TransportProtocols.md, "Server-Sent Events").
func (e *eventStream) receive() ([]byte, error) {
	for {
		line, err := e.line()
		if err != nil {
			return nil, err
		}
		if data, ok := bytes.CutPrefix(bytes.TrimRight(line, "\r\n"), []byte("data: ")); ok {
			return data, nil
		}
	}
}

func (e *eventStream) line() ([]byte, error) {
	line, err := e.in.ReadSlice('\n')
	if !errors.Is(err, bufio.ErrBufferFull) {
		return line, err
	}
	e.long = e.long[:0]
	for errors.Is(err, bufio.ErrBufferFull) {
		e.long = append(e.long, line...)
		line, err = e.in.ReadSlice('\n')
	}
	e.long = append(e.long, line...)
	return e.long, err
}

func (e *eventStream) cut() { e.cancel() }

func (e *eventStream) close() { e.cancel() }

// polling is a session over long polling.
type polling struct {
	posts
	body bytes.Buffer
}

// poll opens the session with a first poll, whose answer is empty.
func (s *Service) poll(ctx context.Context, n negotiated) (*polling, error) {
	p := &polling{posts: s.posts(ctx, n)}
	if _, err := p.once(); err != nil {
		p.cancel()
		return nil, err
	}
	return p, nil
}

func (p *polling) receive() ([]byte, error) {
	for {
		if b, err := p.once(); err != nil || len(b) > 0 {
			return b, err
		}
	}
}

// once makes one poll, with the mark of JavaScript clients.
func (p *polling) once() ([]byte, error) {
	address := p.s.node() + p.n.path + "&_=" + strconv.FormatInt(time.Now().UnixMilli(), 10)
	answer, err := p.s.start(p.ctx, http.MethodGet, address, p.n.token, nil)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode == http.StatusNoContent {
		return nil, io.EOF
	}
	p.body.Reset()
	_, err = p.body.ReadFrom(io.LimitReader(answer.Body, maxAnswer))
	return p.body.Bytes(), err
}

func (p *polling) cut() { p.cancel() }

func (p *polling) close() {
	_, _ = p.s.do(context.WithoutCancel(p.ctx), http.MethodDelete, p.s.node()+p.n.path, p.n.token, nil)
	p.cancel()
}
