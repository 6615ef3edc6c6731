package streams

import (
	"context"
	"errors"
	"strings"
	"time"

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
	appends := make([]oneAppend, len(items))
	b := make(scriptedBatch, len(items))
	for i := range items {
		appends[i] = k.request(&items[i])
		b[i] = &appends[i]
	}
	err = v.withLog(ctx, hub, func() error {
		results, err = b.results(v.evaluateDurably(ctx, b))
		return err
	})
	return results, err
}

// scriptedBatch is what batch.lua takes: appends to the log of one hub, of which there is at least one.
type scriptedBatch []*oneAppend

// arguments are the script's. With again it writes what it finds, too.
func (b scriptedBatch) arguments(again bool) (keys, args []string) {
	hub := b[0].hub
	keep := time.Duration(0)
	for _, r := range b {
		if r.key != "" {
			keep = max(keep, r.keep, time.Millisecond)
		}
	}
	if keep == 0 { // none has a key
		args = make([]string, len(b))
		for i, r := range b {
			args[i] = r.entry
		}
		return []string{hub.log()}, args
	}
	const first = 2
	args = make([]string, first+3*len(b))
	args[0], args[1] = ms(keep), boolArg(again)
	for i, r := range b {
		at := args[first+i:]
		at[0], at[len(b)], at[2*len(b)] = r.key, r.sum, r.entry
	}
	return []string{hub.log(), hub.keys(), hub.keysAside()}, args
}

// results reads what batch.lua answered, if it did: what became of each append, or errNoLog.
func (b scriptedBatch) results(reply []valkey.ValkeyMessage, err error) ([]AppendResult, error) {
	if err != nil {
		return nil, err
	}
	if reply, err = status(reply); err != nil {
		return nil, err
	}
	a := answer{rest: reply}
	text := a.text()
	results := make([]AppendResult, len(b))
	for i := range results {
		var one string
		one, text, _ = strings.Cut(text, " ")
		r := &results[i]
		if r.KeyReused = one == "!"; r.KeyReused {
			continue
		}
		one, r.Replayed = strings.CutPrefix(one, "=")
		if r.Position = a.parse(one); r.Position.IsZero() {
			a.err = errAnswer
		}
	}
	if a.err == nil && text != "" {
		a.err = errAnswer
	}
	return results, a.err
}

// answered is what a script answered that may have appended without a key. Who cannot know what became of it is told so.
func (v *Valkey) answered(result valkey.ValkeyResult) ([]valkey.ValkeyMessage, error) {
	reply, err := result.ToArray()
	if err != nil {
		v.observe(err)
	}
	return reply, classifyAppend(err)
}

// evaluateDurably makes a batch, and waits for replicas if appends do. WAIT counts what its own connection has written: so
// what was appended before, maybe by another, is written again.
func (v *Valkey) evaluateDurably(ctx context.Context, b scriptedBatch) ([]valkey.ValkeyMessage, error) {
	keys, args := b.arguments(v.cfg.Durable > 0)
	if v.cfg.Durable == 0 {
		return v.answered(v.evaluate(ctx, batchScript, keys, args))
	}
	done, waited := v.andWait(ctx, func() valkey.Completed { return v.evalsha(batchScript, keys, args) })
	if hasReply(done.Error(), "NOSCRIPT ") {
		done, waited = v.andWait(ctx, func() valkey.Completed { return v.eval(batchScript, keys, args) })
	}
	reply, err := v.answered(done)
	if err != nil {
		return nil, err
	}
	if err := v.waited(waited); err != nil {
		return nil, errors.Join(ErrOutcomeUnknown, err)
	}
	return reply, nil
}
