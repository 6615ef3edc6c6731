package streamstest

import (
	"fmt"
	"sync"

	"hubstream/streams"
)

var finishTests = []func(*hub){
	aFinishCountsAndReplies,
	aFinishIsMadeOnce,
	aFinishIsTheOwners,
	aFinishOutOfTurnIsRefused,
	aFinishOfTheGoneIsRefused,
	repliesStayTogether,
}

func finish(owner string, done, count uint64, entries ...[]byte) streams.FinishRequest {
	return streams.FinishRequest{ID: "c", Owner: owner, Done: done, Count: count, Entries: entries}
}

func (h *hub) finish(r streams.FinishRequest) streams.Position {
	h.Helper()
	p, err := h.store.Finish(h.ctx, h.name, r)
	h.must("finish", err)
	return p
}

func aFinishCountsAndReplies(h *hub) {
	h.stateful("c", "n1")
	one, two, three := reply("c", "1"), reply("c", "2"), reply("c", "3")
	h.appends("a finish", [][]byte{one}, func() {
		h.at("the reply", h.finish(finish("n1", 0, 1, one)), one)
	})
	equal(h, "done", h.record("c").Done, 1)
	h.appends("a finish of several", [][]byte{two, three}, func() {
		h.at("the last reply", h.finish(finish("n1", 1, 5, two, three)), three)
	})
	equal(h, "done", h.record("c").Done, 6)
	h.appends("a finish without replies", nil, func() { h.finish(finish("n1", 6, 1)) })
	equal(h, "done", h.record("c").Done, 7)
}

func aFinishIsMadeOnce(h *hub) {
	h.stateful("c", "n1")
	r := finish("n1", 0, 2, reply("c", "1"), reply("c", "2"))
	h.finish(r)
	h.unchanged("c", func() { h.finish(r) })
	equal(h, "done", h.record("c").Done, 2)
}

func aFinishIsTheOwners(h *hub) {
	h.stateful("c", "n1")
	h.unchanged("c", func() {
		_, err := h.store.Finish(h.ctx, h.name, finish("n2", 0, 1, reply("c", "1")))
		h.want("another's finish", err, streams.ErrOwner)
	})
	made := finish("n1", 0, 1, reply("c", "1"))
	h.finish(made)
	h.opens(reattach("c", "n2", h.upgrade("c")), streams.OpenAttached)
	h.unchanged("c", func() {
		_, err := h.store.Finish(h.ctx, h.name, made)
		h.want("a repeat after the connection has moved", err, streams.ErrOwner)
	})
	h.finish(finish("n2", 1, 1, reply("c", "2")))
}

func aFinishOutOfTurnIsRefused(h *hub) {
	h.stateful("c", "n1")
	h.finish(finish("n1", 0, 3))
	for _, r := range []streams.FinishRequest{
		finish("n1", 4, 1, reply("c", "ahead")),
		finish("n1", 1, 1, reply("c", "behind")),
		finish("n1", 2, 2, reply("c", "across")),
	} {
		h.unchanged("c", func() {
			_, err := h.store.Finish(h.ctx, h.name, r)
			h.want(fmt.Sprintf("finish of %d after %d, of 3 done", r.Count, r.Done), err, streams.ErrOwner)
		})
	}
}

func aFinishOfTheGoneIsRefused(h *hub) {
	h.stateful("c", "n1")
	h.end(streams.EndRequest{ID: "c"})
	last := h.last()
	r := finish("n1", 0, 1, reply("c", "1"))
	for _, r.ID = range []string{"c", "nobody"} {
		_, err := h.store.Finish(h.ctx, h.name, r)
		h.want("a finish of "+r.ID, err, streams.ErrGone)
	}
	equal(h, "last", h.last(), last)
}

// The replies of one finish are one step: nothing of others comes between them.
func repliesStayTogether(h *hub) {
	h.stateful("c", "n1")
	before := h.last()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 25 {
				if _, err := h.store.Append(h.ctx, h.name, message("x")); err != nil {
					h.Errorf("append: %v", err)
				}
			}
		})
	}
	a, b := reply("c", "a"), reply("c", "b")
	for i := range uint64(25) {
		h.finish(finish("n1", i, 1, a, b))
	}
	wg.Wait()
	entries := h.slice(before, 1000).Entries
	equal(h, "entries", len(entries), 150)
	for i, e := range entries {
		if e.Data == string(a) {
			h.check(i+1 < len(entries) && entries[i+1].Data == string(b), "something came between two replies")
		}
	}
}
