package streams_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"hubstream/integration/valkeytest"
	"hubstream/streams"
)

// While a cluster gives a slot to another server, keys that are not at the one are looked for at the other. A script that met one when it
// had written already left an entry of which the record knew nothing: a connection that was in a group, or not, as one looked.
func TestValkeyStepsWhileASlotMovesAreWholeOrRepeatable(t *testing.T) {
	t.Parallel()
	cluster := valkeytest.StartCluster(t)
	u := use(t, streams.ValkeyConfig{Addresses: cluster.Addrs(), Mode: streams.ValkeyCluster, CallTimeout: 300 * time.Millisecond})
	ctx := t.Context()
	join := func(verb streams.Verb, group, body string) error {
		_, err := u.Join(ctx, hub, streams.JoinRequest{ID: "c", Verb: verb, Groups: []string{group}, Entry: message(body)})
		return err
	}
	joinUser := func(group string) error {
		_, err := u.JoinUser(ctx, hub, streams.UserJoinRequest{User: "ann", Group: group, Entry: message("user joins " + group)})
		return err
	}
	nobodys := request(streams.OpenPoll, "c", "")
	nobodys.User = ""
	u.open(nobodys)
	u.open(request(streams.OpenPoll, "anns", ""))
	must(t, "join", join(streams.VerbJoin, "g1", "joins g1"))
	must(t, "user's join", joinUser("g2"))

	var source, target *valkeytest.Server
	slot := ""
	for _, server := range cluster.Servers {
		if key := server.Do("KEYS", "*:log"); key == "" {
			target = server
		} else {
			source, slot = server, server.Do("CLUSTER", "KEYSLOT", strings.TrimSpace(key))
		}
	}
	target.Do("CLUSTER", "SETSLOT", slot, "IMPORTING", source.Do("CLUSTER", "MYID"))
	source.Do("CLUSTER", "SETSLOT", slot, "MIGRATING", target.Do("CLUSTER", "MYID"))
	must(t, "a leave whose keys are all here", join(streams.VerbLeave, "g1", "leaves g1"))
	want(t, "a join whose set of connections may be there", join(streams.VerbJoin, "g3", "joins g3"), streams.ErrUnavailable)
	must(t, "a user's join, which is repeated and finds itself done", joinUser("g4"))
	source.Do("CLUSTER", "SETSLOT", slot, "STABLE")
	target.Do("CLUSTER", "SETSLOT", slot, "STABLE")

	u.wantLog("joins g1", "user joins g2", "leaves g1", "user joins g4")
	reply, err := u.Lookup(ctx, hub, "c")
	must(t, "lookup", err)
	if open := reply.Record.OpenGroups(); len(open) != 0 {
		t.Errorf("the connection is in %v, as the log does not have it", open)
	}
	groups, err := u.UserGroups(ctx, hub, "ann")
	if err != nil || len(groups) != 2 || groups[1].Group != "g4" {
		t.Errorf("the user is in %v, %v, want g2 and g4", groups, err)
	}
	due, err := u.DueUsers(ctx, hub, 10)
	if err != nil || !slices.Equal(due.Untidy, []string{"ann"}) {
		t.Errorf("due is %+v, %v, want the user, whose connections are not counted in g4 yet", due, err)
	}
	must(t, "tidying", u.TidyUser(ctx, hub, "ann"))
	if n, err := u.Count(ctx, hub, streams.HolderGroup, "g4"); err != nil || n != 1 {
		t.Errorf("%d connections in g4, %v, want 1", n, err)
	}
}
