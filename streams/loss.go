package streams

import (
	"context"
	"maps"
	"slices"
	"sort"
	"time"

	"hubstream/internal/sleep"
)

// lostLog is what a node has of a hub whose log was lost: whom it serves, and what it had read.
type lostLog struct {
	connections []*Attachment
	seen        []*Item // the window, in order
}

// lose ends every connection of the hub here: the log was lost or rolled back. The other nodes read of it in the log,
// or find it out as this one did.
func (h *hub) lose(reply VerifyReply) {
	h.mu.Lock()
	if h.gen == reply.Gen { // the tail has read of it meanwhile
		h.mu.Unlock()
		return
	}
	l := h.disown(reply.Gen, h.win.next())
	h.run = reply.Run
	h.restart(reply.Last)
	h.mu.Unlock()
	h.tellLost(l)
}

// disown goes over to a generation that does not continue the one before, and returns whom it cannot serve any more. before is
// the number of the first entry that is not of the log that was. h.mu is held.
func (h *hub) disown(gen string, before uint64) *lostLog {
	h.gen, h.own, h.doubt = gen, nil, false // what is missing of them is part of what was lost
	h.resets++
	h.losses++
	h.trims.samples = nil // they may be positions of what is lost
	clear(h.memberships)
	clear(h.polled)
	maps.DeleteFunc(h.recent, func(_ string, known recent) bool { return known.gen != gen })
	return &lostLog{h.attached(), slices.Clone(h.win.items[h.win.head : h.win.head+int(before-h.win.first)])}
}

// tellLost ends the connections, those at once that must not go on, the others by and by: they would all come back together.
func (h *hub) tellLost(l *lostLog) {
	h.node.stats.Losses.Add(1)
	h.node.log.Error("the hub's log was lost or rolled back; closing its connections", "hub", h.name, "connections", len(l.connections))
	h.pages.clear()
	if h.node.cfg.LossSpread == 0 || !h.node.begin(func(ctx context.Context) { h.closeLost(ctx, l) }) {
		endLost(l.connections)
	}
}

func endLost(connections []*Attachment) {
	for _, a := range connections {
		a.fail(ErrLost)
	}
}

// closeLost ends connections whose log was lost. Nothing is sent to them any more: what is gone would be missing in between.
func (h *hub) closeLost(ctx context.Context, l *lostLog) {
	now, later := h.divide(l.connections, h.gone(ctx, l.seen))
	endLost(now)
	began := time.Now()
	for i, a := range later {
		at := began.Add(h.node.cfg.LossSpread * time.Duration(i+1) / time.Duration(len(later)))
		if sleep.For(ctx, time.Until(at)) != nil {
			return // the node stops, and so does each
		}
		a.fail(ErrLost)
	}
}

// gone returns which of the entries that were read are not in the log any more. They are unknown, nil, if none of them is left.
func (h *hub) gone(ctx context.Context, seen []*Item) []*Item {
	var failed error
	n := sort.Search(len(seen), func(i int) bool {
		reply, err := h.node.store.Range(ctx, h.name, seen[i].Position.previous(), 1)
		if err != nil {
			failed = err
			return false
		}
		there := len(reply.Entries) > 0 && reply.Entries[0] == RawEntry{seen[i].Position, seen[i].raw}
		return !there && seen[i].Position.After(reply.Floor)
	})
	if n == 0 || failed != nil {
		return nil
	}
	return seen[n:]
}

// divide tells apart who ends at once: a stateful connection that was sent any of what is gone, one whose groups or owner changed
// there, and streams without a connection, which go on by themselves when they are told.
func (h *hub) divide(connections []*Attachment, gone []*Item) (now, later []*Attachment) {
	messages, changes := reached{all: gone == nil}, reached{}
	h.mu.RLock()
	for _, item := range gone {
		if item.Kind == KindMessage {
			messages.add(h, item)
		} else {
			changes.add(h, item)
		}
	}
	h.mu.RUnlock()
	for _, a := range connections {
		if a.id == "" || changes.has(a) || a.isStateful() && messages.has(a) {
			now = append(now, a)
		} else {
			later = append(later, a)
		}
	}
	return now, later
}

// reached are the connections that some entries name, or may be for.
type reached struct {
	all  bool
	some map[*Attachment]bool
}

func (r *reached) has(a *Attachment) bool { return r.all || r.some[a] }

// add adds those of an entry. h.mu is held.
func (r *reached) add(h *hub, item *Item) {
	if r.some == nil {
		r.some = map[*Attachment]bool{}
	}
	r.all = r.all || item.Flags&FlagAll != 0
	for _, id := range item.Connections {
		r.addList(h.conns[id])
	}
	for _, user := range item.Users {
		r.addList(h.users[user])
	}
	for _, group := range item.Groups {
		for a := range h.groups[group] {
			r.some[a] = true
		}
	}
}

func (r *reached) addList(list []*Attachment) {
	for _, a := range list {
		r.some[a] = true
	}
}
