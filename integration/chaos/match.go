package chaos

import "slices"

// span is a part of the log, between two positions, in which a connection is in a group, is not, or may be.
type span struct {
	from, to Position
	member   membership
}

type membership uint8

const (
	no membership = iota
	maybe
	yes
)

// spans turns changes, in the order in which they were made, into parts of the log.
func spans(changes []Change) []span {
	list := []span{{to: end}}
	for _, ch := range changes {
		current := &list[len(list)-1]
		if ch.Position == (Position{}) {
			current.member = maybeAfter(current.member, ch.Join)
			continue
		}
		member := no
		if ch.Join {
			member = yes
		}
		current.to = ch.Position
		list = append(list, span{ch.Position, end, member})
	}
	return list
}

// maybeAfter is a membership after a change that may have happened.
func maybeAfter(m membership, join bool) membership {
	if join && m == yes || !join && m == no {
		return m
	}
	return maybe
}

// matching is what a message is to a session.
type matching struct {
	could bool // it may be delivered
	must  bool // it must be
	left  bool // it must not, and would have been before a leave
}

// match decides whether a message somewhere within b is for a session.
func (c *checker) match(s *Session, send *Send, b bounds) matching {
	a := &send.Audience
	if s.Connection != "" && slices.Contains(a.Excluded, s.Connection) {
		return matching{}
	}
	if a.All || s.User != "" && slices.Contains(a.Users, s.User) ||
		s.Connection != "" && slices.Contains(a.Connections, s.Connection) {
		return matching{could: true, must: true}
	}
	var all matching
	for _, group := range a.Groups {
		m := matching{could: true, must: true}
		if !slices.Contains(s.Groups, group) {
			m = within(c.groups[groupsKey{s.Hub, s.Connection}][group], b)
		}
		all.could = all.could || m.could
		all.must = all.must || m.must
		all.left = all.left || m.left
	}
	return all
}

// within matches one group.
func within(list []span, b bounds) matching {
	m := matching{must: true}
	overlaps := false
	for _, sp := range list {
		if sp.to.Before(b.lo) || b.hi.Before(sp.from) {
			m.left = m.left || !overlaps && sp.member == yes
			continue
		}
		overlaps = true
		m.could = m.could || sp.member != no
		m.must = m.must && sp.member == yes
	}
	m.must = m.must && overlaps
	m.left = m.left && !m.could
	return m
}
