package transports

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"hubstream/internal/sleep"
	"hubstream/negotiate/access"
	"hubstream/streams"
	"hubstream/transports/hubprotocol"
)

// ServePlain serves a plain event stream: for any EventSource, or curl, without a
// SignalR handshake and without a record. Each message is an event whose id is its
// position, and a client that comes back with it as Last-Event-ID, to whichever node, goes on there.
// Where it cannot, an event "gap" says why, and the stream goes on at the log's end.
//
//	data: {"type":1,"target":"...","arguments":[...]}
//	id: <generation>.<position>
//
// The id is last, so that a stream that is cut in the middle of a message goes on before it: some clients (Node's, r3labs/sse) take an
// id as soon as they have read it, and not with its event.
//
// It ends when who's access token wants that: an EventSource that comes back with it is refused. Refusals are refuse's to write: they are those
// of the address that it was asked for at; headers such as Retry-After are set.
func (s *Server) ServePlain(w http.ResponseWriter, r *http.Request, hub string, audience streams.Audience, who access.Identity, refuse func(status int, text string)) {
	c := &request{w: w, Request: r, hub: hub, who: who, rc: http.NewResponseController(w), refuseAs: refuse}
	if !s.begin() {
		c.refuse(http.StatusServiceUnavailable, "the node is stopping")
		return
	}
	leave, full := s.admission.enter(c, audience.User, false)
	if full != "" {
		s.active.Done()
		s.tooMany(c, full)
		return
	}
	p := &plainStream{hub: strings.Clone(hub), audience: cloned(audience), closeAt: closeAt(&who), counted: leave}
	p.stream.s, p.stream.source = s, p
	p.pinged.Store(s.wheel.now())
	if err := p.begin(c); err != nil {
		p.leave()
		s.active.Done()
		return
	}
	go p.serve()
}

// cloned is an audience of its own: its names are parts of the request's address, which may be long, for a token is in it.
func cloned(audience streams.Audience) streams.Audience {
	own := streams.Audience{User: strings.Clone(audience.User)}
	for _, group := range audience.Groups {
		own.Groups = append(own.Groups, strings.Clone(group))
	}
	return own
}

// plainStream is one plain event stream.
type plainStream struct {
	stream
	hub      string
	audience streams.Audience
	counted  departure
	closeAt  int64       // when the access token wants the stream to end, ms since 1970; 0: not
	ready    atomic.Bool // the stream is open
	att      *streams.Attachment
	buf      []byte // to be said next
}

// begin attaches, and opens the stream.
func (p *plainStream) begin(c *request) error {
	if err := p.resume(c.Context(), c.Header.Get("Last-Event-ID")); err != nil {
		c.refuse(http.StatusServiceUnavailable, "the hub's log is not reachable")
		return err
	}
	h := c.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache, no-store")
	h.Set("X-Accel-Buffering", "no")
	first := slices.Clone(openingBytes)
	if len(p.buf) == 0 { // a gap's event carries the position itself: a client must not have it before it knows of the gap
		first = append(p.appendID(first, p.att.At()), "\r\n"...)
	}
	if err := p.open(c, first); err != nil {
		return err
	}
	p.fd = -1 // there is nothing for a writer to do
	p.ready.Store(true)
	return nil
}

// Reasons of a gap, in the event's data.
var gapReasons = map[error]string{
	streams.ErrPosition:   "the Last-Event-ID is not a position",
	streams.ErrGeneration: "the position belongs to an earlier log",
	streams.ErrBeyond:     "the position is beyond the end of the log",
	streams.ErrGap:        "messages after the position are no longer kept",
	streams.ErrLost:       "messages were lost on the server",
}

// resume attaches where the client was, or else at the log's end with an event gap.
func (p *plainStream) resume(ctx context.Context, lastEventID string) error {
	var after streams.Receipt
	var err error
	if lastEventID != "" {
		after, err = streams.ParseReceipt(lastEventID)
	}
	if err == nil {
		err = p.follow(ctx, after)
	}
	if err == nil || errors.Is(err, streams.ErrUnavailable) {
		return err
	}
	return p.gap(ctx, err)
}

// gap tells that something is missing, and goes on at the log's end.
func (p *plainStream) gap(ctx context.Context, cause error) error {
	if err := p.follow(ctx, streams.Receipt{}); err != nil {
		return err
	}
	reason := "the stream cannot be continued"
	for known, text := range gapReasons {
		if errors.Is(cause, known) {
			reason = text
		}
	}
	p.buf = append(p.buf, "event: gap\r\ndata: {\"reason\":\""+reason+"\"}\r\n"...)
	p.buf = append(p.appendID(p.buf, p.att.At()), "\r\n"...)
	return nil
}

func (p *plainStream) follow(ctx context.Context, after streams.Receipt) error {
	p.detach()
	deadline := time.Now().Add(p.s.cfg.StoreTimeout)
	for {
		att, _, err := p.s.node.Follow(ctx, p.hub, p.audience, after, p.wake)
		if err == nil {
			p.att = att
			return nil
		}
		if !errors.Is(err, streams.ErrUnavailable) || time.Now().After(deadline) {
			return err
		}
		if err := sleep.For(ctx, storeRetry); err != nil {
			return err
		}
	}
}

func (p *plainStream) detach() {
	if p.att != nil {
		_ = p.att.Detach(context.Background(), 0, streams.LeavingNone)
		p.att = nil
	}
}

// wake is called when there may be something to say, maybe before the stream is open.
func (p *plainStream) wake() {
	if p.ready.Load() {
		p.schedule()
	}
}

func (p *plainStream) appendID(dst []byte, at streams.Receipt) []byte {
	dst = append(dst, "id: "...)
	dst = append(dst, at.String()...)
	return append(dst, "\r\n"...)
}

// take leaves all to fill: what the stream says has positions in between.
func (p *plainStream) take(b *batch) bool {
	b.begin()
	return false
}

func (p *plainStream) fill(b *flushBuffer, ping bool) progress {
	b.bytes = append(b.bytes, p.buf...) // of the beginning
	p.buf = nil
	if ping {
		// An id without data is no event, but moves the client's position along.
		b.bytes = append(p.appendID(append(b.bytes, openingBytes...), p.att.At()), "\r\n"...)
	}
	var err error
	b.items, err = p.att.Next(p.s.ctx, b.items, maxEventsBytes)
	for _, item := range b.items {
		b.bytes = appendData(b.bytes, bytes.TrimSuffix(item.Body, []byte{hubprotocol.RecordSeparator}))
		b.bytes = append(p.appendID(b.bytes, p.att.Of(item)), "\r\n"...)
	}
	then, final := p.s.afterNext(len(b.items), err)
	if !final {
		return then
	}
	if p.gap(p.s.ctx, err) != nil {
		return then
	}
	return again
}

func (p *plainStream) describe() Write { return Write{Hub: p.hub} }

func (p *plainStream) tick(int64) {
	if p.closeAt != 0 && time.Now().UnixMilli() >= p.closeAt {
		go p.sayLast(func(dst []byte) []byte { return dst })
	}
}

// farewell is nothing: EventSource comes back by itself, to another node.
func (p *plainStream) farewell(dst []byte) []byte {
	p.s.counters.drain(streams.TransportNone)
	return dst
}

func (p *plainStream) leave() {
	p.detach()
	p.counted.call()
}
