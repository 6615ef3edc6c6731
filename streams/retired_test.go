package streams

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// countedStore counts its tails.
type countedStore struct {
	*Memory
	opened, closed atomic.Int64
}

func (s *countedStore) Tail(bucket int) Tail {
	s.opened.Add(1)
	return countedTail{s.Memory.Tail(bucket), s}
}

type countedTail struct {
	Tail
	s *countedStore
}

func (t countedTail) Close() {
	t.s.closed.Add(1)
	t.Tail.Close()
}

// A tail has a connection of its own to the store. It is kept for a while, in which somebody may come back, and is closed when nobody does.
func TestTailOfAHubThatNobodyUsesIsClosed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &countedStore{Memory: NewMemory(MemoryConfig{})}
		n := NewNode(store, Config{Name: "n"})
		startNode(t, n)
		want := func(opened, closed int64) {
			t.Helper()
			synctest.Wait()
			if o, c := store.opened.Load(), store.closed.Load(); o != opened || c != closed {
				t.Errorf("%d tails were opened, %d closed, want %d and %d", o, c, opened, closed)
			}
		}
		for round := range int64(3) {
			follow := func() *Attachment {
				a, _, err := n.Follow(t.Context(), "hub", Audience{}, Receipt{}, func() {})
				if err != nil {
					t.Fatal(err)
				}
				return a
			}
			a := follow()
			time.Sleep(10 * time.Minute)
			_ = a.Detach(t.Context(), 0, LeavingNone)
			time.Sleep(30 * time.Second)
			a = follow() // somebody is back in time
			want(round+1, round)
			if _, err := n.Publish(t.Context(), "hub", &Entry{Kind: KindMessage, Flags: FlagAll, Body: []byte("m")}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if items, err := a.Next(t.Context(), nil, 1<<20); len(items) != 1 || err != nil {
				t.Errorf("got %d messages, %v, want 1", len(items), err)
			}
			_ = a.Detach(t.Context(), 0, LeavingNone)
			time.Sleep(2 * time.Minute)
			want(round+1, round+1)
		}
		time.Sleep(10 * time.Minute)
		if left := len(n.allHubs()); left != 0 {
			t.Errorf("%d hubs are remembered of which nothing is kept", left)
		}
	})
}

// startNode starts a node that ends with the test, and its store with it.
func startNode(t *testing.T, n *Node) {
	t.Helper()
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		n.Wait()
		_ = n.store.Close()
	})
}

// A read that was under way when its hub was retired leaves nothing in a window that nobody clears any more.
func TestWhatIsReadOfARetiredHubIsNotKept(t *testing.T) {
	t.Parallel()
	n := NewNode(NewMemory(MemoryConfig{}), Config{Name: "n"})
	h := newHub(n, "hub")
	data := string(AppendEntry(nil, &Entry{Kind: KindMessage, Flags: FlagAll, Body: []byte("m")}))
	if err := h.append(Batch{Hub: "hub", Entries: []RawEntry{{at(1), data}}, Stored: 1}); err != nil {
		t.Fatal(err)
	}
	if h.win.len() != 0 || n.windowBytes.Load() != 0 || !h.proof.Position.IsZero() {
		t.Errorf("%d entries of %d bytes are kept", h.win.len(), n.windowBytes.Load())
	}
}

// Whoever finds a loss that the tail has read of meanwhile ends nobody: those who are there now have come since.
func TestALossThatTheTailHasReadOfIsNoOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := NewNode(NewMemory(MemoryConfig{}), Config{Name: "n"})
		startNode(t, n)
		a := attachStateful(t, n, "c")
		h := n.allHubs()[0]
		h.lose(VerifyReply{Gen: h.gen, Run: h.run, Last: h.win.end})
		synctest.Wait()
		if _, err := a.Next(t.Context(), nil, 1<<20); err != nil {
			t.Errorf("a connection that came after the loss is ended: %v", err)
		}
		if n.Totals().Losses != 0 {
			t.Error("it is counted again")
		}
	})
}
