package streams

import "slices"

// verdict is what an entry means to one connection.
type verdict uint8

const (
	// skip: nothing.
	skip verdict = iota
	// deliver: the client is sent it; for a stateful connection it counts.
	deliver
	// closed: the connection closes here; nothing after it matches.
	closed
	// ended: the connection has ended already; its client is sent nothing more.
	ended
	// moved: another attach serves the connection from here on.
	moved
)

// filter decides which entries of its hub's log match one connection. It is stepped
// through the log in order, from the connection's cursor, and depends on nothing but
// the record it began with and the entries: so every node that replays from a cursor
// computes the same matches.
type filter struct {
	id, user, owner string
	// started: the handshake is answered, at start. No message at or before it matches.
	started bool
	start   Position
	// known is the log's end when the record was read: groups hold for the positions up
	// to it, later changes come as control entries.
	known  Position
	groups map[string][]Interval
	// plain: it belongs to no connection, and nothing closes it.
	plain bool
}

func newFilter(r *Record, owner string, known Position) filter {
	f := filter{
		id: r.ID, user: r.User, owner: owner,
		started: !r.Start.IsZero(), start: r.Start,
		known: known,
	}
	if len(r.Groups) == 0 {
		return f
	}
	f.groups = make(map[string][]Interval, len(r.Groups))
	for group, intervals := range r.Groups {
		f.groups[group] = slices.Clone(intervals)
	}
	return f
}

// step takes the entry at p, the next one in order.
func (f *filter) step(p Position, e *Entry) verdict {
	switch e.Kind {
	case KindMessage:
		if f.started && p.After(f.start) && f.matches(p, e) {
			return deliver
		}
	case KindReply:
		if !slices.Contains(e.Connections, f.id) {
			return skip
		}
		if e.Flags&FlagHandshake != 0 && !f.started {
			f.started, f.start = true, p
		}
		return deliver
	case KindControl:
		if p.After(f.known) && f.addressed(e) {
			f.change(p, e)
		}
	case KindClose:
		if f.plain {
			return skip
		}
		if e.Flags&FlagEnded != 0 {
			if slices.Contains(e.Connections, f.id) {
				return ended
			}
			return skip
		}
		if f.matches(p, e) {
			return closed
		}
	case KindMoved:
		// A move at or before known displaced somebody who was before this attach.
		if p.After(f.known) && e.Owner != f.owner && slices.Contains(e.Connections, f.id) {
			return moved
		}
	}
	return skip
}

// addressed tells whether the connection or its user is named.
func (f *filter) addressed(e *Entry) bool {
	return slices.Contains(e.Connections, f.id) ||
		(f.user != "" && slices.Contains(e.Users, f.user))
}

// matches tells whether the connection is in the entry's audience. It matches at most
// once, however many of its groups are named.
func (f *filter) matches(p Position, e *Entry) bool {
	if !f.included(p, e) {
		return false
	}
	return !slices.Contains(e.Excluded, f.id)
}

func (f *filter) included(p Position, e *Entry) bool {
	if e.Flags&FlagAll != 0 || f.addressed(e) {
		return true
	}
	for _, group := range e.Groups {
		for _, interval := range f.groups[group] {
			if interval.contains(p) {
				return true
			}
		}
	}
	return false
}

// change applies a control entry. Joining a group that it is in and leaving one that
// it is not in change nothing, as in the record.
func (f *filter) change(p Position, e *Entry) {
	switch e.Verb {
	case VerbJoin:
		for _, group := range e.Named {
			if !f.member(group) {
				if f.groups == nil {
					f.groups = map[string][]Interval{}
				}
				f.groups[group] = append(f.groups[group], Interval{Join: p})
			}
		}
	case VerbLeave:
		for _, group := range e.Named {
			delete(f.groups, group)
		}
	case VerbLeaveAll:
		clear(f.groups)
	}
}

// member tells whether the newest membership of the group is open.
func (f *filter) member(group string) bool {
	intervals := f.groups[group]
	return len(intervals) > 0 && intervals[len(intervals)-1].Leave.IsZero()
}

// forget drops the memberships that ended at or before p, which was scanned already.
func (f *filter) forget(p Position) {
	for group, intervals := range f.groups {
		kept := slices.DeleteFunc(intervals, func(i Interval) bool {
			return !i.Leave.IsZero() && !i.Leave.After(p)
		})
		if len(kept) == 0 {
			delete(f.groups, group)
		} else {
			f.groups[group] = kept
		}
	}
}
