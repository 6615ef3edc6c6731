package transports

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

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
		w.list = append(w.list, &writer{bell: make(chan struct{}, 1), batch: newBatch(s), round: newRound()})
	}
	if !s.cfg.NoAIO {
		w.openRounds(s, (*round).open)
	}
	for i, one := range w.list {
		one.others = slices.Concat(w.list[i+1:], w.list[:i])
		w.running.Go(func() { one.run(w.stop) })
	}
}

// openRounds lets the writers write to many sockets at once. There may be enough for some of them only: other programs use it, too.
func (w *writers) openRounds(s *Server, open func(*round) error) {
	var failed error
	without := 0
	for _, one := range w.list {
		if err := open(one.round); err != nil {
			failed = err
			without++
		}
	}
	if failed != nil {
		s.log.Info("sockets are written to one by one, as the kernel's asynchronous I/O cannot be used", "error", failed, "writers", without, "of", len(w.list))
	}
}

// close ends the writers. What is scheduled afterwards is not written.
func (w *writers) close() {
	close(w.stop)
	w.running.Wait()
}

// next is the writer of the next outlet.
func (w *writers) next() *writer { return w.list[w.joined.Add(1)%uint32(len(w.list))] }

// writer writes to many sockets, one after the other, and waits for none. It has sockets of its own, which its processor's caches know; but when
// they have nothing it writes to those of others. A writer can be held up: the kernel may give its processor to another program for
// some milliseconds.
type writer struct {
	bell   chan struct{}
	batch  *batch
	round  *round
	others []*writer

	mu    sync.Mutex
	queue []*outlet // from head on; guarded by mu
	head  int       // guarded by mu
	laps  laps
	turn  bool // it is the laps' turn, if there are any; guarded by mu

	asleep atomic.Bool // or about to; whoever takes it back rings the bell
}

const (
	// writesAtOnce is how many sockets a writer takes on: what it has taken nobody else can write to if it is held up.
	writesAtOnce = 16
	// writesInARow is after how many sockets a writer takes breath. It blocks on nothing else, and would keep its processor for as long as
	// there is something to write. With one processor nothing would be published meanwhile that could be joined.
	writesInARow = 32
	// writesTooMany is how many wait for a writer when others are woken to help it.
	writesTooMany = 4
)

func (w *writer) push(o *outlet) {
	waiting := w.append(o)
	if !w.wake() && waiting >= writesTooMany {
		w.wakeOthers()
	}
}

// append returns how many wait for the writer then.
func (w *writer) append(o *outlet) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.head > len(w.queue)/2 && len(w.queue) == cap(w.queue) {
		n := copy(w.queue, w.queue[w.head:])
		clear(w.queue[n:])
		w.queue, w.head = w.queue[:n], 0
	}
	w.queue = append(w.queue, o)
	return w.waiting()
}

// waiting is how many outlets wait for the writer. w.mu is held.
func (w *writer) waiting() int { return len(w.queue) - w.head + w.laps.left }

// wake returns false if the writer is awake.
func (w *writer) wake() bool {
	if !w.asleep.Load() || !w.asleep.CompareAndSwap(true, false) {
		return false
	}
	ring(w.bell)
	return true
}

func (w *writer) wakeOthers() {
	for _, other := range w.others {
		other.wake()
	}
}

func (w *writer) run(stop <-chan struct{}) {
	var some [writesAtOnce]*outlet
	var breath breath
	inARow := 0
	defer breath.close()
	defer w.round.close()
	for {
		n, ofLap := w.find(some[:])
		if n == 0 {
			w.asleep.Store(true)
			if n, ofLap = w.find(some[:]); n == 0 { // nothing came before it was seen to sleep
				w.batch.release()
				inARow = 0
				select {
				case <-w.bell:
					continue
				case <-stop:
					return
				}
			}
			w.asleep.Store(false)
		}
		w.batch.joined.Tick()
		for _, o := range some[:n] {
			o.state.Load() // all of them are fetched at once, instead of one after the other when each is written to
		}
		for _, o := range some[:n] {
			if !ofLap || o.claim() {
				o.serve(w.batch, w.round)
			}
		}
		w.round.flush()
		clear(some[:n])
		if inARow += n; inARow >= writesInARow {
			inARow = 0
			breath.take()
		}
	}
}

// find is take, here or else with another writer.
func (w *writer) find(room []*outlet) (n int, ofLap bool) {
	n, ofLap = w.take(room)
	for i := 0; n == 0 && i < len(w.others); i++ {
		n, ofLap = w.others[i].take(room)
	}
	return n, ofLap
}

// take takes what is queued, or else what the laps come to next, into room, and returns how many those are. Of both in turn: neither waits
// for the end of the other.
func (w *writer) take(room []*outlet) (n int, ofLap bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.laps.left > 0 && (w.turn || w.head == len(w.queue)) {
		w.turn = false
		return w.laps.take(room), true
	}
	w.turn = true
	return w.takeQueued(room), false
}

func (w *writer) takeQueued(room []*outlet) int {
	n := copy(room, w.queue[w.head:])
	clear(w.queue[w.head : w.head+n])
	w.head += n
	if w.head == len(w.queue) {
		w.queue, w.head = w.queue[:0], 0
	}
	return n
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
}

func newBatch(s *Server) *batch {
	return &batch{joined: s.node.NewJoined(), tracer: s.cfg.Tracer}
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

// release gives up what it refers to: that must not live on for it, nor what one large message has made it grow to.
func (b *batch) release() {
	b.out = nil
	clear(b.items[:cap(b.items)])
	b.joined.Release()
	if cap(b.buffer) > 4*maxFlushBytes {
		b.buffer = nil
	}
}

// ring rings a bell: a channel of capacity 1 that remembers one stroke.
func ring(bell chan<- struct{}) {
	select {
	case bell <- struct{}{}:
	default:
	}
}
