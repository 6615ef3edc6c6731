package streamstest

import (
	"sync"
	"sync/atomic"

	"hubstream/streams"
)

var reattachTests = []func(*hub){
	aReattachTakesOver,
	anOlderTicketIsRefused,
	aReattachRepeatedIsTheSame,
	theOwnerDisplacedIsFenced,
	onlyOpenStatefulConnectionsReattach,
	aReattachKeepsThePair,
	theHighestTicketWins,
	aClientThatWasNotHeardCannotReturn,
	onlyALiveOwnerIsDisplaced,
	howAClientCameBackIsKnown,
}

// upgrade admits an upgrade of a stateful connection and returns its ticket.
func (h *hub) upgrade(id string) uint64 {
	h.Helper()
	return h.opens(request(streams.OpenWebSocket, id, "upgrade"), streams.OpenTicket).Record.Tickets
}

func reattach(id, owner string, ticket uint64) streams.OpenRequest {
	r := request(streams.OpenReattach, id, owner)
	r.Ticket = ticket
	return r
}

func aReattachTakesOver(h *hub) {
	h.stateful("c", "n1")
	ticket := h.upgrade("c")
	h.appends("the re-attach", [][]byte{moved("c", "n2")}, func() {
		r := h.opens(reattach("c", "n2", ticket), streams.OpenAttached)
		equal(h, "owner", r.Record.Owner, "n2")
		equal(h, "ticket", r.Record.Ticket, ticket)
		equal(h, "state", r.Record.State, streams.StateOpen)
		equal(h, "last, the displacement included", r.Last, h.last())
	})
}

// Two upgrades, and the older one's Sequence is the later: it is a dead socket's.
func anOlderTicketIsRefused(h *hub) {
	h.stateful("c", "n1")
	older, newer := h.upgrade("c"), h.upgrade("c")
	h.opens(reattach("c", "n3", newer), streams.OpenAttached)
	h.refuses(reattach("c", "n2", older), streams.ErrOwner)
	h.refuses(reattach("c", "n2", newer), streams.ErrOwner)
	h.refuses(reattach("c", "n2", 0), streams.ErrOwner)
	equal(h, "owner", h.record("c").Owner, "n3")
	h.opens(reattach("c", "n4", h.upgrade("c")), streams.OpenAttached)
}

func aReattachRepeatedIsTheSame(h *hub) {
	h.stateful("c", "n1")
	ticket := h.upgrade("c")
	h.opens(reattach("c", "n2", ticket), streams.OpenAttached)
	h.unchanged("c", func() {
		h.opens(reattach("c", "n2", ticket), streams.OpenAttached)
	})
}

func theOwnerDisplacedIsFenced(h *hub) {
	h.stateful("c", "n1")
	h.opens(reattach("c", "n2", h.upgrade("c")), streams.OpenAttached)
	h.unchanged("c", func() {
		refused, err := h.store.Touch(h.ctx, h.name, []streams.TouchItem{{ID: "c", Owner: "n1", Lease: short, Save: true, Cursor: h.last(), Acked: 5}})
		h.must("touch", err)
		h.check(same(refused, []string{"c"}), "the displaced owner's touch was not refused: %v", refused)
		_, err = h.store.Finish(h.ctx, h.name, streams.FinishRequest{ID: "c", Owner: "n1", Count: 1, Entries: [][]byte{reply("c", "x")}})
		h.want("the displaced owner's finish", err, streams.ErrOwner)
		h.ends(streams.EndRequest{ID: "c", Owner: "n1"}, streams.EndRefused)
	})
	h.save("c", "n2", h.last(), 7)
}

func onlyOpenStatefulConnectionsReattach(h *hub) {
	h.webSocket("stateless", "n1")
	h.refuses(reattach("stateless", "n2", 1), streams.ErrGone)
	h.opens(request(streams.OpenWebSocket, "new", "n1"), streams.OpenCreated)
	h.refuses(reattach("new", "n2", 1), streams.ErrGone)
	h.polling("poll")
	h.refuses(reattach("poll", "n2", 1), streams.ErrTransport)
}

func aReattachKeepsThePair(h *hub) {
	h.stateful("c", "n1")
	p := h.send("1")
	h.save("c", "n1", p, 3)
	h.send("2")
	_, err := h.store.Finish(h.ctx, h.name, streams.FinishRequest{ID: "c", Owner: "n1", Count: 4})
	h.must("finish", err)
	rec := h.opens(reattach("c", "n2", h.upgrade("c")), streams.OpenAttached).Record
	equal(h, "cursor", rec.Cursor, p)
	equal(h, "acked", rec.Acked, 3)
	equal(h, "done", rec.Done, 4)
	equal(h, "version", rec.Version, 2)
}

// It may not have seen the answer to its handshake, and have started anew.
func aClientThatWasNotHeardCannotReturn(h *hub) {
	h.opens(request(streams.OpenWebSocket, "c", "n1"), streams.OpenCreated)
	start := h.handshake("c", "n1", 2)
	h.touches(streams.TouchItem{ID: "c", Owner: "n1", Lease: long})
	h.refuses(request(streams.OpenWebSocket, "c", "again"), streams.ErrUnheard)
	h.touches(streams.TouchItem{ID: "c", Owner: "n1", Lease: long, Heard: true})
	h.upgrade("c")
	// A node of an earlier version tells by the cursor.
	h.opens(request(streams.OpenWebSocket, "d", "n1"), streams.OpenCreated)
	h.handshake("d", "n1", 2)
	h.save("d", "n1", start, 0)
	h.upgrade("d")
}

func onlyALiveOwnerIsDisplaced(h *hub) {
	h.stateful("c", "n1")
	r := h.opens(reattach("c", "n2", h.upgrade("c")), streams.OpenAttached)
	h.check(r.Displaced, "the owner was not displaced")
	h.touches(streams.TouchItem{ID: "c", Owner: "n2", Lease: long, Detached: true})
	r = h.opens(reattach("c", "n3", h.upgrade("c")), streams.OpenAttached)
	h.check(!r.Displaced, "an owner that had detached was displaced")
	equal(h, "owner", r.Record.Owner, "n3")
	r = h.opens(reattach("c", "n4", h.upgrade("c")), streams.OpenAttached)
	h.check(r.Displaced, "the owner after one that had detached was not displaced")
}

// It is for people who ask why a client came back.
func howAClientCameBackIsKnown(h *hub) {
	h.stateful("c", "n1.a")
	equal(h, "how a client came back that did not", h.record("c").Return, streams.Return{})
	returns := func(owner string, want streams.Return) {
		h.Helper()
		before := h.lookup("c").Now
		ticket := h.upgrade("c")
		h.opens(reattach("c", owner, ticket), streams.OpenAttached)
		h.opens(reattach("c", owner, ticket), streams.OpenAttached) // a repetition changes nothing of it
		got := h.record("c").Return
		h.check(got.At >= before && got.At <= h.lookup("c").Now, "it came back at %d, between %d and now", got.At, before)
		got.At = 0
		equal(h, "how the client came back to "+owner, got, want)
	}
	leaves := func(owner string, why streams.Leaving) {
		h.Helper()
		h.touches(streams.TouchItem{ID: "c", Owner: owner, Lease: long, Detached: true, Leaving: why})
	}
	returns("n2.a", streams.Return{From: "n1"})
	leaves("n2.a", streams.LeavingDrain)
	returns("n3.a", streams.Return{From: "n2", Why: streams.LeavingDrain})
	returns("n3.b", streams.Return{From: "n3"}) // which did not leave
	leaves("n3.b", streams.LeavingSocket)
	leaves("n3.b", streams.LeavingTimeout)
	returns("n4.a", streams.Return{From: "n3", Why: streams.LeavingTimeout})
	ticket := h.upgrade("c")
	h.closing("c")
	h.answers(reattach("c", "n5.a", ticket), streams.ErrGone)
	equal(h, "how a client came back that was sent away", h.record("c").Return, streams.Return{})
}

func theHighestTicketWins(h *hub) {
	h.stateful("c", "n1")
	const sockets = 12
	var highest atomic.Uint64
	var wg sync.WaitGroup
	owners := make([]string, sockets+1)
	for i := range sockets {
		owners[i+1] = "n" + string(rune('a'+i))
		wg.Go(func() {
			r, err := h.store.Open(h.ctx, h.name, request(streams.OpenWebSocket, "c", "upgrade"))
			if err != nil {
				h.Errorf("upgrade: %v", err)
				return
			}
			ticket := r.Record.Tickets
			_, err = h.store.Open(h.ctx, h.name, reattach("c", owners[ticket], ticket))
			if err == nil {
				for old := highest.Load(); ticket > old && !highest.CompareAndSwap(old, ticket); old = highest.Load() {
				}
				return
			}
			h.want("re-attach", err, streams.ErrOwner)
		})
	}
	wg.Wait()
	equal(h, "highest ticket that was admitted", highest.Load(), sockets)
	equal(h, "owner", h.record("c").Owner, owners[sockets])
}
