package transports

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"hubstream/streams"
	"hubstream/transports/hubprotocol"
)

// servePost takes what a client of an event stream or of long polling sends
// (TransportProtocols.md, "HTTP Post"). It is answered when all of it has its effect or its place in
// the log: the client's next POST may reach another node at once.
func (s *Server) servePost(c *request) {
	if !s.active.begin() {
		c.refuse(http.StatusServiceUnavailable, "the node is stopping")
		return
	}
	defer s.active.Done()
	body, err := s.readBody(c)
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		s.counters.largePosts.Add(1)
		c.refuse(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is over the limit of %d bytes", tooLarge.Limit))
		return
	}
	if err != nil {
		c.refuse(http.StatusBadRequest, "the body could not be read")
		return
	}
	r := s.openRequest(c, streams.OpenPost, "")
	p := &post{request: c, s: s}
	r.Handshake, p.rest = p.simpleHandshake(body)
	opened, err := s.openWaiting(c, r)
	if errors.Is(err, streams.ErrTransport) {
		c.refuse(http.StatusMethodNotAllowed, "POST requests are not allowed for WebSocket connections.")
		return
	}
	if err != nil {
		s.refuseError(c, err)
		return
	}
	p.opened = &opened
	if status, err := p.take(c.Context(), body); err != nil {
		text := err.Error()
		switch status {
		case http.StatusNotFound:
			text = noConnection
		case http.StatusServiceUnavailable: // it says where the store is, and what that has said
			text = storeAway
		}
		c.refuse(status, text)
		return
	}
	h := c.w.Header()
	h.Set("Content-Type", "text/plain")
	h.Set("Content-Length", "0")
	c.w.WriteHeader(http.StatusOK)
}

func (s *Server) readBody(c *request) ([]byte, error) {
	_ = c.rc.SetReadDeadline(time.Now().Add(s.cfg.SendTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(c.w, c.Body, s.cfg.MaxPostBytes))
	if err == nil { // else net/http, which reads what is left before it answers, would wait for ever
		_ = c.rc.SetReadDeadline(time.Time{})
	}
	return body, err
}

// post is one POST of a client.
type post struct {
	*request
	s      *Server
	opened *streams.OpenReply
	works  bool     // what it sends is executed
	items  []string // of that, in order
	rest   []byte   // what follows the handshake, if that is simple
}

func (p *post) take(ctx context.Context, body []byte) (status int, err error) {
	proto := hubprotocol.Protocol(p.opened.Record.Protocol)
	p.works = p.opened.Record.Works
	switch {
	case p.opened.Outcome == streams.OpenHandshake:
		body = p.rest
	case p.opened.Record.State == streams.StateNew:
		var done bool
		proto, body, done, err = p.handshake(ctx, body)
		if err != nil {
			return statusOf(err), err
		}
		if done {
			return http.StatusOK, nil
		}
	}
	over, bad, err := p.messages(ctx, proto, body)
	if err == nil {
		err = p.accept(ctx)
	}
	switch {
	case err != nil:
		return statusOf(err), err
	case errors.Is(bad, errRate):
		return p.tooFast(ctx)
	case bad != nil:
		p.s.counters.refused(bad)
		return p.malformed(ctx, bad)
	case over:
		p.s.end(p.hub, p.token.ConnectionID, "")
	}
	return http.StatusOK, nil
}

// messages takes all messages of a body. over: the client has ended the connection; bad: it has sent what cannot be read. What
// came before counts.
func (p *post) messages(ctx context.Context, proto hubprotocol.Protocol, body []byte) (over bool, bad, err error) {
	parser := hubprotocol.NewParser(proto, p.s.cfg.MaxMessageBytes)
	parser.Feed(body)
	for {
		m, ok, bad := parser.Next()
		if bad == nil && !ok && parser.Buffered() > 0 { // the next POST may go to another node: nothing is carried over
			bad = errors.New("the body ends inside a message")
		}
		if bad != nil || !ok {
			return false, bad, nil
		}
		if m.Type == hubprotocol.Close {
			return true, nil, nil
		}
		err := p.message(ctx, proto, &m)
		if errors.Is(err, errRate) {
			return false, err, nil
		}
		if err != nil {
			return false, nil, err
		}
	}
}

// accept adds what is to be executed to the connection's work, and waits while that is full.
func (p *post) accept(ctx context.Context) error {
	if len(p.items) == 0 {
		return nil
	}
	return p.s.accept(ctx, p.hub, streams.AcceptRequest{ID: p.token.ConnectionID, Items: p.items})
}

func statusOf(err error) int {
	if errors.Is(err, streams.ErrGone) {
		return http.StatusNotFound
	}
	return http.StatusServiceUnavailable
}

// maxSimpleHandshake limits a handshake that is looked for in every POST.
const maxSimpleHandshake = 128

// simpleHandshake reads a handshake that needs nobody's consent: it can be recorded when the connection is opened, if that waits for
// one, which saves a round trip. rest is what the client sent along with it. Nil: it is not one, or is to be looked at more closely.
func (p *post) simpleHandshake(body []byte) (_ *streams.PostedHandshake, rest []byte) {
	begin := body[:min(len(body), maxSimpleHandshake)]
	if !bytes.Contains(begin, []byte(`"protocol"`)) || p.s.workingClient(p.request) != nil {
		return nil, nil
	}
	h, ok := p.s.readHandshake(begin, false) // what the transport may be is not known yet
	if !ok || h.refusal != "" {
		return nil, nil
	}
	e := h.answer(p.token.ConnectionID)
	return &streams.PostedHandshake{
		Protocol: e.Protocol, Version: e.Version, Reply: streams.AppendEntry(nil, &e), Token: rand.Text(),
	}, body[len(begin)-len(h.rest):]
}

// handshake takes the first bytes of a connection. done: there is nothing more to do.
func (p *post) handshake(ctx context.Context, body []byte) (proto hubprotocol.Protocol, rest []byte, done bool, err error) {
	if len(body) == 0 {
		return 0, nil, true, nil
	}
	h, ok := p.s.readHandshake(body, p.opened.Record.Transport != streams.TransportServerSentEvents)
	if !ok { // the next POST may go to another node: nothing is carried over
		h.refusal = hubprotocol.HandshakeCanceled
	}
	var who *client
	if h.refusal == "" {
		who = p.s.workingClient(p.request)
	}
	if who != nil {
		who.Protocol, p.works = h.protocol, true
		if h.refusal = p.s.authorize(ctx, p.hub, p.token.ConnectionID, who); h.refusal != "" {
			who = nil
		}
	}
	err = p.s.answerHandshake(ctx, p.hub, p.token.ConnectionID, who, h)
	if err != nil {
		p.s.unconnected(p.hub, p.token.ConnectionID, who)
	}
	return h.protocol, h.rest, h.refusal != "", err
}

// tooFast ends a connection whose client sends too fast.
func (p *post) tooFast(ctx context.Context) (int, error) {
	p.s.counters.tooFast.Add(1)
	_, err := p.s.node.CloseConnection(ctx, p.hub, p.token.ConnectionID, closingFor(errRate).text, true)
	if err != nil && !errors.Is(err, streams.ErrGone) {
		return statusOf(err), err
	}
	p.w.Header().Set("Retry-After", "1")
	return http.StatusTooManyRequests, errRate
}

// errRate ends a connection whose client sends more messages a second than are allowed.
var errRate = errors.New("the client sends more messages a second than are allowed")

// isCall tells a message of the application's from what keeps the connection up.
func isCall(t hubprotocol.MessageType) bool {
	switch t {
	case hubprotocol.Ping, hubprotocol.Ack, hubprotocol.Sequence, hubprotocol.Close:
		return false
	}
	return true
}

// malformed ends a connection whose client sent what cannot be read.
func (p *post) malformed(ctx context.Context, cause error) (int, error) {
	_, err := p.s.node.CloseConnection(ctx, p.hub, p.token.ConnectionID, "Connection closed with an error. "+cause.Error(), true)
	if err != nil && !errors.Is(err, streams.ErrGone) {
		return statusOf(err), err
	}
	return http.StatusBadRequest, cause
}

// message takes one hub message.
func (p *post) message(ctx context.Context, proto hubprotocol.Protocol, m *hubprotocol.Message) error {
	if isCall(m.Type) && p.s.posted.Take(p.token.ConnectionID) > 0 {
		return errRate
	}
	switch {
	case ours(m):
		return p.s.result(ctx, p.hub, p.token.ConnectionID, proto, m)
	case p.works:
		if isWork(m) {
			p.items = append(p.items, workItem(proto, m))
		}
		return nil
	}
	reply := p.s.unanswered(m, hubprotocol.JSON)
	if reply == nil {
		return nil
	}
	_, err := p.s.node.Publish(ctx, p.hub, &streams.Entry{
		Kind: streams.KindReply, Connections: []string{p.token.ConnectionID}, Body: reply,
	})
	return err
}

// serveDelete ends a long polling connection. A poll that waits, on whichever node, is
// answered when that node reads the end in the log.
func (s *Server) serveDelete(c *request) {
	reply, err := s.node.Lookup(c.Context(), c.hub, c.token.ConnectionID)
	if err != nil {
		s.refuseError(c, err)
		return
	}
	if reply.Record.Transport != streams.TransportLongPolling {
		c.refuse(http.StatusBadRequest, "Cannot terminate this connection using the DELETE endpoint.")
		return
	}
	end, err := s.node.End(c.Context(), c.hub, c.token.ConnectionID, "")
	switch {
	case err != nil:
		s.refuseError(c, err)
	case end.Outcome == streams.EndAlready:
		c.refuse(http.StatusNotFound, noConnection)
	default:
		h := c.w.Header()
		h.Set("Content-Type", "text/plain")
		h.Set("Content-Length", "0")
		c.w.WriteHeader(http.StatusAccepted)
	}
}
