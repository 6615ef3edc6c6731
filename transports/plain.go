package transports

import (
	"bytes"
	"errors"
	"net/http"
	"time"

	"hubstream/streams"
	"hubstream/transports/hubprotocol"
)

// ServePlain serves a plain event stream: for any EventSource, or curl, without a
// SignalR handshake and without a record. Each message is an event whose id is its
// position, and a client that comes back with it as Last-Event-ID, to whichever node, goes on there.
// Where it cannot, an event "gap" says why, and the stream goes on at the log's end.
//
//	id: <generation>.<position>
//	data: {"type":1,"target":"...","arguments":[...]}
func (s *Server) ServePlain(w http.ResponseWriter, r *http.Request, hub string, audience streams.Audience) {
	c := &request{w: w, Request: r, hub: hub, rc: http.NewResponseController(w)}
	if !s.begin() {
		c.refuse(http.StatusServiceUnavailable, "the node is stopping")
		return
	}
	defer s.active.Done()
	p := &plainStream{request: c, s: s, audience: audience, wake: make(chan struct{}, 1)}
	if err := p.begin(r.Header.Get("Last-Event-ID")); err != nil {
		c.refuse(http.StatusServiceUnavailable, "the hub's log is not reachable")
		return
	}
	p.serve()
	p.detach()
}

// plainStream is one plain event stream.
type plainStream struct {
	*request
	s        *Server
	audience streams.Audience
	att      *streams.Attachment
	wake     chan struct{}
	buf      []byte // to be written next
}

// Reasons of a gap, in the event's data.
var gapReasons = map[error]string{
	streams.ErrPosition:   "the Last-Event-ID is not a position",
	streams.ErrGeneration: "the position belongs to an earlier log",
	streams.ErrBeyond:     "the position is beyond the end of the log",
	streams.ErrGap:        "messages after the position are no longer kept",
	streams.ErrLost:       "messages were lost on the server",
}

// begin attaches where the client was, or else at the log's end with an event gap.
func (p *plainStream) begin(lastEventID string) error {
	var after streams.Receipt
	var err error
	if lastEventID != "" {
		after, err = streams.ParseReceipt(lastEventID)
	}
	if err == nil {
		err = p.follow(after)
	}
	if err == nil || errors.Is(err, streams.ErrUnavailable) {
		return err
	}
	return p.gap(err)
}

// gap tells that something is missing, and goes on at the log's end.
func (p *plainStream) gap(cause error) error {
	if err := p.follow(streams.Receipt{}); err != nil {
		return err
	}
	reason := "the stream cannot be continued"
	for known, text := range gapReasons {
		if errors.Is(cause, known) {
			reason = text
		}
	}
	p.buf = append(p.appendID(p.buf, p.att.At()), "event: gap\r\ndata: {\"reason\":\""+reason+"\"}\r\n\r\n"...)
	return nil
}

func (p *plainStream) follow(after streams.Receipt) error {
	p.detach()
	deadline := time.Now().Add(p.s.cfg.StoreTimeout)
	for {
		att, _, err := p.s.node.Follow(p.Context(), p.hub, p.audience, after, p.notify)
		if err == nil {
			p.att = att
			return nil
		}
		if !errors.Is(err, streams.ErrUnavailable) || time.Now().After(deadline) {
			return err
		}
		if err := sleep(p.Context(), storeRetry); err != nil {
			return err
		}
	}
}

func (p *plainStream) detach() {
	if p.att != nil {
		_ = p.att.Detach(p.Context(), 0)
		p.att = nil
	}
}

func (p *plainStream) notify() { ring(p.wake) }

func (p *plainStream) appendID(dst []byte, at streams.Receipt) []byte {
	dst = append(dst, "id: "...)
	dst = append(dst, at.String()...)
	return append(dst, "\r\n"...)
}

func (p *plainStream) serve() {
	h := p.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache, no-store")
	h.Set("X-Accel-Buffering", "no")
	p.w.WriteHeader(http.StatusOK)
	begin := []byte(":\r\n")
	if len(p.buf) == 0 { // a gap's event carries the position itself: a client must not have it before it knows of the gap
		begin = append(p.appendID(begin, p.att.At()), "\r\n"...)
	}
	p.buf = append(begin, p.buf...)
	ping := time.NewTicker(p.s.cfg.KeepAlive)
	defer ping.Stop()
	for {
		retry, err := p.flush()
		if err != nil {
			return
		}
		select {
		case <-p.wake:
		case <-retry:
		case <-ping.C:
			// An id without data is no event, but moves the client's position along.
			p.buf = append(p.appendID(append(p.buf, ":\r\n"...), p.att.At()), "\r\n"...)
		case <-p.s.draining:
			p.s.counters.drain(streams.TransportNone)
			p.s.drainPause(p.Context())
			return // EventSource comes back by itself, to another node
		case <-p.Context().Done():
			return
		}
	}
}

// flush writes what there is now. If there may be more, and wake is not called for it,
// retry ticks. An error says that the stream is over.
func (p *plainStream) flush() (retry <-chan time.Time, err error) {
	items, err := p.att.Next(p.Context(), nil, maxEventsBytes)
	for _, item := range items {
		p.buf = p.appendID(p.buf, p.att.Of(item))
		p.buf = appendEvent(p.buf, bytes.TrimSuffix(item.Body, []byte{hubprotocol.RecordSeparator}))
	}
	switch {
	case p.Context().Err() != nil:
		return nil, p.Context().Err()
	case errors.Is(err, streams.ErrUnavailable):
		retry = time.After(storeRetry)
	case err != nil:
		if err := p.gap(err); err != nil {
			return nil, err
		}
		p.notify()
	case len(items) > 0:
		p.notify()
	}
	return retry, p.write()
}

func (p *plainStream) write() error {
	if len(p.buf) == 0 {
		return nil
	}
	_ = p.rc.SetWriteDeadline(time.Now().Add(p.s.cfg.SendTimeout))
	if _, err := p.w.Write(p.buf); err != nil {
		return err
	}
	p.buf = reuse(p.buf)
	return p.rc.Flush()
}
