package streams

import (
	"fmt"
	"slices"
	"time"
)

// The index: whom an entry wakes. See hub.

type attachments map[*Attachment]struct{}

// via says how a connection is in a group: on its own, through its user, or both.
type via uint8

const (
	viaConnection via = 1 << iota
	viaUser
)

// receivers appends the connections that an entry may be for, and follows changes of memberships.
func (h *hub) receivers(item *Item, wake []*Attachment) []*Attachment {
	for _, id := range item.Connections {
		wake = wakeList(h.conns[id], wake)
	}
	for _, user := range item.Users {
		wake = wakeList(h.users[user], wake)
	}
	for _, group := range item.Groups {
		wake = h.groups[group].wake(wake)
	}
	if item.Kind == KindControl {
		h.follow(item)
		if len(item.Users) > 0 {
			h.usersDue = time.Time{} // a time may have been set
		}
	}
	return wake
}

func (s attachments) wake(wake []*Attachment) []*Attachment {
	for a := range s {
		if !a.dirty.Load() && a.dirty.CompareAndSwap(false, true) {
			wake = append(wake, a)
		}
	}
	return wake
}

// wakeList is attachments.wake for a list.
func wakeList(list, wake []*Attachment) []*Attachment {
	for _, a := range list {
		if !a.dirty.Load() && a.dirty.CompareAndSwap(false, true) {
			wake = append(wake, a)
		}
	}
	return wake
}

func removeFew(index map[string][]*Attachment, key string, a *Attachment) {
	few := slices.DeleteFunc(index[key], func(b *Attachment) bool { return b == a })
	if len(few) == 0 {
		delete(index, key)
	} else {
		index[key] = few
	}
}

// follow brings the index up to a control entry.
func (h *hub) follow(item *Item) {
	for _, id := range item.Connections {
		for _, a := range h.conns[id] {
			h.followOne(a, item, viaConnection)
		}
	}
	for _, user := range item.Users {
		for _, a := range h.users[user] {
			h.followOne(a, item, viaUser)
		}
	}
}

func (h *hub) followOne(a *Attachment, item *Item, how via) {
	switch item.Verb {
	case VerbJoin:
		for _, group := range item.Named {
			h.addToGroup(a, group, how)
		}
	case VerbLeave:
		for _, group := range item.Named {
			h.removeFromGroup(a, group, how)
		}
	case VerbLeaveAll:
		for group := range a.groups {
			h.removeFromGroup(a, group, how)
		}
	case VerbRenew:
		a.renew(item.Named)
	}
}

func (h *hub) addToGroup(a *Attachment, group string, how via) {
	if a.groups == nil { // most connections are in none
		a.groups = map[string]via{}
	}
	a.groups[group] |= how
	add(h.groups, group, a)
}

func (h *hub) removeFromGroup(a *Attachment, group string, how via) {
	rest := a.groups[group] &^ how
	if rest != 0 {
		a.groups[group] = rest
		return
	}
	delete(a.groups, group)
	remove(h.groups, group, a)
}

func add(index map[string]attachments, key string, a *Attachment) {
	s := index[key]
	if s == nil {
		s = attachments{}
		index[key] = s
	}
	s[a] = struct{}{}
}

func remove(index map[string]attachments, key string, a *Attachment) {
	s := index[key]
	delete(s, a)
	if len(s) == 0 {
		delete(index, key)
	}
}

// index makes what is for the attachment's user and groups wake it; they are those of a record that was read when the log ended at
// known, which is in the window.
func (h *hub) index(a *Attachment, known Position) {
	if a.user != "" {
		h.users[a.user] = append(h.users[a.user], a)
	}
	h.enterGroups(a, a.filter.groups, viaConnection)
	h.enterGroups(a, a.filter.userGroups, viaUser)
	for n := h.win.numberAfter(known); n < h.win.first+uint64(h.win.len()); n++ {
		item := h.win.item(n)
		if item.Kind != KindControl {
			continue
		}
		if slices.Contains(item.Connections, a.id) {
			h.followOne(a, item, viaConnection)
		}
		if a.filter.ofUser(&item.Entry) {
			h.followOne(a, item, viaUser)
		}
	}
}

// reindex is index for an attachment in service, once it has the filter of another user.
func (h *hub) reindex(a *Attachment, gen string, known Position) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case a.place == 0:
		return nil // it has left
	case gen != h.gen, known.Before(h.win.start), h.win.end.Before(known):
		return fmt.Errorf("%w: the log has moved on", ErrUnavailable)
	}
	removeFew(h.users, a.user, a)
	for group := range a.groups {
		remove(h.groups, group, a)
	}
	a.user, a.groups = a.filter.user, nil
	h.index(a, known)
	return nil
}

func (h *hub) enterGroups(a *Attachment, groups Memberships, how via) {
	for group := range groups {
		if groups.member(group) {
			h.addToGroup(a, group, how)
		}
	}
}
