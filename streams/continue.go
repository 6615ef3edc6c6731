package streams

import (
	"context"
	"time"
)

// pollMemory is how long a node remembers how a poller goes on: one that has more to fetch comes at once.
const pollMemory = 10 * time.Second

// polled is how a long polling connection goes on that was answered here last: its filter, as it was stepped up to the
// answer's end, and what the record must still be for that to hold.
type polled struct {
	at      time.Time
	att     *Attachment // out of service; nil: its polls go to several nodes, and none is tried for a while
	user    string      // whom its polls name
	gen     string
	answer  AnswerRequest // as it was committed
	answers uint64        // its number
	// protocol is the connection's, as the transport has it.
	protocol uint8
}

// Answered notes that the bytes of an answer were written: number n, as it was committed, to a poll in the name of user. It takes the
// attachment out of service: the next poll of its client may go on from there, see Node.Continue. protocol is for that one.
func (a *Attachment) Answered(n uint64, r AnswerRequest, user string, protocol uint8) {
	h := a.hub
	a.mu.Lock()
	p := &polled{at: time.Now(), att: a.successor(), user: user, gen: a.gen, answer: r, answers: n, protocol: protocol}
	usable := a.err == nil && a.filter.started && !a.renamed && a.cursor == r.Sent
	a.mu.Unlock()
	h.leave(a)
	h.mu.Lock()
	defer h.mu.Unlock()
	if roams := h.polled[a.id]; roams != nil && roams.att == nil && time.Since(roams.at) < pollMemory {
		return
	}
	if usable && a.resets == h.resets {
		h.goesOn(p)
	}
}

// goesOn remembers how a connection goes on, unless its next poll has come already. h.mu is held.
func (h *hub) goesOn(p *polled) {
	id := p.answer.ID
	if last := h.recent[id]; h.tailing && p.gen == h.gen && last.owner == "" && last.answers == p.answers {
		h.polled[id] = p
	}
}

// successor is an attachment that goes on from the cursor and is not in service. a.mu is held, and a is not used any more.
func (a *Attachment) successor() *Attachment {
	return &Attachment{
		hub: a.hub, id: a.id, user: a.user, owner: a.owner, wake: func() {}, transport: a.transport, stripe: a.stripe,
		filter: a.filter, cursor: a.cursor, next: a.next, resets: a.resets, losses: a.losses,
		behind: true, // nothing wakes it
	}
}

// Continuation is a poll's answer that was found before the poll was opened: what follows in the window on the answer before it.
type Continuation struct {
	// Items are the answer; there is at least one.
	Items []*Item
	// Protocol is what the last answer's Answered was told.
	Protocol uint8
	// Last is when the bytes of the last answer were written.
	Last time.Time

	hub   *hub
	last  *polled // that it follows on
	taker taker
	// set by Commit: what the next poll may go on from
	next *polled
}

// Continue looks for the answer of a poll that follows on an answer of this node, whose bytes were written. It returns nil if
// there is nothing for it in the window, or nothing is known here, or any more, of the connection, or its mark is that of the poll
// before, or of one still before: then the poll is opened.
//
// It is the scan that an Attachment would make: the filter, which depends on nothing but the record that it began with and the
// entries since, goes on from where the last answer ended. Whether the record has gone on elsewhere is found out by Commit.
func (n *Node) Continue(hubName, id, user, mark string, maxBytes int) *Continuation {
	n.mu.Lock()
	h := n.hubs[hubName]
	n.mu.Unlock()
	if h == nil {
		return nil
	}
	h.mu.Lock()
	p := h.polled[id]
	if p != nil && p.att != nil {
		delete(h.polled, id) // for one poll only
	}
	known := h.gen
	h.mu.Unlock()
	if p == nil || p.att == nil || p.gen != known || p.user != user || mark != "" && (p.answer.Mark == mark || sentBefore(mark, p.answer.Mark)) {
		return nil
	}
	c := &Continuation{Protocol: p.protocol, Last: p.at, hub: h, last: p, taker: taker{a: p.att, left: maxBytes}}
	if !c.More() || len(c.Items) == 0 {
		return nil
	}
	return c
}

// More takes what has come since, within the limit of Continue. It returns false if the poll must be opened.
func (c *Continuation) More() bool {
	a, t := c.last.att, &c.taker
	a.mu.Lock()
	defer a.mu.Unlock()
	if !t.done && (!c.hub.visit(a, t.offer) || a.err != nil) {
		return false
	}
	c.Items = t.items
	return true
}

// Commit opens the poll and commits its answer in one step: see Records.Continue for what it returns, and OpenRequest.Continued for what
// follows when the outcome is not known. r.Sent is set here.
func (c *Continuation) Commit(ctx context.Context, r AnswerRequest) (uint64, error) {
	h, last, a := c.hub, c.last, c.last.att
	r.Sent = a.Cursor()
	carries := h.carriedOver()
	n, err := h.node.store.Continue(ctx, h.name, ContinueRequest{
		AnswerRequest: r, Gen: last.gen, Last: last.answer.Owner, Answers: last.answers, From: last.answer.Sent,
	})
	if n > 0 {
		a.stripe.took(len(c.Items), h.node.clock.now()-int64(c.Items[0].Position.ms))
		if !h.stands(r.ID, n, carries) {
			return 0, ErrOutcomeUnknown
		}
		c.next = &polled{att: a, user: last.user, gen: last.gen, answer: r, answers: n, protocol: last.protocol}
	} else if err == nil {
		h.mu.Lock()
		h.polled[r.ID] = &polled{at: time.Now()}
		h.mu.Unlock()
	}
	return n, err
}

// Answered notes that the bytes of the answer were written, as Attachment.Answered does.
func (c *Continuation) Answered() {
	h := c.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	c.next.at = time.Now()
	h.goesOn(c.next)
}
