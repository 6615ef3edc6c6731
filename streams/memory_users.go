package streams

import (
	"context"
	"maps"
	"slices"
	"time"
)

// memoryUser is a user's memberships.
type memoryUser struct {
	groups  Memberships
	until   map[string]userTime // of those that are open
	changed Position            // the last change
	tidy    int64               // when to tidy up, ms; 0 if there is nothing
}

// userTime is when a membership's time passes, ms; kept: it was made without a time limit.
type userTime struct {
	at   int64
	kept bool
}

// updateUser is a step on a user's memberships.
func (m *Memory) updateUser(ctx context.Context, hub, user string, f func(h *memoryHub, u *memoryUser, now int64) error) error {
	if err := m.enter(ctx); err != nil {
		return err
	}
	h := m.hub(hub)
	defer h.step()()
	now := m.now()
	u := h.users[user]
	if u == nil {
		u = &memoryUser{groups: Memberships{}, until: map[string]userTime{}}
	}
	if err := f(h, u, now); err != nil {
		return err
	}
	if len(u.groups) == 0 {
		delete(h.users, user)
	} else {
		h.users[user] = u
	}
	return nil
}

// JoinUser implements Users.
func (m *Memory) JoinUser(ctx context.Context, hub string, r UserJoinRequest) (reply UserJoinReply, err error) {
	err = m.updateUser(ctx, hub, r.User, func(h *memoryHub, u *memoryUser, now int64) error {
		changed, newest := u.groups.changes([]string{r.Group}, true)
		reply.Position = newest
		if len(changed) > 0 {
			if u.groups.open() == MaxGroups {
				return ErrTooManyGroups
			}
			h.makeLog(*m.run.Load(), now)
			reply.Position, reply.Changed = u.change(h, changed, true, r.Entry, now), true
		}
		u.keep(r.Group, r.Keep, now)
		reply.Evicted = u.evict(now)
		return nil
	})
	return reply, err
}

// change begins, or ends, memberships by an entry.
func (u *memoryUser) change(h *memoryHub, groups []string, join bool, entry []byte, now int64) Position {
	p := h.append(string(entry), now)
	u.groups.change(groups, join, p)
	u.groups.forget(h.floor)
	u.changed = p
	u.tidy = now + userTidyAfter.Milliseconds()
	return p
}

// keep sets the time of a membership. Those without a limit have times that tell which is the newest.
func (u *memoryUser) keep(group string, keep time.Duration, now int64) {
	if keep > 0 {
		u.until[group] = userTime{at: now + keep.Milliseconds()}
		return
	}
	at := now + MaxUserKeep.Milliseconds()
	for _, other := range u.until {
		if other.kept {
			at = max(at, other.at+1)
		}
	}
	u.until[group] = userTime{at: at, kept: true}
}

// evict lets the time of the oldest membership without a limit pass, if there are too many of them.
func (u *memoryUser) evict(now int64) (oldest string) {
	kept := 0
	for group, t := range u.until {
		if !t.kept {
			continue
		}
		kept++
		if oldest == "" || t.at < u.until[oldest].at {
			oldest = group
		}
	}
	if kept <= MaxKeptGroups {
		return ""
	}
	u.until[oldest] = userTime{at: now}
	return oldest
}

// LeaveUser implements Users.
func (m *Memory) LeaveUser(ctx context.Context, hub string, r UserLeaveRequest) (reply JoinReply, err error) {
	err = m.updateUser(ctx, hub, r.User, func(h *memoryHub, u *memoryUser, now int64) error {
		groups := []string{r.Group}
		if r.Verb == VerbLeaveAll {
			groups = u.groups.names()
		}
		changed, newest := u.groups.changes(groups, false)
		if len(changed) == 0 || r.OnlyDue && u.until[r.Group].at > now {
			reply.Position = newest
			return nil
		}
		reply = JoinReply{Position: u.change(h, changed, false, r.Entry, now), Changed: true}
		for _, group := range changed {
			delete(u.until, group)
		}
		return nil
	})
	return reply, err
}

// UserGroups implements Users.
func (m *Memory) UserGroups(ctx context.Context, hub, user string) (list []UserGroup, err error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	h := m.find(hub)
	if h == nil {
		return nil, nil
	}
	defer h.step()()
	now := m.now()
	if u := h.users[user]; u != nil {
		for _, group := range slices.Sorted(maps.Keys(u.until)) {
			if until := u.until[group].at; until > now {
				intervals := u.groups[group]
				list = append(list, UserGroup{Group: group, Since: intervals[len(intervals)-1].Join, Until: until})
			}
		}
	}
	return list, nil
}

// dueGroups are the groups of a user whose time has passed, and that it is in still.
func (h *memoryHub) dueGroups(user string, now int64) (due []string) {
	if u := h.users[user]; u != nil {
		for group, t := range u.until {
			if t.at <= now {
				due = append(due, group)
			}
		}
	}
	return due
}

// DueUsers implements Users.
func (m *Memory) DueUsers(ctx context.Context, hub string, limit int) (DueReply, error) {
	reply := DueReply{Next: -1}
	if err := m.enter(ctx); err != nil {
		return reply, err
	}
	h := m.find(hub)
	if h == nil {
		return reply, nil
	}
	defer h.step()()
	now := m.now()
	due := func(at int64) bool {
		if at <= now && limit > 0 {
			limit--
			return true
		}
		if wait := time.Duration(max(at-now, 0)) * time.Millisecond; reply.Next < 0 || wait < reply.Next {
			reply.Next = wait
		}
		return false
	}
	for user, u := range h.users {
		for group, t := range u.until {
			if due(t.at) {
				reply.Passed = append(reply.Passed, DueMembership{user, group})
			}
		}
		if u.tidy > 0 && due(u.tidy) {
			reply.Untidy = append(reply.Untidy, user)
		}
	}
	return reply, nil
}

// TidyUser implements Users.
func (m *Memory) TidyUser(ctx context.Context, hub, user string) error {
	return m.updateUser(ctx, hub, user, func(h *memoryHub, u *memoryUser, now int64) error {
		u.groups.forget(h.floor)
		u.tidy = 0
		if u.groups.ended() {
			u.tidy = now + userTidyAfter.Milliseconds()
		}
		return nil
	})
}

// Members implements Users. It looks at every connection: memory keeps no index.
func (m *Memory) Members(ctx context.Context, hub string, of Holder, name, after string, limit int) ([]string, error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	h := m.find(hub)
	if h == nil {
		return nil, nil
	}
	defer h.step()()
	var ids []string
	for id, r := range h.records {
		if id > after && h.holds(of, name, r) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids[:min(limit, len(ids))], nil
}

// holds tells whether a connection is a user's, or in a group.
func (h *memoryHub) holds(of Holder, name string, r *memoryRecord) bool {
	if of == HolderUser {
		return name != "" && r.User == name
	}
	return r.Groups.member(name) || h.userGroups(r.User).member(name)
}

// userGroups are a user's memberships, nil if there are none.
func (h *memoryHub) userGroups(user string) Memberships {
	if u := h.users[user]; u != nil && user != "" {
		return u.groups
	}
	return nil
}

// Names implements Users.
func (m *Memory) Names(ctx context.Context, hub string, of Holder, after string, limit int) (NamesReply, error) {
	if err := m.enter(ctx); err != nil {
		return NamesReply{}, err
	}
	h := m.find(hub)
	if h == nil {
		return NamesReply{}, nil
	}
	defer h.step()()
	all := map[string]bool{}
	for _, r := range h.records {
		if of == HolderUser {
			all[r.User] = true
			continue
		}
		for _, groups := range []Memberships{r.Groups, h.userGroups(r.User)} {
			for group := range groups {
				if groups.member(group) {
					all[group] = true
				}
			}
		}
	}
	delete(all, "")
	reply := NamesReply{Total: int64(len(all))}
	names := slices.Sorted(maps.Keys(all))
	from, found := slices.BinarySearch(names, after)
	if found {
		from++
	}
	if names = names[from:]; len(names) > 0 {
		reply.Names = names[:min(limit, len(names))]
	}
	return reply, nil
}
