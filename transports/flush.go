package transports

import (
	"errors"
	"sync"

	"github.com/gobwas/ws"

	"hubstream/streams"
	"hubstream/transports/hubprotocol"
)

// States of webSocket.flushing.
const (
	idle int32 = iota
	flushing
	flushAgain
)

// maxFlushBytes is about how much is joined into one write.
const maxFlushBytes = 64 << 10 // 64 KiB

// flushBuffers are held only while a socket writes.
var flushBuffers = sync.Pool{New: func() any { return new(flushBuffer) }}

type flushBuffer struct {
	bytes []byte
	items []*streams.Item
}

// release gives the buffer back. What it refers to must not live on for it, nor what
// one large message has made it grow to.
func (b *flushBuffer) release() {
	clear(b.items[:cap(b.items)])
	if cap(b.bytes) > 4*maxFlushBytes {
		b.bytes = nil
	}
	flushBuffers.Put(b)
}

// schedule makes sure that what is there now gets written. It does not block.
func (c *webSocket) schedule() {
	for {
		switch c.flushing.Load() {
		case idle:
			if c.flushing.CompareAndSwap(idle, flushing) {
				go c.flusher()
				return
			}
		case flushing:
			if c.flushing.CompareAndSwap(flushing, flushAgain) {
				return
			}
		default:
			return
		}
	}
}

// flush writes until there is nothing left.
func (c *webSocket) flush() {
	b := flushBuffers.Get().(*flushBuffer)
	defer b.release()
	for {
		c.flushing.Store(flushing)
		for c.flushSome(b) {
		}
		if c.flushing.CompareAndSwap(flushing, idle) {
			return
		}
	}
}

// flushSome joins what there is into one write. more says that there may be more.
func (c *webSocket) flushSome(b *flushBuffer) (more bool) {
	if !c.ready.Load() || c.over.Load() {
		return false
	}
	b.bytes, b.items = c.appendControl(b.bytes[:0]), b.items[:0]
	var end error
	if !c.held.Load() {
		b.items, end = c.att.Load().Next(c.s.ctx, b.items, maxFlushBytes)
	}
	if out := b.join(c.protocol()); len(out) > 0 && c.write(out) != nil {
		return false
	}
	if errors.Is(end, streams.ErrUnavailable) {
		return sleep(c.s.ctx, storeRetry) == nil && !c.gone.Load()
	}
	if end != nil && c.s.ctx.Err() == nil {
		c.closeFor(end)
		return false
	}
	return len(b.items) > 0
}

// join returns what is to be written. A single item's frame is written as it is.
func (b *flushBuffer) join(p hubprotocol.Protocol) []byte {
	if len(b.bytes) == 0 && len(b.items) == 1 {
		return frame(b.items[0], p)
	}
	for _, item := range b.items {
		b.bytes = append(b.bytes, frame(item, p)...)
	}
	return b.bytes
}

// appendControl appends the ping and the Ack that are due.
func (c *webSocket) appendControl(dst []byte) []byte {
	if c.ping.CompareAndSwap(true, false) {
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
	if c.s.end(c.hub, c.id, c.owner) && c.isStateful() {
		c.drop() // the client has another socket
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
