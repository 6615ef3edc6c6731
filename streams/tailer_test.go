package streams_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hubstream/streams"
)

// heldStore is a store whose tails can be held up.
type heldStore struct {
	*streams.Memory
	hold atomic.Pointer[chan struct{}] // until it is closed; nil: they are not
	// The most that one read of a log has returned.
	mostBytes, mostEntries atomic.Int64
}

func (s *heldStore) Tail(bucket int) streams.Tail { return heldTail{s.Memory.Tail(bucket), s} }

type heldTail struct {
	streams.Tail
	s *heldStore
}

func (t heldTail) Read(ctx context.Context, after []streams.Cursor, limit int, block time.Duration) ([]streams.Batch, error) {
	batches, err := t.Tail.Read(ctx, after, limit, block)
	for _, b := range batches {
		size := int64(0)
		for _, e := range b.Entries {
			size += int64(len(e.Data))
		}
		t.s.mostBytes.Store(max(t.s.mostBytes.Load(), size))
		t.s.mostEntries.Store(max(t.s.mostEntries.Load(), int64(len(b.Entries))))
	}
	if hold := t.s.hold.Load(); hold != nil {
		select {
		case <-*hold:
		case <-ctx.Done():
		}
	}
	return batches, err
}

// heldNode is a node over a store whose tails can be held up, with somebody who follows the hub.
func heldNode(t *testing.T, ctx context.Context) (*heldStore, *streams.Node, *streams.Attachment) {
	t.Helper()
	store := &heldStore{Memory: streams.NewMemory(streams.MemoryConfig{})}
	ctx, cancel := context.WithCancel(ctx)
	node := streams.NewNode(store, streams.Config{Name: "n1"})
	must(t, "start", node.Start(ctx))
	t.Cleanup(func() {
		cancel()
		node.Wait()
		_ = store.Close()
	})
	att, _, err := node.Follow(ctx, hub, streams.Audience{}, streams.Receipt{}, func() {})
	must(t, "follow", err)
	return store, node, att
}

// appendBroadcast appends a message to all past the node, and returns where it is.
func appendBroadcast(t *testing.T, ctx context.Context, store streams.Log, body string) streams.Position {
	t.Helper()
	p, err := store.Append(ctx, hub, streams.AppendEntry(nil, &streams.Entry{Kind: streams.KindMessage, Flags: streams.FlagAll, Body: []byte(body)}))
	must(t, "append", err)
	return p
}

// A tail that lags so far that the entries after its position are dropped goes on after them, and Valkey does not say so.
func TestTailThatLagsBehindTheFloorIsNoticed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		store, _, att := heldNode(t, ctx)
		held := make(chan struct{})
		store.hold.Store(&held)
		var dropped streams.Position
		for i := range 2000 {
			p := appendBroadcast(t, ctx, store, "m")
			if i == 300 {
				dropped = p
			}
			if i == 0 {
				synctest.Wait() // it is read, and delivered after all others are there
			}
		}
		_, err := store.Trim(ctx, hub, dropped)
		must(t, "trim", err)
		store.hold.Store(nil)
		close(held)
		synctest.Wait()
		for n := 0; ; {
			items, err := att.Next(ctx, nil, 1<<20)
			if errors.Is(err, streams.ErrGap) {
				if att.Lost() {
					t.Error("a gap is taken for a loss, of which the hub's other nodes would know")
				}
				return
			}
			must(t, "next", err)
			if n += len(items); len(items) == 0 {
				t.Fatalf("got %d of 2,000 messages, 300 of which are gone, and was not told", n)
			}
		}
	})
}

// What one read of a tail returns is in memory at once, and in a burst of large messages there is much to read.
func TestTailReadsFewLargeEntriesAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		store, _, att := heldNode(t, ctx)
		burst := func(n int, body string, first ...streams.Kind) {
			t.Helper()
			held := make(chan struct{})
			store.hold.Store(&held)
			for _, kind := range first {
				_, err := store.Append(ctx, hub, streams.AppendEntry(nil, &streams.Entry{Kind: kind}))
				must(t, "append", err)
				synctest.Wait() // it is read by itself
			}
			for range n {
				appendBroadcast(t, ctx, store, body)
			}
			store.hold.Store(nil)
			close(held)
			synctest.Wait()
			for got := 0; got < n; {
				items, err := att.Next(ctx, nil, 1<<20)
				must(t, "next", err)
				if len(items) == 0 {
					t.Fatalf("got %d of %d messages", got, n)
				}
				got += len(items)
			}
		}
		burst(40, strings.Repeat("x", 1<<20))
		burst(40, strings.Repeat("x", 1<<20), streams.KindBlank) // as comes after each large one, and is no small message
		if most := store.mostBytes.Load(); most > 9<<20 {
			t.Errorf("one read returned %d MiB", most>>20)
		}
		burst(1000, "small")
		if most := store.mostEntries.Load(); most < 400 {
			t.Errorf("one read returned at the most %d of the small entries after them", most)
		}
	})
}

// deafStore is a store that answers everything but reads of its tails.
type deafStore struct {
	*streams.Memory
	reads atomic.Int64
	hears atomic.Bool // it answers these, too
}

func (s *deafStore) Tail(bucket int) streams.Tail { return deafTail{s.Memory.Tail(bucket), s} }

type deafTail struct {
	streams.Tail
	s *deafStore
}

func (t deafTail) Read(ctx context.Context, after []streams.Cursor, limit int, block time.Duration) ([]streams.Batch, error) {
	t.s.reads.Add(1)
	if t.s.hears.Load() {
		return t.Tail.Read(ctx, after, limit, block)
	}
	if t.s.reads.Load() > 1000 {
		<-ctx.Done() // so that the test ends
	}
	return nil, streams.ErrUnavailable
}

// A Valkey that takes no more connections lets no tail read, but goes on to answer what comes by those that there are: tails that found
// it so at once asked it without end, each time by a new connection, and logged each.
func TestTailsThatCannotReadAskByAndBy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		store := &deafStore{Memory: streams.NewMemory(streams.MemoryConfig{})}
		t.Cleanup(func() { _ = store.Close() })
		node := startNode(t, store, "n1")
		att, _, err := node.Follow(ctx, hub, streams.Audience{}, streams.Receipt{}, func() {})
		must(t, "follow", err)
		time.Sleep(10 * time.Second)
		if n := store.reads.Load(); n < 10 || n > 20 {
			t.Errorf("%d reads in 10 s", n)
		}
		store.hears.Store(true)
		appendBroadcast(t, ctx, store, "m")
		time.Sleep(2 * time.Second)
		if items, err := att.Next(ctx, nil, 1<<20); err != nil || len(items) != 1 {
			t.Errorf("got %d messages, %v, when the tail could read again", len(items), err)
		}
	})
}
