package transports

import "net"

// round is what a writer writes to some sockets, all at once where the kernel can do that. It is one writer's.
type round struct {
	aio     *aio // nil: one after the other
	pending []pendingWrite
	copies  []byte // of what would be overwritten before it is written
}

// pendingWrite is what an outlet is about to write, and then what became of it.
type pendingWrite struct {
	outlet   *outlet
	out      []byte
	copied   bool // out is overwritten by what comes next
	complete bool // as collect says
	more     bool // as of a batch

	n   int // of out that has been written
	err error
}

// maxCopies is what is copied for one call, in bytes.
const maxCopies = 64 << 10 // 64 KiB

func newRound() *round { return &round{pending: make([]pendingWrite, 0, writesAtOnce)} }

// open lets it write all at once. It fails where the kernel does not.
func (r *round) open() (err error) {
	if r.aio, err = newAIO(); err == nil {
		r.copies = make([]byte, 0, maxCopies)
	}
	return err
}

func (r *round) close() {
	if r.aio != nil {
		r.aio.close()
		r.aio = nil
	}
}

// add has something written by the next flush at the latest.
func (r *round) add(w pendingWrite) {
	if r.aio == nil || w.copied && len(w.out) > cap(r.copies)-len(r.copies) {
		if w.begin() {
			w.write()
			w.end()
		}
		return
	}
	if w.copied {
		n := len(r.copies)
		r.copies = append(r.copies, w.out...)
		w.out = r.copies[n:]
	}
	r.pending = append(r.pending, w)
}

// flush makes the writes that were put off.
func (r *round) flush() {
	ready := r.pending[:0]
	for _, w := range r.pending {
		if w.begin() {
			ready = append(ready, w)
		}
	}
	sent := 0
	if len(ready) > 1 {
		sent, _ = r.aio.send(ready)
	}
	for i := range ready {
		w := &ready[i]
		if i >= sent || w.err != nil { // it fails for reasons of its own, too, as when it has no memory: the socket says whether it has
			w.write()
		}
		w.end()
	}
	clear(r.pending)
	r.pending, r.copies = r.pending[:0], r.copies[:0]
}

// begin takes the socket for the write, which is over if it returns false.
func (w *pendingWrite) begin() bool {
	o := w.outlet
	if !o.writing.TryLock() { // by the reading goroutine, and that may last
		go o.writeWaiting(w.rest())
		return false
	}
	switch {
	case o.finished:
		o.writing.Unlock()
		o.fail(errDropped)
	case !o.hold():
		o.writing.Unlock()
		o.fail(net.ErrClosed)
	default:
		return true
	}
	return false
}

// write writes as much as the socket takes at once, which may be nothing.
func (w *pendingWrite) write() { w.n, w.err = writeReady(w.outlet.fd, w.out) }

// end lets the socket go. What it did not take is written elsewhere.
func (w *pendingWrite) end() {
	o := w.outlet
	if !o.letGo() {
		w.err = net.ErrClosed
	}
	if w.err == nil && w.n < len(w.out) {
		go o.writeRest(w.rest())
		return
	}
	o.writing.Unlock()
	if w.err != nil {
		o.fail(w.err)
		return
	}
	o.served(w.complete, w.more)
}

// rest is what is still to be written, to be kept.
func (w *pendingWrite) rest() []byte {
	if w.copied {
		return append([]byte(nil), w.out[w.n:]...)
	}
	return w.out[w.n:]
}
