package streams

import "slices"

// Waker looks after many attachments. Of what is for everybody it is told once, and finds each when it comes to it: an attachment that is
// woken by itself has to come into the caches of the tail's processor first, and from there into those of the one that writes.
type Waker interface {
	// WakeAll is called when there may be more for each of the members, of whom there is at least one: attachments of one hub, called
	// as by WakeWith, some of which may have left meanwhile. from is the same in calls for the same hub, which come one after the other. It
	// must not wait. The members are not changed afterwards; the next call may have others.
	WakeAll(from any, members []any)
}

// WakeWith has w told, from now on, of what is for everybody; member is what the attachment is called there. Of all else its own wake is
// called still.
func (a *Attachment) WakeWith(w Waker, member any) {
	h := a.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if a.place == 0 {
		return // it has left
	}
	h.leaveCrowd(a)
	a.member = member
	h.crowd(w).add(a)
}

// crowd is those attachments of a hub that one Waker looks after. Guarded by hub.mu. Each attachment in service is in one.
type crowd struct {
	waker   Waker // nil: each is woken by itself
	list    []*Attachment
	members []any // of list, as they are told; nil: to be made anew
}

// crowd returns the crowd of a Waker, or of those that have none. h.mu is held.
func (h *hub) crowd(w Waker) *crowd {
	for _, c := range h.crowds {
		if c.waker == w {
			return c
		}
	}
	c := &crowd{waker: w}
	h.crowds = append(h.crowds, c)
	return c
}

func (c *crowd) add(a *Attachment) {
	c.list, c.members = append(c.list, a), nil
	a.crowd, a.place = c, len(c.list)
}

// leaveCrowd takes an attachment out of its crowd. h.mu is held.
func (h *hub) leaveCrowd(a *Attachment) {
	c := a.crowd
	last := len(c.list) - 1
	c.list[a.place-1] = c.list[last]
	c.list[a.place-1].place = a.place
	c.list[last] = nil
	c.list, c.members = c.list[:last], nil
	a.crowd, a.place = nil, 0
	if last == 0 && c.waker != nil { // everybody begins among those without one
		h.crowds = slices.DeleteFunc(h.crowds, func(other *crowd) bool { return other == c })
	}
}

// told is what the Waker is told of.
func (c *crowd) told() []any {
	if c.members == nil {
		c.members = make([]any, len(c.list))
		for i, a := range c.list {
			c.members[i] = a.member
		}
	}
	return c.members
}

// wakerCall is a call of a Waker that is due.
type wakerCall struct {
	crowd   *crowd
	members []any
}

// wakeEverybody appends those to be woken by themselves to wake, and the calls of their Wakers for all others to calls. h.mu is held.
func (h *hub) wakeEverybody(wake []*Attachment, calls []wakerCall) ([]*Attachment, []wakerCall) {
	for _, c := range h.crowds {
		if c.waker == nil {
			wake = wakeList(c.list, wake)
		} else {
			calls = append(calls, wakerCall{c, c.told()})
		}
	}
	return wake, calls
}
