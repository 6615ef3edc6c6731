package streams

import "slices"

// Memberships are lists of intervals by group, oldest first; only the last of a list may be open.
type Memberships map[string][]Interval

func (m Memberships) clone() Memberships {
	clone := make(Memberships, len(m))
	for name, list := range m {
		clone[name] = slices.Clone(list)
	}
	return clone
}

func (m Memberships) names() []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	return names
}

// member tells whether the newest membership of a group is open.
func (m Memberships) member(group string) bool {
	list := m[group]
	return len(list) > 0 && list[len(list)-1].Leave.IsZero()
}

// holds tells whether an entry at p is sent to a member of a group.
func (m Memberships) holds(group string, p Position) bool {
	for _, interval := range m[group] {
		if interval.contains(p) {
			return true
		}
	}
	return false
}

// open counts the groups whose newest membership is open.
func (m Memberships) open() int {
	n := 0
	for name := range m {
		if m.member(name) {
			n++
		}
	}
	return n
}

// ended tells whether there is a membership that has ended.
func (m Memberships) ended() bool {
	for _, list := range m {
		if len(list) > 1 || !list[0].Leave.IsZero() {
			return true
		}
	}
	return false
}

// changes returns which of the groups a join, or else a leave, changes, each once,
// and the newest position at which one of the others became what it is.
func (m Memberships) changes(groups []string, join bool) (changed []string, newest Position) {
	seen := make(map[string]struct{}, len(groups))
	for _, name := range groups {
		if _, again := seen[name]; again {
			continue
		}
		seen[name] = struct{}{}
		if m.member(name) != join {
			changed = append(changed, name)
		} else if list := m[name]; len(list) > 0 {
			last := list[len(list)-1]
			newest = later(newest, later(last.Join, last.Leave))
		}
	}
	return changed, newest
}

// change begins, or else ends, memberships at p.
func (m Memberships) change(groups []string, join bool, p Position) {
	for _, name := range groups {
		list := m[name]
		if join {
			m[name] = append(list, Interval{Join: p})
		} else {
			list[len(list)-1].Leave = p
		}
	}
}

// forget drops what ended at or before p.
func (m Memberships) forget(p Position) {
	for name, list := range m {
		list = slices.DeleteFunc(list, func(i Interval) bool {
			return !i.Leave.IsZero() && !i.Leave.After(p)
		})
		if len(list) == 0 {
			delete(m, name)
		} else {
			m[name] = list
		}
	}
}
