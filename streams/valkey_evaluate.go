package streams

import (
	"context"

	"github.com/valkey-io/valkey-go"
)

// scriptsAtOnce limits the scripts that go together; what is left over goes with the next.
const scriptsAtOnce = 64

// evaluator sends the scripts of one bucket, together where several are to go: of what a single script costs, about a half are the
// system calls that bring it, at both ends. Each is a step of its own nevertheless, and fails alone.
type evaluator struct {
	valkey *Valkey
	turns  turns[evaluation]
}

// evaluation is a script with its keys and arguments, and its answer.
type evaluation struct {
	command valkey.Completed
	result  valkey.ValkeyResult
}

func (e *evaluator) init(v *Valkey) {
	e.valkey = v
	e.turns.send, e.turns.timeout = e.send, v.cfg.CallTimeout
	e.turns.fit = func(waiting []*turn[evaluation]) int { return min(len(waiting), scriptsAtOnce) }
}

// do sends a script and returns its answer. When ctx ends before it was sent, that is a notSentError, and nothing was changed.
func (e *evaluator) do(ctx context.Context, command valkey.Completed) (valkey.ValkeyMessage, error) {
	if e.turns.begin() {
		defer e.turns.goOn()
		return e.valkey.main.Do(ctx, command).ToMessage()
	}
	one, err := e.turns.wait(ctx, evaluation{command: command})
	if err != nil {
		return valkey.ValkeyMessage{}, err
	}
	return one.result.ToMessage()
}

func (e *evaluator) send(ctx context.Context, batch []*turn[evaluation]) {
	commands := make([]valkey.Completed, len(batch))
	for i, w := range batch {
		commands[i] = w.request.command
	}
	for i, result := range e.valkey.main.DoMulti(ctx, commands...) {
		batch[i].request.result = result
	}
}
