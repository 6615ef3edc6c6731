package streams

import (
	"context"
	"time"
)

// Times of the rules about polls, ms.
const (
	// repeatedPoll is the age of an answer from which an equal mark means that its
	// poll was sent again: a client that had the answer would have polled before.
	repeatedPoll = 1000
	// abandonedPoll is the age of a poll at which its client may have given it up, and
	// polled again without having read the answer: the first clients do at 100 s.
	abandonedPoll = 95_000
)

// timeDigits is the length of a mark that is a time, from 2001 to 2286.
const timeDigits = 13

// memoryOpen is an Open within its step.
type memoryOpen struct {
	*memoryHub
	OpenRequest
	now  int64
	came int64 // when the request did
	run  string

	displaced bool
}

// Open implements Records.
func (m *Memory) Open(ctx context.Context, hub string, r OpenRequest) (OpenReply, error) {
	if err := m.enter(ctx); err != nil {
		return OpenReply{}, err
	}
	h := m.hub(hub)
	defer h.step()()
	now := m.now()
	o := &memoryOpen{memoryHub: h, OpenRequest: r, now: now, came: now - since(r.Arrived), run: *m.run.Load()}
	outcome, rec, err := o.open()
	if err != nil {
		return OpenReply{}, err
	}
	reply := h.reply(outcome, rec, &r, o.now)
	reply.Displaced = o.displaced
	return reply, nil
}

// since is how long ago something was by the clock of this process, ms; 0 for the zero time.
func since(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return time.Since(t).Milliseconds()
}

func (o *memoryOpen) open() (OpenOutcome, *memoryRecord, error) {
	if o.gen != "" && o.memoryHub.run != o.run {
		return 0, nil, ErrUnverified
	}
	rec := o.records[o.ID]
	if rec == nil {
		if o.buriedStill(o.ID, o.now) {
			return o.ended()
		}
		return o.create()
	}
	if rec.openedFor != o.User {
		return 0, nil, ErrGone
	}
	if o.Mode == OpenWebSocket && rec.abandoned() {
		return OpenAbandoned, rec, nil
	}
	if rec.Gen != o.gen {
		return 0, nil, ErrGeneration
	}
	var outcome OpenOutcome
	var err error
	switch o.Mode {
	case OpenWebSocket:
		outcome, err = o.webSocket(rec)
	case OpenEvents:
		outcome, err = o.events(rec)
	case OpenPoll:
		outcome, err = o.poll(rec)
	case OpenPost:
		outcome, err = o.post(rec)
	case OpenReattach:
		outcome, err = o.reattach(rec)
	default:
		err = ErrGone
	}
	return outcome, rec, err
}

func (o *memoryOpen) create() (OpenOutcome, *memoryRecord, error) {
	if o.now > o.CreateUntil || o.Mode == OpenReattach {
		return 0, nil, ErrGone
	}
	o.makeLog(o.run, o.now)
	rec := &memoryRecord{Record: o.newRecord(o.gen, o.last, o.now), openedFor: o.User}
	o.add(rec, o.now+o.NewLease.Milliseconds())
	if o.Mode == OpenPoll {
		o.answerFirst(rec)
		return OpenFirstPoll, rec, nil
	}
	if o.Mode == OpenPost && o.handshake(rec) {
		return OpenHandshake, rec, nil
	}
	return OpenCreated, rec, nil
}

// ended answers for a connection that has ended.
func (o *memoryOpen) ended() (OpenOutcome, *memoryRecord, error) {
	g := o.graves[o.ID]
	rec := &memoryRecord{Record: g.reply.Record}
	rec.State = StateDead
	switch {
	case g.openedFor != o.User:
		return 0, nil, ErrGone
	case o.Mode == OpenWebSocket && rec.abandoned():
		o.buried.extend(&g.lease, o.now+abandonedTombstone.Milliseconds())
		return OpenAbandoned, rec, nil
	}
	o.spoken(rec)
	g.reply.Record.Ticket, g.reply.Record.Return = rec.Ticket, rec.Return
	return 0, nil, ErrGone
}

// spoken: the client of a connection that is over has spoken on its socket: it has none that it has abandoned.
func (o *memoryOpen) spoken(rec *memoryRecord) {
	if o.Mode == OpenReattach && o.Ticket <= rec.Tickets && o.Ticket > rec.Ticket {
		rec.Ticket, rec.Return = o.Ticket, Return{} // which was with an earlier ticket
	}
}

func (o *memoryOpen) webSocket(rec *memoryRecord) (OpenOutcome, error) {
	if otherTransport(rec, TransportWebSockets) {
		return 0, ErrTransport
	}
	switch {
	case rec.State == StateClosing:
		return 0, ErrGone
	case rec.State == StateNew:
		rec.Transport = TransportWebSockets
		o.own(rec)
		return OpenAttached, nil
	case !rec.Stateful():
		return 0, ErrConflict
	case !rec.Heard:
		return 0, ErrUnheard
	case rec.Cursor.Before(o.floor):
		return 0, ErrGap
	}
	rec.Tickets++
	return OpenTicket, nil
}

func (o *memoryOpen) events(rec *memoryRecord) (OpenOutcome, error) {
	if otherTransport(rec, TransportServerSentEvents) {
		return 0, ErrTransport
	}
	if rec.State == StateClosing {
		return 0, ErrGone
	}
	if rec.State == StateOpen && rec.Transport != TransportNone {
		return 0, ErrConflict
	}
	rec.Transport = TransportServerSentEvents
	o.own(rec)
	return OpenAttached, nil
}

func (o *memoryOpen) post(rec *memoryRecord) (OpenOutcome, error) {
	if rec.Transport == TransportWebSockets {
		return 0, ErrTransport
	}
	if rec.State == StateClosing {
		return 0, ErrGone
	}
	if o.handshake(rec) {
		return OpenHandshake, nil
	}
	return OpenFound, nil
}

// handshake records the handshake that a POST brings, if the connection waits for one, and tells whether it has.
func (o *memoryOpen) handshake(rec *memoryRecord) bool {
	h := o.Handshake
	if h == nil || rec.State != StateNew {
		return h != nil && rec.shaken == h.Token
	}
	rec.State, rec.Protocol, rec.Version, rec.shaken = StateOpen, h.Protocol, h.Version, h.Token
	rec.Start = o.append(string(h.Reply), o.now)
	o.extend(rec)
	return true
}

func (o *memoryOpen) reattach(rec *memoryRecord) (OpenOutcome, error) {
	if otherTransport(rec, TransportWebSockets) {
		return 0, ErrTransport
	}
	if rec.State != StateOpen || !rec.Stateful() {
		o.spoken(rec)
		return 0, ErrGone
	}
	repeated := rec.Owner == o.Owner && rec.Ticket == o.Ticket
	if o.Ticket <= rec.Ticket && !repeated {
		return 0, ErrOwner
	}
	if rec.Cursor.Before(o.floor) {
		o.spoken(rec)
		return 0, ErrGap
	}
	if !repeated {
		rec.Return = Return{At: o.now, From: nodeOf(rec.Owner)}
		if rec.Detached == rec.Owner {
			rec.Return.Why = rec.leaving
		}
	}
	rec.Ticket = o.Ticket
	o.own(rec)
	return OpenAttached, nil
}

func otherTransport(rec *memoryRecord, t Transport) bool {
	return rec.Transport != TransportNone && rec.Transport != t
}

// own makes the caller the record's owner. Whoever it was before learns of it by an entry.
func (o *memoryOpen) own(rec *memoryRecord) {
	if rec.Owner != "" && rec.Owner != o.Owner && o.Moved != nil {
		o.append(string(o.Moved), o.now)
		o.displaced = rec.Owner != rec.Detached
	}
	rec.Owner = o.Owner
	o.extend(rec)
}

// extend renews the lease as the state has it.
func (o *memoryOpen) extend(rec *memoryRecord) {
	if rec.State == StateNew {
		o.renew(rec, o.now, o.NewLease)
	} else {
		o.renew(rec, o.now, o.Lease)
	}
}
