package streamstest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"hubstream/streams"
)

var tailTests = []func(*hub){
	aTailReadsWhatIsThere,
	aTailWaitsForAnAppend,
	everyAppendWakesATail,
	aTailTimesOut,
	aTailThatMayNotBlockDoesNot,
	aTailIsCancelled,
	aTailIsWoken,
	aTailIsWokenBeforeItReads,
	aTailWithoutHubsWaits,
	aTailReadsSeveralHubs,
	aTailWaitsForAHubThatIsNotThere,
	aTailReadsInOrderWithinItsLimit,
	aTailBehindTheFloorReadsTheRest,
	tailsReadEachForItself,
	aClosedTailReturns,
	aTailMissesNothing,
}

// tail is a tail of the hub's bucket, closed with the test.
func (h *hub) tail() streams.Tail {
	t := h.store.Tail(streams.Bucket(h.name))
	h.Cleanup(t.Close)
	return t
}

func (h *hub) cursor(after streams.Position) streams.Cursor {
	return streams.Cursor{Hub: h.name, After: after}
}

// read reads what has to be there within the test's patience.
func (h *hub) read(t streams.Tail, limit int, after ...streams.Cursor) []streams.Batch {
	h.Helper()
	list, err := t.Read(h.ctx, after, limit, patience)
	h.must("read the tail", err)
	return list
}

// result is what a blocked read returned, and when.
type result struct {
	batches []streams.Batch
	err     error
	after   time.Duration
}

// blocked starts a read in the background and gives it time to block.
func (h *hub) blocked(ctx context.Context, t streams.Tail, after ...streams.Cursor) <-chan result {
	c := make(chan result, 1)
	start := time.Now()
	go func() {
		list, err := t.Read(ctx, after, 100, patience)
		c <- result{list, err, time.Since(start)}
	}()
	select {
	case r := <-c:
		h.Errorf("the read did not block: %v, %v", r.batches, r.err)
		c <- r
	case <-time.After(30 * time.Millisecond):
	}
	return c
}

// nothing fails the test unless a read with nothing to read lasts until its time-out.
func (h *hub) nothing(t streams.Tail, block time.Duration, after ...streams.Cursor) {
	h.Helper()
	start := time.Now()
	list, err := t.Read(h.ctx, after, 100, block)
	h.must("read the tail", err)
	h.check(len(list) == 0, "read %v, want nothing", list)
	if took := time.Since(start); took < block*8/10 || took > block+patience/2 {
		h.Errorf("the read returned after %v, want %v", took, block)
	}
}

// is fails the test unless a read returned these messages of the hub alone.
func (h *hub) is(list []streams.Batch, want ...string) {
	h.Helper()
	if len(list) != 1 || list[0].Hub != h.name {
		h.Fatalf("read %v, want a batch of %s", list, h.name)
	}
	h.holds(list[0], want...)
}

func (h *hub) holds(b streams.Batch, want ...string) {
	h.Helper()
	if len(b.Entries) != len(want) {
		h.Fatalf("read %d entries, want %d", len(b.Entries), len(want))
	}
	for i, e := range b.Entries {
		equal(h, "entry", e.Data, string(message(want[i])))
	}
}

func aTailReadsWhatIsThere(h *hub) {
	p := h.sendApart("1", "2", "3")
	list := h.read(h.tail(), 10, h.cursor(p[0]))
	h.is(list, "2", "3")
	equal(h, "position", list[0].Entries[0].Position, p[1])
}

func aTailWaitsForAnAppend(h *hub) {
	p := h.send("1")
	c := h.blocked(h.ctx, h.tail(), h.cursor(p))
	h.send("2")
	r := <-c
	h.must("read", r.err)
	h.is(r.batches, "2")
	h.check(r.after < patience/2, "the tail was woken only after %v", r.after)
}

// Whatever step appends, the tail learns of it.
func everyAppendWakesATail(h *hub) {
	h.polling("c")
	h.stateful("s", "n1")
	t := h.tail()
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"append once", func() error {
			_, _, err := h.store.AppendOnce(h.ctx, h.name, once("k", "s", "hello"))
			return err
		}},
		{"join", func() error {
			_, err := h.store.Join(h.ctx, h.name, streams.JoinRequest{
				ID: "c", Verb: streams.VerbJoin, Groups: []string{"g"}, Entry: control("c", streams.VerbJoin, "g"),
			})
			return err
		}},
		{"finish", func() error {
			_, err := h.store.Finish(h.ctx, h.name, streams.FinishRequest{
				ID: "s", Owner: "n1", Count: 1, Entries: [][]byte{reply("s", "done")},
			})
			return err
		}},
		{"displacement", func() error {
			_, err := h.store.Open(h.ctx, h.name, reattach("s", "n2", 1))
			return err
		}},
		{"close", func() error {
			_, err := h.store.CloseConnection(h.ctx, h.name, "c", closed("c", "bye"))
			return err
		}},
		{"end", func() error {
			_, err := h.store.End(h.ctx, h.name, streams.EndRequest{ID: "c", Entry: ended("c"), Tombstone: long})
			return err
		}},
	} {
		c := h.blocked(h.ctx, t, h.cursor(h.last()))
		h.must(step.what, step.do())
		r := <-c
		h.must("read", r.err)
		h.check(len(r.batches) == 1 && r.after < patience/2, "%s did not wake the tail", step.what)
	}
}

func aTailTimesOut(h *hub) {
	p := h.send("1")
	h.nothing(h.tail(), 100*time.Millisecond, h.cursor(p))
}

func aTailThatMayNotBlockDoesNot(h *hub) {
	p := h.send("1")
	start := time.Now()
	list, err := h.tail().Read(h.ctx, []streams.Cursor{h.cursor(p)}, 10, 0)
	h.must("read", err)
	h.check(len(list) == 0, "read %v, want nothing", list)
	h.check(time.Since(start) < patience/2, "a read that may not block took %v", time.Since(start))
}

func aTailIsCancelled(h *hub) {
	p := h.send("1")
	ctx, cancel := context.WithCancel(h.ctx)
	t := h.tail()
	c := h.blocked(ctx, t, h.cursor(p))
	cancel()
	r := <-c
	h.want("a cancelled read", r.err, streams.ErrUnavailable)
	h.check(r.after < patience/2, "the read was cancelled only after %v", r.after)
	_, err := t.Read(ctx, []streams.Cursor{h.cursor(p)}, 10, patience)
	h.want("a read with a context that has ended", err, streams.ErrUnavailable)
}

func aTailIsWoken(h *hub) {
	p := h.send("1")
	t := h.tail()
	c := h.blocked(h.ctx, t, h.cursor(p))
	t.Wake()
	r := <-c
	h.must("the woken read", r.err)
	h.check(len(r.batches) == 0, "the woken read returned %v", r.batches)
	h.check(r.after < patience/2, "the tail was woken only after %v", r.after)
	h.nothing(t, 50*time.Millisecond, h.cursor(p)) // one wake, one return
	h.send("2")
	h.is(h.read(t, 10, h.cursor(p)), "2")
}

func aTailIsWokenBeforeItReads(h *hub) {
	p := h.send("1")
	t := h.tail()
	t.Wake()
	start := time.Now()
	h.check(len(h.read(t, 10, h.cursor(p))) == 0, "the woken read returned entries")
	h.check(time.Since(start) < patience/2, "the wake before the read was forgotten")
	h.nothing(t, 50*time.Millisecond, h.cursor(p))
}

func aTailWithoutHubsWaits(h *hub) {
	t := h.tail()
	h.nothing(t, 50*time.Millisecond)
	c := h.blocked(h.ctx, t)
	t.Wake()
	r := <-c
	h.must("the woken read", r.err)
	h.check(r.after < patience/2, "the tail was woken only after %v", r.after)
}

func aTailReadsSeveralHubs(h *hub) {
	a, b, c := h, h.sibling(), h.sibling()
	pa, pb, pc := a.send("a1"), b.send("b1"), c.send("c1")
	t := h.tail()
	cursors := []streams.Cursor{a.cursor(pa), b.cursor(pb), c.cursor(pc)}

	blocked := h.blocked(h.ctx, t, cursors...)
	b.send("b2")
	r := <-blocked
	h.must("read", r.err)
	b.is(r.batches, "b2")

	a.send("a2")
	a.send("a3")
	byHub := make(map[string]streams.Batch)
	for _, batch := range h.read(t, 10, cursors...) {
		byHub[batch.Hub] = batch
	}
	equal(h, "hubs with entries", len(byHub), 2)
	a.holds(byHub[a.name], "a2", "a3")
	b.holds(byHub[b.name], "b2")

	c.send("c2")
	c.is(h.read(t, 10, c.cursor(pc)), "c2") // other hubs than before
}

func aTailWaitsForAHubThatIsNotThere(h *hub) {
	other := h.sibling()
	p := other.send("other")
	t := h.tail()
	c := h.blocked(h.ctx, t, h.cursor(streams.Position{}), other.cursor(p))
	hubs, err := h.store.Hubs(h.ctx, streams.Bucket(h.name))
	h.must("hubs", err)
	for _, name := range hubs {
		h.check(name != h.name, "reading the tail made a log")
	}
	h.send("first")
	r := <-c
	h.must("read", r.err)
	h.check(r.after < patience/2, "the new hub was found only after %v", r.after)

	entries := r.batches[0].Entries
	for len(entries) < 2 { // the generation and the message may come apart
		list := h.read(t, 10, h.cursor(entries[len(entries)-1].Position))
		entries = append(entries, list[0].Entries...)
	}
	equal(h, "hub", r.batches[0].Hub, h.name)
	e, err := streams.DecodeEntry(entries[0].Data)
	h.must("decode", err)
	equal(h, "kind of a new hub's first entry", e.Kind, streams.KindGen)
	equal(h, "entry", entries[1].Data, string(message("first")))
}

func aTailReadsInOrderWithinItsLimit(h *hub) {
	other := h.sibling()
	after := h.send("start")
	afterOther := other.send("start")
	for i := range 10 {
		h.send(fmt.Sprint(i))
		other.send(fmt.Sprint("other ", i))
	}
	t := h.tail()
	var got []string
	for len(got) < 10 {
		list := h.read(t, 3, h.cursor(after), other.cursor(afterOther))
		if len(list) != 2 {
			h.Fatalf("read batches of %d hubs, want 2", len(list))
		}
		for _, b := range list {
			h.check(len(b.Entries) <= 3, "read %d entries of a hub, limit 3", len(b.Entries))
			if b.Hub != h.name {
				continue
			}
			for _, e := range b.Entries {
				got = append(got, e.Data)
				after = e.Position
			}
		}
	}
	for i, data := range got {
		equal(h, "entry", data, string(message(fmt.Sprint(i))))
	}
}

func aTailBehindTheFloorReadsTheRest(h *hub) {
	p := h.sendApart("1", "2", "3")
	h.trim(p[1])
	h.is(h.read(h.tail(), 10, h.cursor(p[0])), "3")
}

func tailsReadEachForItself(h *hub) {
	p := h.send("1")
	one, two := h.blocked(h.ctx, h.tail(), h.cursor(p)), h.blocked(h.ctx, h.tail(), h.cursor(p))
	h.send("2")
	for _, c := range []<-chan result{one, two} {
		r := <-c
		h.must("read", r.err)
		h.is(r.batches, "2")
	}
}

func aClosedTailReturns(h *hub) {
	p := h.send("1")
	t, other := h.tail(), h.tail()
	c := h.blocked(h.ctx, t, h.cursor(p))
	t.Close()
	r := <-c
	h.want("a blocked read of a closed tail", r.err, streams.ErrUnavailable)
	h.check(r.after < patience/2, "the read returned only after %v", r.after)
	_, err := t.Read(h.ctx, []streams.Cursor{h.cursor(p)}, 10, patience)
	h.want("a read of a closed tail", err, streams.ErrUnavailable)
	t.Close() // twice is harmless
	t.Wake()

	h.send("2")
	h.is(h.read(other, 10, h.cursor(p)), "2") // and the store serves on
}

// Entries that come while the tail reads, waits and is woken: each once, in order.
func aTailMissesNothing(h *hub) {
	const senders, each = 4, 100
	after := h.send("start")
	var wg sync.WaitGroup
	defer wg.Wait()
	for i := range senders {
		wg.Go(func() {
			for j := range each {
				if _, err := h.store.Append(h.ctx, h.name, message(fmt.Sprint(i, " ", j))); err != nil {
					h.Errorf("append: %v", err)
				}
			}
		})
	}
	t := h.tail()
	wg.Go(func() {
		for range 20 {
			t.Wake()
			time.Sleep(time.Millisecond)
		}
	})
	seen := make(map[string]bool)
	deadline := time.Now().Add(patience)
	for len(seen) < senders*each {
		if time.Now().After(deadline) {
			h.Fatalf("read %d messages, want %d", len(seen), senders*each)
		}
		list, err := t.Read(h.ctx, []streams.Cursor{h.cursor(after)}, 16, time.Second)
		h.must("read", err)
		for _, b := range list {
			for _, e := range b.Entries {
				h.check(e.Position.After(after), "entry at %v after one at %v", e.Position, after)
				h.check(!seen[e.Data], "entry %q twice", e.Data)
				seen[e.Data], after = true, e.Position
			}
		}
	}
}
