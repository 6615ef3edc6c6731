package streams

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/valkey-io/valkey-go"
)

// Limits of one batch of appends; what is left over goes with the next.
const (
	batchEntries = 256
	batchBytes   = 256 << 10 // 256 KiB; one larger entry goes alone
)

// appender sends the appends to one bucket. While one is on its way, those that come meanwhile wait, and go together with
// the next: a round trip of many costs this node and Valkey little more than that of one, and nobody waits for company.
// Those with a key are made by one script for each hub, the others by a command each; nothing is said about the order of
// appends that are under way at once.
type appender struct {
	valkey *Valkey

	mu      sync.Mutex
	busy    bool // one is on its way
	waiting []*waitingAppend
}

// oneAppend is an append as Valkey takes it.
type oneAppend struct {
	log, entry string
	// With once, the name of what is remembered of an idempotency key, it is made once; see OnceRequest.
	once, sum string
	keep      time.Duration
}

// request is an append to a log of the hub, once if it has a key.
func (h hubKeys) request(log string, r *OnceRequest) oneAppend {
	one := oneAppend{log: log, entry: string(r.Entry)}
	if r.Key != "" {
		one.once, one.sum, one.keep = h.once(r.Key), r.Sum, max(r.Keep, time.Millisecond)
	}
	return one
}

func (r *oneAppend) size() int { return len(r.entry) + len(r.once) + len(r.sum) }

// waitingAppend is an append that waits for its turn, and then for its answer.
type waitingAppend struct {
	oneAppend
	sent bool          // guarded by the appender's mutex
	done chan struct{} // a bell
	// set before done is rung
	result AppendResult
	err    error
}

var waitingAppends = sync.Pool{New: func() any { return &waitingAppend{done: make(chan struct{}, 1)} }}

// add appends to a log that is there; see Valkey.added for the errors. When ctx ends before
// the append was sent, nothing was changed.
func (a *appender) add(ctx context.Context, r oneAppend) (AppendResult, error) {
	a.mu.Lock()
	if !a.busy {
		a.busy = true
		a.mu.Unlock()
		result, err := a.valkey.addNow(ctx, &r)
		if batch := a.next(); batch != nil {
			go a.send(batch)
		}
		return result, err
	}
	w := waitingAppends.Get().(*waitingAppend)
	w.oneAppend, w.sent, w.result = r, false, AppendResult{}
	a.waiting = append(a.waiting, w)
	a.mu.Unlock()
	select {
	case <-w.done:
		result, err := w.result, w.err
		w.oneAppend, w.err = oneAppend{}, nil
		waitingAppends.Put(w)
		return result, err
	case <-ctx.Done():
		return AppendResult{}, a.abandon(w, ctx.Err())
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
	for n < len(a.waiting) && n < batchEntries && (n == 0 || size+a.waiting[n].size() <= batchBytes) {
		size += a.waiting[n].size()
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
	for ; batch != nil; batch = a.next() {
		ctx, cancel := context.WithTimeout(context.Background(), a.valkey.cfg.CallTimeout)
		a.valkey.addTogether(ctx, batch)
		cancel()
		for _, w := range batch {
			w.done <- struct{}{}
		}
	}
}

// addNow makes one append.
func (v *Valkey) addNow(ctx context.Context, r *oneAppend) (AppendResult, error) {
	if r.once == "" {
		p, err := v.added(v.main.Do(ctx, v.xadd(r.log, r.entry)))
		return AppendResult{Position: p}, err
	}
	b := newScriptedBatch(r.log, 1)
	b.add(r)
	reply, err := v.answered(v.evaluate(ctx, batchScript, b.keys, b.args))
	if err != nil {
		return AppendResult{}, err
	}
	results, err := b.results(reply)
	if err != nil {
		return AppendResult{}, err
	}
	return results[0], nil
}

// addTogether makes the appends of a batch in one round trip, and sets what became of each.
func (v *Valkey) addTogether(ctx context.Context, batch []*waitingAppend) {
	commands := make([]valkey.Completed, 0, len(batch))
	var keyed []*keyedAppends
	for _, w := range batch {
		if w.once == "" {
			commands = append(commands, v.xadd(w.log, w.entry))
		} else {
			keyed = withKeyed(keyed, w)
		}
	}
	for _, k := range keyed {
		commands = append(commands, v.evalsha(batchScript, k.keys, k.args))
	}
	results := v.main.DoMulti(ctx, commands...)
	for _, w := range batch {
		if w.once == "" {
			w.result.Position, w.err = v.added(results[0])
			results = results[1:]
		}
	}
	for i, k := range keyed {
		k.tell(v.answered(v.withText(ctx, results[i], batchScript, k.keys, k.args)))
	}
}

// keyedAppends are those of a batch that have a key, of one hub.
type keyedAppends struct {
	scriptedBatch
	of []*waitingAppend
}

// withKeyed puts an append among those of its hub; a bucket has few hubs.
func withKeyed(list []*keyedAppends, w *waitingAppend) []*keyedAppends {
	i := slices.IndexFunc(list, func(k *keyedAppends) bool { return k.keys[0] == w.log })
	if i < 0 {
		i, list = len(list), append(list, &keyedAppends{scriptedBatch: newScriptedBatch(w.log, 1)})
	}
	list[i].add(&w.oneAppend)
	list[i].of = append(list[i].of, w)
	return list
}

// tell sets what became of each.
func (k *keyedAppends) tell(reply []valkey.ValkeyMessage, err error) {
	var results []AppendResult
	if err == nil {
		results, err = k.results(reply)
	}
	for i, w := range k.of {
		if w.err = err; err == nil {
			w.result = results[i]
		}
	}
}
