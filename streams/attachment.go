package streams

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// CloseError ends an attachment: the connection was closed by an entry of the log.
type CloseError struct {
	// Reason is for the client; may be empty.
	Reason string
	// AllowReconnect: the client may start a new connection.
	AllowReconnect bool
	// Ended: the connection has ended already, its client is sent nothing more.
	Ended bool
}

func (e *CloseError) Error() string {
	if e.Reason == "" {
		return "the connection was closed"
	}
	return fmt.Sprintf("the connection was closed: %s", e.Reason)
}

// ErrLost ends an attachment: the log was lost or rolled back, and the connection
// cannot be continued without a loss.
var ErrLost = errors.New("the hub's log was lost")

// Attachment is a connection in live service on this node: a filter and a cursor over
// its hub's log. Its methods may be called from several goroutines, but only one
// of them takes what Next returns to the client.
type Attachment struct {
	// What each Take needs comes first, in few lines of the processor's caches, which are cold whenever there are many attachments.

	hub    *hub
	stripe *stripe // where its work is counted
	mu     sync.Mutex
	dirty  atomic.Bool

	// guarded by mu

	// waiting: nothing is considered before Start.
	waiting bool
	// behind: after the cursor there may be a match that nothing will wake it for.
	behind   bool
	stateful bool
	// next is the number that the window had for the entry after the cursor: a hint.
	next   uint64
	cursor Position
	// resets is the hub's when the attachment entered it. While it is another one, there is nothing for the attachment but its end.
	resets uint64
	losses uint64 // likewise
	err    error
	filter filter
	acks   acks
	// until is where the answer ends that is given again; zero: there is none. See OpenRepeated.
	until Position
	whole bool // Next has returned all of it
	// renamed: the handshake's answer, which was taken, has made the connection another user's.
	renamed bool
	heard   bool // something came from a stateful client since its handshake was answered
	saved   savedPair
	// paced is when it was last given something whose sender waits for it to keep up.
	paced time.Time

	// static, but for user and renewed

	id        string
	user      string // guarded by hub.mu
	owner     string
	lease     time.Duration
	wake      func()
	transport Transport    // what it is counted by
	renewed   atomic.Int64 // see Renewed

	// groups are those that the hub's index wakes it for, and why, place is its place in its crowd, from 1 on; 0: it is not
	// in service, member what it is called there, gen the log's generation when it was entered. Guarded by hub.mu.
	groups map[string]via
	crowd  *crowd
	place  int
	member any
	gen    string
}

// savedPair is what the record has.
type savedPair struct {
	cursor Position
	acked  uint64
	at     time.Time
}

// ID is the connection's ID.
func (a *Attachment) ID() string { return a.id }

// Owner is the token of this attach.
func (a *Attachment) Owner() string { return a.owner }

// Cursor is the position up to which everything has been considered: every match at or
// before it was returned by Next.
func (a *Attachment) Cursor() Position {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.advance()
	if a.whole {
		return a.until
	}
	return a.cursor
}

// Whole tells whether Next has returned all of an answer that is given again (see OpenRepeated). Until then the cursor is on the way, and
// Next must be called again.
func (a *Attachment) Whole() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.whole
}

// ends tells whether an answer that is given again ends before p.
func (a *Attachment) ends(p Position) bool { return !a.until.IsZero() && p.After(a.until) }

// advance moves the cursor over what was no match, so that a connection for which there
// is nothing does not fall out of the log: an entry that is for it has marked it, or is not after hub.forAll. Nothing marks
// who has left.
func (a *Attachment) advance() {
	h := a.hub
	h.mu.RLock()
	defer h.mu.RUnlock()
	if a.place > 0 && !a.behind && !a.dirty.Load() && !h.forAll.After(a.cursor) && a.err == nil && a.resets == h.resets {
		if h.win.end.After(a.cursor) {
			a.cursor, a.next = h.win.end, h.win.next()
		}
	}
}

// Start lets messages after p match: the handshake was answered there. It makes the
// attachment number its matches if the connection is stateful. Until then Next returns
// nothing to a WebSocket: it would pass over messages between p and the call of Start.
func (a *Attachment) Start(p Position, stateful bool) {
	a.mu.Lock()
	a.filter.started, a.filter.start = true, p
	a.stateful, a.waiting = stateful, false
	a.mu.Unlock()
	a.notify()
}

// Rename reads the connection's user, and that user's groups, anew: the handshake has changed them. It is called before Start by
// whoever has made the handshake; who reads its answer in the log learns it there. ErrUnavailable is not final.
func (a *Attachment) Rename(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.rename(ctx)
}

// rename is Rename with a.mu held, which it gives up while it waits.
func (a *Attachment) rename(ctx context.Context) error {
	reply, err := a.current(ctx)
	if errors.Is(err, ErrGone) {
		a.renamed = false // what is left is its end
		return nil
	}
	if err != nil {
		return err
	}
	known := newFilter(&reply.Record, a.owner, reply.Last)
	known.started, known.start = a.filter.started, a.filter.start
	a.filter = known
	if err := a.hub.reindex(a, reply.Gen, reply.Last); err != nil {
		return err
	}
	a.renamed, a.behind = false, true
	return nil
}

// current reads the record, without a.mu, and returns when the window has reached what the log was then.
func (a *Attachment) current(ctx context.Context) (OpenReply, error) {
	a.mu.Unlock()
	defer a.mu.Lock()
	_, losses := a.hub.lost()
	reply, err := a.hub.node.store.Lookup(ctx, a.hub.name, a.id)
	if err == nil {
		err = a.hub.wait(ctx, reply.Last, losses)
	}
	return reply, err
}

// Next appends to dst the matches after the cursor, in order, and moves the cursor. It
// stops before the match that would exceed maxBytes of bodies in all, but returns at least one
// if there is one and dst is empty. It returns dst unchanged when there is nothing
// now: wake is called when there may be more. It is called again when what it returned
// has been written. A connection that is behind the window
// reads the store, for as long as ctx allows.
//
// The error, once there is one, is final: *CloseError, ErrOwner (another attach serves
// the connection), ErrGap, ErrLost, ErrBeyond. What came before it was returned before.
// ErrUnavailable and the context's error are not final.
func (a *Attachment) Next(ctx context.Context, dst []*Item, maxBytes int) ([]*Item, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil || !a.begin() {
		return dst, a.err
	}
	if a.renamed {
		if err := a.rename(ctx); err != nil {
			return dst, err
		}
	}
	if !a.until.IsZero() {
		maxBytes = math.MaxInt // it was within the limit
	}
	t := taker{a: a, items: dst, left: maxBytes, taken: len(dst) > 0}
	err := a.take(ctx, &t)
	a.whole = a.whole || !a.until.IsZero() && !a.cursor.Before(a.until)
	switch {
	case err == nil:
	case errors.Is(err, ErrGap):
		a.err = err
	case len(t.items) == len(dst):
		return dst, err // passing: Valkey is away, or ctx ended
	}
	if len(t.items) == len(dst) {
		a.checkHeard()
		return dst, a.err
	}
	a.stripe.took(len(t.items)-len(dst), a.hub.node.clock.now()-int64(t.items[len(dst)].Position.ms))
	return t.items, nil
}

// begin notes that what there is is looked for, and tells whether it may be.
func (a *Attachment) begin() bool {
	a.dirty.Store(false)
	a.acks.written()
	if a.waiting {
		return false
	}
	a.behind = true
	return !a.stateful || !a.acks.full()
}

// checkHeard ends a stateful connection whose client, as its Acks say, has what the log has not.
func (a *Attachment) checkHeard() {
	if a.err == nil && a.stateful && a.acks.caughtUp && a.acks.heard > a.acks.count() {
		a.err = ErrBeyond
	}
}

// take scans from the cursor: pages of the store until the window is reached, then the window.
func (a *Attachment) take(ctx context.Context, t *taker) error {
	for {
		if a.hub.visit(a, t.offer) {
			a.reached(t.done)
			return nil
		}
		pg, err := a.page(ctx)
		if err != nil || a.err != nil || a.isLost() {
			return err
		}
		before := a.cursor
		a.cursor = pg.visit(&a.filter, before, t.offer)
		a.hub.pages.took(pg, before, a.cursor)
		if t.done {
			return nil
		}
	}
}

// reached notes that the window has been scanned: to its end, or for now as far as is wanted.
func (a *Attachment) reached(more bool) {
	a.behind = more
	if !a.acks.caughtUp && !a.cursor.Before(a.filter.known) {
		a.filter.forget(a.cursor)
		a.acks.caughtUp = true
	}
}

// page reads what follows the cursor from the store, without a.mu: Acks and leases do
// not wait for it.
func (a *Attachment) page(ctx context.Context) (*page, error) {
	cursor := a.cursor
	a.mu.Unlock()
	defer a.mu.Lock()
	return a.hub.pages.after(ctx, cursor)
}

// taker collects what a visit offers.
type taker struct {
	a     *Attachment
	items []*Item
	left  int
	taken bool
	done  bool
}

func (t *taker) offer(item *Item, v verdict) want {
	if t.a.ends(item.Position) {
		t.done, t.a.whole = true, true
		return reject
	}
	if v != deliver {
		// The cursor stays before it: a poll answers what came before, and the next poll
		// must meet it again.
		t.done = true
		t.a.err = terminal(item, v)
		return reject
	}
	if t.taken && len(item.Body) > t.left {
		t.done = true
		return reject
	}
	t.taken = true
	if item.Flags&FlagPaced != 0 {
		t.a.paced = time.Now()
	}
	t.left -= len(item.Body)
	t.items = append(t.items, item)
	if item.Flags&FlagHandshake != 0 && len(item.Named) > 0 && item.Named[0] != t.a.filter.user {
		t.a.renamed, t.done = true, true // what follows is for another user
		return enough
	}
	if t.a.stateful {
		t.a.acks.add(item.Position, len(item.Body), !item.Position.After(t.a.filter.known))
		if t.a.acks.full() {
			t.done = true
			return enough
		}
	}
	return more
}

func terminal(item *Item, v verdict) error {
	if v == moved {
		return ErrOwner
	}
	return &CloseError{
		Reason:         string(item.Body),
		AllowReconnect: item.Flags&FlagReconnect != 0,
		Ended:          v == ended,
	}
}

// Ack takes a stateful client's Ack: every match up to number n has arrived.
func (a *Attachment) Ack(n uint64) {
	a.Heard()
	a.mu.Lock()
	a.acks.ack(n)
	a.mu.Unlock()
	a.notify()
}

// Heard tells that the client of a stateful connection is there: something came from
// it, be it a ping. An Ack that came right after a re-attach takes effect only then.
func (a *Attachment) Heard() {
	a.mu.Lock()
	if !a.heard {
		a.heard, a.saved.at = true, time.Time{}
		a.hub.node.heard.add(a)
	}
	full := a.acks.full()
	a.acks.settle()
	freed := full && !a.acks.full()
	a.mu.Unlock()
	if freed {
		a.notify()
	}
}

// Acked is the number of matches that are known to have arrived: the Sequence of a
// re-attach is one more.
func (a *Attachment) Acked() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.acks.acked
}

// Detach takes the connection out of live service. A stateful one may come back at
// any node within lease; its cursor is saved, and why it was left.
func (a *Attachment) Detach(ctx context.Context, lease time.Duration, why Leaving) error {
	a.hub.leave(a)
	if !a.isStateful() || lease == 0 {
		return nil
	}
	item, _ := a.touchItem(true)
	item.Lease, item.Detached, item.Leaving = lease, true, why
	_, err := a.hub.node.store.Touch(ctx, a.hub.name, []TouchItem{item})
	return err
}

func (a *Attachment) isStateful() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.stateful
}

// fail ends the attachment from outside.
func (a *Attachment) fail(err error) {
	a.mu.Lock()
	if a.err == nil {
		a.err = err
	}
	a.mu.Unlock()
	a.notify()
}

// refused ends an attachment that the store knows nothing of. If that is because the log is lost, and the record with it, it ends as its hub's
// others do.
func (a *Attachment) refused() {
	a.mu.Lock()
	lost := a.isLost()
	a.mu.Unlock()
	if !lost {
		a.fail(ErrOwner)
	}
}

// Lost tells whether the log that the connection was served from is known to be lost. Then nothing is sent to it any more but that, which
// Next will tell, at once or by and by.
func (a *Attachment) Lost() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.hub.mu.RLock()
	defer a.hub.mu.RUnlock()
	return a.losses != a.hub.losses
}

// isLost tells whether the log, or the window, is not the one that the attachment was served by. a.mu is held.
func (a *Attachment) isLost() bool {
	a.hub.mu.RLock()
	defer a.hub.mu.RUnlock()
	return a.resets != a.hub.resets
}

// notify makes the server of the connection call Next.
func (a *Attachment) notify() {
	if a.dirty.CompareAndSwap(false, true) {
		a.wake()
	}
}

// Intervals of the leases' renewal: a changed cursor is saved at most every touchChanged. For so long after something
// whose sender waits for the client, it is saved at every touch.
const (
	touchChanged   = 2 * time.Second
	touchUnchanged = 10 * time.Second
	touchPaced     = 15 * time.Second
)

// touchItem returns the sign of life that is due, if one is.
func (a *Attachment) touchItem(always bool) (item TouchItem, due bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.advance()
	cursor, acked := a.acks.pair(a.cursor)
	now := time.Now()
	since := now.Sub(a.saved.at)
	paced := now.Sub(a.paced) < touchPaced && cursor != a.saved.cursor
	changed := a.stateful && acked != a.saved.acked && since >= touchChanged
	if !always && !changed && !paced && since < touchUnchanged {
		return TouchItem{}, false
	}
	a.saved = savedPair{cursor, acked, now}
	heard := a.stateful && a.heard
	return TouchItem{
		ID: a.id, Owner: a.owner, Lease: a.lease, Save: heard || paced && !a.stateful, Heard: heard, Cursor: cursor, Acked: acked,
	}, true
}

// touchFailed makes the touch due again.
func (a *Attachment) touchFailed() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.saved.at = time.Time{}
}
