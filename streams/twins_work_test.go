package streams_test

import (
	"fmt"
	"slices"

	"hubstream/streams"
)

// The calls of TestMemoryAndValkeyAnswerTheSame that are about groups, users, the log and connections' work.

func (g *twins) join() twinsCall {
	r := streams.JoinRequest{ID: g.id(), Verb: pickOf(g, streams.VerbJoin, streams.VerbLeave, streams.VerbLeaveAll), Entry: []byte("join")}
	if r.Verb != streams.VerbLeaveAll {
		r.Groups = []string{"g1", "g2", "g1"}[:1+g.rng.IntN(3)]
	}
	return twinsCall{fmt.Sprintf("join %+v", r), func(w *twin) (string, error) {
		reply, err := w.Join(g.Context(), twinsHub, r)
		w.follow()
		return fmt.Sprint(w.place(reply.Position), reply.Changed), err
	}}
}

func (g *twins) user() twinsCall {
	group := pickOf(g, "g1", "g3")
	if g.chance(2) {
		r := streams.UserLeaveRequest{User: "u", Verb: streams.VerbLeave, Group: group, Entry: []byte("ul")}
		return twinsCall{fmt.Sprintf("user leaves %+v", r), func(w *twin) (string, error) {
			reply, err := w.LeaveUser(g.Context(), twinsHub, r)
			return fmt.Sprint(w.place(reply.Position), reply.Changed), err
		}}
	}
	r := streams.UserJoinRequest{User: "u", Group: group, Entry: []byte("uj")}
	return twinsCall{fmt.Sprintf("user joins %+v", r), func(w *twin) (string, error) {
		reply, err := w.JoinUser(g.Context(), twinsHub, r)
		return fmt.Sprint(w.place(reply.Position), reply.Changed), err
	}}
}

func (g *twins) trim() twinsCall {
	place := max(0, min(g.place(), len(g.memory.positions)-1)-pickOf(g, 0, 3, 3))
	for g.memory.inside[g.memory.at(place)] {
		place--
	}
	return twinsCall{fmt.Sprint("trim up to ", place), func(w *twin) (string, error) {
		reply, err := w.Trim(g.Context(), twinsHub, w.at(place))
		return w.place(reply.Floor), err
	}}
}

func (g *twins) accept() twinsCall {
	id := g.id()
	r := streams.AcceptRequest{
		ID: id, Numbered: g.chance(2), Done: g.done(id), Count: uint64(g.rng.IntN(3)), Token: fmt.Sprint("at", g.rng.IntN(4), id),
		Items: some(g, "i1", "i2"), Limit: 3, Worker: g.worker(), Bell: []byte("bell"),
	}
	if g.chance(2) {
		r.Owner = g.owner(id)
	}
	return twinsCall{fmt.Sprintf("accept %+v", r), func(w *twin) (string, error) {
		run, err := w.Accept(g.Context(), twinsHub, r)
		return fmt.Sprint(run), err
	}}
}

// work is what a worker does that has finished an item.
func (g *twins) work() twinsCall {
	id := g.id()
	r := streams.NextRequest{
		ID: id, Worker: g.worker().Token, Number: g.given[id], Entries: some(g, twinsEntries("n1")...), Call: pickOf(g, "", "", "c1", "c2"),
		Release: g.chance(6), Bell: []byte("bell"),
	}
	return twinsCall{fmt.Sprintf("next %+v", r), func(w *twin) (string, error) {
		reply, err := w.NextWork(g.Context(), twinsHub, r)
		if err == nil {
			g.given[id] = reply.Number
		}
		slices.Sort(reply.Calls)
		return fmt.Sprintf("%d %q %q %q", reply.Number, reply.Item, reply.Context, reply.Calls), err
	}}
}

func (g *twins) reply() twinsCall {
	r := streams.ReplyRequest{
		ID: g.id(), Worker: g.worker().Token, Call: pickOf(g, "c1", "c2"), Number: uint64(1 + g.rng.IntN(4)), Entries: some(g, twinsEntries("r1")...), Final: g.chance(2),
	}
	return twinsCall{fmt.Sprintf("reply %+v", r), func(w *twin) (string, error) {
		reply, err := w.Reply(g.Context(), twinsHub, r)
		if err == nil && reply.Ended {
			return fmt.Sprint("ended ", w.place(reply.Last)), nil
		}
		return fmt.Sprint(w.place(reply.Last), w.place(reply.Cursor)), err
	}}
}

func (g *twins) adopt() twinsCall {
	r := streams.AdoptRequest{Worker: g.worker(), ID: pickOf(g, "", g.id()), Limit: 10}
	return twinsCall{fmt.Sprintf("adopt %+v", r), func(w *twin) (string, error) {
		reply, err := w.Adopt(g.Context(), twinsHub, r)
		slices.Sort(reply.IDs)
		return fmt.Sprint(reply.IDs), err
	}}
}
