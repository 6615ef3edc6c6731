package streams

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"time"
)

// turns lets requests to Valkey go together. While some are on their way, those that come meanwhile wait, and go with the next: a round
// trip of many costs this node and Valkey little more than that of one. Nobody is waited for.
type turns[T any] struct {
	// static
	send    func(ctx context.Context, batch []*turn[T]) // makes the requests of a batch, and sets what became of each
	fit     func(waiting []*turn[T]) int                // how many of those that wait, at least one, go together
	timeout time.Duration                               // of a batch: a caller that gives up must not take the others with it

	mu      sync.Mutex
	busy    bool // some are on their way
	waiting []*turn[T]

	free sync.Pool
}

// turn is a request that waits for its turn, and then for its answer.
type turn[T any] struct {
	request T             // and what became of it
	sent    bool          // guarded by the mutex of its turns
	done    chan struct{} // a bell
	late    *time.Timer   // for a call's deadline; stopped while nobody waits
}

// begin tells whether nothing is on its way. Then the caller's request may go at once, and goOn must be called after it.
func (t *turns[T]) begin() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.busy {
		return false
	}
	t.busy = true
	return true
}

// goOn sends what has come since, if anything has.
func (t *turns[T]) goOn() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.busy = len(t.waiting) > 0; t.busy {
		go t.sendAll()
	}
}

// wait makes a request with others, and returns what became of it. When ctx ends before it was sent, that is a notSentError, and nothing
// was changed.
func (t *turns[T]) wait(ctx context.Context, request T) (T, error) {
	w, _ := t.free.Get().(*turn[T])
	if w == nil {
		w = &turn[T]{done: make(chan struct{}, 1), late: time.NewTimer(time.Hour)}
		w.late.Stop()
	}
	w.request, w.sent = request, false
	t.mu.Lock()
	t.waiting = append(t.waiting, w)
	if !t.busy {
		t.busy = true
		go t.sendAll()
	}
	t.mu.Unlock()
	given := ctx
	if call, ok := ctx.(*callContext); ok { // its own timer would be made for this alone
		given = call.Context
		w.late.Reset(time.Until(call.deadline))
	}
	var none T
	select {
	case <-w.done:
		w.late.Stop()
		request, w.request = w.request, none
		t.free.Put(w)
		return request, nil
	case <-given.Done():
		w.late.Stop()
		return none, t.abandon(w, given.Err())
	case <-w.late.C:
		return none, t.abandon(w, context.DeadlineExceeded)
	}
}

// abandon takes a request back, if it was not sent yet.
func (t *turns[T]) abandon(w *turn[T], cause error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if w.sent {
		return cause
	}
	if i := slices.Index(t.waiting, w); i >= 0 {
		t.waiting = slices.Delete(t.waiting, i, i+1)
	}
	return &notSentError{cause}
}

// next takes those that go next. Without any, nothing is on its way any more.
func (t *turns[T]) next() (batch []*turn[T]) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.waiting) == 0 {
		t.busy = false
		return nil
	}
	n := t.fit(t.waiting)
	batch = t.waiting[:n:n]
	for _, w := range batch {
		w.sent = true
	}
	t.waiting = append(make([]*turn[T], 0, n), t.waiting[n:]...)
	return batch
}

// sendAll sends until nobody waits.
func (t *turns[T]) sendAll() {
	for {
		// Those who can run now may be about to come. They run first: what a batch costs by itself, a script above all, is then shared
		// by more.
		runtime.Gosched()
		batch := t.next()
		if batch == nil {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), t.timeout)
		t.send(ctx, batch)
		cancel()
		for _, w := range batch {
			w.done <- struct{}{}
		}
	}
}
