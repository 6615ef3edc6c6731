package streams_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hubstream/integration/valkeytest"
	"hubstream/streams"
)

// Whoever asks for a log's end is copied its last entry: that is a small one, however large what was appended is, and by whichever way.
func TestValkeyLogEndsWithWhatIsSmall(t *testing.T) {
	t.Parallel()
	primary := valkeytest.Start(t, valkeytest.Args("--repl-diskless-sync-delay", "0"))
	valkeytest.WaitReplica(t, valkeytest.Start(t, valkeytest.ReplicaOf(primary)))
	large, small := message(strings.Repeat("x", 1<<20)), message("small")
	once := func(key string, entry []byte) streams.OnceRequest {
		return streams.OnceRequest{Key: key, Sum: "s", Entry: entry, Keep: time.Minute}
	}
	for name, cfg := range map[string]streams.ValkeyConfig{"as it comes": {}, "durably": {Durable: 1, DurableTimeout: 5 * time.Second}} {
		t.Run(name, func(t *testing.T) {
			cfg.Addresses, cfg.Prefix = []string{primary.Addr}, "blank"+name[:2]
			u := use(t, cfg)
			u.verify(streams.VerifyRequest{})
			u.open(streams.OpenRequest{
				Mode: streams.OpenWebSocket, ID: "c", Owner: "o", CreateUntil: 1 << 50, Lease: time.Minute, NewLease: time.Minute,
			})
			var wantLog []string
			for _, way := range []struct {
				name    string
				appends func(context.Context) error
				entries [][]byte
			}{
				{"alone", func(ctx context.Context) error {
					_, err := u.Append(ctx, hub, large)
					return err
				}, [][]byte{large}},
				{"with a key", func(ctx context.Context) error {
					_, _, err := u.AppendOnce(ctx, hub, once("k", large))
					return err
				}, [][]byte{large}},
				{"a batch", func(ctx context.Context) error {
					_, err := u.AppendAll(ctx, hub, []streams.OnceRequest{once("", small), once("", small), once("", large)})
					return err
				}, [][]byte{small, small, large}},
				{"a batch with keys", func(ctx context.Context) error {
					_, err := u.AppendAll(ctx, hub, []streams.OnceRequest{once("k1", small), once("k2", large)})
					return err
				}, [][]byte{small, large}},
				{"a step of a connection", func(ctx context.Context) error {
					_, err := u.CloseConnection(ctx, hub, "c", large)
					return err
				}, [][]byte{large}},
			} {
				must(t, way.name, way.appends(t.Context()))
				if n := u.lastEntry(primary, cfg.Prefix); n > 1000 {
					t.Errorf("%s: the log ends with an entry of %d bytes", way.name, n)
				}
				for _, e := range way.entries {
					wantLog = append(wantLog, string(e))
				}
			}
			if got := u.messages(); !slices.Equal(got, wantLog) {
				t.Errorf("the log holds %d messages, want %d", len(got), len(wantLog))
			}
		})
	}
}

// So it is when many are on their way together.
func TestValkeyAppendsTogetherEndWithWhatIsSmall(t *testing.T) {
	t.Parallel()
	server := valkeytest.Start(t)
	u := use(t, streams.ValkeyConfig{Addresses: []string{server.Addr}, Prefix: "blank"})
	u.send("first")
	for _, callers := range []int{4, 40} { // as commands, and as a script
		server.Pause()
		var all sync.WaitGroup
		positions := make([]streams.Position, callers)
		for i := range callers {
			all.Go(func() {
				p, err := u.Append(t.Context(), hub, message(strings.Repeat(fmt.Sprint(i%10), 10_000)))
				if positions[i] = p; err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(100 * time.Millisecond)
		server.Resume()
		all.Wait()
		if n := u.lastEntry(server, "blank"); n > 1000 {
			t.Errorf("after %d appends at once the log ends with an entry of %d bytes", callers, n)
		}
		log, err := u.Range(t.Context(), hub, streams.Position{}, 1000)
		must(t, "range", err)
		for i, p := range positions {
			if !slices.Contains(log.Entries, streams.RawEntry{Position: p, Data: string(message(strings.Repeat(fmt.Sprint(i%10), 10_000)))}) {
				t.Errorf("what was appended is not at its position, %v", p)
			}
		}
	}
}

// lastEntry is how large the last entry of the hub's log is.
func (u user) lastEntry(server *valkeytest.Server, prefix string) int {
	u.t.Helper()
	return len(server.Do("XREVRANGE", fmt.Sprintf("{%s:%d}:%s:log", prefix, streams.Bucket(hub), hub), "+", "-", "COUNT", "1"))
}

// messages are the log's entries that are for anybody.
func (u user) messages() (entries []string) {
	u.t.Helper()
	reply, err := u.Range(u.t.Context(), hub, streams.Position{}, 1000)
	must(u.t, "range", err)
	for _, e := range reply.Entries {
		entry, err := streams.DecodeEntry(e.Data)
		must(u.t, "decode", err)
		if entry.Kind == streams.KindMessage {
			entries = append(entries, e.Data)
		} else if entry.Kind == streams.KindBlank && len(entry.Groups)+len(entry.Users)+len(entry.Connections)+int(entry.Flags) > 0 {
			u.t.Errorf("a blank entry is for somebody: %+v", entry)
		}
	}
	return entries
}

// A tail reads a large entry and the blank one after it at once: it is not woken twice.
func TestValkeyTailReadsTheBlankEntryWithTheLargeOne(t *testing.T) {
	t.Parallel()
	server := valkeytest.Start(t)
	for name, cfg := range map[string]streams.ValkeyConfig{"as it comes": {}, "durably": {Durable: 1, DurableTimeout: 5 * time.Second}} {
		t.Run(name, func(t *testing.T) {
			if cfg.Durable > 0 {
				valkeytest.WaitReplica(t, valkeytest.Start(t, valkeytest.ReplicaOf(server)))
			}
			cfg.Addresses, cfg.Prefix = []string{server.Addr}, "blank"+name[:2]
			u := use(t, cfg)
			after := u.send("first")
			tail := u.Tail(streams.Bucket(hub))
			defer tail.Close()
			for range 20 {
				read := make(chan []streams.Batch)
				go func() {
					batches, err := tail.Read(t.Context(), []streams.Cursor{{Hub: hub, After: after}}, 10, 5*time.Second)
					if err != nil {
						t.Error(err)
					}
					read <- batches
				}()
				time.Sleep(5 * time.Millisecond)
				p, err := u.Append(t.Context(), hub, message(strings.Repeat("x", 5000)))
				must(t, "append", err)
				batches := <-read
				if len(batches) != 1 || len(batches[0].Entries) != 2 || batches[0].Entries[0].Position != p {
					t.Fatalf("read %d batches, of the first %d entries, want both", len(batches), batches[0].Stored)
				}
				after = batches[0].Entries[1].Position
			}
		})
	}
}

// What is refused is not in the log, neither it nor its blank entry, and the refusal is told as that of a small one.
func TestValkeyLargeAppendThatIsRefused(t *testing.T) {
	t.Parallel()
	server := valkeytest.Start(t)
	u := use(t, streams.ValkeyConfig{Addresses: []string{server.Addr}})
	u.send("first")
	large := message(strings.Repeat("x", 5000))
	server.Do("CONFIG", "SET", "maxmemory", "1")
	_, err := u.Append(t.Context(), hub, large)
	want(t, "an append when memory is full", err, streams.ErrFull)
	server.Do("CONFIG", "SET", "maxmemory", "0")
	u.wantLog("first")
	server.Do("FLUSHALL")
	_, err = u.Append(t.Context(), hub, large)
	must(t, "append to a log that is lost", err)
	if got := u.messages(); !slices.Equal(got, []string{string(large)}) {
		t.Errorf("the log that was made anew has %d messages", len(got))
	}
}

// While a cluster gives a slot to another server, and after it, large appends are sent on whole, and made once.
func TestValkeyLargeAppendsFollowTheirSlot(t *testing.T) {
	t.Parallel()
	cluster := valkeytest.StartCluster(t)
	u := use(t, streams.ValkeyConfig{Addresses: cluster.Addrs(), Mode: streams.ValkeyCluster})
	var wantLog []string
	appends := func(when string) {
		t.Helper()
		body := string(message(when + strings.Repeat("x", 5000)))
		_, err := u.Append(t.Context(), hub, []byte(body))
		must(t, when, err)
		wantLog = append(wantLog, body)
	}
	appends("before")
	source, target, slot := movable(cluster)
	id := func(server *valkeytest.Server) string { return server.Do("CLUSTER", "MYID") }
	target.Do("CLUSTER", "SETSLOT", slot, "IMPORTING", id(source))
	source.Do("CLUSTER", "SETSLOT", slot, "MIGRATING", id(target))
	appends("while it is here")
	for key := " "; key != ""; {
		if key = strings.TrimSpace(source.Do("CLUSTER", "GETKEYSINSLOT", slot, "1")); key != "" {
			source.Do("MIGRATE", "127.0.0.1", portOf(target), key, "0", "5000")
		}
	}
	appends("while it is there")
	target.Do("CLUSTER", "SETSLOT", slot, "NODE", id(target))
	source.Do("CLUSTER", "SETSLOT", slot, "NODE", id(target))
	appends("after")
	appends("once more")
	if got := u.messages(); !slices.Equal(got, wantLog) {
		t.Errorf("the log has %d messages, want %d", len(got), len(wantLog))
	}
}
