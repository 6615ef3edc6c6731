package streams

import (
	"context"
	"errors"
	"fmt"
	"time"

	"hubstream/internal/sleep"
)

const (
	// generationWait is how long a record of another generation is given to be carried over by the node that last served
	// it, which may find out later that the store has failed over, and is not quick when it has much to do.
	generationWait = 5 * time.Second
	// heardWait is how long a client is given to be noted as heard.
	heardWait = 2 * time.Second
	// recordPause is the pause between two looks at a record that is waited for. Where more than maxOpens are waited for it is longer, so
	// that all of them together are not looked at more often.
	recordPause = 50 * time.Millisecond
)

// Open admits a request of a connection; see OpenRequest. It fills in Moved and
// Membership. ErrUnverified, ErrGeneration and ErrUnheard never leave it: a log of unknown state
// is verified, and a record that nobody carries over is ErrGone, as is that of a client that nothing was heard of.
func (n *Node) Open(ctx context.Context, hubName string, r OpenRequest) (OpenReply, error) {
	h := n.acquire(hubName)
	defer h.release()
	r.Moved = AppendEntry(nil, &Entry{Kind: KindMoved, Connections: []string{r.ID}, Owner: r.Owner})
	wait := recordWait{hub: h, id: r.ID, owner: r.Owner}
	for {
		known := h.membership(r.ID)
		r.Membership, r.UserMembership = known.version, known.userVersion
		reply, err := n.openOnce(ctx, hubName, r)
		switch {
		case err == nil:
			if r.knows(&reply.Record) {
				reply.Record.Groups, reply.Record.UserGroups = known.groups, known.userGroups
			}
			h.remember(&reply, r.Owner)
			for _, group := range reply.Due {
				_ = n.leaveDue(ctx, hubName, reply.Record.User, group)
			}
			return reply, nil
		case errors.Is(err, ErrUnverified):
			wait.claimed = false
			if err := h.verify(ctx); err != nil {
				return OpenReply{}, err
			}
		case errors.Is(err, ErrGeneration):
			if err := wait.carriedOver(ctx, err); err != nil {
				return OpenReply{}, err
			}
		case errors.Is(err, ErrUnheard):
			if err := wait.pause(ctx, heardWait, err); err != nil {
				return OpenReply{}, err
			}
		default:
			return OpenReply{}, err
		}
	}
}

// openOnce is one attempt of an Open. It counts as one under way; an Open that waits for its record does not: of those there may be thousands,
// when the node that would carry the records over is gone.
func (n *Node) openOnce(ctx context.Context, hubName string, r OpenRequest) (OpenReply, error) {
	select {
	case n.opens <- struct{}{}:
		defer func() { <-n.opens }()
	case <-ctx.Done():
		return OpenReply{}, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	}
	return n.store.Open(ctx, hubName, r)
}

// recordWait is the wait for a record to be as an Open needs it.
type recordWait struct {
	hub       *hub
	id, owner string
	since     time.Time // zero: it is not waited for yet
	claimed   bool
}

// carriedOver waits for a record of another generation. It may be this very Open's: made, and its answer lost when the store failed over.
func (w *recordWait) carriedOver(ctx context.Context, err error) error {
	if !w.claimed && w.owner != "" {
		w.claimed = true
		return w.hub.claim(ctx, w.id, w.owner)
	}
	return w.pause(ctx, generationWait, err)
}

// pause waits a little, or returns ErrGone, for the reason err, if it has taken too long.
func (w *recordWait) pause(ctx context.Context, limit time.Duration, err error) error {
	if w.since.IsZero() {
		w.since = time.Now()
	}
	if time.Since(w.since) > limit {
		return fmt.Errorf("%w: %w", ErrGone, err)
	}
	waiting := &w.hub.node.waiting
	many := waiting.Add(1) / maxOpens
	defer waiting.Add(-1)
	if err := sleep.For(ctx, min(recordPause*time.Duration(1+many), limit)); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return nil
}

func (h *hub) membership(id string) membership {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.memberships[id]
}

// remember notes that a connection is served here, and keeps a poller's groups, so that
// its next poll need not read them.
func (h *hub) remember(reply *OpenReply, owner string) {
	r := &reply.Record
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	if r.Owner != owner {
		owner = h.recent[r.ID].owner
	}
	if h.gen == "" {
		h.gen = reply.Gen
	}
	h.serve(r.ID, owner, r.Answers)
	known := h.recent[r.ID]
	known.gen = reply.Gen
	h.recent[r.ID] = known
	if r.Transport == TransportLongPolling && (r.Membership > 0 || !r.UserMembership.IsZero()) {
		h.memberships[r.ID] = membership{r.Membership, r.UserMembership, r.Groups, r.UserGroups, now}
	}
}

// errWindowMoved says that the window has moved on between the record's reading and
// the attach; reading the record again cures it.
var errWindowMoved = fmt.Errorf("%w: the window moved on", ErrUnavailable)

// Attach takes a connection into live service, as Open returned it. wake is called, from any
// goroutine, when Next may have more; Next must be called once at first. It must not block, nor take a lock that is held while something is
// published: whoever publishes may call it.
// The lease is what the node renews for the connection until Detach; zero renews none (long polling).
//
// Errors: ErrUnavailable, and those of Reopen.
func (n *Node) Attach(ctx context.Context, hubName string, reply OpenReply, owner string, lease time.Duration, wake func()) (*Attachment, error) {
	h := n.acquire(hubName)
	for tries := 0; ; tries++ {
		a := newAttachment(h, &reply, owner, lease, wake)
		err := h.attach(ctx, a, reply)
		if err == nil {
			return a, nil // the attachment holds the use of h until it leaves
		}
		if errors.Is(err, errWindowMoved) && tries < maxAttachTries {
			reply, err = n.Reopen(ctx, hubName, reply, owner)
		}
		if err != nil {
			h.release()
			return nil, err
		}
	}
}

// maxAttachTries bounds how often an attach reads the record again because the window moved on.
const maxAttachTries = 5

func newAttachment(h *hub, reply *OpenReply, owner string, lease time.Duration, wake func()) *Attachment {
	r := &reply.Record
	a := &Attachment{
		hub: h, id: r.ID, user: r.User, owner: owner, lease: lease, wake: wake,
		transport: r.Transport, stripe: h.node.meter.stripe(),
		filter:   newFilter(r, owner, reply.Last),
		cursor:   r.Cursor,
		behind:   true,
		waiting:  r.Transport == TransportWebSockets && r.Start.IsZero(),
		stateful: r.Stateful(),
		heard:    r.Heard,
		acks:     acks{cursor: r.Cursor, acked: r.Acked, sent: time.Now()},
		saved:    savedPair{r.Cursor, r.Acked, time.Now()},
	}
	if reply.Outcome == OpenRepeated {
		a.until = r.Sent
	}
	if r.Cursor.Before(reply.Floor) {
		// The record was read anew, and the floor had passed its cursor: the window or a page may hold what follows the cursor still, but
		// the record has forgotten the memberships of that time.
		a.err = ErrGap
	}
	return a
}

// Reopen reads the record of a connection that owner opened before, for another
// Attach; what the request was, and when it came (Outcome, Now), stays as it was opened. An Open in its place could displace a newer owner. ErrOwner if there is one,
// ErrGone if the connection has ended, ErrGap if the log no longer reaches back to its cursor.
func (n *Node) Reopen(ctx context.Context, hubName string, opened OpenReply, owner string) (OpenReply, error) {
	reply, err := n.reopen(ctx, hubName, opened, owner)
	if !errors.Is(err, ErrGeneration) {
		return reply, err
	}
	// The store may have failed over before this node knew that this attach owns it.
	h := n.acquire(hubName)
	defer h.release()
	if err := h.claim(ctx, opened.Record.ID, owner); err != nil {
		return OpenReply{}, err
	}
	return n.reopen(ctx, hubName, opened, owner)
}

func (n *Node) reopen(ctx context.Context, hubName string, opened OpenReply, owner string) (OpenReply, error) {
	reply, err := n.store.Lookup(ctx, hubName, opened.Record.ID)
	switch {
	case err != nil:
		return OpenReply{}, err
	case reply.Record.Owner != owner:
		return OpenReply{}, ErrOwner
	case reply.Record.Gen != reply.Gen:
		return OpenReply{}, fmt.Errorf("%w: %w", ErrUnavailable, ErrGeneration)
	case reply.Record.Cursor.Before(reply.Floor):
		return OpenReply{}, ErrGap // memberships that ended before the floor are forgotten
	}
	reply.Outcome, reply.Now = opened.Outcome, opened.Now
	return reply, nil
}

func (h *hub) attach(ctx context.Context, a *Attachment, reply OpenReply) error {
	if err := h.tail(ctx, reply.Gen, reply.Last); err != nil {
		return err
	}
	// Before it waits: a log that was lost may never reach what the record's had reached.
	losses, err := h.agree(ctx, reply.Gen)
	if err != nil {
		return err
	}
	if err := h.wait(ctx, reply.Last, losses); err != nil {
		return fmt.Errorf("%w: the tail is behind: %w", ErrUnavailable, err)
	}
	err = h.enter(a, reply.Gen, reply.Last)
	if errors.Is(err, ErrUnverified) {
		err = errWindowMoved // the log went over to another generation meanwhile
	}
	return err
}

// agree makes sure that the log's generation is the one in which a record was read, and returns how often the log was lost until
// then. errWindowMoved: it was an earlier one.
func (h *hub) agree(ctx context.Context, gen string) (losses uint64, err error) {
	known, losses := h.lost()
	if known == gen {
		return losses, nil
	}
	if err := h.verify(ctx); err != nil {
		return 0, err
	}
	if known, losses = h.lost(); known != gen {
		return 0, errWindowMoved
	}
	return losses, nil
}
