package streams

import (
	"context"
	"time"
)

// changeUser changes a user's memberships, and holds what the log says of it against what was asked for.
func (w *world) changeUser() {
	t, user, group := w.hub(), w.user(), w.group()
	node, ctx := w.node(), context.Background()
	w.count["user"]++
	w.pull()
	var reply JoinReply
	var err error
	was := t.users[user][group]
	mayEnd := was && t.mayLeave(user, group)
	switch w.rng.IntN(7) {
	case 0, 1, 2:
		keep := time.Duration(w.rng.IntN(3)) * time.Duration(1+w.rng.IntN(8000)) * time.Millisecond
		reply, err = node.JoinUser(ctx, t.hub, user, group, keep)
		w.note("join user %s %s for %v: %v %v", user, group, keep, reply, err)
		w.pull()
		if delete(t.until, userGroup{user, group}); keep > 0 {
			t.until[userGroup{user, group}] = time.Now().Add(keep)
		}
		if !t.users[user][group] || reply.Changed == was && !mayEnd {
			w.fail("%s joined %s (was %v), changed=%v, but is in %v", user, group, was, reply.Changed, t.users[user])
		}
	case 3:
		reply, err = node.JoinUserNow(ctx, t.hub, user, group)
		w.note("join user %s %s now: %v %v", user, group, reply, err)
		w.pull()
		if is := t.users[user][group]; is != was && !mayEnd {
			w.fail("%s joined %s for its connections alone, and was in it: %v, and is: %v", user, group, was, is)
		}
	case 4, 5:
		reply, err = node.LeaveUser(ctx, t.hub, user, group)
		w.note("leave user %s %s: %v %v", user, group, reply, err)
		w.pull()
		w.left(t, user, group)
	default:
		reply, err = node.LeaveUserAll(ctx, t.hub, user)
		w.note("leave user %s all: %v %v", user, reply, err)
		w.pull()
		for i := range modelGroups {
			w.left(t, user, groupName(i))
		}
	}
	if err != nil {
		w.fail("change of a user: %v", err)
	}
}

// mayLeave tells whether a user's time in a group has passed: any node may take the user out of it, and may have done so since the log was read.
func (t *truth) mayLeave(user, group string) bool {
	end, ends := t.until[userGroup{user, group}]
	return ends && !end.After(time.Now())
}

// left fails unless a user and all of its connections are out of a group.
func (w *world) left(t *truth, user, group string) {
	if t.users[user][group] {
		w.fail("%s is in %s still", user, group)
	}
	for _, c := range w.clients {
		if r := c.record(); c.hub == t && c.user == user && r != nil && r.State != StateClosing && c.truth.groups[group] {
			w.fail("%s of %s is in %s still", c, user, group)
		}
	}
}

// finishUsers fails unless the time of every membership is heeded, even in hubs that nobody uses any more.
func (w *world) finishUsers() {
	for range 400 {
		if w.overdue() == 0 {
			return
		}
		time.Sleep(10 * time.Second)
		w.pull()
	}
	w.fail("%d memberships of users are not ended, though their time has passed", w.overdue())
}

func (w *world) overdue() int {
	n := 0
	for _, t := range w.hubs {
		reply, err := w.mem.DueUsers(context.Background(), t.hub, 1000)
		if err != nil {
			w.fail("due: %v", err)
		}
		n += len(reply.Passed)
		for _, due := range reply.Passed {
			if !t.users[due.User][due.Group] {
				w.fail("%v is due, and in the log out already", due)
			}
		}
	}
	return n
}
