package streams

import (
	"context"
	"slices"
	"strings"
	"time"
)

// memoryRecord is a connection's record and what the steps need beside it.
type memoryRecord struct {
	Record
	lease lease
	// answeredBy is the owner that committed the last answer, so that repeating the
	// Answer is known as such after the owner has been given up.
	answeredBy string
	unique     bool      // Mark; see AnswerRequest
	ownerMark  string    // the owner's poll's
	ownerCame  int64     // when the owner's poll came; 0 if its mark is not unique
	repeats    uint64    // the number of the answer that the owner gives again, or that was last; 0: none. See OpenRepeated
	continued  committed // the last answer of a Continue
	finished   Position  // of the last Finish's last entry
	leaving    Leaving   // why the owner that let go last did
	shaken     string    // token of the PostedHandshake that opened it
	// openedFor is the user that requests name.
	openedFor string
}

// committed says who committed an answer, and its number.
type committed struct {
	owner  string
	number uint64
}

// memoryGrave is a tombstone.
type memoryGrave struct {
	lease lease
	token string
	reply EndReply // for whoever repeats the End that dug it
	// openedFor is the record's.
	openedFor string
}

// add adds a new record.
func (h *memoryHub) add(rec *memoryRecord, until int64) {
	rec.lease = lease{name: rec.ID, until: until}
	h.records[rec.ID] = rec
	h.live.set(&rec.lease)
}

// renew lets the record's lease end some time from now.
func (h *memoryHub) renew(rec *memoryRecord, now int64, d time.Duration) {
	h.live.extend(&rec.lease, now+d.Milliseconds())
}

// Lookup implements Records.
func (m *Memory) Lookup(ctx context.Context, hub, id string) (OpenReply, error) {
	if err := m.enter(ctx); err != nil {
		return OpenReply{}, err
	}
	h := m.find(hub)
	if h == nil {
		return OpenReply{}, ErrGone
	}
	defer h.step()()
	rec := h.records[id]
	if rec == nil {
		return OpenReply{}, ErrGone
	}
	return h.reply(OpenFound, rec, &OpenRequest{}, m.now()), nil
}

// reply is the record and the log as they are now. The groups are left out if the caller, as it says in r, knows them.
func (h *memoryHub) reply(outcome OpenOutcome, rec *memoryRecord, r *OpenRequest, now int64) OpenReply {
	reply := OpenReply{
		Outcome: outcome,
		Record:  rec.Record,
		Gen:     h.gen,
		Floor:   h.floor,
		Last:    h.last,
		Now:     now,
	}
	reply.Record.Groups = nil
	if u := h.users[rec.User]; u != nil && rec.User != "" {
		reply.Record.UserMembership = u.changed
	}
	if !r.knows(&reply.Record) {
		reply.Record.Groups = rec.Groups.clone()
		reply.Record.UserGroups = h.userGroups(rec.User).clone()
		reply.Due = h.dueGroups(rec.User, now)
	}
	return reply
}

// update is a step on one living record: f is called with it, or ErrGone returned.
func (m *Memory) update(ctx context.Context, hub, id string, f func(h *memoryHub, rec *memoryRecord, now int64) error) error {
	if err := m.enter(ctx); err != nil {
		return err
	}
	h := m.find(hub)
	if h == nil {
		return ErrGone
	}
	defer h.step()()
	rec := h.records[id]
	if rec == nil {
		return ErrGone
	}
	return f(h, rec, m.now())
}

// Handshake implements Records.
func (m *Memory) Handshake(ctx context.Context, hub string, r HandshakeRequest) (reply HandshakeReply, err error) {
	err = m.update(ctx, hub, r.ID, func(h *memoryHub, rec *memoryRecord, now int64) error {
		if rec.State != StateNew {
			return ErrGone
		}
		if r.Owner != "" && r.Owner != rec.Owner {
			return ErrOwner
		}
		rec.Protocol, rec.Version = r.Protocol, r.Version
		rec.State = StateOpen
		if r.Rename {
			rec.User = r.User
		}
		if r.Refused {
			rec.State = StateClosing
		}
		if r.Reply != nil {
			rec.Start = h.append(string(r.Reply), now)
		} else {
			rec.Start = h.last
		}
		h.renew(rec, now, r.Lease)
		reply.Start = rec.Start
		if r.Connected && !r.Refused {
			rec.Works = true
			h.workOf(r.ID).context = r.Context
			reply.Run = h.enqueue(r.ID, r.Worker, nil, now, string(WorkConnected)+h.event())
		}
		return nil
	})
	return reply, err
}

// Answer implements Records.
func (m *Memory) Answer(ctx context.Context, hub string, r AnswerRequest) (n uint64, err error) {
	err = m.update(ctx, hub, r.ID, func(h *memoryHub, rec *memoryRecord, now int64) error {
		if rec.Owner != r.Owner {
			if rec.answeredBy != r.Owner {
				return ErrOwner
			}
			n = rec.Answers // a repeat of the answer that gave the owner up
			return nil
		}
		if rec.repeats > 0 && r.Sent != rec.Sent {
			return ErrOwner // it is given again, and this is another
		}
		if r.Sent.After(h.last) {
			return ErrBeyond
		}
		h.answer(rec, &r, now)
		n = rec.Answers
		return nil
	})
	return n, err
}

// answer commits an answer.
func (h *memoryHub) answer(rec *memoryRecord, r *AnswerRequest, now int64) {
	rec.Sent, rec.Mark, rec.PollAt = r.Sent, r.Mark, now-since(r.Arrived)
	rec.AnsweredAt, rec.unique = now, r.Unique
	rec.Answers++
	rec.Owner, rec.answeredBy = "", r.Owner
	h.renew(rec, now, r.Lease)
}

// Continue implements Records.
func (m *Memory) Continue(ctx context.Context, hub string, r ContinueRequest) (n uint64, err error) {
	err = m.update(ctx, hub, r.ID, func(h *memoryHub, rec *memoryRecord, now int64) error {
		switch {
		case rec.answeredBy == r.Owner: // a repetition
		case h.goesOn(rec, &r, now-since(r.Arrived)) && h.run == *m.run.Load():
			rec.Cursor, rec.repeats = r.From, 0
			h.answer(rec, &r.AnswerRequest, now)
			rec.continued = committed{r.Owner, rec.Answers}
		default:
			return nil
		}
		n = rec.Answers
		return nil
	})
	if err == ErrGone {
		return 0, nil
	}
	return n, err
}

// Wrote implements Records.
func (m *Memory) Wrote(ctx context.Context, hub, id string, n uint64, ok bool) error {
	err := m.update(ctx, hub, id, func(_ *memoryHub, rec *memoryRecord, _ int64) error {
		switch {
		case n > rec.Answers: // of a record that was lost, or of an answer that is
		case ok:
			rec.Wrote = max(rec.Wrote, n)
		case rec.repeats == 0 || n <= rec.repeats:
			rec.Failed = max(rec.Failed, n)
		}
		return nil
	})
	if err == ErrGone {
		return nil
	}
	return err
}

// Abandon implements Records.
func (m *Memory) Abandon(ctx context.Context, hub, id string, ticket uint64) error {
	if err := m.enter(ctx); err != nil {
		return err
	}
	h := m.find(hub)
	if h == nil {
		return nil
	}
	defer h.step()()
	now := m.now()
	if rec := h.records[id]; rec != nil && rec.State != StateNew {
		rec.Silent = max(rec.Silent, ticket)
	}
	if h.buriedStill(id, now) {
		g := h.graves[id]
		g.reply.Record.Silent = max(g.reply.Record.Silent, ticket)
		if g.reply.Record.abandoned() {
			h.buried.extend(&g.lease, now+abandonedTombstone.Milliseconds())
		}
	}
	return nil
}

// Touch implements Records.
func (m *Memory) Touch(ctx context.Context, hub string, items []TouchItem) (refused []string, err error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	h := m.hub(hub)
	defer h.step()()
	now := m.now()
	for i := range items {
		if !h.touch(&items[i], now) {
			refused = append(refused, items[i].ID)
		}
	}
	return refused, nil
}

func (h *memoryHub) touch(item *TouchItem, now int64) bool {
	rec := h.records[item.ID]
	if rec == nil || rec.Owner != item.Owner || (item.Save && item.Cursor.After(h.last)) {
		return false
	}
	if !item.Detached && rec.Owner != "" && rec.Detached == rec.Owner {
		return true // it is older than the last one
	}
	if item.Save {
		rec.Cursor, rec.Acked = item.Cursor, item.Acked
	}
	rec.Heard = rec.Heard || item.Heard || item.Save
	if item.Detached {
		rec.Detached, rec.leaving = item.Owner, item.Leaving
	}
	h.renew(rec, now, item.Lease)
	return true
}

// Finish implements Records.
func (m *Memory) Finish(ctx context.Context, hub string, r FinishRequest) (p Position, err error) {
	err = m.update(ctx, hub, r.ID, func(h *memoryHub, rec *memoryRecord, now int64) error {
		if rec.Owner != r.Owner {
			return ErrOwner
		}
		if rec.Done != r.Done {
			if rec.Done != r.Done+r.Count {
				return ErrOwner
			}
			p = rec.finished // a repeat of what was made
			return nil
		}
		rec.Done += r.Count
		rec.finished = Position{}
		for _, entry := range r.Entries {
			rec.finished = h.append(string(entry), now)
		}
		p = rec.finished
		return nil
	})
	return p, err
}

// CloseConnection implements Records.
func (m *Memory) CloseConnection(ctx context.Context, hub, id string, entry []byte) (p Position, err error) {
	err = m.update(ctx, hub, id, func(h *memoryHub, rec *memoryRecord, now int64) error {
		if rec.State == StateClosing {
			return ErrGone
		}
		rec.State = StateClosing
		p = h.append(string(entry), now)
		return nil
	})
	return p, err
}

// End implements Records.
func (m *Memory) End(ctx context.Context, hub string, r EndRequest) (EndReply, error) {
	if err := m.enter(ctx); err != nil {
		return EndReply{}, err
	}
	h := m.hub(hub)
	defer h.step()()
	now := m.now()
	h.sweep(now)
	rec := h.records[r.ID]
	if rec == nil {
		if g := h.graves[r.ID]; g != nil && r.Token != "" && g.token == r.Token {
			return g.reply, nil
		}
		if r.Bury && !h.buriedStill(r.ID, now) {
			h.bury(&memoryGrave{reply: EndReply{Outcome: EndAlready, Record: Record{ID: r.ID}}}, now+r.Tombstone.Milliseconds())
		}
		return EndReply{Outcome: EndAlready}, nil
	}
	if r.Owner != "" && r.Owner != rec.Owner {
		return EndReply{Outcome: EndRefused}, nil
	}
	if r.OnlyExpired && !rec.lease.passed(now) {
		return EndReply{Outcome: EndAlive}, nil
	}
	return h.end(rec, &r, now), nil
}

// end buries a record.
func (h *memoryHub) end(rec *memoryRecord, r *EndRequest, now int64) EndReply {
	delete(h.records, rec.ID)
	h.live.remove(&rec.lease)
	reply := EndReply{Outcome: EndDone, Position: h.append(string(r.Entry), now), Record: rec.Record}
	reply.Record.Groups = nil
	if rec.Works {
		reply.Run = h.enqueue(rec.ID, r.Worker, r.Bell, now, string(WorkDisconnected)+h.event()+" "+r.Reason)
	} else {
		delete(h.work, rec.ID)
	}
	g := &memoryGrave{token: r.Token, reply: reply, openedFor: rec.openedFor}
	tombstone := r.Tombstone
	if rec.abandoned() {
		tombstone = abandonedTombstone
	}
	h.bury(g, now+tombstone.Milliseconds())
	return reply
}

// bury sets a tombstone, until a time.
func (h *memoryHub) bury(g *memoryGrave, until int64) {
	id := g.reply.Record.ID
	g.lease = lease{name: id, until: until}
	if old := h.graves[id]; old != nil { // of an earlier life, passed but not swept yet
		h.buried.remove(&old.lease)
	}
	h.graves[id] = g
	h.buried.set(&g.lease)
}

// buriedStill tells whether a tombstone refuses the ID.
func (h *memoryHub) buriedStill(id string, now int64) bool {
	g := h.graves[id]
	return g != nil && !g.lease.passed(now)
}

// Expired implements Records.
func (m *Memory) Expired(ctx context.Context, hub string, limit int) ([]string, error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	h := m.find(hub)
	if h == nil {
		return nil, nil
	}
	now := m.now()
	h.sweepAll(now)
	defer h.step()()
	var ids []string
	for _, l := range h.live.due(now, limit) {
		ids = append(ids, l.name)
	}
	return ids, nil
}

// List implements Records: the cursor is the last ID returned.
func (m *Memory) List(ctx context.Context, hub, cursor string, limit int) (ListReply, error) {
	if err := m.enter(ctx); err != nil {
		return ListReply{}, err
	}
	if len(cursor) > MaxIDBytes {
		return ListReply{}, ErrPosition
	}
	h := m.find(hub)
	if h == nil {
		return ListReply{}, nil
	}
	defer h.step()()
	reply := ListReply{Total: int64(len(h.live))}
	var ids []string
	for _, l := range h.live {
		if l.name > cursor {
			ids = append(ids, l.name)
		}
	}
	slices.Sort(ids)
	if len(ids) > limit {
		ids = ids[:limit]
		reply.Next = ids[limit-1]
	}
	reply.IDs = ids
	return reply, nil
}

// Count implements Records. It looks at every connection: memory keeps no index.
func (m *Memory) Count(ctx context.Context, hub string, of Holder, name string) (int64, error) {
	if err := m.enter(ctx); err != nil {
		return 0, err
	}
	h := m.find(hub)
	if h == nil {
		return 0, nil
	}
	defer h.step()()
	n := int64(0)
	for _, r := range h.records {
		if h.holds(of, name, r) {
			n++
		}
	}
	return n, nil
}

// Restamp implements Records.
func (m *Memory) Restamp(ctx context.Context, hub, node string, items []RestampItem, from, to string) error {
	if err := m.enter(ctx); err != nil {
		return err
	}
	h := m.hub(hub)
	defer h.step()()
	for _, item := range items {
		rec := h.records[item.ID]
		if rec == nil {
			continue
		}
		last := rec.server()
		named := item.Owner != "" && item.Owner == last
		switch {
		case rec.Gen != from && rec.Gen != to && !(named && h.gen == to && slices.Contains(h.before, rec.Gen)):
		case rec.Answers < item.Answers:
			rec.Gen = noGeneration
		case item.Owner != "" && !named:
		case last == "" || last == node || strings.HasPrefix(last, node+"."):
			rec.Gen = to
		}
	}
	return nil
}

// server is who served the connection last; empty if nobody has yet.
func (r *memoryRecord) server() string {
	if r.Owner == "" && r.Answers != 1 { // the first poll's answer was empty
		return r.answeredBy
	}
	return r.Owner
}
