package streams

import (
	"context"
	"errors"
	"time"
)

// Audience is what a plain event stream follows: the hub's broadcasts, and what is
// addressed to these groups and this user.
type Audience struct {
	Groups []string
	User   string // none if empty
}

// Follow returns an attachment that belongs to no connection and has no record: a
// constant filter, from after on. With a zero after it begins at the log's end. wake is
// as for Attach. The receipt is where it begins.
//
// ErrGap, ErrGeneration and ErrBeyond say that it cannot go on from after.
func (n *Node) Follow(ctx context.Context, hubName string, audience Audience, after Receipt, wake func()) (*Attachment, Receipt, error) {
	h := n.acquire(hubName)
	a, at, err := h.follower(ctx, audience, after, wake)
	if err != nil {
		h.release()
		return nil, at, err
	}
	return a, at, nil
}

func (h *hub) follower(ctx context.Context, audience Audience, after Receipt, wake func()) (a *Attachment, at Receipt, err error) {
	if err := h.verify(ctx); err != nil { // makes the log if there is none
		return nil, at, err
	}
	for range 3 { // the window may move on while it enters, or the log be another one
		var reply RangeReply
		if reply, err = h.node.store.Range(ctx, h.name, after.Position, 1); err != nil {
			return nil, at, err
		}
		if at, err = after.in(reply); err != nil {
			return nil, at, err
		}
		a = &Attachment{
			hub: h, user: audience.User, wake: wake,
			stripe: h.node.meter.stripe(),
			filter: newFollower(audience, reply.Last),
			cursor: at.Position,
			behind: true,
			saved:  savedPair{at: time.Now()},
		}
		err = h.attach(ctx, a, OpenReply{Gen: reply.Gen, Last: reply.Last})
		if !errors.Is(err, errWindowMoved) {
			break
		}
	}
	return a, at, err
}

// in returns where to go on in a log: after r, or at the log's end if r is zero. With an error it is the log's end.
func (r Receipt) in(log RangeReply) (at Receipt, err error) {
	end := Receipt{log.Gen, log.Last}
	switch {
	case r == Receipt{}:
		return end, nil
	case r.Gen != log.Gen:
		return end, ErrGeneration
	case r.Position.Before(log.Floor):
		return end, ErrGap
	case r.Position.After(log.Last):
		return end, ErrBeyond
	}
	return r, nil
}

// newFollower returns the filter of a plain event stream.
func newFollower(audience Audience, known Position) filter {
	f := filter{user: audience.User, started: true, known: known, plain: true, groups: Memberships{}}
	for _, group := range audience.Groups {
		f.groups[group] = []Interval{{}}
	}
	return f
}

// At is the position up to which Next has considered everything, as it is shown outside.
func (a *Attachment) At() Receipt { return a.receipt(a.Cursor()) }

// Of is an item's position as it is shown outside.
func (a *Attachment) Of(i *Item) Receipt { return a.receipt(i.Position) }

// receipt names a position with the generation of the log that it is of: who comes back with one of a log that is lost must be told.
func (a *Attachment) receipt(p Position) Receipt {
	h := a.hub
	h.mu.RLock()
	defer h.mu.RUnlock()
	if a.losses != h.losses {
		return Receipt{a.gen, p}
	}
	return Receipt{h.gen, p}
}
