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

	source, target, slot := movable(cluster)
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

// An append that is sent on to the server which the slot is given to is not one that the replicas of the first have: it was taken for that,
// and a message accepted that no replica had. Until the slot is the new server's the client library fell over such an append.
func TestValkeyWaitsForTheReplicasOfWhoHasTheSlot(t *testing.T) {
	t.Parallel()
	cluster := valkeytest.StartReplicatedCluster(t)
	u := use(t, streams.ValkeyConfig{
		Addresses: cluster.Addrs(), Mode: streams.ValkeyCluster, Durable: 1, DurableTimeout: 300 * time.Millisecond,
	})
	once := func(key string) streams.OnceRequest {
		return streams.OnceRequest{Key: key, Sum: "s", Entry: message(key), Keep: time.Minute}
	}
	eventually(t, "a durable append", func() error {
		_, err := u.Append(t.Context(), hub, message("1"))
		return err
	})
	_, err := u.AppendAll(t.Context(), hub, []streams.OnceRequest{once("k1")})
	must(t, "a durable batch", err)

	source, target, slot := movable(cluster)
	id := func(server *valkeytest.Server) string { return server.Do("CLUSTER", "MYID") }
	replica := target
	for _, server := range cluster.Servers {
		if role := server.Do("ROLE"); strings.HasPrefix(role, "slave") && strings.Contains(role, "\n"+portOf(target)+"\n") {
			replica = server
		}
	}
	target.Do("CLUSTER", "SETSLOT", slot, "IMPORTING", id(source))
	source.Do("CLUSTER", "SETSLOT", slot, "MIGRATING", id(target))
	for key := " "; key != ""; {
		if key = strings.TrimSpace(source.Do("CLUSTER", "GETKEYSINSLOT", slot, "1")); key != "" {
			source.Do("MIGRATE", "127.0.0.1", portOf(target), key, "0", "5000")
		}
	}
	replica.Pause()
	defer func() { replica.Resume() }()
	_, err = u.Append(t.Context(), hub, message("2"))
	want(t, "an append while the slot moves", err, streams.ErrUnavailable)
	_, err = u.AppendAll(t.Context(), hub, []streams.OnceRequest{once("k2")})
	want(t, "a batch while the slot moves", err, streams.ErrUnavailable)
	replica.Resume()

	target.Do("CLUSTER", "SETSLOT", slot, "NODE", id(target))
	source.Do("CLUSTER", "SETSLOT", slot, "NODE", id(target))
	replica.Pause()
	_, err = u.Append(t.Context(), hub, message("3"))
	want(t, "an append that no replica has", err, streams.ErrOutcomeUnknown)
	replica.Resume()
	eventually(t, "an append when the slot has moved", func() error {
		_, err := u.Append(t.Context(), hub, message("4"))
		return err
	})
	u.wantLog("1", "k1", "3", "4")
}

// movable finds the primary that has a hub's log, another, and the log's slot.
func movable(cluster *valkeytest.Cluster) (source, target *valkeytest.Server, slot string) {
	for _, server := range cluster.Servers {
		if !strings.HasPrefix(server.Do("ROLE"), "master") {
			continue
		}
		if key := server.Do("KEYS", "*:log"); key == "" {
			target = server
		} else {
			source, slot = server, server.Do("CLUSTER", "KEYSLOT", strings.TrimSpace(key))
		}
	}
	return source, target, slot
}

func portOf(server *valkeytest.Server) string {
	return server.Addr[strings.LastIndexByte(server.Addr, ':')+1:]
}
