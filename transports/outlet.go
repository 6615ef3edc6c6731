package transports

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"hubstream/streams"
)

// origin is a connection that has something to write.
type origin interface {
	// collect puts what is to be written now into b. It does not wait, and returns false where it would have to: flush
	// goes on there.
	collect(b *batch) bool
	// flush writes until there is nothing left, however long that takes.
	flush()
	// describe says where its writes go.
	describe() Write
}

// outlet writes what a connection's origin has to its socket. It is written to by a writer that many connections share
// and that never waits, or else, while the socket takes nothing more or the origin
// would have to wait, by a goroutine of its own.
type outlet struct {
	// What each write needs comes first, in one line of the processor's caches: it is cold whenever many are written to.

	// static
	fd     int // of conn; -1: only a goroutine of its own can write
	writer *writer
	origin origin

	state atomic.Int32

	use      atomic.Int32 // of fd
	writing  sync.Mutex   // one write at a time
	finished bool         // the last bytes were written; guarded by writing
	failed   atomic.Bool  // a write has, and has ended the socket

	// static
	conn    net.Conn
	timeout time.Duration // of one write that has to wait
}

// States of outlet.state.
const (
	idle     int32 = iota
	flushing       // somebody writes, or is about to
	flushAgain
)

// Values of outlet.use. A file descriptor that is closed is soon another connection's: it must not be while it is written to.
const (
	unused int32 = iota
	inUse        // is written to: who does closes conn when it is closed meanwhile
	closed
)

func (o *outlet) init(s *Server, conn net.Conn, origin origin) {
	o.conn, o.timeout, o.writer, o.origin = conn, s.cfg.SendTimeout, s.writers.next(), origin
	o.fd = descriptor(conn)
}

// hangUp closes the connection. Nothing else may: see outlet.use.
func (o *outlet) hangUp() {
	if o.use.Swap(closed) == unused {
		_ = o.conn.Close()
	}
}

// isClosed tells whether hangUp was called, maybe for a write that has failed.
func (o *outlet) isClosed() bool { return o.use.Load() == closed }

// hold keeps fd from being closed until letGo. It returns false if it is closed already.
func (o *outlet) hold() bool { return o.use.CompareAndSwap(unused, inUse) }

// letGo closes the connection, and returns false, if that was asked for meanwhile.
func (o *outlet) letGo() bool {
	if o.use.CompareAndSwap(inUse, unused) {
		return true
	}
	_ = o.conn.Close()
	return false
}

// schedule makes sure that what is there now gets written. It does not block.
func (o *outlet) schedule() {
	if o.claim() {
		o.dispatch()
	}
}

// claim tells whether nobody writes, nor is about to. Then it is the caller's to do. Otherwise whoever does looks again.
func (o *outlet) claim() bool {
	for {
		switch o.state.Load() {
		case idle:
			if o.state.CompareAndSwap(idle, flushing) {
				return true
			}
		case flushing:
			if o.state.CompareAndSwap(flushing, flushAgain) {
				return false
			}
		default:
			return false
		}
	}
}

// follow has the writer told of what is for everybody at the attachment's hub. The origin must be ready to be asked.
func (o *outlet) follow(a *streams.Attachment) {
	if o.fd >= 0 {
		a.WakeWith(o.writer, o)
	}
}

func (o *outlet) dispatch() {
	if o.fd < 0 {
		go o.origin.flush()
		return
	}
	o.writer.push(o)
}

// done ends a flush, unless there is something new. It is for who has the state flushing.
func (o *outlet) done() bool { return o.state.CompareAndSwap(flushing, idle) }

// serve collects what is there now and has the round write it, without waiting. It is the writer's.
func (o *outlet) serve(b *batch, r *round) {
	o.state.Store(flushing)
	complete := o.origin.collect(b)
	w := pendingWrite{outlet: o, out: b.out, copied: b.copied, complete: complete, more: b.more}
	told := b.traced()
	switch {
	case told != nil:
		go o.writeTraced(w.rest(), told)
	case len(w.out) == 0:
		o.served(w.complete, w.more)
	default:
		r.add(w)
	}
}

// served ends a flush that has written all it had.
func (o *outlet) served(complete, more bool) {
	switch {
	case !complete:
		go o.origin.flush()
	case more || !o.done():
		o.writer.push(o)
	}
}

// fail ends a flush whose write has failed.
func (o *outlet) fail(err error) {
	if err != errDropped {
		o.failed.Store(true)
		o.hangUp()
	}
	o.state.Store(idle)
}

// writeWaiting writes b and whatever there is after it.
func (o *outlet) writeWaiting(b []byte) {
	if o.write(b) != nil {
		o.state.Store(idle)
		return
	}
	o.origin.flush()
}

// writeRest writes the rest of what has been begun, and whatever there is after it. It unlocks writing.
func (o *outlet) writeRest(b []byte) {
	err := o.writeNow(b)
	o.writing.Unlock()
	if err != nil {
		o.state.Store(idle)
		return
	}
	o.origin.flush()
}

var errDropped = errors.New("the socket was given up")

// write writes finished frames. An error ends the socket.
func (o *outlet) write(b []byte) error {
	o.writing.Lock()
	defer o.writing.Unlock()
	if o.finished {
		return errDropped
	}
	return o.writeNow(b)
}

func (o *outlet) writeNow(b []byte) error {
	_ = o.conn.SetWriteDeadline(time.Now().Add(o.timeout))
	_, err := o.conn.Write(b)
	if err != nil {
		o.failed.Store(true)
		o.hangUp()
	}
	return err
}
