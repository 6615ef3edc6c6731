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
