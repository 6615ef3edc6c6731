package streamstest

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"hubstream/streams"
)

var batchTests = []func(*hub){
	aBatchIsAppendedInItsOrder,
	aBatchMakesTheLog,
	aBatchsKeysAreThoseOfOtherAppends,
	entriesWithoutAKeyAreNoRepetitions,
	nothingComesBetweenABatch,
	aBatchIsReadFromAnywhere,
	aBatchIsProofAnywhere,
	aBatchIsTrimmedAnywhere,
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

// Also beside others that have keys.
func entriesWithoutAKeyAreNoRepetitions(h *hub) {
	h.send("first")
	for _, key := range []string{"a", "b"} {
		h.appends("a batch", [][]byte{message("1"), message("1"), message("2")}, func() {
			for i, r := range h.appendAll(unkeyed("1"), unkeyed("1"), once(key, "s", "2")) {
				h.check(!r.Replayed && !r.KeyReused, "entry %d: %+v", i, r)
			}
		})
	}
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

// sizesOfABatch are such that some entries fit together into what a store may hold as one, in several ways, and others do not.
var sizesOfABatch = []int{1, 1, 200, 0, 5000, 5000, 5000, 5000, 1, 16 << 10, 16 << 10, 2, 40_000, 3, 3, 3, 9000, 9000, 9000, 1, 1}

// batch appends a batch between two other entries, and returns all that the log then holds.
func (h *hub) batch() []streams.RawEntry {
	h.Helper()
	h.send("before")
	var items []streams.OnceRequest
	for i, size := range sizesOfABatch {
		items = append(items, unkeyed(fmt.Sprint(i, strings.Repeat("x", size))))
	}
	results := h.appendAll(items...)
	h.send("after")
	log := h.log()
	if len(log) != 1+1+len(items)+1 {
		h.Fatalf("the log has %d entries", len(log))
	}
	for i, r := range results {
		e := log[2+i]
		h.check(e.Position == r.Position && e.Data == string(items[i].Entry), "entry %d is at %v, and the log has %d bytes at %v", i, r.Position, len(e.Data), e.Position)
	}
	return log
}

func aBatchIsReadFromAnywhere(h *hub) {
	log := h.batch()
	tail := h.store.Tail(streams.Bucket(h.name))
	defer tail.Close()
	for i, e := range log {
		rest := log[i+1:]
		h.check(slices.Equal(h.slice(e.Position, 1<<20).Entries, rest), "after entry %d the log has other entries", i)
		some := h.slice(e.Position, 2)
		h.check(begins(rest, some.Entries, some.Stored, 2), "two entries after entry %d: got %d of %d", i, len(some.Entries), some.Stored)
		equal(h, "the log's last position", some.Last, log[len(log)-1].Position)
		if len(rest) == 0 {
			break
		}
		batches, err := tail.Read(h.ctx, []streams.Cursor{{Hub: h.name, After: e.Position}}, 3, patience)
		h.must("read the tail", err)
		h.check(len(batches) == 1 && begins(rest, batches[0].Entries, batches[0].Stored, 3), "the tail after entry %d: got %v", i, batches)
	}
}

// begins tells whether a list begins with what was read of it, which at most limit of the store's entries held.
func begins(list, read []streams.RawEntry, stored, limit int) bool {
	whole := stored == limit || len(read) == len(list)
	return whole && stored <= limit && len(read) >= stored && len(read) <= len(list) && slices.Equal(read, list[:len(read)])
}

func aBatchIsProofAnywhere(h *hub) {
	log := h.batch()
	for i, e := range log {
		v := h.verify(streams.VerifyRequest{Proof: e.Position, ProofEntry: e.Data})
		h.check(v.Proven, "entry %d is no proof", i)
		other := log[(i+1)%len(log)].Data
		v = h.verify(streams.VerifyRequest{Proof: e.Position, ProofEntry: other})
		h.check(!v.Proven || other == e.Data, "another entry in the place of entry %d is proof", i)
	}
}

func aBatchIsTrimmedAnywhere(h *hub) {
	log := h.batch()
	var floor streams.Position
	for i, e := range log {
		r := h.trim(e.Position)
		h.check(!r.Floor.After(e.Position) && !r.Floor.Before(floor), "trimmed up to entry %d, the floor goes from %v to %v", i, floor, r.Floor)
		floor = r.Floor
		got := h.slice(e.Position, 1<<20)
		h.check(!gap(got, e.Position) && slices.Equal(got.Entries, log[i+1:]), "trimmed up to entry %d, others are missing", i)
		got = h.slice(floor, 1<<20)
		h.check(slices.Equal(got.Entries, log[len(log)-len(got.Entries):]), "after the floor are others")
	}
	equal(h, "the floor in the end", floor, log[len(log)-1].Position)
}
