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
// of them, and each looks for itself whether the hub is one of its own: there is one
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

// lose tells the tails that the store is gone.
func (b *memoryBucket) lose() {
	for _, t := range b.list() {
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

	// owned by Read
	timeout *time.Timer
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
	woken := rung(t.wake)
	// What is read below is no news any more; what is appended after it rings again.
	rung(t.news)
	if list := t.collect(after, limit); len(list) > 0 || woken || block <= 0 {
		return list, nil
	}
	if t.timeout == nil {
		t.timeout = time.NewTimer(block)
	} else {
		t.timeout.Reset(block)
	}
	defer t.timeout.Stop()
	for {
		select {
		case <-t.news:
			if list := t.collect(after, limit); len(list) > 0 {
				return list, nil
			}
		case <-t.wake:
			return nil, nil
		case <-t.timeout.C:
			return nil, nil
		case <-t.lost:
			return nil, errTailLost
		case <-t.closed:
			return nil, errTailClosed
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
		}
	}
}

var (
	errTailClosed = fmt.Errorf("%w: the tail is closed", ErrUnavailable)
	errTailLost   = fmt.Errorf("%w: it went away", ErrUnavailable)
)

// usable tells why nothing can be read. A loss between two reads is told once.
func (t *memoryTail) usable(ctx context.Context) error {
	select {
	case <-t.closed:
		return errTailClosed
	case <-t.lost:
		return errTailLost
	default:
		return t.memory.enter(ctx)
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
			t.list = append(t.list, Batch{Hub: c.Hub, Entries: entries})
		}
	}
	return t.list
}

var _ Tail = (*memoryTail)(nil)
