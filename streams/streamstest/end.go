package streamstest

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"hubstream/streams"
)

var closeTests = []func(*hub){
	aCloseIsOneStep,
	aCloseHappensOnce,
	aClosingConnectionIsServedToItsEnd,
	aConnectionIsClosedByOneOfMany,
}

func aCloseIsOneStep(h *hub) {
	h.opens(request(streams.OpenWebSocket, "new", "n1"), streams.OpenCreated)
	h.stateful("open", "n1")
	for _, id := range []string{"new", "open"} {
		p := h.closing(id)
		equal(h, "last", h.last(), p)
		h.at("the close entry", p, closed(id, "bye"))
		rec := h.record(id)
		equal(h, "state", rec.State, streams.StateClosing)
		equal(h, "owner", rec.Owner, "n1")
	}
}

func aCloseHappensOnce(h *hub) {
	refused := func(id string) {
		h.Helper()
		h.unchanged(id, func() {
			h.Helper()
			_, err := h.store.CloseConnection(h.ctx, h.name, id, closed(id, "again"))
			h.want("close "+id, err, streams.ErrGone)
		})
	}
	refused("nobody")
	h.webSocket("c", "n1")
	h.closing("c")
	refused("c")
	h.end(streams.EndRequest{ID: "c"})
	refused("c")
}

func aClosingConnectionIsServedToItsEnd(h *hub) {
	h.stateful("socket", "n1")
	p := h.closing("socket")
	h.save("socket", "n1", p, 1)
	h.ends(streams.EndRequest{ID: "socket", Owner: "n1"}, streams.EndDone)

	h.polling("poll")
	p = h.closing("poll")
	h.opens(poll("poll", "n1", "m"), streams.OpenAttached)
	h.answer("poll", "n1", "m", p)
	h.ends(streams.EndRequest{ID: "poll"}, streams.EndDone)
}

func aConnectionIsClosedByOneOfMany(h *hub) {
	h.webSocket("c", "n1")
	before := h.last()
	var done atomic.Int32
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			_, err := h.store.CloseConnection(h.ctx, h.name, "c", closed("c", fmt.Sprint(i)))
			if err == nil {
				done.Add(1)
				return
			}
			h.want("close", err, streams.ErrGone)
		})
	}
	wg.Wait()
	equal(h, "calls that closed it", done.Load(), 1)
	equal(h, "close entries", len(h.slice(before, 100).Entries), 1)
}

var endTests = []func(*hub){
	anEndIsOneStep,
	anEndHappensOnce,
	anEndIsKnownByItsToken,
	anEndByItsOwner,
	anEndOfTheExpiredOnly,
	anEndFromManySides,
	aReturnRacesWithTheExpiry,
	theExpiredAreListedWithinALimit,
	aTombstoneRefusesCreation,
	aTombstonePasses,
	anEndedConnectionIsInNoSet,
}

func anEndIsOneStep(h *hub) {
	h.stateful("c", "n1")
	h.join("c", "g")
	p := h.send("1")
	h.save("c", "n1", p, 4)
	before := h.record("c")
	var r streams.EndReply
	h.appends("the end", [][]byte{ended("c")}, func() {
		r = h.ends(streams.EndRequest{ID: "c", Token: "t"}, streams.EndDone)
	})
	equal(h, "position of the close entry", r.Position, h.last())
	equal(h, "ID", r.Record.ID, "c")
	equal(h, "user", r.Record.User, "ann")
	equal(h, "state, as it was", r.Record.State, streams.StateOpen)
	equal(h, "owner, as it was", r.Record.Owner, "n1")
	equal(h, "transport, as it was", r.Record.Transport, before.Transport)
	equal(h, "cursor, as it was", r.Record.Cursor, p)
	equal(h, "acked, as it was", r.Record.Acked, 4)
	equal(h, "since, as it was", r.Record.Since, before.Since)
	h.check(r.Record.Groups == nil, "the end tells groups")
	h.gone("c")
}

func anEndHappensOnce(h *hub) {
	h.ends(streams.EndRequest{ID: "nobody", Token: "t"}, streams.EndAlready)
	equal(h, "last: there is no log", h.last(), streams.Position{})
	h.webSocket("c", "n1")
	h.ends(streams.EndRequest{ID: "c", Token: "t"}, streams.EndDone)
	h.appends("further ends", nil, func() {
		h.ends(streams.EndRequest{ID: "c", Token: "other"}, streams.EndAlready)
		h.ends(streams.EndRequest{ID: "c"}, streams.EndAlready)
		h.ends(streams.EndRequest{ID: "c", Token: "other", Owner: "n1"}, streams.EndAlready)
		h.ends(streams.EndRequest{ID: "c", Token: "other", OnlyExpired: true}, streams.EndAlready)
		h.ends(streams.EndRequest{ID: "nobody", Token: "t"}, streams.EndAlready)
	})
	h.webSocket("no token", "n1")
	h.ends(streams.EndRequest{ID: "no token"}, streams.EndDone)
	h.ends(streams.EndRequest{ID: "no token"}, streams.EndAlready)
	// An end of nobody leaves nothing behind, unless that is asked for.
	h.opens(request(streams.OpenWebSocket, "nobody", "n1"), streams.OpenCreated)
	h.appends("the end of a record that was lost", nil, func() {
		h.ends(streams.EndRequest{ID: "lost", Owner: "n1", Token: "t", Bury: true, Tombstone: long}, streams.EndAlready)
	})
	h.gone("lost")
	h.refuses(request(streams.OpenWebSocket, "lost", "n1"), streams.ErrGone)
	h.refuses(request(streams.OpenReattach, "lost", "n1"), streams.ErrGone)
	h.ends(streams.EndRequest{ID: "lost", Token: "t"}, streams.EndAlready)
	h.ends(streams.EndRequest{ID: "briefly", Token: "t", Bury: true, Tombstone: time.Millisecond}, streams.EndAlready)
	h.eventually("the tombstone passes", func() bool {
		_, err := h.store.Open(h.ctx, h.name, request(streams.OpenWebSocket, "briefly", "n1"))
		return err == nil
	})
}

func anEndIsKnownByItsToken(h *hub) {
	h.webSocket("c", "n1")
	r := streams.EndRequest{ID: "c", Owner: "n1", Token: "t"}
	first := h.ends(r, streams.EndDone)
	h.appends("the repeat", nil, func() {
		again := h.ends(r, streams.EndDone)
		equal(h, "position", again.Position, first.Position)
		equal(h, "user", again.Record.User, "ann")
		equal(h, "state", again.Record.State, streams.StateOpen)
	})
}

func anEndByItsOwner(h *hub) {
	h.webSocket("c", "n1")
	h.unchanged("c", func() {
		h.ends(streams.EndRequest{ID: "c", Owner: "n2", Token: "t"}, streams.EndRefused)
	})
	h.ends(streams.EndRequest{ID: "c", Owner: "n1", Token: "t"}, streams.EndDone)
	h.polling("poll")
	h.ends(streams.EndRequest{ID: "poll", Owner: "n1"}, streams.EndRefused) // nobody owns it
	h.ends(streams.EndRequest{ID: "poll"}, streams.EndDone)
}

func anEndOfTheExpiredOnly(h *hub) {
	h.webSocket("c", "n1")
	sweep := streams.EndRequest{ID: "c", OnlyExpired: true, Token: "t"}
	h.unchanged("c", func() { h.ends(sweep, streams.EndAlive) })
	h.touch(nil, streams.TouchItem{ID: "c", Owner: "n1", Lease: short})
	h.waitExpired("c")
	h.touch(nil, streams.TouchItem{ID: "c", Owner: "n1", Lease: long}) // it came back
	h.unchanged("c", func() { h.ends(sweep, streams.EndAlive) })
	h.touch(nil, streams.TouchItem{ID: "c", Owner: "n1", Lease: short})
	h.waitExpired("c")
	h.ends(sweep, streams.EndDone)
}

func anEndFromManySides(h *hub) {
	h.webSocket("c", "n1")
	before := h.last()
	var done, already atomic.Int32
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			r, err := h.store.End(h.ctx, h.name, streams.EndRequest{
				ID: "c", Token: fmt.Sprint(i), Entry: ended("c"), Tombstone: long,
			})
			switch {
			case err != nil:
				h.Errorf("end: %v", err)
			case r.Outcome == streams.EndDone:
				done.Add(1)
			case r.Outcome == streams.EndAlready:
				already.Add(1)
			}
		})
	}
	wg.Wait()
	equal(h, "ends that ended it", done.Load(), 1)
	equal(h, "ends that came too late", already.Load(), 15)
	equal(h, "close entries", len(h.slice(before, 100).Entries), 1)
}

// A client returns while the sweep finds its lease passed: either is in time, never both.
func aReturnRacesWithTheExpiry(h *hub) {
	const rounds = 20
	for i := range rounds {
		id := fmt.Sprint(i)
		h.polling(id)
		r := poll(id, "n1", "a")
		r.Lease = time.Millisecond
		h.opens(r, streams.OpenAttached)
	}
	for i := range rounds {
		id := fmt.Sprint(i)
		h.waitExpired(id)
		var wg sync.WaitGroup
		var openErr, endErr error
		var end streams.EndReply
		wg.Go(func() { _, openErr = h.store.Open(h.ctx, h.name, poll(id, "n2", "b")) })
		wg.Go(func() {
			end, endErr = h.store.End(h.ctx, h.name, streams.EndRequest{
				ID: id, OnlyExpired: true, Entry: ended(id), Tombstone: long,
			})
		})
		wg.Wait()
		h.must("end", endErr)
		switch end.Outcome {
		case streams.EndDone:
			h.want("a return after the end", openErr, streams.ErrGone)
		case streams.EndAlive:
			h.must("a return before the end", openErr)
			equal(h, "owner", h.record(id).Owner, "n2")
		default:
			h.Errorf("outcome of end: %v", end.Outcome)
		}
	}
}

func theExpiredAreListedWithinALimit(h *hub) {
	ids, err := h.store.Expired(h.ctx, h.name, 10)
	h.must("expired", err)
	equal(h, "expired of no log", len(ids), 0)
	want := make([]string, 10)
	for i := range want {
		want[i] = fmt.Sprint("c", i)
		r := request(streams.OpenWebSocket, want[i], "n1")
		r.NewLease = time.Duration(10-i) * time.Millisecond
		h.opens(r, streams.OpenCreated)
		h.opens(request(streams.OpenWebSocket, fmt.Sprint("alive", i), "n1"), streams.OpenCreated)
	}
	for _, id := range want {
		h.waitExpired(id)
	}
	h.check(same(h.expired(), want), "expired: got %v, want %v", h.expired(), want)
	ids, err = h.store.Expired(h.ctx, h.name, 3)
	h.must("expired", err)
	equal(h, "expired within the limit", len(ids), 3)
	for _, id := range ids {
		h.ends(streams.EndRequest{ID: id, OnlyExpired: true}, streams.EndDone)
	}
	equal(h, "expired after three have ended", len(h.expired()), 7)
}

func aTombstoneRefusesCreation(h *hub) {
	h.webSocket("c", "n1")
	h.end(streams.EndRequest{ID: "c"})
	for _, mode := range append(creating, streams.OpenReattach) {
		h.refuses(request(mode, "c", "n2"), streams.ErrGone)
	}
}

func aTombstonePasses(h *hub) {
	h.stateful("c", "n1")
	h.join("c", "g")
	first := h.ends(streams.EndRequest{ID: "c", Token: "first", Tombstone: short}, streams.EndDone)
	h.eventually("the tombstone passes", func() bool {
		_, err := h.store.Open(h.ctx, h.name, request(streams.OpenWebSocket, "c", "n2"))
		return err == nil
	})
	rec := h.record("c")
	equal(h, "state of the next life", rec.State, streams.StateNew)
	equal(h, "groups of the next life", len(rec.Groups), 0)
	equal(h, "version of the next life", rec.Version, 0)
	h.check(!rec.Cursor.Before(first.Position), "the next life begins in the one before")
	h.ends(streams.EndRequest{ID: "c", Token: "second"}, streams.EndDone)
	h.refuses(request(streams.OpenWebSocket, "c", "n3"), streams.ErrGone)
}

func anEndedConnectionIsInNoSet(h *hub) {
	h.webSocket("c", "n1")
	h.join("c", "g")
	h.touch(nil, streams.TouchItem{ID: "c", Owner: "n1", Lease: short})
	h.waitExpired("c")
	h.end(streams.EndRequest{ID: "c"})
	h.check(!h.isExpired("c"), "an ended connection is still among the expired")
	h.gone("c")
	h.must("restamp", h.store.Restamp(h.ctx, h.name, restampNode, []streams.RestampItem{{ID: "c"}}, h.slice(h.last(), 1).Gen, "next"))
	h.gone("c")
}
