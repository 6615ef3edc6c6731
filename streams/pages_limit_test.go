package streams

import (
	"context"
	"strings"
	"testing"
	"time"
)

// TestPagesKeepWithinTheirBytes: connections that are far behind, one after the other, in hubs with large messages read the logs again
// without the node holding more of it than it may.
func TestPagesKeepWithinTheirBytes(t *testing.T) {
	t.Parallel()
	const (
		messages    = 200
		message     = 20 << 10 // bytes
		windowBytes = 1 << 20
		nodeBytes   = 3 << 20 // less than three hubs' worth
		onePage     = windowBytes/4 + 2*(2*message+itemOverhead)
	)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	store := NewMemory(MemoryConfig{})
	n := NewNode(store, Config{Name: "n", WindowBytes: windowBytes, NodeWindowBytes: nodeBytes})
	if err := n.Start(ctx); err != nil {
		t.Fatal(err)
	}
	defer func() { cancel(); n.Wait(); _ = store.Close() }()
	read := 0
	for _, name := range []string{"a", "b", "c", "d"} {
		release, err := n.Watch(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		defer release()
		h, first, last := n.acquire(name), Position{}, Position{}
		for i := range messages {
			receipt, err := n.Publish(ctx, name, &Entry{Kind: KindMessage, Flags: FlagAll, Body: []byte(strings.Repeat("x", message))})
			if err != nil {
				t.Fatal(err)
			}
			if last = receipt.Position; i == 0 {
				first = last
			}
		}
		_, losses := h.lost()
		if err := h.wait(ctx, last, losses); err != nil {
			t.Fatal(err)
		}
		for at := first; at.Before(last); read++ {
			pg, err := h.pages.after(ctx, at)
			if err != nil {
				t.Fatal(err)
			}
			if h.pages.bytes > windowBytes {
				t.Fatalf("the hub's pages hold %d bytes, the limit is %d", h.pages.bytes, windowBytes)
			}
			if size := len(pg.items) * (2*message + itemOverhead); size > onePage {
				t.Fatalf("one page holds %d bytes, %d are wanted at most", size, onePage)
			}
			if held := n.pageBytes.Load(); held > nodeBytes+onePage {
				t.Fatalf("the node's pages hold %d bytes, the limit is %d", held, nodeBytes)
			}
			at = pg.end
		}
	}
	if read < 4*windowBytes/onePage {
		t.Errorf("only %d pages were read", read)
	}
	for _, h := range n.hubs {
		h.pages.clear()
	}
	if held := n.pageBytes.Load(); held != 0 {
		t.Errorf("%d bytes are counted of pages that are not there", held)
	}
}

// entriesRead counts what is read of a log, and the most that is read at once.
type entriesRead struct {
	*Memory
	entries, largest int
}

func (s *entriesRead) Range(ctx context.Context, hub string, after Position, limit int) (RangeReply, error) {
	reply, err := s.Memory.Range(ctx, hub, after, limit)
	s.entries += len(reply.Entries)
	size := 0
	for _, e := range reply.Entries {
		size += len(e.Data)
	}
	s.largest = max(s.largest, size)
	return reply, err
}

// watched is a node that tails a hub with a window of so many bytes, over a store whose reads are counted.
func watched(t *testing.T, windowBytes int) (context.Context, *entriesRead, *Node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	store := &entriesRead{Memory: NewMemory(MemoryConfig{})}
	n := NewNode(store, Config{Name: "n", WindowBytes: windowBytes})
	if err := n.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); n.Wait(); _ = store.Close() })
	release, err := n.Watch(ctx, "hub")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	return ctx, store, n
}

// Slow clients at different places of a log, too many for a page of each to stay in memory, do not have the store read to them again and
// again what they do not take yet. Where they are together they read as much at a time as before.
func TestScatteredReadersReadWhatTheyTake(t *testing.T) {
	t.Parallel()
	const (
		readers     = 40
		apart       = 40 // messages
		messages    = 2 * readers * apart
		message     = 2 << 10 // bytes
		atOnce      = 4       // messages that a reader takes
		windowBytes = 1 << 20
	)
	ctx, store, n := watched(t, windowBytes)
	var receipts []Receipt
	for range messages {
		receipt, err := n.Publish(ctx, "hub", &Entry{Kind: KindMessage, Flags: FlagAll, Body: []byte(strings.Repeat("x", message))})
		if err != nil {
			t.Fatal(err)
		}
		receipts = append(receipts, receipt)
	}
	// read has readers take turns, of which each takes rounds times, and returns how many entries were read for each that one took.
	read := func(rounds int, from func(reader int) Receipt) float64 {
		t.Helper()
		var all []*Attachment
		for i := range readers {
			a, _, err := n.Follow(ctx, "hub", Audience{}, from(i), func() {})
			if err != nil {
				t.Fatal(err)
			}
			defer a.Detach(ctx, 0, LeavingNone)
			all = append(all, a)
		}
		store.entries = 0
		for range rounds {
			for _, a := range all {
				if got, err := a.Next(ctx, nil, atOnce*message); len(got) != atOnce || err != nil {
					t.Fatalf("took %d messages: %v", len(got), err)
				}
			}
		}
		return float64(store.entries) / float64(readers*rounds*atOnce)
	}
	if times := read(apart/atOnce, func(i int) Receipt { return receipts[i*apart] }); times > 4 {
		t.Errorf("readers at different places have %.1f entries read for each that they take", times)
	}
	if times := read(messages/2/atOnce, func(int) Receipt { return receipts[0] }); times > 1.2/readers {
		t.Errorf("readers at one place have %.3f entries read for each that they take", times)
	}
	if size := len(func() *page { pg, _ := n.hubs["hub"].pages.after(ctx, receipts[0].Position); return pg }().items); size < 30 {
		t.Errorf("a page has %d entries", size)
	}
}

// Who is so far behind that large messages are still to come, where the newest are small, has some of them read at a time, and not as many
// as there would be small ones on a page.
func TestLargeMessagesBeforeSmallOnesAreReadFewAtATime(t *testing.T) {
	t.Parallel()
	const (
		large, small = 300, 3000
		windowBytes  = 1 << 20
	)
	ctx, store, n := watched(t, windowBytes)
	var first Receipt
	for i := range large + small {
		body := strings.Repeat("x", 20<<10)
		if i >= large {
			body = "x"
		}
		receipt, err := n.Publish(ctx, "hub", &Entry{Kind: KindMessage, Flags: FlagAll, Body: []byte(body)})
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = receipt
		}
	}
	a, _, err := n.Follow(ctx, "hub", Audience{}, first, func() {})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Detach(ctx, 0, LeavingNone)
	for got := 0; got < large+small-1; {
		items, err := a.Next(ctx, nil, 64<<10)
		if err != nil || len(items) == 0 {
			t.Fatalf("%d messages, then %v", got, err)
		}
		got += len(items)
	}
	if store.largest > windowBytes/4 {
		t.Errorf("%d bytes are read at once, a page has %d", store.largest, windowBytes/4)
	}
}
