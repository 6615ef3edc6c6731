package streams

import (
	"context"
	"slices"
	"time"

	"github.com/valkey-io/valkey-go"
)

// Limits of one batch of appends; what is left over goes with the next.
const (
	batchEntries = 256
	batchBytes   = 256 << 10 // 256 KiB; one larger entry goes alone
	// bundledFrom is how many of a hub without keys are made by a script, in bundles: from there on it costs less than as many commands.
	bundledFrom = 8
)

// appender sends the appends to one bucket, together where several are to go. Those with a key are made by one script for each hub,
// and so are the others where there are many, or else by a command each; nothing is said about the order of appends that are under way at once.
type appender struct {
	valkey *Valkey
	turns  turns[oneAppend]
}

// oneAppend is an append to a hub's log as Valkey takes it.
type oneAppend struct {
	hub   hubKeys
	entry string
	// With a key it is made once; see OnceRequest.
	key, sum string
	keep     time.Duration
	// what became of it
	result AppendResult
	err    error
}

// request is an append to the hub's log, once if it has a key.
func (h hubKeys) request(r *OnceRequest) oneAppend {
	return oneAppend{hub: h, entry: textOf(r.Entry), key: r.Key, sum: r.Sum, keep: r.Keep}
}

func (r *oneAppend) size() int { return len(r.entry) + len(r.key) + len(r.sum) }

func (a *appender) init(v *Valkey) {
	a.valkey = v
	a.turns.send, a.turns.fit, a.turns.timeout = v.addTogether, inOneBatch, v.cfg.CallTimeout
}

// inOneBatch is how many appends go together.
func inOneBatch(waiting []*turn[oneAppend]) int {
	n, size := 0, 0
	for n < len(waiting) && n < batchEntries && (n == 0 || size+waiting[n].request.size() <= batchBytes) {
		size += waiting[n].request.size()
		n++
	}
	return n
}

// add appends to a log that is there; see Valkey.added for the errors. When ctx ends before
// the append was sent, nothing was changed.
func (a *appender) add(ctx context.Context, r oneAppend) (AppendResult, error) {
	if r.key == "" && a.turns.begin() {
		defer a.turns.goOn()
		p, err := a.valkey.addAlone(ctx, &r)
		return AppendResult{Position: p}, err
	}
	made, err := a.turns.wait(ctx, r)
	if err != nil {
		return AppendResult{}, classifyAppend(err)
	}
	return made.result, made.err
}

// addAlone makes an append in one round trip.
func (v *Valkey) addAlone(ctx context.Context, r *oneAppend) (Position, error) {
	if len(r.entry) < largeBytes {
		return v.added(v.main.Do(ctx, v.xadd(r.hub, r.entry)).ToMessage())
	}
	return v.addedBy(v.main.DoMulti(ctx, v.xadds(nil, r)...))
}

// addTogether makes the appends of a batch in one round trip, and sets what became of each.
func (v *Valkey) addTogether(ctx context.Context, batch []*turn[oneAppend]) {
	var keyed, unkeyed []*hubAppends
	for _, w := range batch {
		if one := &w.request; one.key == "" {
			unkeyed = withAppend(unkeyed, one, len(batch))
		} else {
			keyed = withAppend(keyed, one, len(batch))
		}
	}
	var single scriptedBatch
	scripts := keyed
	for _, a := range unkeyed {
		if len(a.scriptedBatch) >= bundledFrom {
			scripts = append(scripts, a)
		} else {
			single = append(single, a.scriptedBatch...)
		}
	}
	commands := make([]valkey.Completed, 0, 2*len(single)+len(scripts))
	ends := make([]int, 0, len(single)) // of each one's commands
	for _, one := range single {
		commands = v.xadds(commands, one)
		ends = append(ends, len(commands))
	}
	after := len(commands)
	for _, a := range scripts {
		a.script, a.keys, a.args = a.arguments(false)
		commands = append(commands, v.evalsha(a.script, a.keys, a.args))
	}
	results := v.main.DoMulti(ctx, commands...)
	begin := 0
	for i, one := range single {
		one.result.Position, one.err = v.addedBy(results[begin:ends[i]])
		begin = ends[i]
	}
	for i, a := range scripts {
		a.tell(v.answered(v.withText(ctx, results[after+i], a.script, a.keys, a.args)))
	}
}

// hubAppends are those of a batch to one hub that one script makes.
type hubAppends struct {
	scriptedBatch
	script     *script
	keys, args []string
}

// withAppend puts an append among those of its hub; a bucket has few hubs. There will be at most so many: room is made for them where
// all are to one hub.
func withAppend(list []*hubAppends, one *oneAppend, most int) []*hubAppends {
	i := slices.IndexFunc(list, func(a *hubAppends) bool { return a.scriptedBatch[0].hub == one.hub })
	if i < 0 {
		a := &hubAppends{}
		if i = len(list); i == 0 {
			a.scriptedBatch = make(scriptedBatch, 0, most)
		}
		list = append(list, a)
	}
	list[i].scriptedBatch = append(list[i].scriptedBatch, one)
	return list
}

// tell sets what became of each.
func (a *hubAppends) tell(reply []valkey.ValkeyMessage, err error) {
	results, err := a.results(reply, err)
	for i, one := range a.scriptedBatch {
		if one.err = err; err == nil {
			one.result = results[i]
		}
	}
}
