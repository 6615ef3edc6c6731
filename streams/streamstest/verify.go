package streamstest

import (
	"time"

	"hubstream/streams"
)

var verifyTests = []func(*hub){
	verifyMakesTheLog,
	verifyTellsTheLog,
	nothingKnownProvesItself,
	theEntryKnownIsProof,
	anotherEntryIsNoProof,
	whatWasTrimmedIsProof,
	aLowerEndIsRaised,
	aLogNotThereIsRaised,
	aLossThatOneFindsIsOneForAll,
}

func verifyMakesTheLog(h *hub) {
	v := h.verify(streams.VerifyRequest{})
	h.check(v.Gen != "", "no generation")
	h.check(v.Run != "", "no run")
	h.check(v.Proven, "a node that knows nothing has no proof")
	entries := h.log()
	if len(entries) != 1 {
		h.Fatalf("got %d entries, want the generation", len(entries))
	}
	e, err := streams.DecodeEntry(entries[0].Data)
	h.must("decode", err)
	equal(h, "kind", e.Kind, streams.KindGen)
	equal(h, "generation in the entry", e.Owner, v.Gen)
	equal(h, "last", v.Last, entries[0].Position)

	h.unchanged("nobody", func() {
		equal(h, "a second verify", h.verify(streams.VerifyRequest{}), v)
	})
}

func verifyTellsTheLog(h *hub) {
	p := h.sendApart("1", "2")
	h.trim(p[0])
	r := h.slice(p[0], 1)
	v := h.verify(streams.VerifyRequest{Last: p[1]})
	equal(h, "generation", v.Gen, r.Gen)
	equal(h, "floor", v.Floor, p[0])
	equal(h, "last", v.Last, p[1])
	beat, err := h.store.Beat(h.ctx, streams.Bucket(h.name), "node", short)
	h.must("beat", err)
	equal(h, "run", v.Run, beat.Run)
}

func nothingKnownProvesItself(h *hub) {
	h.send("1")
	h.check(h.verify(streams.VerifyRequest{}).Proven, "a node that knows nothing has no proof")
}

func theEntryKnownIsProof(h *hub) {
	p := h.sendApart("1", "2", "3")
	for i, body := range []string{"1", "2", "3"} {
		v := h.verify(streams.VerifyRequest{Last: p[2], Proof: p[i], ProofEntry: string(message(body))})
		h.check(v.Proven, "entry %s, which is there, is no proof", body)
	}
	equal(h, "last", h.last(), p[2])
}

func anotherEntryIsNoProof(h *hub) {
	p := h.sendApart("1", "2")
	time.Sleep(3 * time.Millisecond)
	h.append([]byte("B")) // which some store might take for a part of something
	for what, r := range map[string]streams.VerifyRequest{
		"another entry at the position": {Proof: p[0], ProofEntry: string(message("x"))},
		"a longer entry":                {Proof: p[0], ProofEntry: string(message("1")) + " "},
		"no entry":                      {Proof: p[0]},
		"a position without an entry":   {Proof: hole(p[0]), ProofEntry: string(message("1"))},
		"the next entry":                {Proof: hole(p[0]), ProofEntry: string(message("2"))},
		"what comes before no entry":    {Proof: hole(p[1]), ProofEntry: string(message("2"))},
		"a position beyond the end":     {Proof: ahead(p[1]), ProofEntry: string(message("1"))},
		"a position beyond the end, raised": {
			Last: ahead(p[1]), Proof: ahead(p[1]), ProofEntry: string(message("1")),
		},
	} {
		h.check(!h.verify(r).Proven, "%s is taken for a proof", what)
	}
}

func whatWasTrimmedIsProof(h *hub) {
	p := h.sendApart("1", "2", "3")
	h.trim(p[1])
	for _, proof := range p[:2] {
		v := h.verify(streams.VerifyRequest{Proof: proof, ProofEntry: "whatever it was"})
		h.check(v.Proven, "%v, at or below the floor %v, is no proof", proof, v.Floor)
	}
	v := h.verify(streams.VerifyRequest{Proof: hole(p[1]), ProofEntry: string(message("2"))})
	h.check(!v.Proven, "a position above the floor without an entry is taken for a proof")
}

func aLowerEndIsRaised(h *hub) {
	p := h.send("1")
	before := h.slice(p, 1)
	v := h.verify(streams.VerifyRequest{Last: p})
	equal(h, "last, not raised", v.Last, p)

	v = h.verify(streams.VerifyRequest{Last: ahead(p)})
	h.check(!v.Last.Before(ahead(p)), "last is %v, want it raised to %v", v.Last, ahead(p))
	equal(h, "generation: the store's process is the same", v.Gen, before.Gen)
	equal(h, "last, as others are told", h.verify(streams.VerifyRequest{}).Last, v.Last)
	next := h.send("2")
	h.check(next.After(ahead(p)), "position %v was given again after %v had been seen", next, ahead(p))

	v = h.verify(streams.VerifyRequest{Last: p})
	equal(h, "last: it is never lowered", v.Last, next)
}

func aLogNotThereIsRaised(h *hub) {
	seen := ahead(h.sibling().send("1"))
	v := h.verify(streams.VerifyRequest{Last: seen, Proof: seen, ProofEntry: string(message("1"))})
	h.check(!v.Proven, "a log that was lost is proven")
	h.check(v.Last.After(seen), "the generation's entry is at %v, want it after %v", v.Last, seen)
	equal(h, "entries", len(h.log()), 1)
}

func aLossThatOneFindsIsOneForAll(h *hub) {
	p := h.send("1")
	known := streams.VerifyRequest{Last: p, Proof: p, ProofEntry: string(message("1"))}
	gone := known
	gone.ProofEntry = string(message("what an older log held there"))
	known.Gen = h.verify(known).Gen
	gone.Gen = known.Gen

	lost := h.verify(gone)
	h.check(!lost.Proven, "another entry is taken for a proof")
	h.check(lost.Gen != gone.Gen, "the generation goes on after a loss")
	entries := h.log()
	e, err := streams.DecodeEntry(entries[len(entries)-1].Data)
	h.must("decode", err)
	h.check(e.Kind == streams.KindGen && e.Flags&streams.FlagLost != 0 && e.Owner == lost.Gen, "the loss is not in the log: %+v", e)
	h.unchanged("nobody", func() {
		equal(h, "a repetition", h.verify(gone), lost)
		equal(h, "another node, whose entry is still there", h.verify(known), lost)
	})
	known.Gen = lost.Gen
	h.check(h.verify(known).Proven, "what is known since the loss is not proven")
}
