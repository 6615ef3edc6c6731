package streams

import (
	"slices"
	"sync"
)

// longList is from how many names on a list of an audience is looked up in a set. Each connection that an entry may be for looks for itself:
// a thousand that are named, in a list, would be half a million comparisons.
const longList = 32

// nameSets are the long lists of an entry's audience. They are shared by all its receivers on this node.
type nameSets [lists]nameSet

// listOf is one of the lists.
type listOf int

const (
	ofGroups listOf = iota
	ofUsers
	ofConnections
	ofExcluded
	lists
)

// nameSet is made by who first looks: where nobody is, none is needed.
type nameSet struct {
	once  sync.Once
	names map[string]struct{}
}

// index prepares an entry, whose lists do not change any more, to be looked at by many.
func (e *Entry) index() {
	if max(len(e.Groups), len(e.Users), len(e.Connections), len(e.Excluded)) >= longList {
		e.sets = &nameSets{}
	}
}

func (s *nameSet) has(list []string, name string) bool {
	s.once.Do(func() {
		s.names = make(map[string]struct{}, len(list))
		for _, each := range list {
			s.names[each] = struct{}{}
		}
	})
	_, found := s.names[name]
	return found
}

func (e *Entry) isLong(list []string) bool { return e.sets != nil && len(list) >= longList }

// names tells whether one of the entry's lists has a name.
func (e *Entry) names(list []string, of listOf, name string) bool {
	if e.isLong(list) {
		return e.sets[of].has(list, name)
	}
	return slices.Contains(list, name)
}

func (e *Entry) hasConnection(id string) bool { return e.names(e.Connections, ofConnections, id) }
func (e *Entry) hasUser(user string) bool     { return e.names(e.Users, ofUsers, user) }
func (e *Entry) excludes(id string) bool      { return e.names(e.Excluded, ofExcluded, id) }

// hasGroupOf tells whether one of the groups holds memberships at p: who is in few groups looks for these.
func (e *Entry) hasGroupOf(m Memberships, p Position) bool {
	if e.isLong(e.Groups) && len(m) < len(e.Groups) {
		for group := range m {
			if m.holds(group, p) && e.sets[ofGroups].has(e.Groups, group) {
				return true
			}
		}
		return false
	}
	for _, group := range e.Groups {
		if m.holds(group, p) {
			return true
		}
	}
	return false
}
