package streamstest

import (
	"hubstream/streams"
)

var touchTests = []func(*hub){
	aTouchRenewsTheLease,
	aTouchSavesThePair,
	aTouchIsTheOwners,
	aTouchAfterTheLastChangesNothing,
	aTouchBeyondTheEndIsRefused,
	positionsAreComparedAsNumbers,
	touchesAreRefusedEachForItself,
}

// touch fails the test unless exactly these IDs are refused.
func (h *hub) touch(refused []string, items ...streams.TouchItem) {
	h.Helper()
	got, err := h.store.Touch(h.ctx, h.name, items)
	h.must("touch", err)
	h.check(same(got, refused), "touch refused %v, want %v", got, refused)
}

// save saves a connection's pair.
func (h *hub) save(id, owner string, cursor streams.Position, acked uint64) {
	h.Helper()
	h.touch(nil, streams.TouchItem{ID: id, Owner: owner, Lease: long, Save: true, Cursor: cursor, Acked: acked})
}

func aTouchRenewsTheLease(h *hub) {
	h.webSocket("c", "n1")
	h.touch(nil, streams.TouchItem{ID: "c", Owner: "n1", Lease: short})
	h.waitExpired("c")
	before := h.record("c")
	h.touch(nil, streams.TouchItem{ID: "c", Owner: "n1", Lease: long, Cursor: ahead(h.last()), Acked: 9})
	h.check(!h.isExpired("c"), "the touch did not renew the lease")
	rec := h.record("c")
	equal(h, "cursor, not saved", rec.Cursor, before.Cursor)
	equal(h, "acked, not saved", rec.Acked, before.Acked)
}

func aTouchSavesThePair(h *hub) {
	h.stateful("c", "n1")
	p := h.sendApart("1", "2")
	for _, pair := range []struct {
		cursor streams.Position
		acked  uint64
	}{{p[0], 1}, {p[1], 2}, {hole(p[0]), 1}, {p[1], 1 << 40}} {
		h.save("c", "n1", pair.cursor, pair.acked)
		rec := h.record("c")
		equal(h, "cursor", rec.Cursor, pair.cursor)
		equal(h, "acked", rec.Acked, pair.acked)
	}
	equal(h, "last: nothing is appended", h.last(), p[1])
}

func aTouchIsTheOwners(h *hub) {
	h.stateful("c", "n1")
	p := h.send("1")
	h.unchanged("c", func() {
		h.touch([]string{"c"}, streams.TouchItem{ID: "c", Owner: "n2", Lease: short, Save: true, Cursor: p, Acked: 1})
		h.touch([]string{"c"}, streams.TouchItem{ID: "c", Owner: "", Lease: short, Save: true, Cursor: p, Acked: 1})
	})
	h.touch([]string{"nobody"}, streams.TouchItem{ID: "nobody", Owner: "n1", Lease: long})
	h.gone("nobody")
	h.end(streams.EndRequest{ID: "c"})
	h.touch([]string{"c"}, streams.TouchItem{ID: "c", Owner: "n1", Lease: long, Save: true, Cursor: p, Acked: 1})
	h.gone("c")
	h.check(!h.isExpired("c"), "the touch gave the ended connection a lease")
}

// The owner saves once more when it leaves; what it sent off before may arrive later. It would take the cursor back, and with the
// lease the time to return.
func aTouchAfterTheLastChangesNothing(h *hub) {
	h.stateful("c", "n1")
	p := h.sendApart("1", "2")
	late := streams.TouchItem{ID: "c", Owner: "n1", Lease: long, Save: true, Cursor: p[0], Acked: 1}
	last := streams.TouchItem{ID: "c", Owner: "n1", Lease: long, Save: true, Cursor: p[1], Acked: 2, Detached: true, Leaving: streams.LeavingSocket}
	h.touch(nil, last)
	h.unchanged("c", func() { h.touch(nil, late) })
	late.Lease = 0
	h.touch(nil, late)
	h.check(!h.isExpired("c"), "the lease ends as the late touch has it")
	h.touch(nil, last) // whose reply was lost
	h.opens(reattach("c", "n2", h.upgrade("c")), streams.OpenAttached)
	h.save("c", "n2", p[1], 2)
}

func aTouchBeyondTheEndIsRefused(h *hub) {
	h.stateful("c", "n1")
	h.touch(nil, streams.TouchItem{ID: "c", Owner: "n1", Lease: short})
	h.waitExpired("c")
	h.unchanged("c", func() {
		h.touch([]string{"c"}, streams.TouchItem{ID: "c", Owner: "n1", Lease: long, Save: true, Cursor: ahead(h.last()), Acked: 1})
	})
	h.check(h.isExpired("c"), "a refused touch renewed the lease")
}

func touchesAreRefusedEachForItself(h *hub) {
	p := h.send("1")
	for _, id := range []string{"a", "b", "c", "d"} {
		h.stateful(id, "n1")
	}
	item := func(id, owner string, cursor streams.Position) streams.TouchItem {
		return streams.TouchItem{ID: id, Owner: owner, Lease: long, Save: true, Cursor: cursor, Acked: 1}
	}
	h.touch([]string{"b", "c", "nobody"},
		item("a", "n1", p), item("b", "n2", p), item("nobody", "n1", p), item("c", "n1", ahead(h.last())), item("d", "n1", p))
	for id, acked := range map[string]uint64{"a": 1, "b": 0, "c": 0, "d": 1} {
		equal(h, "acked of "+id, h.record(id).Acked, acked)
	}
	h.touch(nil)
}

// Of entries that are appended together the last parts of the positions have one digit, then two, then three.
func positionsAreComparedAsNumbers(h *hub) {
	h.stateful("c", "n1")
	many := make([]streams.OnceRequest, 120)
	for i := range many {
		many[i] = unkeyed("1")
	}
	for _, r := range h.appendAll(many...) {
		h.touches(streams.TouchItem{ID: "c", Owner: "n1", Lease: long, Save: true, Cursor: r.Position})
		equal(h, "cursor", h.record("c").Cursor, r.Position)
	}
}
