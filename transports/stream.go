package transports

import (
	"bytes"
	"errors"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"hubstream/internal/sleep"
	"hubstream/streams"
)

// stream is the endless answer of an event stream, on the connection that its request came on. It is taken over from
// net/http, which would keep its buffers, the request, and a handler's goroutine and grown stack for as long as
// the client is there: four fifths of what an idle stream costs. One goroutine waits for the client to go; its
// outlet writes.
type stream struct {
	outlet

	// static
	s       *Server
	source  source
	chunked bool // as everywhere but in HTTP/1.0, where the connection's end is the answer's

	pinged atomic.Int64 // in ms of the server's clock
	ping   atomic.Bool  // is due
	over   atomic.Bool  // nothing is written any more
}

// source is what a stream says. Its methods but tick and take are called one at a time.
type source interface {
	// take is fill for what is at hand, as outlet's collect.
	take(b *batch) bool
	// describe says where it goes.
	describe() Write
	// fill appends what there is to say now to b.bytes, and in front of it, if ping, a sign of life.
	fill(b *flushBuffer, ping bool) progress
	// tick is called again and again, in ms of the server's clock, and must not block.
	tick(now int64)
	// farewell appends what a client is told that is sent elsewhere.
	farewell(dst []byte) []byte
	// leave is called once, when the client has gone or been told the last.
	leave()
}

// progress is what comes after a fill.
type progress uint8

const (
	untilWoken progress = iota // nothing, until schedule is called
	again                      // another fill at once
	afterPause                 // another one later: the store is away
	ended                      // the end
)

// afterNext is what comes after an attachment's Next that has returned n items; final: the attachment has ended with err.
func (s *Server) afterNext(n int, err error) (p progress, final bool) {
	switch {
	case n > 0:
		return again, false
	case err == nil:
		return untilWoken, false
	case errors.Is(err, streams.ErrUnavailable):
		return afterPause, false
	case s.ctx.Err() != nil:
		return untilWoken, false
	}
	return ended, true
}

// open takes the request's connection over and begins the answer with the headers that are set and with first.
func (t *stream) open(c *request, first []byte) error {
	conn, _, err := c.rc.Hijack() // what a client sends behind its request is not read: the answer never ends
	if err != nil {
		c.refuse(http.StatusNotFound, "event streams need HTTP/1.1") // never 5xx: Node's EventSource would ask again for ever
		return err
	}
	t.init(t.s, unwrapped(conn), t)
	t.chunked = c.ProtoAtLeast(1, 1)
	head := bytes.NewBuffer(make([]byte, 0, 512))
	head.WriteString("HTTP/1.1 200 OK\r\n")
	h := c.w.Header()
	h.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	if t.chunked {
		h.Set("Transfer-Encoding", "chunked")
	} else {
		h.Set("Connection", "close")
	}
	_ = h.Write(head)
	head.WriteString("\r\n")
	return t.writeNow(appendChunk(head.Bytes(), first, t.chunked))
}

// serve returns when the client has gone, or was told the last.
func (t *stream) serve() {
	t.s.wheel.follow(t)
	if t.s.isDraining() { // since the request
		go t.drainOut()
	}
	t.schedule()
	awaitEnd(t.conn)
	t.over.Store(true)
	t.s.wheel.forget(t)
	t.writing.Lock()
	t.source.leave()
	t.writing.Unlock()
	t.hangUp()
	t.s.active.Done()
}

// awaitEnd returns when the client has closed the connection, or it has been closed here.
func awaitEnd(conn net.Conn) {
	var ignored [16]byte
	for {
		if _, err := conn.Read(ignored[:]); err != nil {
			return
		}
	}
}

// collect implements origin.
func (t *stream) collect(b *batch) bool {
	if t.over.Load() {
		b.begin()
		return true
	}
	return t.source.take(b)
}

// describe implements origin.
func (t *stream) describe() Write { return t.source.describe() }

// flush implements origin.
func (t *stream) flush() {
	b := flushBuffers.Get().(*flushBuffer)
	defer b.release()
	for {
		t.state.Store(flushing)
		for t.flushSome(b) {
		}
		if t.done() {
			return
		}
	}
}

// flushBuffers are held only while a stream writes by itself.
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

// flushSome writes what there is to say now. more says that there may be more.
func (t *stream) flushSome(b *flushBuffer) (more bool) {
	next := t.fill(b)
	if next == afterPause {
		return sleep.For(t.s.ctx, storeRetry) == nil && !t.over.Load()
	}
	return next == again
}

func (t *stream) fill(b *flushBuffer) progress {
	t.writing.Lock()
	defer t.writing.Unlock()
	if t.over.Load() {
		return untilWoken
	}
	b.bytes, b.items = append(b.bytes[:0], chunkRoom...), b.items[:0]
	next := t.source.fill(b, t.ping.Swap(false))
	told := wanted(t.s.cfg.Tracer, b.items)
	if next == ended {
		told.wrote(t.source.describe(), t.end(b.bytes) != nil)
		return next
	}
	if len(b.bytes) == len(chunkRoom) {
		return next
	}
	err := t.writeNow(finishChunk(b, t.chunked))
	told.wrote(t.source.describe(), err != nil)
	if err != nil {
		t.over.Store(true)
		return untilWoken
	}
	return next
}

// end writes what is in a chunk's room and the answer's end, and closes the connection. t.writing is held.
func (t *stream) end(b []byte) error {
	t.over.Store(true)
	t.finished = true
	rest := b[len(chunkRoom):]
	out := make([]byte, 0, len(b)+len(lastChunk)+len(chunkEnd))
	if len(rest) > 0 {
		out = appendChunk(out, rest, t.chunked)
	}
	if t.chunked {
		out = append(out, lastChunk...)
	}
	err := t.writeNow(out)
	t.hangUp()
	return err
}

// drainOut sends the client away.
func (t *stream) drainOut() { t.sayLast(t.source.farewell) }

// sayLast ends the stream with what last appends, unless it has ended.
func (t *stream) sayLast(last func(dst []byte) []byte) {
	t.writing.Lock()
	defer t.writing.Unlock()
	if !t.over.Load() {
		_ = t.end(last([]byte(chunkRoom)))
	}
}

// tick tells whether the stream may have something to write.
func (t *stream) tick(w *wheel, now int64) (due bool) {
	if t.over.Load() {
		return false
	}
	if now-t.pinged.Load() > w.keepAlive-w.interval { // the next tick would be too late
		t.pinged.Store(now)
		t.ping.Store(true)
		due = true
	}
	t.source.tick(now)
	return due
}

// Parts of a chunked answer (RFC 9112, 7.1).
const (
	chunkEnd  = "\r\n"
	lastChunk = "0\r\n\r\n"
	// chunkRoom is kept free in front of a chunk whose size is not known yet: eight hexadecimal digits and a line's end.
	chunkRoom = "00000000\r\n"
)

// finishChunk returns what is to be written of a buffer that begins with a chunk's room.
func finishChunk(b *flushBuffer, chunked bool) []byte {
	if !chunked {
		return b.bytes[len(chunkRoom):]
	}
	digits := len(chunkRoom) - len(chunkEnd)
	at := digits
	for size := len(b.bytes) - len(chunkRoom); size > 0; size >>= 4 {
		at--
		b.bytes[at] = "0123456789abcdef"[size&15]
	}
	b.bytes = append(b.bytes, chunkEnd...)
	return b.bytes[at:]
}

// appendChunk appends one chunk; without chunks its bytes alone.
func appendChunk(dst, data []byte, chunked bool) []byte {
	if !chunked {
		return append(dst, data...)
	}
	dst = strconv.AppendInt(dst, int64(len(data)), 16)
	dst = append(dst, chunkEnd...)
	dst = append(dst, data...)
	return append(dst, chunkEnd...)
}
