package streams

import (
	"context"
	"errors"
	"strconv"

	"github.com/valkey-io/valkey-go"
)

// AppendAll implements Log: one script.
func (v *Valkey) AppendAll(ctx context.Context, hub string, items []OnceRequest) (results []AppendResult, err error) {
	if len(items) == 0 {
		return nil, nil
	}
	ctx, end, err := v.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	k := v.keys.hub(hub)
	b := newScriptedBatch(k.log(), len(items))
	for i := range items {
		r := k.request(b.keys[0], &items[i])
		b.add(&r)
	}
	err = v.withLog(ctx, hub, func() error {
		reply, err := v.evaluateDurably(ctx, batchScript, b.keys, b.args)
		if err == nil {
			results, err = b.results(reply)
		}
		return err
	})
	return results, err
}

// scriptedBatch is what batch.lua takes: appends to one log.
type scriptedBatch struct{ keys, args []string }

func newScriptedBatch(log string, n int) scriptedBatch {
	b := scriptedBatch{keys: make([]string, 1, 1+n), args: make([]string, 0, batchArgs*n)}
	b.keys[0] = log
	return b
}

// batchArgs is how many arguments an append has.
const batchArgs = 4

func (b *scriptedBatch) add(r *oneAppend) {
	if r.once == "" {
		b.args = append(b.args, "0", "", "", r.entry)
		return
	}
	b.keys = append(b.keys, r.once)
	b.args = append(b.args, strconv.Itoa(len(b.keys)), r.sum, ms(r.keep), r.entry)
}

// results reads what batch.lua answered: what became of each append, or errNoLog.
func (b *scriptedBatch) results(reply []valkey.ValkeyMessage) ([]AppendResult, error) {
	reply, err := status(reply)
	if err != nil {
		return nil, err
	}
	a := answer{rest: reply}
	list := answer{rest: a.list(), err: a.err}
	n := len(b.args) / batchArgs
	results := make([]AppendResult, 0, n)
	for len(list.rest) > 0 && list.err == nil {
		p := list.position() // zero for a key that was used before
		results = append(results, AppendResult{Position: p, Replayed: list.int() == 1 && !p.IsZero(), KeyReused: p.IsZero()})
	}
	if list.err == nil && len(results) != n {
		list.err = errAnswer
	}
	return results, list.err
}

// answered is what a script answered that may have appended without a key. Who cannot know what became of it is told so.
func (v *Valkey) answered(result valkey.ValkeyResult) ([]valkey.ValkeyMessage, error) {
	reply, err := result.ToArray()
	if err != nil {
		v.observe(err)
	}
	return reply, classifyAppend(err)
}

// evaluateDurably runs a script that appends once, and waits for replicas if appends do.
func (v *Valkey) evaluateDurably(ctx context.Context, s *script, keys, args []string) ([]valkey.ValkeyMessage, error) {
	if v.cfg.Durable == 0 {
		return v.answered(v.evaluate(ctx, s, keys, args))
	}
	for {
		results := v.main.DoMulti(ctx, v.evalsha(s, keys, args), v.wait())
		if hasReply(results[0].Error(), "NOSCRIPT ") {
			if err := v.main.Do(ctx, v.main.B().ScriptLoad().Script(s.text).Build()).Error(); err != nil {
				v.observe(err)
				mapped, _ := classify(err)
				return nil, mapped
			}
			continue
		}
		reply, err := v.answered(results[0])
		if err != nil {
			return nil, err
		}
		if err := v.waited(results[1]); err != nil {
			return nil, errors.Join(ErrOutcomeUnknown, err)
		}
		return reply, nil
	}
}
