package streamstest

import (
	"slices"

	"hubstream/streams"
)

var trimTests = []func(*hub){
	theFloorIsTheLastEntryDropped,
	aTrimInAHoleStopsAtTheEntryBefore,
	aTrimBeforeEverythingChangesNothing,
	theFloorNeverFalls,
	aTrimmedLogGoesOn,
	aTrimBeyondTheEndStopsAtTheLastEntry,
	anIdleHubsHoleIsNoGap,
	aLogThatIsNotThereIsNotTrimmed,
	trimmingFreesBytes,
	theNewestEntriesAreCounted,
}

// gap is the contract's: something after the position is missing.
func gap(r streams.RangeReply, after streams.Position) bool { return after.Before(r.Floor) }

func theFloorIsTheLastEntryDropped(h *hub) {
	p := h.sendApart("1", "2", "3", "4")
	r := h.trim(p[1])
	equal(h, "floor", r.Floor, p[1])
	equal(h, "entries left", r.Entries, 2)
	got := h.slice(streams.Position{}, 10)
	equal(h, "floor that a range tells", got.Floor, p[1])
	equal(h, "last", got.Last, p[3])
	if len(got.Entries) != 2 || got.Entries[0].Position != p[2] {
		h.Errorf("got %v, want the entries after the floor", got.Entries)
	}
	h.check(gap(got, p[0]), "a cursor before the floor is no gap")
	h.check(!gap(got, p[1]), "a cursor at the floor is a gap: nothing after it is missing")
	h.check(!gap(got, p[2]), "a cursor after the floor is a gap")
}

func aTrimInAHoleStopsAtTheEntryBefore(h *hub) {
	p := h.sendApart("1", "2", "3")
	equal(h, "floor", h.trim(hole(p[1])).Floor, p[1])
	got := h.slice(hole(p[1]), 10)
	h.check(!gap(got, hole(p[1])), "a cursor in the hole after the floor is a gap")
	equal(h, "entries after the hole", len(got.Entries), 1)
}

func aTrimBeforeEverythingChangesNothing(h *hub) {
	h.send("1")
	for _, upTo := range []streams.Position{{}, streams.NewPosition(1, 0)} {
		r := h.trim(upTo)
		equal(h, "floor", r.Floor, streams.Position{})
		equal(h, "entries", r.Entries, 2)
	}
}

func theFloorNeverFalls(h *hub) {
	p := h.sendApart("1", "2", "3", "4")
	h.trim(p[2])
	equal(h, "floor after a lower trim", h.trim(p[0]).Floor, p[2])
	equal(h, "floor after a trim to the beginning", h.trim(streams.Position{}).Floor, p[2])
	equal(h, "entries", len(h.log()), 1)
}

func aTrimmedLogGoesOn(h *hub) {
	p := h.sendApart("1", "2")
	gen := h.slice(p[1], 1).Gen
	r := h.trim(p[1])
	equal(h, "floor", r.Floor, p[1])
	equal(h, "entries", r.Entries, 0)
	empty := h.slice(p[1], 10)
	equal(h, "last of the emptied log", empty.Last, p[1])
	equal(h, "generation of the emptied log", empty.Gen, gen)

	next := h.send("3")
	h.check(next.After(p[1]), "position %v after trimming everything is not after %v", next, p[1])
	got := h.slice(p[1], 10)
	equal(h, "generation after it went on", got.Gen, gen)
	equal(h, "floor after it went on", got.Floor, p[1])
	if len(got.Entries) != 1 || got.Entries[0].Position != next {
		h.Errorf("got %v, want only the new entry", got.Entries)
	}
}

func aTrimBeyondTheEndStopsAtTheLastEntry(h *hub) {
	p := h.send("1")
	equal(h, "floor", h.trim(ahead(p)).Floor, p)
	next := h.send("2")
	h.check(next.After(p) && next.Before(ahead(p)), "the trim moved the log's end to %v", next)
	equal(h, "entries after the trim", len(h.log()), 1)
}

func anIdleHubsHoleIsNoGap(h *hub) {
	p := h.sendApart("1", "2")
	h.trim(p[1])
	// A reader that is at the end of an idle hub: everything it had is trimmed, and it
	// has missed nothing.
	h.check(!gap(h.slice(p[1], 10), p[1]), "the end of a trimmed log is a gap")
	// Nor does a trim of nothing raise the floor over it.
	equal(h, "floor after a trim of the empty log", h.trim(ahead(p[1])).Floor, p[1])
	h.check(gap(h.slice(p[0], 10), p[0]), "a cursor before what was trimmed is no gap")
}

func aLogThatIsNotThereIsNotTrimmed(h *hub) {
	r := h.trim(streams.NewPosition(1, 1))
	equal(h, "reply", r, streams.TrimReply{})
	hubs, err := h.store.Hubs(h.ctx, streams.Bucket(h.name))
	h.must("hubs", err)
	h.check(!slices.Contains(hubs, h.name), "the trim made a log")
}

func trimmingFreesBytes(h *hub) {
	for range 100 {
		h.send(string(make([]byte, 1000)))
	}
	full := h.trim(streams.Position{})
	equal(h, "entries", full.Entries, 101)
	h.check(full.Bytes >= 100*1000, "100 messages of 1000 bytes take %d bytes", full.Bytes)
	for range 100 {
		h.send(string(make([]byte, 1000)))
	}
	twice := h.trim(streams.Position{})
	h.check(twice.Bytes > full.Bytes+50*1000, "twice as many messages take %d bytes, before %d", twice.Bytes, full.Bytes)
	left := h.trim(h.last())
	h.check(left.Bytes < full.Bytes, "the emptied log takes %d bytes, before %d", left.Bytes, twice.Bytes)
}

// What a log takes is not to be guessed by its oldest entries: a burst of large ones would fill the store long before it was noticed.
func theNewestEntriesAreCounted(h *hub) {
	small := make([]streams.OnceRequest, 1000)
	for i := range small {
		small[i] = unkeyed("small")
	}
	h.appendAll(small...)
	large := string(make([]byte, 256<<10))
	for range 16 {
		h.send(large)
	}
	bytes := h.trim(streams.Position{}).Bytes
	h.check(bytes >= 4<<20 && bytes < 8<<20, "16 messages of 256 KiB, after small ones, take %d bytes", bytes)
}
