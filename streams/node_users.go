package streams

import (
	"context"
	"errors"
	"time"
)

// JoinUser puts a user into a group, for keep; see UserJoinRequest.
func (n *Node) JoinUser(ctx context.Context, hubName, user, group string, keep time.Duration) (JoinReply, error) {
	reply, err := n.store.JoinUser(ctx, hubName, UserJoinRequest{
		User: user, Group: group, Keep: keep, Entry: userEntry(user, VerbJoin, group),
	})
	if err == nil && reply.Evicted != "" {
		_ = n.leaveDue(ctx, hubName, user, reply.Evicted)
	}
	return reply.JoinReply, err
}

// JoinUserNow makes the connections that a user has now join a group, each on its own: nothing is kept for later ones.
func (n *Node) JoinUserNow(ctx context.Context, hubName, user, group string) (JoinReply, error) {
	return n.changeEach(ctx, hubName, user, VerbJoin, group)
}

// LeaveUser takes a user out of a group, and with it those of its connections that have joined on their own.
func (n *Node) LeaveUser(ctx context.Context, hubName, user, group string) (JoinReply, error) {
	return n.leaveUser(ctx, hubName, user, VerbLeave, group)
}

// LeaveUserAll takes a user, and its connections, out of all groups.
func (n *Node) LeaveUserAll(ctx context.Context, hubName, user string) (JoinReply, error) {
	return n.leaveUser(ctx, hubName, user, VerbLeaveAll)
}

func (n *Node) leaveUser(ctx context.Context, hubName, user string, verb Verb, group ...string) (JoinReply, error) {
	r := UserLeaveRequest{User: user, Verb: verb, Entry: userEntry(user, verb, group...)}
	if len(group) > 0 {
		r.Group = group[0]
	}
	reply, err := n.store.LeaveUser(ctx, hubName, r)
	if err != nil {
		return reply, err
	}
	own, err := n.changeEach(ctx, hubName, user, verb, group...)
	return JoinReply{later(reply.Position, own.Position), reply.Changed || own.Changed}, err
}

func userEntry(user string, verb Verb, groups ...string) []byte {
	return AppendEntry(nil, &Entry{Kind: KindControl, Verb: verb, Users: []string{user}, Named: groups})
}

// usersConnections is how many connections of a user are read at once.
const usersConnections = 200

// changeEach changes the memberships that the connections of a user have on their own.
func (n *Node) changeEach(ctx context.Context, hubName, user string, verb Verb, groups ...string) (JoinReply, error) {
	var all JoinReply
	for after := ""; ; {
		ids, err := n.store.Members(ctx, hubName, HolderUser, user, after, usersConnections)
		if err != nil {
			return all, err
		}
		replies := make([]JoinReply, len(ids))
		err = each(len(ids), func(i int) (err error) {
			replies[i], err = n.Join(ctx, hubName, ids[i], verb, groups...)
			if errors.Is(err, ErrGone) {
				return nil // it may end, or close, meanwhile
			}
			return err
		})
		for _, reply := range replies {
			all.Position, all.Changed = later(all.Position, reply.Position), all.Changed || reply.Changed
		}
		if len(ids) < usersConnections || err != nil {
			return all, err
		}
		after = ids[len(ids)-1]
	}
}

// InGroup tells whether a user is in a group: itself, or one of its connections.
func (n *Node) InGroup(ctx context.Context, hubName, user, group string) (bool, error) {
	groups, err := n.store.UserGroups(ctx, hubName, user)
	if err != nil {
		return false, err
	}
	for _, g := range groups {
		if g.Group == group {
			return true, nil
		}
	}
	// One of its connections is among the user's as well as the group's: the fewer of these are looked at.
	holder, name := HolderUser, user
	ofUser, err := n.store.Count(ctx, hubName, HolderUser, user)
	if err != nil {
		return false, err
	}
	ofGroup, err := n.store.Count(ctx, hubName, HolderGroup, group)
	if err != nil {
		return false, err
	}
	if ofGroup < ofUser {
		holder, name = HolderGroup, group
	}
	limit := lookups // at first: it may be any of them
	for after := ""; ; {
		ids, err := n.store.Members(ctx, hubName, holder, name, after, limit)
		if err != nil {
			return false, err
		}
		records, err := n.Records(ctx, hubName, ids)
		if err != nil {
			return false, err
		}
		for i := range records {
			if r := &records[i]; r.User == user && r.Groups.member(group) {
				return true, nil
			}
		}
		if len(ids) < limit {
			return false, nil
		}
		after, limit = ids[len(ids)-1], usersConnections
	}
}

// UserGroups returns the groups that a user is in; see Users.
func (n *Node) UserGroups(ctx context.Context, hubName, user string) ([]UserGroup, error) {
	return n.store.UserGroups(ctx, hubName, user)
}

// Members returns connections of a user or group; see Users.
func (n *Node) Members(ctx context.Context, hubName string, of Holder, name, after string, limit int) ([]string, error) {
	return n.store.Members(ctx, hubName, of, name, after, limit)
}

// Names returns users or groups that have connections; see Users.
func (n *Node) Names(ctx context.Context, hubName string, of Holder, after string, limit int) (NamesReply, error) {
	return n.store.Names(ctx, hubName, of, after, limit)
}

// leaveDue ends a membership if its time has passed. What fails is done by a sweep.
func (n *Node) leaveDue(ctx context.Context, hubName, user, group string) error {
	_, err := n.store.LeaveUser(ctx, hubName, UserLeaveRequest{
		User: user, Verb: VerbLeave, Group: group, OnlyDue: true, Entry: userEntry(user, VerbLeave, group),
	})
	return err
}

const (
	userSweepInterval = time.Second
	// userSweepPause is how long a hub is not asked what is due if nothing is known to be.
	userSweepPause = 5 * time.Second
	// Of a hub one sweep does all that is due, in batches, and leaves the rest to the next if it is more than so many.
	userSweepBatch   = 500
	userSweepBatches = 10
)

// sweepUsers ends the memberships of users whose time has passed, in the hubs that are used here.
func (n *Node) sweepUsers(ctx context.Context) {
	now := time.Now()
	for _, h := range n.allHubs() {
		h.mu.Lock()
		due := !now.Before(h.usersDue)
		if due {
			h.usersDue = now.Add(userSweepPause)
		}
		h.mu.Unlock()
		if !due {
			continue
		}
		next, err := n.sweepUsersOf(ctx, h.name)
		if err != nil || next < 0 {
			continue
		}
		h.mu.Lock()
		if at := now.Add(next); at.Before(h.usersDue) {
			h.usersDue = at
		}
		h.mu.Unlock()
	}
}

func (n *Node) sweepUsersOf(ctx context.Context, hubName string) (next time.Duration, err error) {
	for range userSweepBatches {
		reply, err := n.store.DueUsers(ctx, hubName, userSweepBatch)
		if err != nil {
			return 0, err
		}
		passed := len(reply.Passed)
		err = each(passed+len(reply.Untidy), func(i int) error {
			if i < passed {
				return n.leaveDue(ctx, hubName, reply.Passed[i].User, reply.Passed[i].Group)
			}
			return n.store.TidyUser(ctx, hubName, reply.Untidy[i-passed])
		})
		if next = reply.Next; next != 0 || err != nil {
			break // what has failed is due still: the next sweep repeats it
		}
	}
	return next, nil
}
