package streams

import (
	"context"
	"errors"
	"strconv"

	"github.com/valkey-io/valkey-go"
)

// touchedAtOnce limits the records of one script, which holds up everybody else.
const touchedAtOnce = 200

// createArg is the argument of open.lua that says whether a connection may be created.
const createArg = 13

// Open implements Records.
func (v *Valkey) Open(ctx context.Context, hub string, r OpenRequest) (OpenReply, error) {
	k := v.keys.hub(hub)
	keys := []string{k.meta(), k.log(), k.live(), k.record(r.ID)}
	if r.User != "" {
		keys = append(keys, k.memberships(r.User))
	}
	args := []string{
		strconv.Itoa(int(r.Mode)), r.ID, r.User, r.Owner, strconv.FormatInt(r.CreateUntil, 10), ms(r.Lease), ms(r.NewLease),
		r.Mark, boolArg(r.Force), uintArg(r.Ticket), uintArg(r.Membership), string(r.Moved), randomName(), "1",
		r.UserMembership.String(), string(k), strconv.FormatInt(since(r.Arrived), 10),
		boolArg(r.Unique), boolArg(r.Continued),
	}
	if r.Mode == OpenPost && r.Handshake != nil {
		args = append(args, r.Handshake.Token, string(r.Handshake.Reply), uintArg(uint64(r.Handshake.Protocol)), uintArg(uint64(r.Handshake.Version)))
	}
	reply, err := v.run(ctx, hub, openScript, keys, args)
	if errors.Is(err, ErrFull) {
		// What is there goes on; nothing new begins.
		args[createArg] = "0"
		reply, err = v.run(ctx, hub, openFullScript, keys, args)
	}
	if err != nil {
		return OpenReply{}, err
	}
	return parseOpen(&r, reply)
}

// Lookup implements Records.
func (v *Valkey) Lookup(ctx context.Context, hub, id string) (OpenReply, error) {
	k := v.keys.hub(hub)
	reply, err := v.run(ctx, hub, lookupScript, []string{k.meta(), k.log(), k.record(id)}, []string{string(k)})
	if err != nil {
		return OpenReply{}, err
	}
	return parseOpen(&OpenRequest{ID: id}, reply)
}

// Handshake implements Records.
func (v *Valkey) Handshake(ctx context.Context, hub string, r HandshakeRequest) (HandshakeReply, error) {
	k := v.keys.hub(hub)
	reply, err := v.run(ctx, hub, handshakeScript,
		[]string{k.meta(), k.log(), k.live(), k.record(r.ID), k.list(r.ID), k.exec(), v.keys.workers(Bucket(hub)), k.work(r.ID)},
		[]string{
			r.ID, r.Owner, strconv.Itoa(int(r.Protocol)), strconv.Itoa(int(r.Version)), string(r.Reply),
			boolArg(r.Refused), ms(r.Lease), randomName(), boolArg(r.Connected), r.Context, r.Worker.Token, ms(r.Worker.Lease),
			string(k), boolArg(r.Rename), r.User,
		})
	if err != nil {
		return HandshakeReply{}, err
	}
	a := answer{rest: reply}
	return HandshakeReply{Start: a.position(), Run: a.int() == 1}, a.err
}

// Answer implements Records.
func (v *Valkey) Answer(ctx context.Context, hub string, r AnswerRequest) (uint64, error) {
	k := v.keys.hub(hub)
	reply, err := v.run(ctx, hub, answerScript,
		[]string{k.meta(), k.log(), k.live(), k.record(r.ID)},
		[]string{r.ID, r.Owner, r.Sent.String(), r.Mark, strconv.FormatInt(since(r.Arrived), 10), ms(r.Lease), boolArg(r.Unique)})
	if err != nil {
		return 0, err
	}
	a := answer{rest: reply}
	return a.uint(), a.err
}

// Continue implements Records.
func (v *Valkey) Continue(ctx context.Context, hub string, r ContinueRequest) (uint64, error) {
	ctx, end, err := v.begin(ctx)
	if err != nil {
		return 0, err
	}
	defer end()
	k := v.keys.hub(hub)
	reply, err := v.evaluateJoined(ctx, hub, continueScript,
		[]string{k.meta(), k.log(), k.live(), k.record(r.ID)},
		[]string{
			r.ID, r.Owner, r.Sent.String(), r.Mark, strconv.FormatInt(since(r.Arrived), 10), ms(r.Lease),
			boolArg(r.Unique), r.Gen, r.Last, uintArg(r.Answers), r.From.String(),
		})
	var n int64
	if err == nil {
		n, err = reply.AsInt64()
	}
	if err != nil {
		v.observe(err)
		return 0, classifyAppend(err)
	}
	return uint64(n), nil
}

// Wrote implements Records.
func (v *Valkey) Wrote(ctx context.Context, hub, id string, n uint64, ok bool) error {
	field := "f"
	if ok {
		field = "w"
	}
	_, err := v.run(ctx, hub, wroteScript, []string{v.keys.hub(hub).record(id)}, []string{field, uintArg(n)})
	return err
}

// Abandon implements Records.
func (v *Valkey) Abandon(ctx context.Context, hub, id string, ticket uint64) error {
	_, err := v.run(ctx, hub, abandonScript, []string{v.keys.hub(hub).record(id)}, []string{uintArg(ticket)})
	return err
}

// Touch implements Records. Many items are several steps.
func (v *Valkey) Touch(ctx context.Context, hub string, items []TouchItem) (refused []string, err error) {
	for len(items) > 0 {
		n := min(len(items), touchedAtOnce)
		list, err := v.touch(ctx, hub, items[:n])
		if err != nil {
			return nil, err
		}
		refused = append(refused, list...)
		items = items[n:]
	}
	return refused, nil
}

func (v *Valkey) touch(ctx context.Context, hub string, items []TouchItem) (refused []string, err error) {
	k := v.keys.hub(hub)
	keys := make([]string, 0, 3+len(items))
	keys = append(keys, k.meta(), k.log(), k.live())
	args := make([]string, 0, 7*len(items))
	for i := range items {
		item := &items[i]
		keys = append(keys, k.record(item.ID))
		args = append(args, item.ID, item.Owner, ms(item.Lease), item.notes(), item.Cursor.String(), uintArg(item.Acked), string(item.Leaving))
	}
	reply, err := v.run(ctx, hub, touchScript, keys, args)
	if err != nil {
		return nil, err
	}
	return parseNames(reply)
}

// notes is what the script is to note.
func (t *TouchItem) notes() string {
	var notes []byte
	if t.Save {
		notes = append(notes, 's')
	}
	if t.Heard {
		notes = append(notes, 'h')
	}
	if t.Detached {
		notes = append(notes, 'd')
	}
	return string(notes)
}

// parseNames reads an answer that is one list of names.
func parseNames(reply []valkey.ValkeyMessage) ([]string, error) {
	a := answer{rest: reply}
	names := answer{rest: a.list(), err: a.err}
	var list []string
	for len(names.rest) > 0 {
		list = append(list, names.text())
	}
	return list, names.err
}

// Finish implements Records.
func (v *Valkey) Finish(ctx context.Context, hub string, r FinishRequest) (Position, error) {
	k := v.keys.hub(hub)
	args := make([]string, 0, 3+len(r.Entries))
	args = append(args, r.Owner, uintArg(r.Done), uintArg(r.Done+r.Count))
	for _, entry := range r.Entries {
		args = append(args, string(entry))
	}
	reply, err := v.run(ctx, hub, finishScript, []string{k.log(), k.record(r.ID)}, args)
	if err != nil {
		return Position{}, err
	}
	a := answer{rest: reply}
	return a.position(), a.err
}

// Join implements Records.
func (v *Valkey) Join(ctx context.Context, hub string, r JoinRequest) (JoinReply, error) {
	k := v.keys.hub(hub)
	keys := []string{k.meta(), k.log(), k.record(r.ID)}
	args := []string{r.ID, strconv.Itoa(int(r.Verb)), string(k), string(r.Entry), strconv.Itoa(MaxGroups)}
	if r.Verb != VerbLeaveAll {
		args = append(args, r.Groups...)
	}
	reply, err := v.run(ctx, hub, joinScript, keys, args)
	if err != nil {
		return JoinReply{}, err
	}
	a := answer{rest: reply}
	return JoinReply{Position: a.position(), Changed: a.int() == 1}, a.err
}

// CloseConnection implements Records.
func (v *Valkey) CloseConnection(ctx context.Context, hub, id string, entry []byte) (Position, error) {
	k := v.keys.hub(hub)
	reply, err := v.run(ctx, hub, closeScript, []string{k.log(), k.record(id)}, []string{string(entry), randomName()})
	if err != nil {
		return Position{}, err
	}
	a := answer{rest: reply}
	return a.position(), a.err
}

// End implements Records.
func (v *Valkey) End(ctx context.Context, hub string, r EndRequest) (EndReply, error) {
	k := v.keys.hub(hub)
	reply, err := v.run(ctx, hub, endScript,
		[]string{k.log(), k.live(), k.record(r.ID), k.meta(), k.list(r.ID), k.exec(), v.keys.workers(Bucket(hub)), k.work(r.ID)},
		[]string{
			r.ID, r.Owner, boolArg(r.OnlyExpired), r.Token, string(r.Entry), ms(r.Tombstone), string(k),
			r.Worker.Token, ms(r.Worker.Lease), r.Reason, string(r.Bell), boolArg(r.Bury),
		})
	if err != nil {
		return EndReply{}, err
	}
	a := answer{rest: reply}
	end := EndReply{Outcome: EndOutcome(a.int())}
	if end.Outcome == EndDone {
		end.Position = a.position()
		fields, _ := a.packed()
		end.Record = parseRecord(r.ID, fields, &a)
		end.Record.State = storedStates[a.text()]
		end.Run = a.int() == 1
	}
	return end, a.err
}

// Expired implements Records.
func (v *Valkey) Expired(ctx context.Context, hub string, limit int) ([]string, error) {
	reply, err := v.run(ctx, hub, expiredScript, []string{v.keys.hub(hub).live()}, []string{strconv.Itoa(limit)})
	if err != nil {
		return nil, err
	}
	return parseNames(reply)
}

// Count implements Records: the scripts keep a set for each user and group.
func (v *Valkey) Count(ctx context.Context, hub string, of Holder, name string) (int64, error) {
	key := v.keys.hub(hub).connections(of, name)
	reply, err := v.ask(ctx, func() valkey.Completed { return v.main.B().Zcard().Key(key).Build() })
	if err != nil {
		return 0, err
	}
	n, err := reply.AsInt64()
	if err != nil {
		return 0, errAnswer
	}
	return n, nil
}

// List implements Records: the cursor is Valkey's own.
func (v *Valkey) List(ctx context.Context, hub, cursor string, limit int) (ListReply, error) {
	at := uint64(0)
	if cursor != "" {
		var err error
		if at, err = strconv.ParseUint(cursor, 10, 64); err != nil {
			return ListReply{}, ErrPosition
		}
	}
	key := v.keys.hub(hub).live()
	total, err := v.ask(ctx, func() valkey.Completed { return v.main.B().Zcard().Key(key).Build() })
	if err != nil {
		return ListReply{}, err
	}
	count, err := total.AsInt64()
	if err != nil {
		return ListReply{}, errAnswer
	}
	scanned, err := v.ask(ctx, func() valkey.Completed { return v.main.B().Zscan().Key(key).Cursor(at).Count(int64(limit)).Build() })
	if err != nil {
		return ListReply{}, err
	}
	page, err := scanned.AsScanEntry()
	if err != nil || len(page.Elements)%2 != 0 {
		return ListReply{}, errAnswer
	}
	reply := ListReply{Total: count}
	for i := 0; i < len(page.Elements); i += 2 { // each with its score
		reply.IDs = append(reply.IDs, page.Elements[i])
	}
	if page.Cursor != 0 {
		reply.Next = strconv.FormatUint(page.Cursor, 10)
	}
	return reply, nil
}

// Restamp implements Records. Many records are several steps.
func (v *Valkey) Restamp(ctx context.Context, hub, node string, items []RestampItem, from, to string) error {
	k := v.keys.hub(hub)
	for len(items) > 0 {
		n := min(len(items), touchedAtOnce)
		keys, args := []string{k.meta()}, []string{from, to, node, noGeneration}
		for _, item := range items[:n] {
			keys = append(keys, k.record(item.ID))
			args = append(args, item.Owner, strconv.FormatUint(item.Answers, 10))
		}
		if _, err := v.run(ctx, hub, restampScript, keys, args); err != nil {
			return err
		}
		items = items[n:]
	}
	return nil
}
