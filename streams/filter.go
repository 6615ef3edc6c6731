package streams

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
	// started: the handshake is answered, at start. No message at or before it matches.
	started bool
	start   Position
	// known is the log's end when the record was read: groups hold for the positions up
	// to it, later changes come as control entries.
	known           Position
	id, user, owner string
	// groups are the connection's own, userGroups its user's.
	groups, userGroups Memberships
	// plain: it belongs to no connection, and nothing closes it.
	plain bool
}

func newFilter(r *Record, owner string, known Position) filter {
	f := filter{
		id: r.ID, user: r.User, owner: owner,
		started: !r.Start.IsZero(), start: r.Start,
		known: known,
	}
	if len(r.Groups) > 0 {
		f.groups = r.Groups.clone()
	}
	if len(r.UserGroups) > 0 {
		f.userGroups = r.UserGroups.clone()
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
		if !e.hasConnection(f.id) {
			return skip
		}
		if e.Flags&FlagHandshake != 0 && !f.started {
			f.started, f.start = true, p
		}
		return deliver
	case KindControl:
		if !p.After(f.known) || f.plain {
			return skip
		}
		if e.hasConnection(f.id) {
			f.groups = changed(f.groups, p, e)
		}
		if f.ofUser(e) {
			f.userGroups = changed(f.userGroups, p, e)
		}
	case KindClose:
		if f.plain {
			return skip
		}
		if e.Flags&FlagEnded != 0 {
			if e.hasConnection(f.id) {
				return ended
			}
			return skip
		}
		if f.matches(p, e) {
			return closed
		}
	case KindMoved:
		// A move at or before known displaced somebody who was before this attach.
		if p.After(f.known) && e.Owner != f.owner && e.hasConnection(f.id) {
			return moved
		}
	}
	return skip
}

// addressed tells whether the connection or its user is named.
func (f *filter) addressed(e *Entry) bool {
	return e.hasConnection(f.id) || f.ofUser(e)
}

func (f *filter) ofUser(e *Entry) bool { return f.user != "" && e.hasUser(f.user) }

// matches tells whether the connection is in the entry's audience. It matches at most
// once, however many of its groups are named.
func (f *filter) matches(p Position, e *Entry) bool {
	if !f.included(p, e) {
		return false
	}
	return !e.excludes(f.id)
}

func (f *filter) included(p Position, e *Entry) bool {
	if e.Flags&FlagAll != 0 || f.addressed(e) {
		return true
	}
	return e.hasGroupOf(f.groups, p) || e.hasGroupOf(f.userGroups, p)
}

// changed applies a control entry to memberships. Joining a group that one is in and leaving one that
// one is not in change nothing, as in the record.
func changed(m Memberships, p Position, e *Entry) Memberships {
	switch e.Verb {
	case VerbJoin:
		for _, group := range e.Named {
			if !m.member(group) {
				if m == nil {
					m = Memberships{}
				}
				m[group] = append(m[group], Interval{Join: p})
			}
		}
	case VerbLeave:
		for _, group := range e.Named {
			delete(m, group)
		}
	case VerbLeaveAll:
		clear(m)
	}
	return m
}

// forget drops the memberships that ended at or before p, which was scanned already.
func (f *filter) forget(p Position) {
	f.groups.forget(p)
	f.userGroups.forget(p)
}
