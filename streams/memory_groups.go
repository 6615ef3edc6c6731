package streams

import (
	"context"
	"slices"
)

// Join implements Records.
func (m *Memory) Join(ctx context.Context, hub string, r JoinRequest) (reply JoinReply, err error) {
	err = m.update(ctx, hub, r.ID, func(h *memoryHub, rec *memoryRecord, now int64) error {
		if rec.State == StateClosing {
			return ErrGone
		}
		groups := r.Groups
		if r.Verb == VerbLeaveAll {
			groups = rec.groupNames()
		}
		changed, newest := rec.changes(groups, r.Verb == VerbJoin)
		if len(changed) == 0 {
			reply.Position = newest
			return nil
		}
		if r.Verb == VerbJoin && rec.memberships()+len(changed) > MaxGroups {
			return ErrTooManyGroups
		}
		p := h.append(string(r.Entry), now)
		rec.change(changed, r.Verb == VerbJoin, p)
		rec.forget(h.floor)
		rec.Membership++
		reply = JoinReply{Position: p, Changed: true}
		return nil
	})
	return reply, err
}

func (r *memoryRecord) groupNames() []string {
	names := make([]string, 0, len(r.Groups))
	for name := range r.Groups {
		names = append(names, name)
	}
	return names
}

// member tells whether the connection is in a group now.
func (r *memoryRecord) member(group string) bool {
	list := r.Groups[group]
	return len(list) > 0 && list[len(list)-1].Leave.IsZero()
}

// memberships counts the groups that the connection is in now.
func (r *memoryRecord) memberships() int {
	n := 0
	for name := range r.Groups {
		if r.member(name) {
			n++
		}
	}
	return n
}

// changes returns which of the groups a join, or else a leave, changes, each once,
// and the newest position at which one of the others became what it is.
func (r *memoryRecord) changes(groups []string, join bool) (changed []string, newest Position) {
	seen := make(map[string]struct{}, len(groups))
	for _, name := range groups {
		if _, again := seen[name]; again {
			continue
		}
		seen[name] = struct{}{}
		if r.member(name) != join {
			changed = append(changed, name)
		} else if list := r.Groups[name]; len(list) > 0 {
			last := list[len(list)-1]
			newest = later(newest, later(last.Join, last.Leave))
		}
	}
	return changed, newest
}

// change begins, or else ends, memberships at p.
func (r *memoryRecord) change(groups []string, join bool, p Position) {
	if r.Groups == nil {
		r.Groups = make(map[string][]Interval)
	}
	for _, name := range groups {
		list := r.Groups[name]
		if join {
			r.Groups[name] = append(list, Interval{Join: p})
		} else {
			list[len(list)-1].Leave = p
		}
	}
}

// forget drops what ended at or before the floor: no cursor can be there any more.
func (r *memoryRecord) forget(floor Position) {
	for name, list := range r.Groups {
		list = slices.DeleteFunc(list, func(i Interval) bool {
			return !i.Leave.IsZero() && !i.Leave.After(floor)
		})
		if len(list) == 0 {
			delete(r.Groups, name)
		} else {
			r.Groups[name] = list
		}
	}
}
