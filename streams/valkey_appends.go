package streams

import (
	"context"
	"fmt"
	"sync"

	"github.com/valkey-io/valkey-go"
)

// Limits of one batch of appends; what is left over goes with the next.
const (
	batchEntries = 256
	batchBytes   = 256 << 10 // 256 KiB; one larger entry goes alone
)

// appender sends the appends to one bucket. While one is on its way, those that come meanwhile wait, and go together with
// the next: a round trip of many costs this node and Valkey little more than that of one, and nobody waits for company.
type appender struct {
	valkey *Valkey

	mu      sync.Mutex
	busy    bool // one is on its way
	waiting []*waitingAppend
}

// waitingAppend is an append that waits for its turn, and then for its answer.
type waitingAppend struct {
	key, data string
	sent      bool          // guarded by the appender's mutex
	done      chan struct{} // a bell
	// set before done is rung
	position Position
	err      error
}

var waitingAppends = sync.Pool{New: func() any { return &waitingAppend{done: make(chan struct{}, 1)} }}

// add appends to a log that is there; see Valkey.add for the errors. When ctx ends before
// the append was sent, nothing was changed.
func (a *appender) add(ctx context.Context, key, data string) (Position, error) {
	a.mu.Lock()
	if !a.busy {
		a.busy = true
		a.mu.Unlock()
		p, err := a.valkey.addNow(ctx, key, data)
		if batch := a.next(); batch != nil {
			go a.send(batch)
		}
		return p, err
	}
	w := waitingAppends.Get().(*waitingAppend)
	w.key, w.data, w.sent = key, data, false
	a.waiting = append(a.waiting, w)
	a.mu.Unlock()
	select {
	case <-w.done:
		p, err := w.position, w.err
		w.key, w.data, w.err = "", "", nil
		waitingAppends.Put(w)
		return p, err
	case <-ctx.Done():
		return Position{}, a.abandon(w, ctx.Err())
	}
}

// abandon takes an append back, if it was not sent yet.
func (a *appender) abandon(w *waitingAppend, cause error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if w.sent {
		return fmt.Errorf("%w: %w", ErrOutcomeUnknown, cause)
	}
	for i, other := range a.waiting {
		if other == w {
			a.waiting = append(a.waiting[:i], a.waiting[i+1:]...)
			break
		}
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, cause)
}

// next takes the batch that goes next. Without one, nothing is on its way any more.
func (a *appender) next() (batch []*waitingAppend) {
	a.mu.Lock()
	defer a.mu.Unlock()
	n, size := 0, 0
	for n < len(a.waiting) && n < batchEntries && (n == 0 || size+len(a.waiting[n].data) <= batchBytes) {
		size += len(a.waiting[n].data)
		a.waiting[n].sent = true
		n++
	}
	if n == 0 {
		a.busy = false
		return nil
	}
	batch = a.waiting[:n:n]
	a.waiting = append(make([]*waitingAppend, 0, n), a.waiting[n:]...)
	return batch
}

// send sends batches until nobody waits. They have a deadline of their own: a caller that gives up must not take the
// others with it.
func (a *appender) send(batch []*waitingAppend) {
	v := a.valkey
	for ; batch != nil; batch = a.next() {
		ctx, cancel := context.WithTimeout(context.Background(), v.cfg.CallTimeout)
		commands := make([]valkey.Completed, len(batch))
		for i, w := range batch {
			commands[i] = v.xadd(w.key, w.data)
		}
		for i, result := range v.main.DoMulti(ctx, commands...) {
			batch[i].position, batch[i].err = v.added(result)
			batch[i].done <- struct{}{}
		}
		cancel()
	}
}
