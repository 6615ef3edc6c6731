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

func (h *hub) follower(ctx context.Context, audience Audience, after Receipt, wake func()) (*Attachment, Receipt, error) {
	if err := h.verify(ctx); err != nil { // makes the log if there is none
		return nil, Receipt{}, err
	}
	reply, err := h.node.store.Range(ctx, h.name, after.Position, 1)
	if err != nil {
		return nil, Receipt{}, err
	}
	at := Receipt{reply.Gen, reply.Last}
	switch {
	case after == Receipt{}:
	case after.Gen != reply.Gen:
		return nil, at, ErrGeneration
	case after.Position.Before(reply.Floor):
		return nil, at, ErrGap
	case after.Position.After(reply.Last):
		return nil, at, ErrBeyond
	default:
		at = after
	}
	a := &Attachment{
		hub: h, user: audience.User, wake: wake,
		stripe: h.node.meter.stripe(),
		filter: newFollower(audience, reply.Last),
		cursor: at.Position,
		behind: true,
		saved:  savedPair{at: time.Now()},
	}
	for range 3 { // the window may move on while it enters
		err = h.attach(ctx, a, OpenReply{Gen: reply.Gen, Last: reply.Last})
		if !errors.Is(err, errWindowMoved) {
			break
		}
		if reply, err = h.node.store.Range(ctx, h.name, after.Position, 1); err != nil {
			break
		}
	}
	return a, at, err
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
func (a *Attachment) At() Receipt {
	p := a.Cursor()
	a.hub.mu.RLock()
	defer a.hub.mu.RUnlock()
	return Receipt{a.hub.gen, p}
}

// Of is an item's position as it is shown outside.
func (a *Attachment) Of(i *Item) Receipt {
	a.hub.mu.RLock()
	defer a.hub.mu.RUnlock()
	return Receipt{a.hub.gen, i.Position}
}
