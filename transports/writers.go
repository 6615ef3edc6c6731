package transports

import (
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"

	"hubstream/streams"
)

// writers write to the sockets of a node: one for each processor.
type writers struct {
	list    []*writer
	joined  atomic.Uint32 // outlets so far
	stop    chan struct{}
	running sync.WaitGroup
}

func (w *writers) start(s *Server) {
	w.stop = make(chan struct{})
	for range runtime.GOMAXPROCS(0) {
		one := &writer{bell: make(chan struct{}, 1), batch: newBatch(s)}
		w.list = append(w.list, one)
		w.running.Go(func() { one.run(w.stop) })
	}
}

// close ends the writers. What is scheduled afterwards is not written.
func (w *writers) close() {
	close(w.stop)
	w.running.Wait()
}

// next is the writer of the next outlet.
func (w *writers) next() *writer { return w.list[w.joined.Add(1)%uint32(len(w.list))] }

// writer writes to many sockets, one after the other, and waits for none.
type writer struct {
	bell  chan struct{}
	batch *batch

	mu     sync.Mutex
	queue  []*outlet
	asleep bool
}

func (w *writer) push(o *outlet) {
	w.mu.Lock()
	w.queue = append(w.queue, o)
	wake := w.asleep
	w.asleep = false
	w.mu.Unlock()
	if wake {
		ring(w.bell)
	}
}

// writesPerTick is after how many sockets the writer looks at the clock, and lets others have the processor.
const writesPerTick = 32

func (w *writer) run(stop <-chan struct{}) {
	var round []*outlet
	for {
		round = w.take(round)
		if len(round) == 0 {
			w.batch.release()
			select {
			case <-w.bell:
			case <-stop:
				return
			}
		}
		for i, o := range round {
			if i%writesPerTick == 0 {
				w.batch.joined.Tick()
			}
			o.serve(w.batch)
		}
		clear(round)
	}
}

// take returns what is queued. If there is nothing it rings the bell for what comes.
func (w *writer) take(empty []*outlet) []*outlet {
	w.mu.Lock()
	defer w.mu.Unlock()
	round := w.queue
	w.queue = empty[:0]
	w.asleep = len(round) == 0
	return round
}

// maxFlushBytes is about how much is joined into one write.
const maxFlushBytes = 64 << 10 // 64 KiB

// batch is what is written at once, and the memory for making it. It is one goroutine's at a time.
type batch struct {
	out []byte
	// copied: out is overwritten by the next use.
	copied bool
	// more: there may be more, and nothing will be scheduled for it.
	more bool

	joined *streams.Joined
	tracer Tracer
	buffer []byte
	items  []*streams.Item

	// of write
	unwritten []byte
	wrote     int
	err       error
	attempt   func(fd uintptr) bool
}

func newBatch(s *Server) *batch {
	b := &batch{joined: s.node.NewJoined(), tracer: s.cfg.Tracer}
	b.attempt = b.tryWrite
	return b
}

// begin empties it; what is appended to the buffer that it returns goes out first.
func (b *batch) begin() []byte {
	b.out, b.copied, b.more = nil, false, false
	b.joined.Reset()
	return b.buffer[:0]
}

// add puts what has been taken behind what is in front already.
func (b *batch) add(front []byte) {
	j := b.joined
	if len(front) == 0 {
		b.out, b.copied = j.Bytes, j.Copied
		return
	}
	b.buffer = append(front, j.Bytes...)
	b.out, b.copied = b.buffer, true
}

// takeOut returns what is to be written but for its first n bytes, to be kept.
func (b *batch) takeOut(n int) []byte {
	if b.copied {
		return append([]byte(nil), b.out[n:]...)
	}
	return b.out[n:]
}

// release gives up what it refers to: that must not live on for it, nor what one large message has made it grow to.
func (b *batch) release() {
	b.out, b.unwritten, b.err = nil, nil, nil
	clear(b.items[:cap(b.items)])
	b.joined.Release()
	if cap(b.buffer) > 4*maxFlushBytes {
		b.buffer = nil
	}
}

// write writes as much as the socket takes at once.
func (b *batch) write(raw syscall.RawConn, out []byte) (n int, err error) {
	b.unwritten, b.wrote, b.err = out, 0, nil
	if err := raw.Write(b.attempt); err != nil {
		return b.wrote, err
	}
	return b.wrote, b.err
}

// tryWrite returns true: the caller is not to wait until the socket takes more.
func (b *batch) tryWrite(fd uintptr) bool {
	for {
		n, err := syscall.Write(int(fd), b.unwritten)
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
		case err != nil:
			b.err = err
		default:
			b.wrote = n
		}
		return true
	}
}
