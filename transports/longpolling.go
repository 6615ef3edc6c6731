package transports

import (
	"context"
	"errors"
	"net/http"
	"time"

	"hubstream/internal/sleep"
	"hubstream/streams"
	"hubstream/transports/hubprotocol"
)

const (
	// maxPollBytes limits a poll's answer; one larger message alone is allowed.
	maxPollBytes = 256 << 10 // 256 KiB
	// maxMarkBytes limits the mark of a poll, which is kept in the connection's record, thrice. Those of clients are times, of 13 digits.
	maxMarkBytes = 64
	// undecidedWait is how long a poll with the mark of the one before waits to learn
	// whether that one's answer was written.
	undecidedWait = 200 * time.Millisecond
	// olderWait is how long a poll waits that seems to have been sent before one that is known already: it may have waited in the
	// network, or in a node that stood still, and its connection, on which nobody waits any more, be found closed.
	olderWait = time.Second
	// undecidedPause is the pause between two looks at that, olderPause at whether an older poll is alone: nobody waits for most of those,
	// and each look is a step of the store, for which whoever sends many would have it work.
	undecidedPause = 20 * time.Millisecond
	olderPause     = 200 * time.Millisecond
	// maxPollTime is the longest time that a poll is held for: the first clients give up
	// at 100 s, and what they are answered at 95 s or later counts as not received.
	maxPollTime = 90 * time.Second
	// pollPace is the time from one answer of a connection to the next, at least: what comes meanwhile goes with it. A client that
	// is farther away than that, or is sent something less often, notices nothing.
	pollPace = 10 * time.Millisecond
	// busyPace is that time where there are busyItems or more for the client after pollPace: an answer costs as much as some twenty
	// messages, and where there are many, there will be more.
	busyPace  = 20 * time.Millisecond
	busyItems = 4
	// lateWait is how long a poll waits that comes to a node that is stopping: for balancers
	// that have not noticed, clients would poll again and again without a pause.
	lateWait = time.Second
	// unmarkedWait is how long a poll without a mark waits before the handshake: it may be
	// the first poll again, whose answer was lost.
	unmarkedWait = time.Second
)

// poll is one GET of a long polling connection.
type poll struct {
	*request
	s        *Server
	owner    string
	mark     string // the "_" of JavaScript and Java clients
	unique   bool   // no other poll of the client has that mark
	arrived  time.Time
	deadline time.Time
	late     bool      // the node was stopping already when it came
	leaveAt  time.Time // see leaves
	paced    time.Time // see pollPace
	opened   streams.OpenReply
	att      *streams.Attachment
	wake     chan struct{}
	proto    hubprotocol.Protocol // 0 before the handshake
	// undecided: the answer before this poll may be lost, and the store was told nothing of this poll yet. Any
	// answer to it, even an empty one, would tell the next poll that the lost one has arrived.
	undecided bool
	// next is its answer if it follows on an answer of this node; continued: it may have been committed, which is not known.
	next      *streams.Continuation
	continued bool
}

// servePoll answers a poll: with what there is for the client, once there is something,
// or with nothing in time for the proxies in between (TransportProtocols.md, "Long Polling").
func (s *Server) servePoll(c *request) {
	p := &poll{
		request: c, s: s, owner: s.node.NewOwner(), mark: c.query("_"),
		arrived: time.Now(), late: s.isDraining(), wake: make(chan struct{}, 1),
	}
	if len(p.mark) > maxMarkBytes {
		p.mark = "" // which is no client's
	}
	p.unique = p.mark != "" && readsMilliseconds(c.Header)
	if !s.active.begin() {
		panic(http.ErrAbortHandler) // it may be a poll again whose answer was lost; see poll.undecided
	}
	defer s.active.Done()
	s.counters.polls.Add(1)
	p.deadline = p.arrived.Add(jittered(s.cfg.PollTimeout, s.cfg.PollJitter))
	if p.goOn() {
		return
	}
	until := p.deadline
	if p.undecided {
		until = later(until, p.arrived.Add(maxPollTime))
	}
	ctx, cancel := context.WithDeadline(c.Context(), until)
	defer cancel()
	err := p.open(ctx)
	switch {
	case err == errAnswered:
		return
	case isAway(err) && p.undecided:
		panic(http.ErrAbortHandler)
	case isAway(err):
		p.write(http.StatusOK, nil) // which touches nothing
		return
	case errors.Is(err, streams.ErrOwner):
		panic(http.ErrAbortHandler) // it was sent again since, or what it may have been answered with was followed by another poll
	case err != nil:
		p.refuse(err)
		return
	case p.opened.Outcome == streams.OpenFirstPoll:
		p.hold()
		p.wrote(p.opened.Record.Answers, p.write(http.StatusOK, nil))
		return
	}
	p.proto = hubprotocol.Protocol(p.opened.Record.Protocol)
	if p.proto != 0 && p.opened.Record.Answers > 1 { // the handshake's answer, after the first poll's, goes at once
		since := max(0, time.Duration(p.opened.Now-p.opened.Record.AnsweredAt)*time.Millisecond) // the store's clock may step back
		p.paced = time.Now().Add(pollPace - since)
	}
	if err := p.attach(ctx); err != nil {
		switch away := isAway(err) || ctx.Err() != nil; {
		case away && p.repeats():
			panic(http.ErrAbortHandler)
		case away:
			p.write(http.StatusOK, nil)
		case errors.Is(err, streams.ErrOwner):
			p.finish(err)
		default:
			p.refuse(err)
		}
		return
	}
	defer func() { _ = p.att.Detach(context.Background(), 0, streams.LeavingNone) }()
	if p.repeats() {
		p.repeat()
		return
	}
	p.serve()
}

// repeats: the poll is answered what it was answered before, and any other answer would tell the next poll that it has got that.
func (p *poll) repeats() bool { return p.opened.Outcome == streams.OpenRepeated }

// repeat gives the last answer again, as it was: its client may have it.
func (p *poll) repeat() {
	p.hold()
	ctx, cancel := context.WithDeadline(p.Context(), p.arrived.Add(maxPollTime))
	defer cancel()
	var items []*streams.Item
	for {
		var err error
		items, err = p.att.Next(ctx, items, maxPollBytes)
		switch {
		case p.Context().Err() != nil:
			return
		case p.att.Whole():
			if !p.answer(ctx, items) {
				p.endLost()
			}
			return
		case errors.Is(err, streams.ErrGap):
			p.refuse(err)
			return
		case err != nil && ctx.Err() == nil && !errors.Is(err, streams.ErrUnavailable):
			p.over(err)
			return
		}
		if p.pause(ctx, storeRetry) != nil {
			panic(http.ErrAbortHandler)
		}
	}
}

// refuse refuses a poll. If what it is to be answered with is not kept any more, the connection goes on if the poll may be late, and its
// client have that already, or be waiting for it at another node.
func (p *poll) refuse(err error) {
	if errors.Is(err, streams.ErrGap) && p.mayBeLate() {
		err = streams.ErrGone
	}
	p.s.refuseError(p.request, err)
}

// mayBeLate tells whether another poll owns the connection, or was answered with this one's mark, or nothing is known.
func (p *poll) mayBeLate() bool {
	ctx, cancel := context.WithTimeout(p.Context(), p.s.cfg.StoreTimeout)
	defer cancel()
	reply, err := p.s.node.Lookup(ctx, p.hub, p.token.ConnectionID)
	r := &reply.Record
	return err != nil || r.Owner != "" && r.Owner != p.owner || p.mark != "" && p.mark == r.Mark
}

// goOn answers a poll that follows on an answer of this node, and for which there is something already, in one step of the
// store. It returns false if the poll is to be opened: nothing was changed, or p.continued is set.
func (p *poll) goOn() bool {
	if !p.who.CloseAt.IsZero() {
		return false // its time is looked after in service
	}
	p.next = p.s.node.Continue(p.hub, p.token.ConnectionID, p.token.User, p.mark, maxPollBytes)
	if p.next == nil {
		return false
	}
	p.paced = p.next.Last.Add(pollPace)
	if p.hold() && !p.next.More() || p.holdBusy(p.next.Items) && !p.next.More() {
		return false
	}
	if p.Context().Err() != nil {
		return true // the client is gone
	}
	return p.commitNext()
}

// commitNext commits and gives the answer that was found before the poll was opened. It may be repeated: what was committed is found.
func (p *poll) commitNext() bool {
	n, err := p.next.Commit(context.WithoutCancel(p.Context()), p.answerTo()) // the store bounds it
	if n == 0 {
		if errors.Is(err, streams.ErrOutcomeUnknown) {
			p.undecided, p.continued = true, true
		}
		return false
	}
	p.proto = hubprotocol.Protocol(p.next.Protocol)
	body, final := p.body(p.next.Items)
	if p.send(n, p.next.Items, body, final) {
		p.next.Answered()
	}
	return true
}

// errAnswered says that the poll need not be opened.
var errAnswered = errors.New("the poll is answered")

// open opens the poll. While the store is away the poll is held: any answer but 200
// would end the client's connection.
func (p *poll) open(ctx context.Context) error {
	r := p.s.openRequest(p.request, streams.OpenPoll, p.owner)
	r.Lease = time.Until(p.deadline) + pollLease
	r.Mark, r.Unique, r.Arrived, r.Continued = p.mark, p.unique, p.arrived, p.continued
	for {
		// An older poll that comes late may be opened before this one, and takes what this one has committed for received.
		if p.continued && p.commitNext() {
			return errAnswered
		}
		reply, err := p.s.node.Open(ctx, p.hub, r)
		switch {
		case err == nil && reply.Outcome == streams.OpenUndecided:
			if reply, err = p.decide(r, reply.Record.Mark); err != nil {
				return err
			}
			fallthrough
		case err == nil:
			p.opened, p.undecided = reply, false
			return nil
		case !isAway(err):
			return err
		}
		if p.pause(ctx, storeRetry) != nil {
			return streams.ErrUnavailable
		}
	}
}

// decide opens a poll that may be the one before again, whose mark was last, or one of long ago, or was answered when it continued. Neither
// the poll's own deadline nor a drain ends the short wait for what is known of that one's answer.
func (p *poll) decide(r streams.OpenRequest, last string) (streams.OpenReply, error) {
	p.undecided = true
	wait, pause := undecidedWait, undecidedPause
	if p.mark != last {
		wait, pause = olderWait, olderPause
	}
	ctx, cancel := context.WithDeadline(p.Context(), later(p.deadline, time.Now().Add(wait+p.s.cfg.StoreTimeout)))
	defer cancel()
	looks := wait / pause // counted: a node that stands still meanwhile has not waited
	err := sleep.For(ctx, pause)
	for err == nil {
		if p.continued && p.commitNext() {
			return streams.OpenReply{}, errAnswered
		}
		looks--
		r.Force = looks <= 0
		var reply streams.OpenReply
		reply, err = p.s.node.Open(ctx, p.hub, r)
		switch {
		case err == nil && reply.Outcome != streams.OpenUndecided:
			p.undecided = false
			return reply, nil
		case err == nil:
			err = sleep.For(ctx, pause)
		case isAway(err):
			err = p.pause(ctx, storeRetry) // a node that drains leaves it to another
		default:
			return reply, err
		}
	}
	return streams.OpenReply{}, streams.ErrUnavailable
}

// pause waits between two attempts. The error says that there is no more time.
func (p *poll) pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	draining := p.s.draining
	switch {
	case p.late,
		p.continued && p.undecided, // without a mark nobody else can tell that its answer was not written
		p.opened.Outcome == 0 && !p.undecided && !p.leaves():
		draining = nil
	}
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-draining:
		return context.Canceled
	}
}

// leaves tells whether a poll that was not opened yet is to go on elsewhere, as its node drains. Whatever it is answered says that the
// answer before it has arrived: so the store, which may be failing over along with the drain, is given half of the time to come back.
func (p *poll) leaves() bool {
	if !p.s.isDraining() {
		return false
	}
	if p.leaveAt.IsZero() {
		p.leaveAt = time.Now().Add(p.s.spread)
	}
	return !time.Now().Before(p.leaveAt)
}

func (p *poll) attach(ctx context.Context) error {
	for {
		att, err := p.s.node.Attach(ctx, p.hub, p.opened, p.owner, 0, func() { ring(p.wake) })
		if err == nil {
			p.att = att
			return nil
		}
		if !errors.Is(err, streams.ErrUnavailable) {
			return err
		}
		if p.pause(ctx, storeRetry) != nil {
			return err
		}
		if err := p.reopen(ctx); err != nil {
			return err
		}
	}
}

// reopen reads the record again. To open it again could displace a newer poll, in the
// name of one that its client may have given up.
func (p *poll) reopen(ctx context.Context) error {
	for {
		reply, err := p.s.node.Reopen(ctx, p.hub, p.opened, p.owner)
		if err == nil {
			p.opened = reply
		}
		if !errors.Is(err, streams.ErrUnavailable) || p.pause(ctx, storeRetry) != nil {
			return err
		}
	}
}

// serve waits for something to answer.
func (p *poll) serve() {
	p.hold()
	// Before the handshake's answer a JavaScript client with MessagePack dies of an empty
	// one, and which protocol it will ask for is not known: it waits for that, or for the
	// refusal of a handshake that does not come.
	unanswered := p.proto == 0
	if unanswered {
		p.deadline = later(p.deadline, time.Now().Add(p.untilHandshake()+p.s.cfg.StoreTimeout))
	}
	ctx, cancel := context.WithDeadline(p.Context(), p.deadline)
	defer cancel()
	timeout := time.NewTimer(p.patience())
	defer timeout.Stop()
	draining := p.s.draining
	if unanswered || p.late {
		draining = nil
	}
	expiry := newExpiry(&p.who, p.att)
	defer expiry.stop()
	for {
		items, err := p.att.Next(ctx, nil, maxPollBytes)
		if p.Context().Err() != nil {
			return // the client is gone, and what is not committed is for its next poll
		}
		if len(items) > 0 && items[0].Flags&streams.FlagHandshake == 0 && expiry.over() {
			p.over(errExpired) // or a client for which there is always something would stay
			return
		}
		if len(items) > 0 {
			if p.holdBusy(items) {
				items, _ = p.att.Next(ctx, items, maxPollBytes-sizeOf(items)) // an error is told again
			}
			if p.Context().Err() == nil && !p.answer(ctx, items) {
				p.endLost()
			}
			return
		}
		if err != nil && ctx.Err() == nil && !errors.Is(err, streams.ErrUnavailable) {
			p.over(err)
			return
		}
		select {
		case <-p.wake:
		case <-p.retry(err):
		case <-timeout.C:
			if unanswered && ctx.Err() == nil && (p.mark != "" || p.untilHandshake() <= 0) {
				timeout.Reset(p.s.cancelHandshake(ctx, p.hub, p.opened.Record.ID, p.opened.Record.Since, p.s.handshakeTimeout(p.request)))
				continue
			}
			p.answer(ctx, nil)
			return
		case <-expiry.due():
			if expiry.passed() {
				p.over(errExpired)
				return
			}
		case <-draining:
			p.s.counters.drain(streams.TransportLongPolling)
			// A store that is away is waited for as by a poll that was not opened yet: see leaves.
			ctx, cancel := context.WithTimeout(ctx, p.s.spread)
			defer cancel()
			p.answer(ctx, nil)
			return
		case <-p.Context().Done():
			return // the client is gone; another poll of it may come
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// retry ticks if the store was away.
func (p *poll) retry(err error) <-chan time.Time {
	if err == nil {
		return nil
	}
	return time.After(storeRetry)
}

// patience is how long the poll waits at first.
func (p *poll) patience() time.Duration {
	d := time.Until(p.deadline)
	if p.proto == 0 {
		d = min(d, p.untilHandshake())
		if p.mark == "" {
			d = min(d, unmarkedWait)
		}
	}
	if p.late && p.proto != 0 {
		d = min(d, lateWait)
	}
	return max(d, 0)
}

func (p *poll) untilHandshake() time.Duration {
	return p.s.untilHandshake(p.opened.Record.Since, p.s.handshakeTimeout(p.request))
}
