package streamstest

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"hubstream/streams"
)

var appendTests = []func(*hub){
	theFirstAppendMakesTheLog,
	positionsGrow,
	entriesKeepTheirBytes,
	hubsAreApart,
	concurrentAppendsAreInOneOrder,
	nothingFollowsAPositionBeyondTheEnd,
}

func theFirstAppendMakesTheLog(h *hub) {
	h.isNew(h.send("hello"))
}

// isNew fails unless the log is new, and its only entry but that of its generation is at p.
func (h *hub) isNew(p streams.Position) {
	h.Helper()
	r := h.slice(streams.Position{}, 10)
	if len(r.Entries) != 2 {
		h.Fatalf("got %d entries, want the generation and the message", len(r.Entries))
	}
	e, err := streams.DecodeEntry(r.Entries[0].Data)
	h.must("decode the first entry", err)
	equal(h, "kind of the first entry", e.Kind, streams.KindGen)
	equal(h, "generation in the first entry", e.Owner, r.Gen)
	h.check(r.Gen != "", "the log has no generation")
	equal(h, "position of the message", r.Entries[1].Position, p)
	equal(h, "last", r.Last, p)
	equal(h, "floor", r.Floor, streams.Position{})
}

func positionsGrow(h *hub) {
	var before streams.Position
	for i := range 100 {
		p := h.send(fmt.Sprint(i))
		if !p.After(before) {
			h.Fatalf("position %v is not after %v", p, before)
		}
		before = p
	}
}

func entriesKeepTheirBytes(h *hub) {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	for _, entry := range [][]byte{every, []byte("\x00"), []byte("\r\n"), bytes.Repeat([]byte{0xff}, streams.MaxEntryBytes)} {
		h.at("entry", h.append(entry), entry)
	}
}

// Clients name positions, and may make them up.
func nothingFollowsAPositionBeyondTheEnd(h *hub) {
	last := h.send("1")
	for _, after := range []streams.Position{last, ahead(last), streams.NewPosition(math.MaxUint64, 0), streams.NewPosition(math.MaxUint64, math.MaxUint64)} {
		r := h.slice(after, 10)
		equal(h, "entries after "+after.String(), len(r.Entries), 0)
		equal(h, "last", r.Last, last)
	}
}

func hubsAreApart(h *hub) {
	other := h.sibling()
	h.send("one")
	other.send("two")
	equal(h, "messages of the hub", count(h.log(), message("one")), 1)
	equal(h, "messages of the other in the hub", count(h.log(), message("two")), 0)
	h.check(h.slice(streams.Position{}, 1).Gen != other.slice(streams.Position{}, 1).Gen, "two logs share a generation")
}

// Half of the senders give a key with each entry; and two hubs of one bucket are sent to.
func concurrentAppendsAreInOneOrder(h *hub) {
	const senders, each = 16, 25
	hubs := []*hub{h, h.sibling()}
	positions := make([][]streams.Position, senders)
	send := func(i, j int) (p streams.Position, err error) {
		to, body := hubs[i/2%2], fmt.Sprint(i, " ", j)
		if i%2 == 0 {
			return h.store.Append(h.ctx, to.name, message(body))
		}
		p, _, err = h.store.AppendOnce(h.ctx, to.name, once(body, "s", body))
		return p, err
	}
	var wg sync.WaitGroup
	for i := range positions {
		wg.Go(func() {
			for j := range each {
				p, err := send(i, j)
				if err != nil {
					h.Errorf("append: %v", err)
				}
				positions[i] = append(positions[i], p)
			}
		})
	}
	wg.Wait()
	var at [2]map[streams.Position]string
	for i, to := range hubs {
		entries := to.log()
		equal(h, "entries", len(entries), 1+senders*each/2)
		h.check(slices.IsSortedFunc(entries, func(a, b streams.RawEntry) int { return a.Position.Compare(b.Position) }), "the log is out of order")
		at[i] = make(map[streams.Position]string)
		for _, e := range entries {
			at[i][e.Position] = e.Data
		}
	}
	for i, list := range positions {
		for j, p := range list {
			equal(h, "entry at its position", at[i/2%2][p], string(message(fmt.Sprint(i, " ", j))))
			h.check(j == 0 || p.After(list[j-1]), "a sender's positions do not grow")
		}
	}
}

var onceTests = []func(*hub){
	aKeyAppendsOnce,
	aKeyWithAnotherSumIsRefused,
	aKeyBelongsToItsHub,
	aKeyOutlivesItsEntry,
	concurrentRepeatsAppendOnce,
}

func once(key, sum, body string) streams.OnceRequest {
	return streams.OnceRequest{Key: key, Sum: sum, Entry: message(body), Keep: long}
}

func aKeyAppendsOnce(h *hub) {
	first, replayed, err := h.store.AppendOnce(h.ctx, h.name, once("k", "s", "hello"))
	h.must("append once", err)
	h.check(!replayed, "the first append was taken for a repeat")
	h.isNew(first)
	h.at("the append", first, message("hello"))
	second, replayed, err := h.store.AppendOnce(h.ctx, h.name, once("k", "s", "hello"))
	h.must("repeat", err)
	h.check(replayed, "the repeat was not known as such")
	equal(h, "position of the repeat", second, first)
	equal(h, "messages", count(h.log(), message("hello")), 1)

	third, replayed, err := h.store.AppendOnce(h.ctx, h.name, once("other key", "s", "hello"))
	h.must("append with another key", err)
	h.check(!replayed && third.After(first), "another key was taken for a repeat")
}

func aKeyWithAnotherSumIsRefused(h *hub) {
	_, _, err := h.store.AppendOnce(h.ctx, h.name, once("k", "s", "hello"))
	h.must("append once", err)
	last := h.last()
	_, _, err = h.store.AppendOnce(h.ctx, h.name, once("k", "other sum", "good bye"))
	h.want("the key with another sum", err, streams.ErrKeyReused)
	equal(h, "last position after the refusal", h.last(), last)
}

func aKeyBelongsToItsHub(h *hub) {
	other := h.sibling()
	_, _, err := h.store.AppendOnce(h.ctx, h.name, once("k", "s", "hello"))
	h.must("append once", err)
	_, replayed, err := h.store.AppendOnce(h.ctx, other.name, once("k", "other sum", "hello"))
	h.must("the same key in another hub", err)
	h.check(!replayed, "a key of another hub was taken for a repeat")
}

func aKeyOutlivesItsEntry(h *hub) {
	first, _, err := h.store.AppendOnce(h.ctx, h.name, once("k", "s", "hello"))
	h.must("append once", err)
	h.trim(first)
	second, replayed, err := h.store.AppendOnce(h.ctx, h.name, once("k", "s", "hello"))
	h.must("repeat after the trim", err)
	h.check(replayed && second == first, "the key was forgotten with its entry")
}

func concurrentRepeatsAppendOnce(h *hub) {
	var fresh atomic.Int32
	var positions sync.Map
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			p, replayed, err := h.store.AppendOnce(h.ctx, h.name, once("k", "s", "hello"))
			if err != nil {
				h.Errorf("append once: %v", err)
			}
			if !replayed {
				fresh.Add(1)
			}
			positions.Store(p, true)
		})
	}
	wg.Wait()
	equal(h, "calls that appended", fresh.Load(), 1)
	n := 0
	positions.Range(func(any, any) bool { n++; return true })
	equal(h, "positions told", n, 1)
	equal(h, "messages", count(h.log(), message("hello")), 1)
}

var rangeTests = []func(*hub){
	aRangeOfNoLogIsEmpty,
	rangesAreInOrderAndLimited,
	aRangeBeginsAfterAHole,
	aRangeAfterTheEndIsEmpty,
}

func aRangeOfNoLogIsEmpty(h *hub) {
	r := h.slice(streams.Position{}, 10)
	equal(h, "generation", r.Gen, "")
	equal(h, "floor", r.Floor, streams.Position{})
	equal(h, "last", r.Last, streams.Position{})
	equal(h, "entries", len(r.Entries), 0)
	hubs, err := h.store.Hubs(h.ctx, streams.Bucket(h.name))
	h.must("hubs", err)
	h.check(!slices.Contains(hubs, h.name), "asking for a range made a log")
}

func rangesAreInOrderAndLimited(h *hub) {
	const messages = 300
	for i := range messages {
		h.send(fmt.Sprint(i))
	}
	var all []streams.RawEntry
	var after streams.Position
	for {
		r := h.slice(after, 7)
		h.check(len(r.Entries) <= 7, "got %d entries, limit 7", len(r.Entries))
		if len(r.Entries) == 0 {
			break
		}
		h.check(r.Entries[0].Position.After(after), "entry at %v is not after %v", r.Entries[0].Position, after)
		all = append(all, r.Entries...)
		after = r.Entries[len(r.Entries)-1].Position
	}
	if len(all) != messages+1 {
		h.Fatalf("got %d entries, want %d", len(all), messages+1)
	}
	for i, e := range all[1:] {
		equal(h, "entry", e.Data, string(message(fmt.Sprint(i))))
	}
	equal(h, "last", h.last(), after)
}

func aRangeBeginsAfterAHole(h *hub) {
	p := h.sendApart("one", "two", "three")
	r := h.slice(hole(p[0]), 10)
	if len(r.Entries) != 2 || r.Entries[0].Position != p[1] {
		h.Errorf("after a position between entries: got %v, want the two entries behind it", r.Entries)
	}
}

func aRangeAfterTheEndIsEmpty(h *hub) {
	p := h.send("one")
	for _, after := range []streams.Position{p, ahead(p)} {
		r := h.slice(after, 10)
		equal(h, "entries", len(r.Entries), 0)
		equal(h, "last", r.Last, p)
	}
}
