package streams_test

import (
	"testing"
	"time"

	"hubstream/streams"
)

// The figures count what a follower is handed, and forget it when it leaves.
func TestFiguresCountSendsDeliveriesAndAttachments(t *testing.T) {
	t.Parallel()
	store := streams.NewMemory(streams.MemoryConfig{})
	node := streams.NewNode(store, streams.Config{Name: "n1"})
	if err := node.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	woken := make(chan struct{}, 1)
	a, _, err := node.Follow(t.Context(), "chat", streams.Audience{}, streams.Receipt{}, func() {
		select {
		case woken <- struct{}{}:
		default:
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if f := node.Figures(); f.Connections[streams.TransportNone] != 1 || f.Hubs != 1 {
		t.Errorf("with one follower: %+v", f)
	}
	const sends = 3
	for range sends {
		if _, err := node.Publish(t.Context(), "chat", &streams.Entry{Kind: streams.KindMessage, Flags: streams.FlagAll, Body: []byte("x")}); err != nil {
			t.Fatal(err)
		}
	}
	for _, kind := range []streams.Kind{streams.KindClose, streams.KindReply, streams.KindResult} {
		if _, err := node.Publish(t.Context(), "chat", &streams.Entry{Kind: kind, Connections: []string{"c"}}); err != nil {
			t.Fatal(err)
		}
	}
	for got, writes := 0, int64(0); got < sends; {
		items, err := a.Next(t.Context(), nil, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if len(items) == 0 {
			<-woken
			continue
		}
		got += len(items)
		writes++
		f := node.Figures()
		var delays int64
		for _, n := range f.Delays {
			delays += n
		}
		if f.Sends != sends || f.Deliveries != int64(got) || delays != writes {
			t.Errorf("after %d messages in %d writes: %+v", got, writes, f)
		}
	}
	_ = a.Detach(t.Context(), 0, streams.LeavingNone) // a follower has no record to save to
	if f := node.Figures(); f.Connections[streams.TransportNone] != 0 {
		t.Errorf("the follower has left: %+v", f)
	}
}

// Who is not handed what there is lags, and does not any more when it was.
func TestLagIsThatOfTheSlowest(t *testing.T) {
	t.Parallel()
	node := streams.NewNode(streams.NewMemory(streams.MemoryConfig{}), streams.Config{Name: "n1"})
	if err := node.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	woken := make(chan struct{}, 1)
	a, _, err := node.Follow(t.Context(), "chat", streams.Audience{}, streams.Receipt{}, func() { woken <- struct{}{} })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Next(t.Context(), nil, 1<<20); err != nil { // from now on it is woken
		t.Fatal(err)
	}
	if _, err := node.Publish(t.Context(), "chat", &streams.Entry{Kind: streams.KindMessage, Flags: streams.FlagAll, Body: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	<-woken
	await(t, func() bool { return node.Totals().Lag > 0 })
	if items, err := a.Next(t.Context(), nil, 1<<20); err != nil || len(items) != 1 {
		t.Fatalf("got %d items, %v", len(items), err)
	}
	await(t, func() bool { return node.Totals().Lag == 0 })
	_ = a.Detach(t.Context(), 0, streams.LeavingNone) // a follower has no record to save to
}

// await returns when the node, which measures every second, has measured what is wanted.
func await(t *testing.T, measured func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !measured(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it is not measured")
		}
	}
}
