package streams

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/valkey-io/valkey-go"
)

// AppendAll implements Log: one script.
func (v *Valkey) AppendAll(ctx context.Context, hub string, items []OnceRequest) ([]AppendResult, error) {
	if len(items) == 0 {
		return nil, nil
	}
	ctx, end, err := v.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	keys, args := v.batch(hub, items)
	results, err := v.appendAll(ctx, keys, args)
	if err != errNoLog {
		return results, err
	}
	if _, err := v.verify(ctx, hub, VerifyRequest{}); err != nil {
		return nil, err
	}
	if results, err = v.appendAll(ctx, keys, args); err == errNoLog {
		err = fmt.Errorf("%w: the log was lost again", ErrUnavailable)
	}
	return results, err
}

// batch is what batch.lua takes.
func (v *Valkey) batch(hub string, items []OnceRequest) (keys, args []string) {
	k := v.keys.hub(hub)
	keys = append(keys, k.log())
	args = make([]string, 0, 4*len(items))
	for i := range items {
		item := &items[i]
		if item.Key == "" {
			args = append(args, "0", "", "", string(item.Entry))
			continue
		}
		keys = append(keys, k.once(item.Key))
		args = append(args, strconv.Itoa(len(keys)), item.Sum, strconv.FormatInt(max(item.Keep.Milliseconds(), 1), 10), string(item.Entry))
	}
	return keys, args
}

func (v *Valkey) appendAll(ctx context.Context, keys, args []string) ([]AppendResult, error) {
	reply, err := v.evaluateDurably(ctx, batchScript, keys, args)
	if err != nil {
		return nil, err
	}
	if reply, err = status(reply); err != nil {
		return nil, err
	}
	a := answer{rest: reply}
	list := answer{rest: a.list(), err: a.err}
	results := make([]AppendResult, 0, len(args)/4)
	for len(list.rest) > 0 && list.err == nil {
		p := list.position() // zero for a key that was used before
		results = append(results, AppendResult{Position: p, Replayed: list.int() == 1 && !p.IsZero(), KeyReused: p.IsZero()})
	}
	if list.err == nil && len(results) != len(args)/4 {
		list.err = errAnswer
	}
	return results, list.err
}

// evaluateDurably runs a script that appends once, and waits for replicas if appends do. Who cannot know what became of it is told so.
func (v *Valkey) evaluateDurably(ctx context.Context, s *script, keys, args []string) ([]valkey.ValkeyMessage, error) {
	if v.cfg.Durable == 0 {
		reply, err := v.evaluate(ctx, s, keys, args).ToArray()
		if err != nil {
			v.observe(err)
		}
		return reply, classifyAppend(err)
	}
	for {
		command := v.main.B().Evalsha().Sha1(s.sha).Numkeys(int64(len(keys))).Key(keys...).Arg(args...).Build()
		results := v.main.DoMulti(ctx, command, v.wait())
		reply, err := results[0].ToArray()
		if hasReply(err, "NOSCRIPT ") {
			if err := v.main.Do(ctx, v.main.B().ScriptLoad().Script(s.text).Build()).Error(); err != nil {
				v.observe(err)
				mapped, _ := classify(err)
				return nil, mapped
			}
			continue
		}
		if err != nil {
			v.observe(err)
			return nil, classifyAppend(err)
		}
		if err := v.waited(results[1]); err != nil {
			return nil, errors.Join(ErrOutcomeUnknown, err)
		}
		return reply, nil
	}
}
