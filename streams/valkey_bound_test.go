package streams_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"hubstream/integration/valkeytest"
	"hubstream/streams"
)

// asksForItsProcess tells whether opening a connection of the hub makes Valkey tell its run ID.
func (u user) asksForItsProcess(hub string, servers ...*valkeytest.Server) bool {
	u.t.Helper()
	told := func() (n int) {
		for _, s := range servers {
			n += calls(s, "info")
		}
		return n
	}
	before := told() + len(servers) // as to count is one more
	_, err := u.Open(u.t.Context(), hub, request(streams.OpenWebSocket, fmt.Sprint("c", prefixes.Add(1)), "n1"))
	must(u.t, "open", err)
	return told() > before
}

// binds waits until the process of the hub's bucket has the scripts that are bound to it.
func (u user) binds(hub string, servers ...*valkeytest.Server) {
	u.t.Helper()
	eventually(u.t, "bind "+hub, func() error {
		if u.asksForItsProcess(hub, servers...) {
			return fmt.Errorf("it is asked for its run ID still")
		}
		return nil
	})
}

func (u user) beat() streams.BeatReply {
	u.t.Helper()
	reply, err := u.Beat(u.t.Context(), streams.Bucket(hub), "n1", time.Millisecond)
	must(u.t, "beat", err)
	return reply
}

// scripts is how many a server knows.
func scripts(server *valkeytest.Server) (n int) {
	fmt.Sscan(server.Info("memory", "number_of_cached_scripts"), &n)
	return n
}

func TestValkeyScriptsKnowTheirProcess(t *testing.T) {
	t.Parallel()
	server := valkeytest.Start(t, valkeytest.Args())
	u := use(t, streams.ValkeyConfig{Addresses: []string{server.Addr}})
	if !u.asksForItsProcess(hub, server) { // which makes the log, too
		t.Error("a process of which nothing is known is not asked for its run ID")
	}
	u.binds(hub, server)
	server.Do("SCRIPT", "FLUSH", "SYNC")
	if !u.asksForItsProcess(hub, server) {
		t.Error("a process that was told to forget its scripts is not asked for its run ID")
	}
	u.beat()
	u.binds(hub, server)
}

// A process is given its scripts once, however many buckets it keeps.
func TestValkeyScriptsAreLoadedOnce(t *testing.T) {
	t.Parallel()
	server := valkeytest.Start(t, valkeytest.Args())
	u := use(t, streams.ValkeyConfig{Addresses: []string{server.Addr}})
	u.beat()
	u.binds(hub, server)
	for i := range 2 * streams.Buckets {
		other := fmt.Sprint("hub", i)
		u.asksForItsProcess(other, server) // as it makes the log
		if u.asksForItsProcess(other, server) {
			t.Errorf("%s: a process that has its scripts is asked for its run ID", other)
		}
	}
	must(t, "close", u.Close())
	if n := calls(server, "script|load"); n != 2 {
		t.Errorf("%d scripts were loaded, want 2", n)
	}
}

func TestValkeyClustersScriptsKnowTheirProcess(t *testing.T) {
	t.Parallel()
	cluster := valkeytest.StartCluster(t)
	u := use(t, streams.ValkeyConfig{Addresses: cluster.Addrs(), Mode: streams.ValkeyCluster})
	for i := range 8 { // several buckets, which the processes share
		u.binds(fmt.Sprint("hub", i), cluster.Servers...)
	}
}

// Where scripts may not be loaded, nobody tries again at once, and all goes on.
func TestValkeyThatForbidsToLoadScripts(t *testing.T) {
	t.Parallel()
	server := valkeytest.Start(t, valkeytest.Args())
	server.Do("ACL", "SETUSER", "limited", "on", ">secret", "~*", "&*", "+@all", "-script|load")
	u := use(t, streams.ValkeyConfig{Addresses: []string{server.Addr}, Username: "limited", Password: "secret"})
	for range 5 {
		if !u.asksForItsProcess(hub, server) {
			t.Error("a process that was given no script is not asked for its run ID")
		}
		u.beat()
	}
	eventually(t, "load", func() error {
		if refused(server) == 0 {
			return fmt.Errorf("nobody has tried")
		}
		return nil
	})
	time.Sleep(50 * time.Millisecond)
	before := refused(server)
	for range 5 {
		u.beat()
	}
	must(t, "close", u.Close()) // waits for whoever loads
	if n := refused(server); n != before {
		t.Errorf("tried %d times more where it is forbidden", n-before)
	}
}

// refused is how often the server has refused a command for want of permission.
func refused(server *valkeytest.Server) (n int) {
	fmt.Sscan(server.Info("stats", "acl_access_denied_cmd"), &n)
	return n
}

// What is bound to a process is known to that process alone, whoever comes after it with the same data.
func TestValkeyScriptsOfAProcessAreItsOwn(t *testing.T) {
	t.Run("replica", func(t *testing.T) {
		t.Parallel()
		primary := valkeytest.Start(t, valkeytest.Args("--repl-diskless-sync-delay", "0"))
		replica := valkeytest.Start(t, valkeytest.ReplicaOf(primary))
		valkeytest.WaitReplica(t, replica)
		u := use(t, streams.ValkeyConfig{Addresses: []string{primary.Addr}})
		u.send("1")
		u.binds(hub, primary)
		late := valkeytest.Start(t, valkeytest.ReplicaOf(primary))
		valkeytest.WaitReplica(t, late)
		eventually(t, "replication", func() error {
			if a, b := primary.Info("replication", "master_repl_offset"), replica.Info("replication", "master_repl_offset"); a != b {
				return fmt.Errorf("the replica is at %s of %s", b, a)
			}
			return nil
		})
		if n, m := scripts(replica), scripts(late); n > 0 || m > 0 {
			t.Errorf("replicas know %d and %d scripts", n, m)
		}
	})
	t.Run("restart", func(t *testing.T) {
		t.Parallel()
		server := valkeytest.Start(t, valkeytest.AppendOnly())
		u := use(t, streams.ValkeyConfig{Addresses: []string{server.Addr}})
		u.send("1")
		u.binds(hub, server)
		server.Do("BGREWRITEAOF") // which tells all that there is anew
		eventually(t, "rewrite", func() error {
			if server.Info("persistence", "aof_rewrite_in_progress") != "0" || server.Info("persistence", "aof_rewrite_scheduled") != "0" {
				return fmt.Errorf("it goes on")
			}
			return nil
		})
		server.Kill()
		server.Start()
		if n := scripts(server); n > 0 {
			t.Errorf("a restarted server knows %d scripts", n)
		}
		for range 3 { // the first tells that there is no such script, and the next must not have brought it
			eventually(t, "open in a process that has not verified the log", func() error {
				_, err := u.Open(t.Context(), hub, request(streams.OpenWebSocket, "other", "n1"))
				if err == nil {
					t.Error("a connection is opened where the log is not verified")
				} else if !errors.Is(err, streams.ErrUnverified) {
					return err // the first calls may go to the connection that is gone
				}
				return nil
			})
		}
		u.verify(streams.VerifyRequest{})
		u.binds(hub, server)
	})
}

// Between the beat and the loading the address may come to lead to another process.
func TestValkeyScriptsAreNotLoadedIntoAnotherProcess(t *testing.T) {
	t.Parallel()
	first, second := valkeytest.Start(t, valkeytest.Args()), valkeytest.Start(t, valkeytest.Args())
	r := startRelay(t, first.Addr)
	u := use(t, streams.ValkeyConfig{Addresses: []string{r.addr()}})
	u.beat()
	u.binds(hub, first)
	first.Do("SCRIPT", "FLUSH", "SYNC")
	u.asksForItsProcess(hub, first) // which finds that it has none
	r.lead(second.Addr)             // new connections; that of the bucket's calls stays
	if run := u.beat().Run; run != first.Info("server", "run_id") {
		t.Fatalf("the beat is answered by %s, want the first process", run)
	}
	eventually(t, "ask", func() error {
		if calls(second, "exists") == 0 {
			return fmt.Errorf("the second process was not asked who it is")
		}
		return nil
	})
	if !u.asksForItsProcess(hub, first) {
		t.Error("the first process is taken to have what it was not given")
	}
	must(t, "close", u.Close()) // waits for whoever loads
	if n := scripts(second); n > 0 {
		t.Errorf("another process was given %d scripts", n)
	}
}
