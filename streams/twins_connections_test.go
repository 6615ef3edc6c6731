package streams_test

import (
	"fmt"
	"time"

	"hubstream/streams"
)

// The calls of TestMemoryAndValkeyAnswerTheSame that are about a connection and its polls.

func (g *twins) open() twinsCall {
	id := g.id()
	mode := g.mode(id)
	r := streams.OpenRequest{
		Mode: mode, ID: id, User: g.users[id], CreateUntil: time.Now().Add(time.Hour).UnixMilli(), Lease: g.lease(), NewLease: g.lease(),
		Mark: g.mark(), Force: g.chance(3), Owner: g.newOwner(id), Continued: g.chance(6),
	}
	r.Moved = []byte("moved " + r.Owner)
	r.Unique = r.Mark != "" && g.chance(2)
	if record, _ := g.record(id); mode == streams.OpenReattach {
		r.Ticket = 1 + uint64(g.rng.IntN(int(record.Tickets)))
	}
	if g.chance(50) {
		r.User = "u"
	}
	if g.chance(20) {
		r.CreateUntil = 1
	}
	if mode == streams.OpenPost && g.chance(2) {
		g.calls += g.rng.IntN(2) // else it is repeated
		r.Handshake = &streams.PostedHandshake{Protocol: 1, Version: 1, Reply: []byte("{}"), Token: fmt.Sprint("t", g.calls)}
	}
	ago := g.ago()
	return twinsCall{fmt.Sprintf("open %+v, %v ago", r, ago), func(w *twin) (string, error) {
		r.Arrived = arrived(ago)
		reply, err := w.Open(g.Context(), twinsHub, r)
		return w.opened(reply), err
	}}
}

// mode is one that the connection was opened with, mostly. Who returns has a ticket.
func (g *twins) mode(id string) streams.OpenMode {
	was := g.modes[id]
	if was == 0 || g.chance(4) {
		was = pickOf(g, streams.OpenWebSocket, streams.OpenWebSocket, streams.OpenEvents, streams.OpenPoll, streams.OpenPost)
		if was != streams.OpenPost {
			g.modes[id] = was
		}
		return was
	}
	record, _ := g.record(id)
	switch {
	case was == streams.OpenWebSocket && record.Tickets > 0 && !g.chance(3):
		return streams.OpenReattach
	case was != streams.OpenWebSocket && g.chance(4):
		return streams.OpenPost
	}
	return was
}

// mark is a time, as in official clients' polls, or none, or another text.
func (g *twins) mark() string {
	return pickOf(g, "", "1764163200010", "1764163200010", "1764163200020", "1764163200030", "x")
}

func (g *twins) handshake() twinsCall {
	id := g.id()
	r := streams.HandshakeRequest{
		ID: id, Owner: g.owner(id), Protocol: uint8(1 + g.rng.IntN(2)), Version: uint8(g.rng.IntN(3)), Refused: g.chance(8), Lease: g.lease(),
		Connected: g.chance(2), Context: "ctx", Worker: g.worker(),
	}
	if g.chance(3) {
		r.Owner = ""
	}
	if g.chance(2) {
		r.Reply = []byte("hs")
	}
	if g.chance(5) {
		r.Rename, r.User = true, pickOf(g, "", "u", "v")
	}
	return twinsCall{fmt.Sprintf("handshake %+v", r), func(w *twin) (string, error) {
		reply, err := w.Handshake(g.Context(), twinsHub, r)
		return fmt.Sprint(w.place(reply.Start), reply.Run), err
	}}
}

func (g *twins) answering(id, owner string) streams.AnswerRequest {
	r := streams.AnswerRequest{ID: id, Owner: owner, Mark: g.mark(), Lease: g.lease()}
	r.Unique = r.Mark != "" && g.chance(2)
	return r
}

func (g *twins) answer() twinsCall {
	id, sent, ago := g.id(), g.place(), g.ago()
	r := g.answering(id, g.owner(id))
	return twinsCall{fmt.Sprintf("answer %+v, up to %d, %v ago", r, sent, ago), func(w *twin) (string, error) {
		r.Sent, r.Arrived = w.at(sent), arrived(ago)
		n, err := w.Answer(g.Context(), twinsHub, r)
		return fmt.Sprint(n), err
	}}
}

// goOn continues from the last answer, if the owner is the one that gave it.
func (g *twins) goOn() twinsCall {
	id, sent, ago := g.id(), g.place(), g.ago()
	last := g.last(id)
	record, _ := g.record(id)
	from := g.memory.number[record.Sent]
	r := streams.ContinueRequest{AnswerRequest: g.answering(id, g.newOwner(id)), Last: last, Answers: record.Answers}
	return twinsCall{fmt.Sprintf("continue %+v, from %d up to %d, %v ago", r, from, sent, ago), func(w *twin) (string, error) {
		r.Sent, r.From, r.Gen, r.Arrived = w.at(sent), w.at(from), w.gens[len(w.gens)-1], arrived(ago)
		n, err := w.Continue(g.Context(), twinsHub, r)
		return fmt.Sprint(n), err
	}}
}

// wrote is about the last answer, the one before, or one that is not there.
func (g *twins) wrote() twinsCall {
	id, ok := g.id(), g.chance(2)
	record, _ := g.record(id)
	n := max(record.Answers+uint64(g.rng.IntN(3)), 1) - 1
	return twinsCall{fmt.Sprintf("wrote %s %d %v", id, n, ok), func(w *twin) (string, error) {
		return "", w.Wrote(g.Context(), twinsHub, id, n, ok)
	}}
}

func (g *twins) abandon() twinsCall {
	id, ticket := g.id(), uint64(g.rng.IntN(4))
	return twinsCall{fmt.Sprintf("abandon %s %d", id, ticket), func(w *twin) (string, error) {
		return "", w.Abandon(g.Context(), twinsHub, id, ticket)
	}}
}

func (g *twins) touch() twinsCall {
	id, cursor := g.id(), g.place()
	item := streams.TouchItem{ID: id, Owner: g.owner(id), Lease: g.lease(), Save: g.chance(2), Heard: g.chance(2), Acked: uint64(g.rng.IntN(9))}
	item.Heard = item.Heard || item.Save // a pair is saved of who was heard
	if g.chance(3) {
		item.Detached, item.Leaving = true, pickOf(g, streams.LeavingNone, streams.LeavingSocket, streams.LeavingDrain)
	}
	return twinsCall{fmt.Sprintf("touch %+v, cursor %d", item, cursor), func(w *twin) (string, error) {
		item.Cursor = w.at(cursor)
		refused, err := w.Touch(g.Context(), twinsHub, []streams.TouchItem{item})
		return fmt.Sprint("refused ", refused), err
	}}
}

func (g *twins) finish() twinsCall {
	id := g.id()
	r := streams.FinishRequest{ID: id, Owner: g.owner(id), Done: g.done(id), Count: uint64(1 + g.rng.IntN(2)), Entries: some(g, twinsEntries("f1", "f2")...)}
	return twinsCall{fmt.Sprintf("finish %+v", r), func(w *twin) (string, error) {
		p, err := w.Finish(g.Context(), twinsHub, r)
		return w.place(p), err
	}}
}

// done is how many messages of a connection were processed, or another number.
func (g *twins) done(id string) uint64 {
	if record, ok := g.record(id); ok && g.chance(2) {
		return record.Done
	}
	return uint64(g.rng.IntN(4))
}

func (g *twins) close() twinsCall {
	id := g.id()
	return twinsCall{"close " + id, func(w *twin) (string, error) {
		p, err := w.CloseConnection(g.Context(), twinsHub, id, []byte("close"))
		return w.place(p), err
	}}
}

func (g *twins) end() twinsCall {
	id := g.id()
	g.calls++
	r := streams.EndRequest{
		ID: id, Owner: g.owner(id), OnlyExpired: g.chance(2), Token: fmt.Sprint("end", g.calls), Entry: []byte("end"), Tombstone: time.Hour,
		Reason: "r", Worker: g.worker(), Bell: []byte("bell"),
	}
	if g.chance(3) {
		r.Owner = ""
	}
	if g.chance(3) { // of one whose record was lost
		i := g.rng.IntN(len(g.ids))
		g.arrive(i)
		r.ID, r.OnlyExpired, r.Bury = g.ids[i], false, true
	}
	return twinsCall{fmt.Sprintf("end %+v", r), func(w *twin) (string, error) {
		reply, err := w.End(g.Context(), twinsHub, r)
		return fmt.Sprint(reply.Outcome, w.place(reply.Position), reply.Run, w.recordText(reply.Record)), err
	}}
}
