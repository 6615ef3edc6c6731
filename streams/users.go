package streams

import (
	"context"
	"time"
)

// Users is users' memberships in groups. They hold for all connections of the user, those that come later included, beside
// what the connections have joined on their own.
//
// They are a hash of each user, with intervals of positions as in a record, and every change is a KindControl entry whose
// audience is the user. So they are read as a record is: what holds up to the log's end comes with the record, in the same
// step, and every later change from the log. The clock decides nothing that a filter sees: a membership whose time has passed
// holds until the entry that ends it.
//
//   - A join between the reading of a record and its attach is an entry after the record's known position: the filter takes it.
//   - A connection that is created while its user joins is created before the entry, and meets it in its scan, or after it, and
//     reads it with its record.
//   - Two nodes that end a membership whose time has passed: LeaveUser looks at the time again, in its step; the second finds
//     nothing to end.
//   - A join that renews a membership just before it is ended: LeaveUser sees the new time. Just after: it begins another interval.
//   - A connection that has joined on its own stays when its user's time has passed; who removes the user makes it leave, too, by an
//     entry of its own for each connection. So there is no position at which a record that is read says something else than the
//     log, however many connections the user has, and whoever fails in between repeats the call.
type Users interface {
	// JoinUser puts a user into a group; see UserJoinRequest.
	JoinUser(ctx context.Context, hub string, r UserJoinRequest) (UserJoinReply, error)
	// LeaveUser takes a user out of groups; see UserLeaveRequest. What the user's connections joined on their own stays.
	LeaveUser(ctx context.Context, hub string, r UserLeaveRequest) (JoinReply, error)
	// UserGroups returns the groups that a user is in, but for those whose time has passed, in order of their names.
	UserGroups(ctx context.Context, hub, user string) ([]UserGroup, error)
	// DueUsers returns what has to be ended or tidied up: at most limit of it, and what comes next.
	DueUsers(ctx context.Context, hub string, limit int) (DueReply, error)
	// TidyUser drops the intervals of a user that ended at or before the floor: no cursor can be there.
	TidyUser(ctx context.Context, hub, user string) error
	// Members returns at most limit IDs of the connections of a user or a group (see Count) that come after an ID, in order.
	Members(ctx context.Context, hub string, of Holder, name, after string, limit int) ([]string, error)
	// Names returns at most limit names of the users or groups that have connections, after a name, in order, and how many
	// there are in all.
	Names(ctx context.Context, hub string, of Holder, after string, limit int) (NamesReply, error)
}

// UserJoinRequest puts a user into one group, for all of its connections. If it is in the group already nothing is appended,
// the time is renewed, and the reply has the position of the join; else Entry, a KindControl with VerbJoin that names the user and the
// group, is appended and the membership begins there. ErrTooManyGroups beyond MaxGroups.
type UserJoinRequest struct {
	User, Group string
	// Keep is how long the membership is kept. Zero: until it is ended, and at most for MaxUserKeep, and
	// only for the MaxKeptGroups joins of this kind that are the newest.
	Keep  time.Duration
	Entry []byte
}

const (
	// MaxKeptGroups limits the groups that a user is in without a time limit.
	MaxKeptGroups = 100
	// MaxUserKeep is how long a membership without a time limit is kept.
	MaxUserKeep = 365 * 24 * time.Hour
)

// UserJoinReply is the result of a JoinUser.
type UserJoinReply struct {
	JoinReply
	// Evicted is the group whose time has passed with this join, since there are more than MaxKeptGroups; empty if none has.
	Evicted string
}

// UserLeaveRequest takes a user out of a group, or with VerbLeaveAll out of all. If it is in none of them nothing is appended, and the
// reply has the position of the newest change that made it so; else Entry, a KindControl for the user, is appended.
type UserLeaveRequest struct {
	User string
	Verb Verb
	// Group is for VerbLeave.
	Group string
	// OnlyDue takes the user out only if the membership's time has passed. For VerbLeave.
	OnlyDue bool
	Entry   []byte
}

// UserGroup is a user's membership.
type UserGroup struct {
	Group string
	Since Position
	// Until is when its time passes, the store's clock, ms.
	Until int64
}

// DueReply is what has to be done for users.
type DueReply struct {
	// Passed are memberships whose time has passed: LeaveUser with OnlyDue ends one.
	Passed []DueMembership
	// Untidy are the users for whom TidyUser is due.
	Untidy []string
	// Next is how long it is until more is due; negative if nothing is known to be.
	Next time.Duration
}

// DueMembership is a user in a group.
type DueMembership struct{ User, Group string }

// NamesReply is a part of a hub's users or groups.
type NamesReply struct {
	Names []string
	Total int64
}

// userTidyAfter is how long after a change a user is tidied up, and again as long as there is something that is not below
// the floor.
const userTidyAfter = 10 * time.Minute
