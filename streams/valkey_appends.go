package streams

import (
	"context"
	"fmt"
	"runtime"
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
// the next: a round trip of many costs this node and Valkey little more than that of one, and nobody is waited for.
// Those with a key are made by one script for each hub, the others by a command each; nothing is said about the order of
// appends that are under way at once.
type appender struct {
	valkey *Valkey

	mu      sync.Mutex
	busy    bool // one is on its way
	waiting []*waitingAppend
}

// oneAppend is an append to a hub's log as Valkey takes it.
type oneAppend struct {
	hub   hubKeys
	entry string
	// With a key it is made once; see OnceRequest.
	key, sum string
	keep     time.Duration
}

// request is an append to the hub's log, once if it has a key.
func (h hubKeys) request(r *OnceRequest) oneAppend {
	return oneAppend{hub: h, entry: string(r.Entry), key: r.Key, sum: r.Sum, keep: r.Keep}
}

func (r *oneAppend) size() int { return len(r.entry) + len(r.key) + len(r.sum) }

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
	idle := !a.busy
	a.busy = true
	if idle && r.key == "" {
		a.mu.Unlock()
		p, err := a.valkey.added(a.valkey.main.Do(ctx, a.valkey.xadd(&r)))
		a.goOn()
		return AppendResult{Position: p}, err
	}
	w := waitingAppends.Get().(*waitingAppend)
	w.oneAppend, w.sent, w.result = r, false, AppendResult{}
	a.waiting = append(a.waiting, w)
	if idle {
		go a.send()
	}
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

// goOn sends what waits, if anything does.
func (a *appender) goOn() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.busy = len(a.waiting) > 0; a.busy {
		go a.send()
	}
}

// send sends batches until nobody waits. They have a deadline of their own: a caller that gives up must not take the
// others with it.
func (a *appender) send() {
	for {
		// Those who can run now may be about to append. They run first: what a batch costs by itself, a script above all, is
		// then shared by more.
		runtime.Gosched()
		batch := a.next()
		if batch == nil {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), a.valkey.cfg.CallTimeout)
		a.valkey.addTogether(ctx, batch)
		cancel()
		for _, w := range batch {
			w.done <- struct{}{}
		}
	}
}

// addTogether makes the appends of a batch in one round trip, and sets what became of each.
func (v *Valkey) addTogether(ctx context.Context, batch []*waitingAppend) {
	commands := make([]valkey.Completed, 0, len(batch))
	var keyed []*keyedAppends
	for _, w := range batch {
		if w.key == "" {
			commands = append(commands, v.xadd(&w.oneAppend))
		} else {
			keyed = withKeyed(keyed, w, len(batch))
		}
	}
	for _, k := range keyed {
		k.keys, k.args = k.arguments(false)
		commands = append(commands, v.evalsha(batchScript, k.keys, k.args))
	}
	results := v.main.DoMulti(ctx, commands...)
	for _, w := range batch {
		if w.key == "" {
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
	of         []*waitingAppend
	keys, args []string
}

// withKeyed puts an append among those of its hub; a bucket has few hubs. There will be at most so many.
func withKeyed(list []*keyedAppends, w *waitingAppend, most int) []*keyedAppends {
	i := slices.IndexFunc(list, func(k *keyedAppends) bool { return k.of[0].hub == w.hub })
	if i < 0 {
		i, list = len(list), append(list, &keyedAppends{
			scriptedBatch: make(scriptedBatch, 0, most), of: make([]*waitingAppend, 0, most),
		})
	}
	list[i].scriptedBatch = append(list[i].scriptedBatch, &w.oneAppend)
	list[i].of = append(list[i].of, w)
	return list
}

// tell sets what became of each.
func (k *keyedAppends) tell(reply []valkey.ValkeyMessage, err error) {
	results, err := k.results(reply, err)
	for i, w := range k.of {
		if w.err = err; err == nil {
			w.result = results[i]
		}
	}
}
