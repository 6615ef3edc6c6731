package transports

import (
	"errors"

	"github.com/gobwas/ws"

	"hubstream/internal/sleep"
	"hubstream/streams"
	"hubstream/transports/hubprotocol"
)

// collect implements origin.
func (c *webSocket) collect(b *batch) bool {
	front := b.begin()
	if !c.ready.Load() || c.over.Load() {
		return true
	}
	front = c.appendControl(front)
	complete := true
	if !c.held.Load() {
		complete = c.att.Load().Take(b.joined, frameOf(c.protocol()), maxFlushBytes)
		b.more = b.joined.More
	}
	b.add(front)
	return complete
}

// flush implements origin.
func (c *webSocket) flush() {
	b := c.s.batches.Get().(*batch)
	defer func() { b.release(); c.s.batches.Put(b) }()
	for {
		c.state.Store(flushing)
		for c.flushSome(b) {
		}
		if c.done() {
			return
		}
	}
}

// describe implements origin.
func (c *webSocket) describe() Write { return Write{c.hub, c.id, streams.TransportWebSockets} }

// flushSome joins what there is into one write. more says that there may be more.
func (c *webSocket) flushSome(b *batch) (more bool) {
	b.joined.Tick()
	complete := c.collect(b)
	if len(b.out) > 0 && c.writeJoined(b, b.out) != nil {
		return false
	}
	if complete {
		return b.more
	}
	var end error
	b.items, end = c.att.Load().Next(c.s.ctx, b.items[:0], maxFlushBytes)
	if len(b.items) > 0 {
		b.joined.Join(b.items, frameOf(c.protocol()))
		if c.writeJoined(b, b.joined.Bytes) != nil {
			return false
		}
	}
	if errors.Is(end, streams.ErrUnavailable) {
		return sleep.For(c.s.ctx, storeRetry) == nil && !c.isClosed()
	}
	if end != nil && c.s.ctx.Err() == nil {
		c.closeFor(end)
		return false
	}
	return len(b.items) > 0
}

// appendControl appends the ping and the Ack that are due.
func (c *webSocket) appendControl(dst []byte) []byte {
	if c.ping.Load() && c.ping.CompareAndSwap(true, false) {
		dst = append(dst, pingFrame(c.protocol())...)
	}
	if n := c.ackDue.Load(); n > 0 && c.s.wheel.now()-c.acked.Load() >= ackInterval.Milliseconds() && c.ackDue.CompareAndSwap(n, 0) {
		c.acked.Store(c.s.wheel.now())
		dst = append(dst, protocolFrame(hubprotocol.AppendAck(nil, c.protocol(), n), c.protocol())...)
	}
	return dst
}

var (
	jsonPing        = textFrame(hubprotocol.AppendPing(nil, hubprotocol.JSON))
	messagePackPing = binaryFrame(hubprotocol.AppendPing(nil, hubprotocol.MessagePack))
)

func pingFrame(p hubprotocol.Protocol) []byte {
	if p == hubprotocol.MessagePack {
		return messagePackPing
	}
	return jsonPing
}

// closeFor ends the socket as the attachment's final error says.
func (c *webSocket) closeFor(err error) {
	how := closingFor(err)
	if !how.silent {
		c.close(how)
		return
	}
	c.s.counters.close(how.reason)
	c.over.Store(true)
	if c.stateful.Load() {
		c.drop() // another node serves it, or its client knows that it has ended
		return
	}
	c.writeLast(ws.CompiledCloseNormalClosure)
}

// close ends the connection with a Close message. It is marked ended first: a stateful
// JavaScript client at once tries to re-attach, and must be refused.
func (c *webSocket) close(how closing) {
	if !c.over.CompareAndSwap(false, true) {
		return
	}
	c.s.counters.close(how.reason)
	outcome, err := c.s.endFor(c.hub, c.id, c.owner, how.text)
	if c.isStateful() && (outcome == streams.EndRefused || err != nil) {
		c.drop() // the client has another socket; or it comes back, and is told when the connection can be ended
		return
	}
	c.s.log.Debug("connection closed", "hub", c.hub, "connection_id", c.id, "reason", how.reason)
	var b []byte
	if p := c.protocol(); p != 0 {
		b = protocolFrame(hubprotocol.AppendClose(nil, p, how.text, how.reconnect), p)
	}
	if how.frame == nil {
		how.frame = ws.CompiledCloseNormalClosure
	}
	c.writeLast(append(b, how.frame...))
}
