package streams

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/valkey-io/valkey-go"
)

// JoinUser implements Users.
func (v *Valkey) JoinUser(ctx context.Context, hub string, r UserJoinRequest) (UserJoinReply, error) {
	k := v.keys.hub(hub)
	keep := "0"
	if r.Keep > 0 {
		keep = strconv.FormatInt(max(r.Keep.Milliseconds(), 1), 10)
	}
	reply, err := v.run(ctx, hub, userJoinScript,
		[]string{k.meta(), k.log(), k.memberships(r.User), k.due()},
		[]string{
			r.User, r.Group, keep, string(r.Entry), string(k), strconv.Itoa(MaxGroups), strconv.Itoa(MaxKeptGroups), ms(MaxUserKeep),
		})
	if err != nil {
		return UserJoinReply{}, err
	}
	a := answer{rest: reply}
	joined := UserJoinReply{JoinReply{a.position(), a.int() == 1}, a.text()}
	return joined, v.settle(ctx, hub, r.User, a.text(), []string{r.Group}, a.err)
}

// LeaveUser implements Users.
func (v *Valkey) LeaveUser(ctx context.Context, hub string, r UserLeaveRequest) (JoinReply, error) {
	k := v.keys.hub(hub)
	reply, err := v.run(ctx, hub, userLeaveScript,
		[]string{k.meta(), k.log(), k.memberships(r.User), k.due()},
		[]string{r.User, strconv.Itoa(int(r.Verb)), r.Group, boolArg(r.OnlyDue), string(r.Entry), string(k)})
	if err != nil {
		return JoinReply{}, err
	}
	a := answer{rest: reply}
	left := JoinReply{a.position(), a.int() == 1}
	rest := a.text()
	groups, err := parseNames(a.rest)
	return left, v.settle(ctx, hub, r.User, rest, groups, err)
}

// settle goes on to bring the sets of groups up to what a user's connections are in; the script that changed it has begun. Who
// fails on the way leaves it to a sweep.
func (v *Valkey) settle(ctx context.Context, hub, user, from string, groups []string, err error) error {
	k := v.keys.hub(hub)
	for from != "" && err == nil {
		var reply []valkey.ValkeyMessage
		reply, err = v.run(ctx, hub, userSettleScript, []string{k.due()}, append([]string{user, from, string(k)}, groups...))
		if err == nil {
			a := answer{rest: reply}
			from, err = a.text(), a.err
		}
	}
	return err
}

// TidyUser implements Users.
func (v *Valkey) TidyUser(ctx context.Context, hub, user string) error {
	k := v.keys.hub(hub)
	reply, err := v.run(ctx, hub, userTidyScript, []string{k.meta(), k.memberships(user), k.due()}, []string{user, string(k)})
	if err != nil {
		return err
	}
	a := answer{rest: reply}
	from := a.text()
	groups, err := parseNames(a.rest)
	return v.settle(ctx, hub, user, from, groups, err)
}

// UserGroups implements Users.
func (v *Valkey) UserGroups(ctx context.Context, hub, user string) ([]UserGroup, error) {
	reply, err := v.run(ctx, hub, userGroupsScript, []string{v.keys.hub(hub).memberships(user)}, nil)
	if err != nil {
		return nil, err
	}
	a := answer{rest: reply}
	found := answer{rest: a.list(), err: a.err}
	var list []UserGroup
	for len(found.rest) > 0 && found.err == nil {
		list = append(list, UserGroup{Group: found.text(), Since: found.position(), Until: found.int()})
	}
	slices.SortFunc(list, func(a, b UserGroup) int { return strings.Compare(a.Group, b.Group) })
	return list, found.err
}

// DueUsers implements Users.
func (v *Valkey) DueUsers(ctx context.Context, hub string, limit int) (DueReply, error) {
	reply, err := v.run(ctx, hub, usersDueScript, []string{v.keys.hub(hub).due()}, []string{strconv.Itoa(limit)})
	if err != nil {
		return DueReply{}, err
	}
	names, err := parseNames(reply)
	if err != nil {
		return DueReply{}, err
	}
	a := answer{rest: reply[1:]}
	due := DueReply{Next: time.Duration(a.int()) * time.Millisecond}
	for _, name := range names {
		length, rest, _ := strings.Cut(name, ":")
		n, err := strconv.Atoi(length)
		if err != nil || n > len(rest) {
			return DueReply{}, errAnswer
		}
		if user, group := rest[:n], rest[n:]; group == "" {
			due.Untidy = append(due.Untidy, user)
		} else {
			due.Passed = append(due.Passed, DueMembership{user, group})
		}
	}
	return due, a.err
}

// Members implements Users.
func (v *Valkey) Members(ctx context.Context, hub string, of Holder, name, after string, limit int) ([]string, error) {
	return v.namesAfter(ctx, v.keys.hub(hub).connections(of, name), after, limit)
}

// Names implements Users.
func (v *Valkey) Names(ctx context.Context, hub string, of Holder, after string, limit int) (NamesReply, error) {
	key := v.keys.hub(hub).names(of)
	total, err := v.ask(ctx, func() valkey.Completed { return v.main.B().Zcard().Key(key).Build() })
	if err != nil {
		return NamesReply{}, err
	}
	count, err := total.AsInt64()
	if err != nil {
		return NamesReply{}, errAnswer
	}
	names, err := v.namesAfter(ctx, key, after, limit)
	return NamesReply{names, count}, err
}

// namesAfter reads a part of a zset whose scores are all zero.
func (v *Valkey) namesAfter(ctx context.Context, key, after string, limit int) ([]string, error) {
	from := "-"
	if after != "" {
		from = "(" + after
	}
	reply, err := v.ask(ctx, func() valkey.Completed {
		return v.main.B().Zrangebylex().Key(key).Min(from).Max("+").Limit(0, int64(limit)).Build()
	})
	if err != nil {
		return nil, err
	}
	names, err := reply.AsStrSlice()
	if err != nil {
		return nil, errAnswer
	}
	return names, nil
}
