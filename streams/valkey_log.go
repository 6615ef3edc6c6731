package streams

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/valkey-io/valkey-go"

	"hubstream/internal/sleep"
)

// Append implements Log: one command, sent together with those of other callers.
func (v *Valkey) Append(ctx context.Context, hub string, entry []byte) (p Position, err error) {
	ctx, end, err := v.begin(ctx)
	if err != nil {
		return Position{}, err
	}
	defer end()
	r := oneAppend{hub: v.keys.hub(hub), entry: textOf(entry)}
	err = v.withLog(ctx, hub, func() error {
		p, err = v.add(ctx, hub, r)
		return err
	})
	return p, err
}

// add appends to a log that is there: a lost log must not be made anew in silence.
func (v *Valkey) add(ctx context.Context, hub string, r oneAppend) (Position, error) {
	if v.cfg.Durable > 0 {
		return v.addDurably(ctx, &r)
	}
	result, err := v.appenders[Bucket(hub)].add(ctx, r)
	return result.Position, err
}

func (v *Valkey) xadd(hub hubKeys, entry string) valkey.Completed {
	return v.main.B().Xadd().Key(hub.log()).Nomkstream().Id("*").FieldValue().FieldValue("e", entry).Build()
}

func (v *Valkey) added(answer valkey.ValkeyMessage, err error) (Position, error) {
	if valkey.IsValkeyNil(err) {
		return Position{}, errNoLog
	}
	if err != nil {
		v.observe(err)
		return Position{}, classifyAppend(err)
	}
	id, err := answer.ToString()
	if err != nil {
		return Position{}, errAnswer
	}
	return ParsePosition(id)
}

// addDurably appends and waits for replicas. An entry that too few of them have may be lost with the primary.
func (v *Valkey) addDurably(ctx context.Context, r *oneAppend) (Position, error) {
	appended, waited := v.andWait(ctx, func() []valkey.Completed { return v.xadds(nil, r) })
	p, err := v.addedBy(appended)
	if err != nil {
		return p, err
	}
	if err := v.waited(waited); err != nil {
		return Position{}, fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
	}
	return p, nil
}

// andWait makes commands and waits for replicas, on a connection of its own, which is blocked meanwhile. On one connection, too, in a
// cluster that sends a command on to another server: replicas of the first would say that they have what they never got. Who is sent on
// has changed nothing, and finds the other by and by.
func (v *Valkey) andWait(ctx context.Context, commands func() []valkey.Completed) (done []valkey.ValkeyResult, waited valkey.ValkeyResult) {
	for pause := repeatPause; ; pause *= 2 {
		conn, release := v.main.Dedicate()
		results := conn.DoMulti(ctx, append(commands(), v.wait())...)
		last := len(results) - 1
		done, waited = results[:last], results[last]
		if slices.ContainsFunc(results, func(r valkey.ValkeyResult) bool { return r.NonValkeyError() != nil }) {
			conn.Close() // what it was waiting for may come yet
		}
		release()
		sentOn := slices.ContainsFunc(done, func(r valkey.ValkeyResult) bool { return isSentOn(r.Error()) })
		if !sentOn || sleep.For(ctx, pause) != nil {
			return done, waited
		}
	}
}

func (v *Valkey) wait() valkey.Completed {
	return v.main.B().Wait().Numreplicas(int64(v.cfg.Durable)).Timeout(v.cfg.DurableTimeout.Milliseconds()).Build()
}

func (v *Valkey) waited(result valkey.ValkeyResult) error {
	n, err := result.AsInt64()
	if err == nil && n < int64(v.cfg.Durable) {
		err = fmt.Errorf("%d of %d replicas have it", n, v.cfg.Durable)
	}
	return err
}

// AppendOnce implements Log: a script, which makes the keyed appends of other callers, too.
func (v *Valkey) AppendOnce(ctx context.Context, hub string, r OnceRequest) (p Position, replayed bool, err error) {
	ctx, end, err := v.begin(ctx)
	if err != nil {
		return Position{}, false, err
	}
	defer end()
	one := v.keys.hub(hub).request(&r)
	result, err := v.addOnce(ctx, hub, one)
	if err == nil && v.cfg.Durable > 0 && !result.KeyReused {
		result, err = v.addOnceDurably(ctx, one, result)
	}
	if err == nil && result.KeyReused {
		err = ErrKeyReused
	}
	if err != nil {
		return Position{}, false, err
	}
	return result.Position, result.Replayed, nil
}

// addOnce makes an append that has a key, and so may be repeated until an answer comes or the call's time is over.
func (v *Valkey) addOnce(ctx context.Context, hub string, r oneAppend) (result AppendResult, err error) {
	var unknown error
	for pause := repeatPause; ; pause *= 2 {
		err = v.withLog(ctx, hub, func() error {
			result, err = v.appenders[Bucket(hub)].add(ctx, r)
			return err
		})
		if errors.Is(err, ErrOutcomeUnknown) {
			unknown = err
		}
		again := errors.Is(err, ErrOutcomeUnknown) || errors.Is(err, errPassing)
		if !again || ctx.Err() != nil || sleep.For(ctx, pause) != nil {
			break
		}
	}
	if err != nil && unknown != nil {
		err = unknown
	}
	return result, err
}

// addOnceDurably waits until replicas have what addOnce has appended or found. It appends again if that was lost meanwhile.
func (v *Valkey) addOnceDurably(ctx context.Context, r oneAppend, first AppendResult) (AppendResult, error) {
	b := scriptedBatch{&r}
	results, err := b.results(v.evaluateDurably(ctx, b))
	if err != nil {
		return AppendResult{}, fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
	}
	if results[0].Replayed {
		return first, nil
	}
	return results[0], nil
}

// Range implements Log. A transaction instead of a script: a script would make a
// Lua value of every entry on the way.
func (v *Valkey) Range(ctx context.Context, hub string, after Position, limit int) (RangeReply, error) {
	ctx, end, err := v.begin(ctx)
	if err != nil {
		return RangeReply{}, err
	}
	defer end()
	for pause := repeatPause; ; pause *= 2 {
		reply, err := v.readRange(ctx, v.keys.hub(hub), after, limit)
		if err == nil {
			return reply, nil
		}
		v.observe(err)
		mapped, repeatable := classify(err)
		if !repeatable || ctx.Err() != nil || sleep.For(ctx, pause) != nil {
			return RangeReply{}, mapped
		}
	}
}

func (v *Valkey) readRange(ctx context.Context, k hubKeys, after Position, limit int) (RangeReply, error) {
	start := "(" + after.String()
	if after == lastPosition {
		start = "+" // Valkey finds nothing after it, and calls that an error
	}
	b := v.main.B()
	results := v.main.DoMulti(ctx,
		b.Multi().Build(),
		b.Hmget().Key(k.meta()).Field("gen", "floor", "top").Build(),
		b.Xrevrange().Key(k.log()).End("+").Start("-").Count(1).Build(),
		b.Xrange().Key(k.log()).Start(start).End("+").Count(int64(limit)).Build(),
		b.Exec().Build())
	parts, err := results[len(results)-1].ToArray()
	if err != nil {
		return RangeReply{}, err
	}
	if len(parts) != 3 {
		return RangeReply{}, errAnswer
	}
	meta, err := parts[0].AsStrSlice()
	if err != nil || len(meta) != 3 {
		return RangeReply{}, errAnswer
	}
	newest, _, err := parseEntries(&parts[1], Position{})
	if err != nil {
		return RangeReply{}, err
	}
	a := answer{}
	reply := RangeReply{Gen: meta[0], Floor: a.parse(meta[1])}
	reply.Last = later(reply.Floor, a.parse(meta[2]))
	if n := len(newest); n > 0 {
		reply.Last = later(reply.Last, newest[n-1].Position)
	}
	if reply.Entries, reply.Stored, err = parseEntries(&parts[2], after); err != nil {
		return RangeReply{}, err
	}
	return reply, a.err
}

// parseEntries reads an array of stream entries, what is after a position of them, and returns how many the stream's are. The data is not copied.
func parseEntries(m *valkey.ValkeyMessage, after Position) (entries []RawEntry, stored int, err error) {
	list, err := m.ToArray()
	if err != nil || len(list) == 0 {
		return nil, 0, err
	}
	entries = make([]RawEntry, 0, len(list))
	for i := range list {
		one, err := parseEntry(&list[i])
		if err != nil {
			return nil, 0, errAnswer
		}
		entries = unbundle(entries, one, after)
	}
	return entries, len(list), nil
}

func parseEntry(m *valkey.ValkeyMessage) (e RawEntry, err error) {
	entry, err := m.ToArray()
	if err != nil || len(entry) != 2 {
		return e, errAnswer
	}
	id, err := entry[0].ToString()
	if err != nil {
		return e, err
	}
	if e.Position, err = ParsePosition(id); err != nil {
		return e, err
	}
	fields, err := entry[1].ToArray()
	if err != nil || len(fields) < 2 {
		return e, errAnswer
	}
	e.Data, err = fields[1].ToString()
	return e, err
}

// Trim implements Log.
func (v *Valkey) Trim(ctx context.Context, hub string, upTo Position) (TrimReply, error) {
	k := v.keys.hub(hub)
	reply, err := v.run(ctx, hub, trimScript, []string{k.meta(), k.log()}, []string{upTo.String()})
	if err != nil {
		return TrimReply{}, err
	}
	a := answer{rest: reply}
	return TrimReply{Floor: a.position(), Entries: a.int(), Bytes: a.int()}, a.err
}

// Verify implements Log.
func (v *Valkey) Verify(ctx context.Context, hub string, r VerifyRequest) (VerifyReply, error) {
	ctx, end, err := v.begin(ctx)
	if err != nil {
		return VerifyReply{}, err
	}
	defer end()
	return v.verify(ctx, hub, r)
}

func (v *Valkey) verify(ctx context.Context, hub string, r VerifyRequest) (VerifyReply, error) {
	k := v.keys.hub(hub)
	gen := randomName()
	entry := AppendEntry(nil, &Entry{Kind: KindGen, Owner: gen})
	lost := AppendEntry(nil, &Entry{Kind: KindGen, Owner: gen, Flags: FlagLost})
	reply, err := v.repeat(ctx, hub, verifyScript,
		[]string{k.meta(), k.log(), v.keys.hubs(Bucket(hub))},
		[]string{r.Last.String(), r.Proof.String(), r.ProofEntry, gen, string(entry), hub, r.Gen, string(lost), strconv.Itoa(generationsKept)})
	if err != nil {
		return VerifyReply{}, err
	}
	a := answer{rest: reply}
	verified := VerifyReply{
		Gen:    a.text(),
		Run:    a.text(),
		Floor:  a.position(),
		Last:   a.position(),
		Proven: a.int() == 1,
	}
	if a.err == nil {
		v.bind(Bucket(hub), verified.Run)
	}
	return verified, a.err
}

// answer reads what a script answered, in order; after a failure everything is zero.
type answer struct {
	rest []valkey.ValkeyMessage
	err  error
}

func (a *answer) next() *valkey.ValkeyMessage {
	if len(a.rest) == 0 {
		a.err = errAnswer
		return &valkey.ValkeyMessage{}
	}
	m := &a.rest[0]
	a.rest = a.rest[1:]
	return m
}

// text reads a string; empty if it is nil.
func (a *answer) text() string {
	m := a.next()
	if m.IsNil() || a.err != nil {
		return ""
	}
	s, err := m.ToString()
	if err != nil {
		a.err = errAnswer
	}
	return s
}

func (a *answer) position() Position { return a.parse(a.text()) }

func (a *answer) parse(s string) Position { return parseStored(s, &a.err) }

// parseStored reads a position as scripts keep and tell it: none is empty. What is no position sets failed.
func parseStored(s string, failed *error) Position {
	if s == "" {
		return Position{}
	}
	p, err := ParsePosition(s)
	if err != nil {
		*failed = errAnswer
	}
	return p
}

// int reads an integer, or a text of one; zero if it is nil.
func (a *answer) int() int64 {
	m := a.next()
	if m.IsNil() || a.err != nil {
		return 0
	}
	n, err := m.AsInt64()
	if err != nil {
		a.err = errAnswer
	}
	return n
}

func (a *answer) uint() uint64 { return uint64(a.int()) }

func (a *answer) list() []valkey.ValkeyMessage { return a.elements(a.next()) }

func (a *answer) elements(m *valkey.ValkeyMessage) []valkey.ValkeyMessage {
	if m.IsNil() || a.err != nil {
		return nil
	}
	list, err := m.ToArray()
	if err != nil {
		a.err = errAnswer
	}
	return list
}

// ms is a duration as scripts take it.
func ms(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

func boolArg(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

func uintArg(n uint64) string { return strconv.FormatUint(n, 10) }
