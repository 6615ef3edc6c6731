package streams

import (
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"time"
)

// poller is a long polling client's part of a client.
type poller struct {
	// marked: the client's polls carry a mark (JavaScript, Java); .NET's do not.
	marked bool
	// unique: no two of its polls carry the same mark.
	unique bool
	// polled: the first poll's answer has arrived.
	polled bool
	active time.Time // when a poll of it was opened last
	at     *simNode  // that the last poll went to
	// request is the client's, ghosts are those that it, or a proxy, has given up.
	request  *request
	ghosts   []*request
	mark     string   // of the last poll
	untold   func()   // a Wrote of the last answer that is still to come
	marksOff bool     // the next poll must not carry the same mark
	late     []func() // Continues and Opens that are still to come
}

// request is a poll at its server.
type request struct {
	c     *client
	node  *simNode
	mark  string
	owner string
	began time.Time

	stage     stage
	tries     int
	opened    OpenReply
	result    chan attached
	att       *Attachment
	woken     atomic.Bool
	next      *Continuation // the poll was answered without being opened, or may be
	continued bool          // which of them is not known
	late      bool          // it is opened when it was sent again and that may be answered
	twice     bool          // so may be what its node asks the store for the second time
	answer    []string      // the bodies
	number    uint64
	committed AnswerRequest
	isGhost   bool
}

type stage int

const (
	sent   stage = iota
	failed       // the attach: the record is read again
	opened
	attaching
	held
	answered
	done
)

// poll starts the client's next poll.
func (c *client) poll() {
	mark := ""
	if c.marked {
		mark = newMark()
		if (c.marksOff || c.unique) && mark == c.mark {
			time.Sleep(time.Millisecond)
			mark = newMark()
		}
	}
	c.mark, c.marksOff = mark, false
	c.startRequest(mark)
}

// newMark is the time as clients tell it. The clock of a bubble has a digit less than theirs.
func newMark() string { return strconv.FormatInt(time.Now().Add(timesAhead).UnixMilli(), 10) }

const timesAhead = 20 * 365 * 24 * time.Hour

func (c *client) newRequest(mark string) *request {
	n := c.w.node()
	if c.at != nil && !c.at.dead() && c.w.chance(800) {
		n = c.at
	}
	c.at = n
	return &request{c: c, node: n, mark: mark, owner: n.NewOwner(), began: time.Now(), result: make(chan attached, 1)}
}

func (c *client) startRequest(mark string) {
	if c.unique && len(c.ghosts) < 3 && c.w.chance(50) { // its node stands still, and a proxy sends it again
		r := c.newRequest(mark)
		r.isGhost, r.late = true, true
		c.w.note("poll %s at %s mark=%q late", c, r.node.name, mark)
		c.ghosts = append(c.ghosts, r)
	}
	c.request = c.newRequest(mark)
	n := c.request.node
	c.active = time.Now()
	c.w.note("poll %s at %s mark=%q", c, n.name, mark)
	c.w.count["polls"]++
	c.request.open()
}

// again is what a proxy, or the client, does with a poll whose answer it has not had:
// it sends it once more. Without a mark that is safe only as long as the answer is
// not committed, or is known to have failed.
func (c *client) again() {
	r := c.request
	if !c.marked && r.committedUnread() || r.stage == sent && !r.continued {
		return
	}
	c.w.note("again %s stage=%d", c, r.stage)
	r.isGhost = true
	c.ghosts = append(c.ghosts, r)
	if !c.marked {
		for _, g := range c.ghosts { // what they have committed already is known to be lost
			if g.stage == answered {
				g.wrote(false)
			}
		}
	}
	c.w.count["again"]++
	c.startRequest(r.mark)
}

// committedUnread: an answer is committed, as far as the poll's server knows, that the client has not had.
func (r *request) committedUnread() bool {
	return r.stage == answered || r.stage == sent && r.continued
}

func (c *client) actPoll() {
	w := c.w
	if len(c.ghosts) > 0 && w.chance(300) {
		c.ghosts[w.rng.IntN(len(c.ghosts))].act()
		return
	}
	switch {
	case c.over:
	case c.untold != nil && w.chance(500):
		c.tell()
	case len(c.late) > 0 && w.chance(100):
		c.late[0]()
		c.late = c.late[1:]
	case c.polled && !c.shaken && w.chance(400):
		c.shake()
	case c.request == nil:
		c.poll()
	case w.chance(30):
		c.again()
	case w.chance(2):
		c.leave()
	default:
		c.request.act()
	}
}

// decide ends the wait of a poll that is undecided: it is shorter than a second.
func (c *client) decide() {
	for r := c.request; r != nil && r.stage == sent && c.request == r; {
		r.open()
	}
}

// tell makes the Wrote that was still to come.
func (c *client) tell() {
	if c.untold != nil {
		c.untold()
		c.untold = nil
	}
}

// beginAnew is for a connection whose record was lost: what the log has so far is nothing to it.
func (c *client) beginAnew() {
	c.w.pull()
	*c.truth = truthConn{id: c.id, user: c.user, hub: c.hub, groups: map[string]bool{}, ever: c.truth.ever}
}

// shake is the POST with the handshake.
func (c *client) shake() {
	var err error
	if c.w.chance(500) {
		_, err = c.w.node().Handshake(context.Background(), c.hub.hub, HandshakeRequest{
			ID: c.id, Protocol: 1, Version: 1, Reply: handshakeReply(c.id), Lease: simPollLease,
		})
	} else {
		q := c.openRequest(OpenPost, "")
		q.Lease, q.Handshake = simPollLease, &PostedHandshake{Protocol: 1, Version: 1, Reply: handshakeReply(c.id), Token: random64()}
		if c.record() == nil && c.mayEnd { // which creates it
			c.beginAnew()
		}
		var reply OpenReply
		reply, err = c.w.node().Open(context.Background(), c.hub.hub, q)
		if errors.Is(err, ErrGone) {
			c.gone()
			return
		}
		if err == nil && reply.Outcome != OpenHandshake {
			c.w.fail("POST of %s with its handshake: outcome %d", c, reply.Outcome)
		}
	}
	c.w.note("handshake %s: %v", c, err)
	if err != nil && c.mayEnd {
		c.leave()
		return
	}
	if r := c.record(); err != nil && r != nil && r.State == StateNew && !c.mayEnd {
		c.w.fail("handshake of %s: %v", c, err)
	}
	c.shaken = true
	c.w.pull()
}

func (r *request) act() {
	switch r.stage {
	case sent:
		r.open()
	case failed:
		r.reopen()
	case opened:
		r.attach()
	case attaching:
		r.collect()
	case held:
		if r.woken.Load() {
			r.take()
		} else if r.c.w.chance(200) {
			r.commit()
		}
	case answered:
		r.write()
	}
}

// open opens the poll; with an undecided answer before, it waits a little and decides.
func (r *request) open() {
	c := r.c
	q := c.openRequest(OpenPoll, r.owner)
	left := r.late || r.isGhost && r.mark != c.mark // its client has polled on: while it waits its connection is found closed
	q.Mark, q.Unique, q.Lease, q.Force, q.Arrived = r.mark, c.unique, simPollLease, r.tries > 1 && !left, r.began
	if r.late && c.w.chance(500) {
		q.Arrived = time.Now() // it waited before its node knew of it
	}
	if q.Force && c.untold != nil {
		c.tell() // it has arrived by now
	}
	r.tries++
	if r.tries == 1 && r.goOn() || r.continued && c.w.chance(500) && r.findOut() {
		return
	}
	q.Continued = r.continued
	if rec := c.record(); rec != nil && rec.Gen != c.w.gen(c.hub.hub) {
		c.w.unstall() // its node waits for somebody to carry it over
	}
	if c.unique && c.w.chance(30) {
		r.twice = true
		c.late = append(c.late, func() { r.openLate(q) })
	}
	before := c.record()
	reply, err := r.node.Open(context.Background(), c.hub.hub, q)
	c.w.note("open %s at %s mark=%q: %d cursor=%v last=%v %v", c, r.node.name, r.mark, reply.Outcome, reply.Record.Cursor, reply.Last, err)
	switch {
	case errors.Is(err, ErrGone):
		r.end()
		c.gone()
	case errors.Is(err, ErrOwner) && r.late:
		r.end()
	case errors.Is(err, ErrOwner) && r.continued: // it is cut, as it may be committed
		mine := !r.isGhost
		r.end()
		switch {
		case mine && c.marked:
			c.startRequest(r.mark)
		case mine:
			c.leave()
		}
	case errors.Is(err, ErrOwner) && c.unique && c.w.count["clock"] > 0: // it seems to have come before it was sent first
		r.end()
		c.leave()
	case errors.Is(err, ErrGap):
		r.end()
		c.gap(before.Cursor, false)
		c.leave()
	case err != nil:
		c.w.fail("%s polls: %v", c, err)
	case reply.Outcome == OpenUndecided && left:
		c.w.count["too late"]++
		r.end()
	case reply.Outcome == OpenUndecided && r.continued && r.findOut():
	case reply.Outcome == OpenUndecided:
		c.w.count["undecided"]++
	case reply.Outcome == OpenFirstPoll:
		if before == nil && c.mayEnd { // its record was lost, and it begins anew
			c.beginAnew()
		}
		r.number, r.stage = reply.Record.Answers, answered
	case reply.Outcome == OpenAttached, reply.Outcome == OpenRepeated:
		c.opened(r.owner, before, &reply)
		r.opened, r.stage = reply, opened
		c.active = time.Now()
		if r.late {
			c.w.count["late"]++
		}
		if n := c.truth.upTo(reply.Record.Cursor); c.shaken && n != c.got && !c.loose() && !r.late {
			c.w.fail("%s has %d, but its poll begins after %d", c, c.got, n)
		}
	default:
		c.w.fail("%s polls: %v", c, reply.Outcome)
	}
}

// openLate is an Open that its node has repeated, and that comes when that was answered: nobody knows of it.
func (r *request) openLate(q OpenRequest) {
	c := r.c
	if c.w.mem.find(c.hub.hub) == nil || c.record() == nil {
		return
	}
	q.Moved = AppendEntry(nil, &Entry{Kind: KindMoved, Connections: []string{c.id}, Owner: r.owner})
	q.Membership, q.UserMembership, q.CreateUntil = 0, Position{}, 0
	reply, err := c.w.mem.Open(context.Background(), c.hub.hub, q)
	c.w.note("open %s at %s mark=%q late: %d cursor=%v last=%v %v", c, r.node.name, r.mark, reply.Outcome, reply.Record.Cursor, reply.Last, err)
	if err == nil && reply.Record.Owner == r.owner {
		delete(c.w.tokens, r.owner) // its node does not carry it over
	}
	c.w.count["opened late"]++
}

// goOn answers the poll without opening it, if it can be.
func (r *request) goOn() bool {
	c := r.c
	next := r.node.Continue(c.hub.hub, c.id, c.user, r.mark, c.w.limit())
	if next == nil {
		return false
	}
	q := r.answerTo()
	if c.w.chance(150) { // the request is lost, or comes when the poll was opened
		r.continued = true
		c.late = append(c.late, func() { r.continueLate(next, q) })
		return false
	}
	n, err := next.Commit(context.Background(), q)
	c.w.note("continue %s at %s mark=%q: %d bodies from %v to %v, number %d %v", c, r.node.name, r.mark, len(next.Items), next.last.answer.Sent, next.last.att.Cursor(), n, err)
	switch {
	case err != nil:
		c.w.fail("%s continues: %v", c, err)
	case n == 0:
		c.w.count["not continued"]++
		return false
	}
	c.w.count["continued"]++
	c.w.pull()
	c.w.served(c.hub.hub, c.id, r.owner)
	r.next = next
	if c.w.chance(200) { // its answer is lost
		r.continued = true
		return c.w.chance(500) // a proxy may not wait until it is opened
	}
	if !r.findOut() {
		c.w.fail("continue of %s again: it was not made", c)
	}
	return true
}

// findOut takes the answer that the poll continued with, if it did.
func (r *request) findOut() bool {
	c := r.c
	if r.next == nil {
		return false
	}
	n, err := r.next.Commit(context.Background(), r.answerTo())
	c.w.note("continue %s at %s mark=%q again: number %d %v", c, r.node.name, r.mark, n, err)
	if n == 0 {
		return false
	}
	from := r.next.last.answer.Sent
	if before := c.truth.upTo(from); before != c.got && !c.loose() && !r.late {
		c.w.fail("%s has %d, but its poll begins after %d", c, c.got, before)
	}
	for _, item := range r.next.Items {
		r.answer = append(r.answer, string(item.Body))
	}
	r.number, r.stage, r.continued = n, answered, false
	c.active = time.Now()
	return true
}

func (r *request) answerTo() AnswerRequest {
	return AnswerRequest{ID: r.c.id, Owner: r.owner, Mark: r.mark, Unique: r.c.unique, Arrived: r.began, Lease: simPollLease}
}

// continueLate is a Continue that comes after its poll was opened.
func (r *request) continueLate(next *Continuation, q AnswerRequest) {
	if r.node.dead() || r.stage == sent {
		return
	}
	before := r.c.record()
	n, err := next.Commit(context.Background(), q)
	r.c.w.note("continue %s at %s mark=%q late: number %d %v", r.c, r.node.name, r.mark, n, err)
	if after := r.c.record(); err != nil || before != nil && after != nil && before.Answers != after.Answers {
		r.c.w.fail("%s continues late: answer %d %v", r.c, n, err)
	}
	r.c.w.count["continued late"]++
}

// told notes at its node that the answer's bytes were written.
func (r *request) told() {
	switch {
	case r.next != nil:
		r.next.Answered()
	case r.att != nil:
		r.att.Answered(r.number, r.committed, r.c.user, 1)
	}
}

func (r *request) reopen() {
	c := r.c
	reply, err := r.node.Reopen(context.Background(), c.hub.hub, r.opened, r.owner)
	c.w.note("reopen %s at %s: %v", c, r.node.name, err)
	switch {
	case err == nil:
		// what it was stays
		r.opened.Record, r.opened.Gen, r.opened.Last, r.stage = reply.Record, reply.Gen, reply.Last, opened
	case errors.Is(err, ErrUnavailable):
		if time.Since(r.began) > r.patience() { // nobody carries it over: answered with nothing
			r.end()
		}
	case errors.Is(err, ErrGap):
		r.refuseGap()
	case errors.Is(err, ErrOwner), errors.Is(err, ErrGone):
		if !r.twice {
			c.attachRefused(r.owner, err)
		}
		r.displaced()
	default:
		c.w.fail("reopen of %s: %v", c, err)
	}
}

// refuseGap is for an attach that took so long that the log does not reach back to the cursor any more.
func (r *request) refuseGap() {
	r.c.gap(r.opened.Record.Cursor, false)
	mine := !r.isGhost
	r.end()
	if mine {
		r.c.leave()
	}
}

func (r *request) attach() {
	r.stage = attaching
	go func() {
		att, err := r.node.Attach(r.node.ctx, r.c.hub.hub, r.opened, r.owner, 0, func() { r.woken.Store(true) })
		r.result <- attached{att, err}
	}()
	r.c.w.wait()
	r.collect()
}

func (r *request) collect() {
	if r.stage != attaching {
		return
	}
	select {
	case a := <-r.result:
		r.c.w.note("attached %s at %s: %v", r.c, r.node.name, a.err)
		switch {
		case errors.Is(a.err, ErrUnavailable):
			r.c.w.count["attach failed"]++
			r.stage = failed
		case errors.Is(a.err, ErrGap):
			r.stage = failed
			r.refuseGap()
		case errors.Is(a.err, ErrOwner), errors.Is(a.err, ErrGone):
			r.stage = failed
			if !r.twice {
				r.c.attachRefused(r.owner, a.err)
			}
			r.displaced()
		case a.err != nil:
			r.c.w.fail("attach of %s: %v", r.c, a.err)
		default:
			r.att, r.stage = a.att, held
			r.woken.Store(true)
		}
	default:
	}
}

// take takes what there is and answers, or waits on.
func (r *request) take() {
	r.woken.Store(false)
	n := next(r.att, r.c.w.limit())
	for _, item := range n.items {
		r.answer = append(r.answer, string(item.Body))
	}
	switch {
	case r.opened.Outcome == OpenRepeated && n.err == nil && !r.att.Whole():
		r.woken.Store(true)
	case len(n.items) > 0, r.opened.Outcome == OpenRepeated && n.err == nil:
		r.commit()
	case n.err == nil:
	case notFinal(n.err):
		r.woken.Store(true)
	default:
		r.finish(n.err)
	}
}

// displaced ends a poll that another has displaced: one of whose mark there is no other is cut, and so is one that gives an answer
// again, and a proxy sends it again.
func (r *request) displaced() {
	again := !r.isGhost && (r.c.unique || r.opened.Outcome == OpenRepeated) && r.c.record() != nil
	r.end()
	if again {
		r.c.startRequest(r.mark)
	}
}

func (r *request) finish(err error) {
	c := r.c
	c.w.note("finish %s at %s: %v", c, r.node.name, err)
	var closed *CloseError
	switch {
	case errors.As(err, &closed):
		c.ending = true
		if !closed.Ended {
			if _, err := r.node.End(context.Background(), c.hub.hub, c.id, ""); err != nil {
				c.w.fail("end of %s: %v", c, err)
			}
		}
		mine := !r.isGhost
		r.end()
		if mine {
			c.closed()
		}
	case errors.Is(err, ErrOwner):
		if rec := c.record(); rec != nil && rec.Owner == r.owner && !c.mayEnd && !r.twice {
			c.w.fail("%s at %s is told that it lost ownership, and has not", c, r.node.name)
		}
		r.displaced()
	case errors.Is(err, ErrLost), errors.Is(err, ErrBeyond):
		c.w.lostConnection(c, err)
		_, _ = r.node.End(context.Background(), c.hub.hub, c.id, "")
		mine := !r.isGhost
		r.end()
		if mine {
			c.leave()
		}
	case errors.Is(err, ErrGap):
		c.gap(r.att.Cursor(), r.node.stats.Gaps.Load() > 0)
		c.ending = true
		_, _ = r.node.End(context.Background(), c.hub.hub, c.id, "")
		r.end()
		c.leave()
	default:
		c.w.fail("%s: %v", c, err)
	}
}

// commit commits the answer.
func (r *request) commit() {
	c := r.c
	sent := r.att.Cursor()
	q := r.answerTo()
	q.Sent = sent
	n, err := r.node.Answer(context.Background(), c.hub.hub, q)
	c.w.note("answer %s at %s: %d bodies to %v, number %d %v", c, r.node.name, len(r.answer), sent, n, err)
	switch {
	case err == nil:
		r.number, r.committed, r.stage = n, q, answered
		c.w.served(c.hub.hub, c.id, r.owner)
		_ = r.att.Detach(context.Background(), 0, LeavingNone)
	case errors.Is(err, ErrOwner), errors.Is(err, ErrGone):
		if rec := c.record(); rec != nil && rec.Owner == r.owner && !c.mayEnd && !r.twice {
			c.w.fail("answer of %s: %v", c, err)
		}
		r.displaced()
	case errors.Is(err, ErrBeyond) && c.mayEnd:
		r.finish(err)
	default:
		c.w.fail("answer of %s: %v", c, err)
	}
}

// write writes the answer's bytes, which arrive or not.
func (r *request) write() {
	c := r.c
	if r.isGhost {
		if c.w.chance(500) {
			r.wrote(false)
		}
		r.end()
		return
	}
	switch n := c.w.rng.IntN(100); {
	case n < 10:
		r.wrote(false)
		c.w.note("write %s failed", c)
		c.w.count["write failed"]++
		r.isGhost = true
		c.ghosts = append(c.ghosts, r)
		r.end()
		c.startRequest(r.mark)
	case n < 15:
		if c.marked {
			r.told()
			if c.unique && c.w.chance(500) { // lost on the way, and nobody noticed
				r.wrote(true)
			}
			c.again()
		}
	default:
		r.told()
		r.arrive()
		switch {
		case n < 70:
			r.wrote(true)
		case n < 95:
			c.untold = func() { r.wrote(true) }
		default: // the node never tells
			c.marksOff = true
		}
	}
}

func (r *request) arrive() {
	c := r.c
	c.w.note("arrived %s: answer %d, %d bodies", c, r.number, len(r.answer))
	c.polled = true
	for _, body := range r.answer {
		c.receive(body)
	}
	r.end()
}

func (r *request) wrote(ok bool) {
	if err := r.node.Wrote(context.Background(), r.c.hub.hub, r.c.id, r.number, ok); err != nil && !r.node.dead() {
		r.c.w.fail("wrote %s: %v", r.c, err)
	}
	if r.node.dead() {
		r.c.marksOff = true
	}
}

// end forgets the request.
func (r *request) end() {
	c := r.c
	if r.stage == attaching {
		go func() {
			if a := <-r.result; a.att != nil {
				_ = a.att.Detach(context.Background(), 0, LeavingNone)
			}
		}()
	}
	r.stage = done
	if r.att != nil {
		_ = r.att.Detach(context.Background(), 0, LeavingNone)
	}
	if c.request == r {
		c.request = nil
	}
	for i, g := range c.ghosts {
		if g == r {
			c.ghosts = append(c.ghosts[:i:i], c.ghosts[i+1:]...)
			break
		}
	}
}

// drain is the poll's end at a node that stops in good order.
func (r *request) drain() {
	r.collect()
	switch {
	case r.stage != held:
	case r.opened.Outcome == OpenRepeated:
		r.take()
	default:
		r.commit()
	}
	if r.stage == answered {
		r.told()
		r.arrive()
		r.wrote(true)
	}
}

// lostRequests is called when a node is gone: its polls are sent again, elsewhere.
func (c *client) lostRequests(n *simNode) {
	for i := len(c.ghosts) - 1; i >= 0; i-- {
		if g := c.ghosts[i]; g.node == n {
			g.end()
		}
	}
	r := c.request
	if r == nil || r.node != n || c.over {
		return
	}
	if !c.marked && r.committedUnread() {
		r.end()
		c.leave() // the client cannot know
		return
	}
	r.end()
	c.startRequest(r.mark)
}

// hurryPoll keeps a poll from staying longer than a server would hold it, and from
// being followed later than a client would.
func (c *client) hurryPoll() {
	c.tell()
	for i := 0; i < 20 && !c.over; i++ {
		r := c.request
		switch {
		case r == nil:
			c.poll()
		case r.stage == answered:
			r.told()
			r.arrive()
			r.wrote(true)
		case r.stage == held && time.Since(r.began) > r.patience():
			if r.woken.Load() {
				r.take()
			} else {
				r.commit()
			}
		case r.stage == held:
			if c.shaken && r.opened.Record.State == StateNew && time.Since(r.began) > simNewLease {
				r.cancelHandshake()
			}
			return
		default:
			r.act()
		}
		c.w.wait()
	}
}

// cancelHandshake ends a connection whose handshake was lost: the server waits for it in vain.
func (r *request) cancelHandshake() {
	c := r.c
	c.w.note("cancel %s", c)
	_, _ = r.node.End(context.Background(), c.hub.hub, c.id, "")
	r.end()
	c.leave()
}

// behavePoll does everything that the client and its servers would do at once.
func (c *client) behavePoll() {
	for len(c.ghosts) > 0 {
		c.ghosts[0].end()
	}
	c.tell()
	for i := 0; i < 20 && !c.over; i++ {
		r := c.request
		switch {
		case c.polled && !c.shaken:
			c.shake()
		case r == nil:
			c.poll()
		case r.stage == answered:
			r.told()
			r.arrive()
			r.wrote(true)
		case r.stage == held:
			if !r.woken.Load() {
				return
			}
			r.take()
		default:
			r.act()
		}
		c.w.wait()
	}
}

// patience is how long a server holds the poll. If the handshake was lost, nothing comes, and the connection expires.
func (r *request) patience() time.Duration {
	if r.c.shaken && r.opened.Record.State == StateNew {
		return 2 * simNewLease
	}
	return 10 * time.Second
}
