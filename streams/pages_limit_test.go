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
