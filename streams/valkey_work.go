package streams

import (
	"context"
	"strconv"
	"time"
)

// keepAccepts is how long a repetition of an Accept is known as such: longer than one is tried.
const keepAccepts = 30 * time.Second

// Accept implements Work.
func (v *Valkey) Accept(ctx context.Context, hub string, r AcceptRequest) (run bool, err error) {
	k := v.keys.hub(hub)
	args := make([]string, 0, 10+len(r.Items))
	args = append(args, r.ID, r.Owner, boolArg(r.Numbered), uintArg(r.Done), uintArg(r.Done+r.Count), r.Worker.Token, ms(r.Worker.Lease),
		strconv.Itoa(r.Limit), string(r.Bell), ms(keepAccepts))
	for _, item := range r.Items {
		args = append(args, string(WorkMessage)+item)
	}
	reply, err := v.run(ctx, hub, acceptScript,
		[]string{k.log(), k.record(r.ID), k.list(r.ID), k.exec(), v.keys.workers(Bucket(hub)), k.accepted(r.Token)}, args)
	if err != nil {
		return false, err
	}
	a := answer{rest: reply}
	return a.int() == 1, a.err
}

// NextWork implements Work.
func (v *Valkey) NextWork(ctx context.Context, hub string, r NextRequest) (NextReply, error) {
	k := v.keys.hub(hub)
	args := []string{r.ID, r.Worker, uintArg(r.Number), r.Call, boolArg(r.Release), string(r.Bell)}
	for _, entry := range r.Entries {
		args = append(args, string(entry))
	}
	reply, err := v.run(ctx, hub, nextScript, []string{k.log(), k.record(r.ID), k.list(r.ID), k.exec(), k.work(r.ID)}, args)
	if err != nil {
		return NextReply{}, err
	}
	a := answer{rest: reply}
	next := NextReply{Number: a.uint(), Item: a.text(), Context: a.text()}
	calls := answer{rest: a.list(), err: a.err}
	for len(calls.rest) > 0 {
		next.Calls = append(next.Calls, calls.text())
	}
	return next, calls.err
}

// Reply implements Work.
func (v *Valkey) Reply(ctx context.Context, hub string, r ReplyRequest) (ReplyReply, error) {
	k := v.keys.hub(hub)
	args := []string{r.ID, r.Worker, r.Call, uintArg(r.Number), boolArg(r.Final)}
	for _, entry := range r.Entries {
		args = append(args, string(entry))
	}
	reply, err := v.run(ctx, hub, replyScript, []string{k.log(), k.record(r.ID), k.list(r.ID), k.exec(), k.work(r.ID)}, args)
	if err != nil {
		return ReplyReply{}, err
	}
	a := answer{rest: reply}
	return ReplyReply{Ended: a.int() == 1, Last: a.position(), Cursor: a.position()}, a.err
}

// Adopt implements Work: the cursor is Valkey's own.
func (v *Valkey) Adopt(ctx context.Context, hub string, r AdoptRequest) (AdoptReply, error) {
	reply, err := v.run(ctx, hub, adoptScript, []string{v.keys.hub(hub).exec(), v.keys.workers(Bucket(hub))},
		[]string{r.Worker.Token, ms(r.Worker.Lease), r.ID, orDefault(r.Cursor, "0"), strconv.Itoa(r.Limit)})
	if err != nil {
		return AdoptReply{}, err
	}
	a := answer{rest: reply}
	adopted := AdoptReply{Next: a.text()}
	if adopted.Next == "0" {
		adopted.Next = ""
	}
	adopted.IDs, err = parseNames(a.rest)
	return adopted, err
}

// KeepWorker implements Work.
func (v *Valkey) KeepWorker(ctx context.Context, bucket int, w Worker) error {
	_, err := v.run(ctx, "", keepScript, []string{v.keys.workers(bucket)}, []string{w.Token, ms(w.Lease)})
	return err
}
