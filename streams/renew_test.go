package streams_test

import (
	"context"
	"math"
	"testing"
	"time"

	"hubstream/streams"
)

// A connection that is served at one node is renewed at another; nothing that was allowed is taken back.
func TestRenewReachesTheNodeThatServes(t *testing.T) {
	t.Parallel()
	store := streams.NewMemory(streams.MemoryConfig{})
	ctx, cancel := context.WithCancel(t.Context())
	start := func(name string) *streams.Node {
		n := streams.NewNode(store, streams.Config{Name: name})
		if err := n.Start(ctx); err != nil {
			t.Fatal(err)
		}
		return n
	}
	serving, other := start("n1"), start("n2")
	t.Cleanup(func() {
		cancel()
		serving.Wait()
		other.Wait()
		_ = store.Close()
	})
	woken := make(chan struct{}, 16)
	r := streams.OpenRequest{
		Mode: streams.OpenWebSocket, ID: "c", Owner: serving.NewOwner(), CreateUntil: serving.Now() + 60000, Lease: time.Minute, NewLease: time.Minute,
	}
	reply, err := serving.Open(t.Context(), "chat", r)
	if err != nil {
		t.Fatal(err)
	}
	att, err := serving.Attach(t.Context(), "chat", reply, r.Owner, time.Minute, func() { woken <- struct{}{} })
	if err != nil {
		t.Fatal(err)
	}
	att.Start(reply.Last, false)
	if at := att.Renewed(); at != 0 {
		t.Errorf("before any renewal: %d", at)
	}
	later := time.UnixMilli(2000)
	for _, step := range []struct {
		until time.Time
		want  int64
	}{{time.UnixMilli(1000), 1000}, {later, 2000}, {time.UnixMilli(1500), 2000}, {time.Time{}, math.MaxInt64}} {
		if err := other.Renew(t.Context(), "chat", "c", step.until); err != nil {
			t.Fatal(err)
		}
		if err := other.Renew(t.Context(), "chat", "somebody else", later.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		receipt, err := other.Publish(t.Context(), "chat", &streams.Entry{Kind: streams.KindMessage, Connections: []string{"c"}, Body: []byte("x")})
		if err != nil {
			t.Fatal(err)
		}
		for att.Cursor().Before(receipt.Position) { // what was appended before it has been followed, then
			<-woken
			if _, err := att.Next(t.Context(), nil, 1<<20); err != nil {
				t.Fatal(err)
			}
		}
		if at := att.Renewed(); at != step.want {
			t.Errorf("renewed until %v: got %d, want %d", step.until, at, step.want)
		}
	}
}
