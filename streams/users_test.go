package streams_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hubstream/streams"
)

// member is a connection in live service, for what users' memberships do to it.
type member struct {
	*testing.T
	node *streams.Node
	att  *streams.Attachment
}

func startNode(t *testing.T, store streams.Store, name string) *streams.Node {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	node := streams.NewNode(store, streams.Config{Name: name})
	if err := node.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); node.Wait() })
	return node
}

func attached(t *testing.T, node *streams.Node, id, user string) member {
	t.Helper()
	owner := node.NewOwner()
	reply, err := node.Open(t.Context(), "chat", streams.OpenRequest{
		Mode: streams.OpenWebSocket, ID: id, User: user, Owner: owner,
		CreateUntil: time.Now().Add(time.Hour).UnixMilli(), Lease: time.Hour, NewLease: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	hand, err := node.Handshake(t.Context(), "chat", streams.HandshakeRequest{ID: id, Owner: owner, Protocol: 1, Version: 1, Lease: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	att, err := node.Attach(t.Context(), "chat", reply, owner, time.Hour, func() {})
	if err != nil {
		t.Fatal(err)
	}
	att.Start(hand.Start, false)
	return member{t, node, att}
}

// gets fails the test unless the connection is sent these.
func (m member) gets(want ...string) {
	m.Helper()
	synctest.Wait()
	items, err := m.att.Next(m.Context(), nil, 1<<20)
	if err != nil {
		m.Fatal(err)
	}
	var got []string
	for _, item := range items {
		got = append(got, string(item.Body))
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		m.Errorf("%s was sent %q, want %q", m.att.ID(), got, want)
	}
}

func toGroup(t *testing.T, node *streams.Node, group, body string) {
	t.Helper()
	if _, err := node.Publish(t.Context(), "chat", &streams.Entry{Kind: streams.KindMessage, Groups: []string{group}, Body: []byte(body)}); err != nil {
		t.Fatal(err)
	}
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestAUsersTimeInAGroupEndsOnEveryNode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := streams.NewMemory(streams.MemoryConfig{})
		one, two := startNode(t, store, "one"), startNode(t, store, "two")
		a, other := attached(t, one, "a", "ann"), attached(t, two, "c", "bob")
		time.Sleep(1500 * time.Millisecond) // both have looked once, and would not for some time
		_, err := two.JoinUser(t.Context(), "chat", "ann", "g", 2*time.Second)
		noError(t, err)
		b := attached(t, two, "b", "ann") // a later connection
		toGroup(t, two, "g", "first")
		a.gets("first")
		b.gets("first")
		time.Sleep(1900 * time.Millisecond)
		toGroup(t, one, "g", "still")
		a.gets("still")
		b.gets("still")
		time.Sleep(1200 * time.Millisecond) // within about a second
		toGroup(t, one, "g", "too late")
		a.gets()
		b.gets()
		other.gets()
		in, err := one.InGroup(t.Context(), "chat", "ann", "g")
		if noError(t, err); in {
			t.Error("the user is in the group still")
		}
	})
}

// Times that pass together, or faster than one look takes, do not pile up.
func TestManyUsersTimesEndTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const users = 4000
		store := streams.NewMemory(streams.MemoryConfig{})
		t.Cleanup(func() { _ = store.Close() })
		node := startNode(t, store, "one")
		attached(t, node, "a", "ann")
		for i := range users {
			_, err := node.JoinUser(t.Context(), "chat", fmt.Sprint(i), "g", time.Minute)
			noError(t, err)
		}
		due := func() int {
			reply, err := store.DueUsers(t.Context(), "chat", users)
			noError(t, err)
			return len(reply.Passed) + len(reply.Untidy)
		}
		time.Sleep(time.Minute + 2*time.Second)
		if n := due(); n > 0 {
			t.Errorf("%d of them are in the group 2 s after their time has passed", n)
		}
		time.Sleep(10 * time.Minute)
		if n := due(); n > 0 {
			t.Errorf("%d of them are to be tidied up still", n)
		}
	})
}

// Nobody has swept: the connection itself finds out, before it is sent anything.
func TestAConnectionThatComesAfterItsUsersTimeIsNotInTheGroup(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := streams.NewMemory(streams.MemoryConfig{})
		_, err := store.JoinUser(t.Context(), "chat", streams.UserJoinRequest{
			User: "ann", Group: "g", Keep: time.Second,
			Entry: streams.AppendEntry(nil, &streams.Entry{Kind: streams.KindControl, Verb: streams.VerbJoin, Users: []string{"ann"}, Named: []string{"g"}}),
		})
		noError(t, err)
		time.Sleep(2 * time.Second)
		node := startNode(t, store, "one")
		late := attached(t, node, "late", "ann")
		toGroup(t, node, "g", "too late")
		late.gets()
	})
}

func TestRemovingAUserMakesItsConnectionsLeave(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := streams.NewMemory(streams.MemoryConfig{})
		one, two := startNode(t, store, "one"), startNode(t, store, "two")
		own, by := attached(t, one, "own", "ann"), attached(t, two, "by", "ann")
		bob := attached(t, two, "bob", "bob")
		for _, id := range []string{"own", "bob"} {
			_, err := two.Join(t.Context(), "chat", id, streams.VerbJoin, "g")
			noError(t, err)
		}
		_, err := one.JoinUser(t.Context(), "chat", "ann", "g", 0)
		noError(t, err)
		toGroup(t, one, "g", "all")
		left, err := two.LeaveUser(t.Context(), "chat", "ann", "g")
		if noError(t, err); !left.Changed {
			t.Error("the leave changed nothing")
		}
		toGroup(t, one, "g", "bob only")
		own.gets("all")
		by.gets("all")
		bob.gets("all", "bob only")
	})
}

func TestJoiningNowIsForThoseThatAreThere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		node := startNode(t, streams.NewMemory(streams.MemoryConfig{}), "one")
		first := attached(t, node, "first", "ann")
		_, err := node.JoinUserNow(t.Context(), "chat", "ann", "g")
		noError(t, err)
		later := attached(t, node, "later", "ann")
		toGroup(t, node, "g", "m")
		first.gets("m")
		later.gets()
		in, err := node.InGroup(t.Context(), "chat", "ann", "g")
		if noError(t, err); !in {
			t.Error("the user is not in the group though its connection is")
		}
	})
}

// lookups counts the records that are read.
type lookups struct {
	*streams.Memory
	made atomic.Int64
}

func (s *lookups) Lookup(ctx context.Context, hub, id string) (streams.OpenReply, error) {
	s.made.Add(1)
	return s.Memory.Lookup(ctx, hub, id)
}

// Whether a user is in a group is found among the connections of whichever has fewer.
func TestInGroupLooksAtTheFewer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &lookups{Memory: streams.NewMemory(streams.MemoryConfig{})}
		t.Cleanup(func() { _ = store.Close() })
		node := startNode(t, store, "one")
		for i := range 300 {
			attached(t, node, fmt.Sprint("a", i), "ann")
			attached(t, node, fmt.Sprint("b", i), "bob")
			_, err := node.Join(t.Context(), "chat", fmt.Sprint("b", i), streams.VerbJoin, "bobs")
			noError(t, err)
		}
		attached(t, node, "c", "carl")
		for _, id := range []string{"a299", "b0", "c"} {
			_, err := node.Join(t.Context(), "chat", id, streams.VerbJoin, "few")
			noError(t, err)
		}
		_, err := node.Join(t.Context(), "chat", "c", streams.VerbJoin, "bobs")
		noError(t, err)
		for _, look := range []struct {
			user, group string
			want        bool
			most        int64
		}{
			{"ann", "few", true, 3}, {"ann", "none", false, 0}, {"ann", "bobs", false, 300}, {"bob", "bobs", true, 16},
			{"carl", "bobs", true, 1}, {"carl", "none", false, 0}, {"nobody", "bobs", false, 0},
		} {
			store.made.Store(0)
			in, err := node.InGroup(t.Context(), "chat", look.user, look.group)
			noError(t, err)
			if n := store.made.Load(); in != look.want || n > look.most {
				t.Errorf("%s in %s: %v by %d records, want %v by %d at the most", look.user, look.group, in, n, look.want, look.most)
			}
		}
	})
}
