package transports

import (
	"context"
	"math"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"hubstream/streams"
	"hubstream/transports/hubprotocol"
)

// maxEventsBytes is about how much is joined into one write of a stream.
const maxEventsBytes = 64 << 10 // 64 KiB

var (
	pingEvent = appendEvent(nil, hubprotocol.AppendPing(nil, hubprotocol.JSON))
	pingChunk = appendChunk(nil, pingEvent, true)
	// openingBytes begin a stream: Firefox opens it only after the first bytes.
	openingBytes = []byte(":\r\n")
)

// serveEvents begins the event stream of a connection (TransportProtocols.md, "Server-Sent Events"), which then goes on on
// goroutines of its own. An ID that is not accepted gets 404, never 5xx: Node's EventSource would ask again
// every second for ever.
func (s *Server) serveEvents(c *request) {
	if !s.begin() {
		c.refuse(http.StatusNotFound, "the node is stopping")
		return
	}
	r := s.openRequest(c, streams.OpenEvents, s.node.NewOwner())
	opened, err := s.openWaiting(c, r)
	if err != nil {
		s.active.Done()
		if isAway(err) {
			c.refuse(http.StatusNotFound, storeAway)
			return
		}
		s.refuseError(c, err)
		return
	}
	leave, full := s.admission.enter(c, c.token.User, false)
	if full != "" {
		s.end(c.hub, c.token.ConnectionID, r.Owner)
		s.active.Done()
		s.tooMany(c, full)
		return
	}
	e := &eventStream{
		counted: leave,
		hub:     strings.Clone(c.hub), id: c.token.ConnectionID, owner: r.Owner, since: opened.Record.Since,
		handshakeTime: s.handshakeTimeout(c), closeAt: closeAt(&c.who),
	}
	e.stream.s, e.stream.source = s, e
	e.handshakeBy.Store(s.wheel.now() + s.untilHandshake(e.since, e.handshakeTime).Milliseconds())
	e.pinged.Store(s.wheel.now())
	if err := e.begin(c, r, &opened); err != nil {
		s.end(e.hub, e.id, e.owner) // the client cannot come back to it
		leave.call()
		s.active.Done()
		return
	}
	go e.serve()
}

// eventStream is the event stream of a connection.
type eventStream struct {
	stream
	hub, id, owner string
	counted        departure
	since          int64 // when the connection was, ms of the store's clock
	att            *streams.Attachment
	handshakeTime  time.Duration // that it may take
	closeAt        int64         // when the access token wants the connection closed, ms since 1970; 0: not

	ready       atomic.Bool  // the stream is open
	answered    atomic.Bool  // the handshake is
	handshakeBy atomic.Int64 // when to look for it, ms of the server's clock
	closed      bool         // the connection has ended
}

// begin attaches, and opens the stream.
func (e *eventStream) begin(c *request, r streams.OpenRequest, opened *streams.OpenReply) error {
	att, err := e.s.attachWaiting(c.Context(), e.hub, r, opened, e.wake)
	if err != nil {
		c.refuse(http.StatusNotFound, noConnection)
		return err
	}
	h := c.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache,no-store")
	h.Set("Pragma", "no-cache")
	h.Set("Content-Encoding", "identity")
	h.Set("X-Accel-Buffering", "no")
	if err := e.open(c, openingBytes); err != nil {
		_ = att.Detach(context.Background(), 0, streams.LeavingNone)
		return err
	}
	e.att = att
	e.ready.Store(true)
	e.follow(att)
	return nil
}

// wake is called when there may be something to write, maybe before the stream is open.
func (e *eventStream) wake() {
	if e.ready.Load() {
		e.schedule()
	}
}

func (e *eventStream) take(b *batch) bool {
	if !e.answered.Load() {
		b.begin()
		return false // the handshake's answer is not like other messages
	}
	front, format, ping := b.begin(), eventFormat, pingEvent
	if e.chunked {
		format, ping = eventChunkFormat, pingChunk
	}
	if e.ping.Swap(false) {
		front = append(front, ping...)
	}
	complete := e.att.Take(b.joined, format, maxEventsBytes)
	b.more = b.joined.More
	b.add(front)
	return complete
}

func (e *eventStream) fill(b *flushBuffer, ping bool) progress {
	if ping && e.answered.Load() { // nothing may come before the handshake's answer
		b.bytes = append(b.bytes, pingEvent...)
	}
	var err error
	b.items, err = e.att.Next(e.s.ctx, b.items, maxEventsBytes)
	for _, item := range b.items {
		var final bool
		if b.bytes, final = e.append(b.bytes, item); final {
			return ended
		}
	}
	then, final := e.s.afterNext(len(b.items), err)
	if !final {
		return then
	}
	b.bytes = e.appendClose(b.bytes, closingFor(err))
	return then
}

func (e *eventStream) describe() Write {
	return Write{e.hub, e.id, streams.TransportServerSentEvents}
}

// append appends an item's event. final: nothing follows it.
func (e *eventStream) append(dst []byte, item *streams.Item) (_ []byte, final bool) {
	b, final := item.Encoding(eventFormat), item.Flags&streams.FlagFinal != 0
	if item.Flags&streams.FlagHandshake != 0 {
		e.answered.Store(true)
		if item.Protocol == uint8(hubprotocol.MessagePack) && !final {
			b, final = binaryRefused, true
		}
	}
	return append(dst, b...), final
}

// binaryRefused answers a handshake that came before the stream was opened, when the
// transport was not known.
var binaryRefused = func() []byte {
	_, err := hubprotocol.HandshakeRequest{Protocol: hubprotocol.MessagePack.String(), Version: 1}.Check(false)
	return appendEvent(nil, hubprotocol.HandshakeResponse(err.Error()))
}()

// appendClose ends the connection, and appends the Close message if its client is to be told.
func (e *eventStream) appendClose(dst []byte, c closing) []byte {
	e.s.counters.close(c.reason)
	e.s.log.Debug("connection closed", "hub", e.hub, "connection_id", e.id, "reason", c.reason)
	if c.silent {
		return dst
	}
	e.closed = true
	if outcome, _ := e.s.endFor(e.hub, e.id, e.owner, c.text); outcome == streams.EndRefused {
		return dst
	}
	return appendEvent(dst, hubprotocol.AppendClose(nil, hubprotocol.JSON, c.text, c.reconnect))
}

func (e *eventStream) tick(now int64) {
	if !e.answered.Load() && now >= e.handshakeBy.Load() {
		e.handshakeBy.Store(math.MaxInt64) // until it is known
		go e.cancelHandshake()
	}
	if at := closesAt(e.closeAt, e.att); at != 0 && time.Now().UnixMilli() >= at {
		go e.sayLast(func(dst []byte) []byte { return e.appendClose(dst, closingFor(errExpired)) })
	}
}

// cancelHandshake refuses the handshake if it has not come in time.
func (e *eventStream) cancelHandshake() {
	again := e.s.cancelHandshake(e.s.ctx, e.hub, e.id, e.since, e.handshakeTime)
	e.handshakeBy.Store(e.s.wheel.now() + again.Milliseconds())
}

func (e *eventStream) farewell(dst []byte) []byte {
	e.s.counters.drain(streams.TransportServerSentEvents)
	return e.appendClose(dst, closing{reconnect: true, reason: "drain"})
}

func (e *eventStream) leave() {
	if !e.closed {
		e.s.end(e.hub, e.id, e.owner) // the client cannot come back to it
	}
	_ = e.att.Detach(context.Background(), 0, streams.LeavingNone)
	e.counted.call()
}
