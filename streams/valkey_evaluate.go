package streams

import (
	"context"
	"sync"

	"github.com/valkey-io/valkey-go"
)

// scriptsAtOnce limits the scripts that go together; what is left over goes with the next.
const scriptsAtOnce = 64

// evaluator sends the scripts of one bucket. As with appends, those that come while one is on its way go together with the
// next: of what a single script costs, about a half are the system calls that bring it, at both ends. Each is a step of its own
// nevertheless, and fails alone.
type evaluator struct {
	valkey *Valkey

	mu      sync.Mutex
	busy    bool // some are on their way
	waiting []*waitingScript
}

// waitingScript is a script that waits for its turn, and then for its answer.
type waitingScript struct {
	command valkey.Completed
	sent    bool          // guarded by the evaluator's mutex
	done    chan struct{} // a bell
	result  valkey.ValkeyResult
}

var waitingScripts = sync.Pool{New: func() any { return &waitingScript{done: make(chan struct{}, 1)} }}

// do sends a script and returns its answer. When ctx ends before it was sent, that is the error, and nothing was changed.
func (e *evaluator) do(ctx context.Context, command valkey.Completed) (valkey.ValkeyMessage, error) {
	e.mu.Lock()
	if !e.busy {
		e.busy = true
		e.mu.Unlock()
		reply, err := e.valkey.main.Do(ctx, command).ToMessage()
		if batch := e.next(); batch != nil {
			go e.send(batch)
		}
		return reply, err
	}
	w := waitingScripts.Get().(*waitingScript)
	w.command, w.sent = command, false
	e.waiting = append(e.waiting, w)
	e.mu.Unlock()
	select {
	case <-w.done:
		reply, err := w.result.ToMessage()
		w.command, w.result = valkey.Completed{}, valkey.ValkeyResult{}
		waitingScripts.Put(w)
		return reply, err
	case <-ctx.Done():
		return valkey.ValkeyMessage{}, e.abandon(w, ctx.Err())
	}
}

// abandon takes a script back, if it was not sent yet.
func (e *evaluator) abandon(w *waitingScript, cause error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if w.sent {
		return cause
	}
	for i, other := range e.waiting {
		if other == w {
			e.waiting = append(e.waiting[:i], e.waiting[i+1:]...)
			break
		}
	}
	return &notSentError{cause}
}

// next takes those that go next. Without any, nothing is on its way any more.
func (e *evaluator) next() (batch []*waitingScript) {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := min(len(e.waiting), scriptsAtOnce)
	if n == 0 {
		e.busy = false
		return nil
	}
	batch = e.waiting[:n:n]
	for _, w := range batch {
		w.sent = true
	}
	e.waiting = append(make([]*waitingScript, 0, n), e.waiting[n:]...)
	return batch
}

// send sends until nobody waits. They have a deadline of their own: a caller that gives up must not take the others with it.
func (e *evaluator) send(batch []*waitingScript) {
	commands := make([]valkey.Completed, 0, scriptsAtOnce)
	for ; batch != nil; batch = e.next() {
		ctx, cancel := context.WithTimeout(context.Background(), e.valkey.cfg.CallTimeout)
		commands = commands[:0]
		for _, w := range batch {
			commands = append(commands, w.command)
		}
		for i, result := range e.valkey.main.DoMulti(ctx, commands...) {
			batch[i].result = result
			batch[i].done <- struct{}{}
		}
		cancel()
	}
}
