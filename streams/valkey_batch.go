package streams

import (
	"context"
	"errors"
	"slices"
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

// scriptedBatch is what one script appends: to the log of one hub, at least one entry.
type scriptedBatch []*oneAppend

// hasKeys tells whether any of the appends has a key: then they are batch.lua's, else bundles.lua's.
func (b scriptedBatch) hasKeys() bool {
	return slices.ContainsFunc(b, func(r *oneAppend) bool { return r.key != "" })
}

// arguments are the script's, and which it is. With again it writes what it finds, too.
func (b scriptedBatch) arguments(again bool) (s *script, keys, args []string) {
	hub := b[0].hub
	if !b.hasKeys() {
		return bundlesScript, []string{hub.log()}, inBundles(b)
	}
	keep := time.Millisecond
	for _, r := range b {
		if r.key != "" {
			keep = max(keep, r.keep)
		}
	}
	const first = 2
	args = make([]string, first+3*len(b))
	args[0], args[1] = ms(keep), boolArg(again)
	for i, r := range b {
		at := args[first+i:]
		at[0], at[len(b)], at[2*len(b)] = r.key, r.sum, r.entry
	}
	return batchScript, []string{hub.log(), hub.keys(), hub.keysAside()}, args
}

// results reads what the script answered, if it did: what became of each append, or errNoLog.
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
	if !b.hasKeys() {
		p := a.parse(text)
		if p.IsZero() {
			a.err = errAnswer
		}
		for i := range results {
			results[i].Position, p = p, p.next()
		}
		return results, a.err
	}
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
	s, keys, args := b.arguments(v.cfg.Durable > 0)
	if v.cfg.Durable == 0 {
		return v.answered(v.evaluate(ctx, s, keys, args))
	}
	done, waited := v.andWait(ctx, func() []valkey.Completed { return []valkey.Completed{v.evalsha(s, keys, args)} })
	if hasReply(done[0].Error(), "NOSCRIPT ") {
		done, waited = v.andWait(ctx, func() []valkey.Completed { return []valkey.Completed{v.eval(s, keys, args)} })
	}
	reply, err := v.answered(done[0])
	if err != nil {
		return nil, err
	}
	if err := v.waited(waited); err != nil {
		return nil, errors.Join(ErrOutcomeUnknown, err)
	}
	return reply, nil
}
