package streamstest

import (
	"fmt"
	"sync"
	"time"

	"hubstream/streams"
)

var batchTests = []func(*hub){
	aBatchIsAppendedInItsOrder,
	aBatchMakesTheLog,
	aBatchsKeysAreThoseOfOtherAppends,
	nothingComesBetweenABatch,
}

func (h *hub) appendAll(items ...streams.OnceRequest) []streams.AppendResult {
	h.Helper()
	results, err := h.store.AppendAll(h.ctx, h.name, items)
	h.must("append all", err)
	equal(h, "results", len(results), len(items))
	return results
}

func unkeyed(body string) streams.OnceRequest { return streams.OnceRequest{Entry: message(body)} }

func aBatchIsAppendedInItsOrder(h *hub) {
	h.send("first")
	var results []streams.AppendResult
	want := [][]byte{message("1"), message("2"), message("\x00\xff"), message("4")}
	h.appends("a batch", want, func() { results = h.appendAll(unkeyed("1"), unkeyed("2"), unkeyed("\x00\xff"), unkeyed("4")) })
	entries := h.log()[len(h.log())-len(want):]
	for i, r := range results {
		equal(h, fmt.Sprint("position ", i), r.Position, entries[i].Position)
		h.check(!r.Replayed && !r.KeyReused, "entry %d: %+v", i, r)
	}
	equal(h, "results of nothing", len(h.appendAll()), 0)
}

func aBatchMakesTheLog(h *hub) {
	for _, item := range []streams.OnceRequest{unkeyed("0"), once("k", "s", "0")} {
		other := newHub(h.T, h.store)
		other.isNew(other.appendAll(item)[0].Position)
	}
	results := h.appendAll(unkeyed("1"), once("k", "s", "2"))
	h.check(results[0].Position.Before(results[1].Position), "positions %v", results)
	equal(h, "the log's last position", h.last(), results[1].Position)
}

func aBatchsKeysAreThoseOfOtherAppends(h *hub) {
	first, _, err := h.store.AppendOnce(h.ctx, h.name, once("a", "s", "1"))
	h.must("append once", err)
	var results []streams.AppendResult
	h.appends("a batch", [][]byte{message("2"), message("4")}, func() {
		results = h.appendAll(once("a", "s", "1"), once("b", "s", "2"), once("a", "other", "3"), unkeyed("4"), once("b", "s", "2"))
	})
	equal(h, "a replay", results[0], streams.AppendResult{Position: first, Replayed: true})
	equal(h, "a reused key", results[2], streams.AppendResult{KeyReused: true})
	equal(h, "a replay within the batch", results[4], streams.AppendResult{Position: results[1].Position, Replayed: true})
	p, replayed, err := h.store.AppendOnce(h.ctx, h.name, once("b", "s", "2"))
	h.must("append once", err)
	h.check(replayed && p == results[1].Position, "a key of a batch: got %v, replayed %v", p, replayed)
	short := once("short", "s", "x")
	short.Keep = 20 * time.Millisecond
	other := h.sibling() // a hub may remember all its keys for as long as the one that it has to remember longest
	other.appendAll(short)
	h.eventually("the key is forgotten", func() bool { return !other.appendAll(short)[0].Replayed })
}

func nothingComesBetweenABatch(h *hub) {
	var wg sync.WaitGroup
	for writer := range 4 {
		wg.Go(func() {
			for round := range 10 {
				var items []streams.OnceRequest
				for i := range 20 {
					items = append(items, unkeyed(fmt.Sprintf("%d %d %d", writer, round, i)))
				}
				h.appendAll(items...)
			}
		})
	}
	wg.Wait()
	entries := h.log()
	equal(h, "entries", len(entries), 1+4*10*20)
	for i := 1; i < len(entries); i += 20 {
		var writer, round, n int
		for k := range 20 {
			e, err := streams.DecodeEntry(entries[i+k].Data)
			h.must("decode", err)
			var w, r int
			_, err = fmt.Sscanf(string(e.Body), "%d %d %d", &w, &r, &n)
			h.must("scan", err)
			if k == 0 {
				writer, round = w, r
			}
			h.check(w == writer && r == round && n == k, "entry %d of a batch is %q", k, e.Body)
		}
	}
}
