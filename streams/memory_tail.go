package streams

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// memoryBucket holds the tails of a bucket. An append of any of its hubs signals all
// of them, or reads them itself, and each looks for itself whether the hub is one of its own: there is one
// tail per node and bucket, so that costs less than to keep lists per hub.
type memoryBucket struct {
	mu    sync.Mutex
	tails atomic.Pointer[[]*memoryTail] // replaced under mu, never changed

	nodes   map[string]int64 // guarded by mu: node -> the end of its lease
	workers map[string]int64 // guarded by mu: worker -> the end of its lease
}

func (b *memoryBucket) list() []*memoryTail {
	if list := b.tails.Load(); list != nil {
		return *list
	}
	return nil
}

// signal tells the tails that something was appended.
func (b *memoryBucket) signal() {
	for _, t := range b.list() {
		ring(t.news)
	}
}

// appended is signal for who has appended to a hub and holds no lock: it may deliver that, too.
func (b *memoryBucket) appended(hub string) {
	for _, t := range b.list() {
		if f := t.onAppend.Load(); f == nil || !(*f)(hub) {
			ring(t.news)
		}
	}
}

// lose tells the tails that the store is gone.
func (b *memoryBucket) lose() {
	for _, t := range b.list() {
		t.losses.Add(1)
		ring(t.lost)
	}
}

func (b *memoryBucket) add(t *memoryTail) {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := append(slices.Clone(b.list()), t)
	b.tails.Store(&list)
}

func (b *memoryBucket) remove(t *memoryTail) {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := slices.DeleteFunc(slices.Clone(b.list()), func(u *memoryTail) bool { return u == t })
	b.tails.Store(&list)
}

// ring rings a bell: a channel of capacity 1 that remembers one stroke.
func ring(bell chan struct{}) {
	select {
	case bell <- struct{}{}:
	default:
	}
}

// rung tells whether a bell was rung, and silences it.
func rung(bell chan struct{}) bool {
	select {
	case <-bell:
		return true
	default:
		return false
	}
}

// memoryTail is a Tail of a Memory. It waits on channels only.
type memoryTail struct {
	memory *Memory
	bucket *memoryBucket

	news, wake, lost chan struct{} // bells
	closed           chan struct{}
	closeOnce        sync.Once
	onAppend         atomic.Pointer[func(hub string) bool]
	losses           atomic.Int64

	timeout *time.Timer // owned by Read and Wait

	// owned by Read and Take
	told    int64 // of the losses
	list    []Batch
	entries []RawEntry // of all of the list
}

// Tail implements Log.
func (m *Memory) Tail(bucket int) Tail {
	t := &memoryTail{
		memory: m,
		bucket: &m.buckets[bucket],
		news:   make(chan struct{}, 1),
		wake:   make(chan struct{}, 1),
		lost:   make(chan struct{}, 1),
		closed: make(chan struct{}),
	}
	t.bucket.add(t)
	return t
}

// Wake implements Tail.
func (t *memoryTail) Wake() { ring(t.wake) }

// Close implements Tail.
func (t *memoryTail) Close() {
	t.closeOnce.Do(func() {
		close(t.closed)
		t.bucket.remove(t)
	})
}

// Read implements Tail.
func (t *memoryTail) Read(ctx context.Context, after []Cursor, limit int, block time.Duration) ([]Batch, error) {
	if err := t.usable(ctx); err != nil {
		return nil, err
	}
	woken := block > 0 && rung(t.wake)
	// What is read below is no news any more; what is appended after it rings again.
	rung(t.news)
	if list := t.collect(after, limit); len(list) > 0 || woken || block <= 0 {
		return list, nil
	}
	defer t.begin(block)()
	for t.await(ctx.Done()) {
		if list := t.collect(after, limit); len(list) > 0 {
			return list, nil
		}
	}
	return nil, t.usable(ctx)
}

// begin sets the timeout that await ends at, until end.
func (t *memoryTail) begin(block time.Duration) (end func() bool) {
	if t.timeout == nil {
		t.timeout = time.NewTimer(block)
	} else {
		t.timeout.Reset(block)
	}
	return t.timeout.Stop
}

// await returns true when there is news, and false when there is no more to wait for.
func (t *memoryTail) await(done <-chan struct{}) bool {
	select {
	case <-t.news:
		return true
	case <-t.wake:
	case <-t.timeout.C:
	case <-t.lost:
	case <-t.closed:
	case <-done:
	}
	return false
}

// OnAppend implements PromptTail.
func (t *memoryTail) OnAppend(f func(hub string) bool) { t.onAppend.Store(&f) }

// Take implements PromptTail.
func (t *memoryTail) Take(after []Cursor, limit int) ([]Batch, bool) {
	if t.isOver() {
		return nil, false
	}
	return t.collect(after, limit), true
}

// isOver tells whether a Read would tell of the tail's end, or of a loss.
func (t *memoryTail) isOver() bool { return t.isClosed() || t.losses.Load() != t.told }

// Wait implements PromptTail.
func (t *memoryTail) Wait(block time.Duration) {
	defer t.begin(block)()
	t.await(nil)
}

var (
	errTailClosed = fmt.Errorf("%w: the tail is closed", ErrUnavailable)
	errTailLost   = fmt.Errorf("%w: it went away", ErrUnavailable)
)

// usable tells why nothing can be read. A loss is told once.
func (t *memoryTail) usable(ctx context.Context) error {
	if t.isClosed() {
		return errTailClosed
	}
	if losses := t.losses.Load(); losses != t.told {
		t.told = losses
		rung(t.lost)
		return errTailLost
	}
	return t.memory.enter(ctx)
}

func (t *memoryTail) isClosed() bool {
	select {
	case <-t.closed:
		return true
	default:
		return false
	}
}

func (t *memoryTail) collect(after []Cursor, limit int) []Batch {
	clear(t.entries)
	clear(t.list) // which also has what the entries were in before they needed more room
	t.list, t.entries = t.list[:0], t.entries[:0]
	for _, c := range after {
		h := t.memory.find(c.Hub)
		if h == nil {
			continue
		}
		read := len(t.entries)
		h.mu.Lock()
		t.entries = h.read(t.entries, c.After, limit)
		h.mu.Unlock()
		if entries := t.entries[read:]; len(entries) > 0 {
			t.list = append(t.list, Batch{Hub: c.Hub, Entries: entries, Stored: len(entries)})
		}
	}
	return t.list
}

var _ PromptTail = (*memoryTail)(nil)
