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
			if n.allHubs()[0].proof.Position.IsZero() {
				t.Error("nothing is known of the log any more: after a failover it would be taken for lost")
			}
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

// What a node remembers of connections that it served is for as long as they may come back, and does not grow with their number.
func TestWhatIsRememberedOfConnectionsIsForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := NewNode(NewMemory(MemoryConfig{}), Config{Name: "n"})
		startNode(t, n)
		if _, _, err := n.Follow(t.Context(), "hub", Audience{}, Receipt{}, func() {}); err != nil {
			t.Fatal(err)
		}
		h := n.allHubs()[0]
		h.mu.Lock()
		h.serve("c", "n.1", 1)
		h.polled["c"], h.memberships["c"] = &polled{at: time.Now()}, membership{at: time.Now()}
		h.mu.Unlock()
		for _, test := range []struct {
			after                       time.Duration
			recent, polled, memberships int
		}{
			{recentTime - 10*time.Second, 1, 0, 0},
			{20 * time.Second, 0, 0, 0},
		} {
			time.Sleep(test.after)
			synctest.Wait()
			h.mu.RLock()
			if len(h.recent) != test.recent || len(h.polled) != test.polled || len(h.memberships) != test.memberships {
				t.Errorf("after %v more: %d served, %d polled and %d memberships are remembered, want %d, %d and %d", test.after,
					len(h.recent), len(h.polled), len(h.memberships), test.recent, test.polled, test.memberships)
			}
			h.mu.RUnlock()
		}
	})
}

// A read that was under way when its hub was retired leaves nothing in a window that nobody clears any more.
func TestWhatIsReadOfARetiredHubIsNotKept(t *testing.T) {
	t.Parallel()
	n := NewNode(NewMemory(MemoryConfig{}), Config{Name: "n"})
	h := newHub(n, "hub")
	data := string(AppendEntry(nil, &Entry{Kind: KindMessage, Flags: FlagAll, Body: []byte("m")}))
	if err := h.append([]RawEntry{{at(1), data}}); err != nil {
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
