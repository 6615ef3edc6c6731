package streamstest

import (
	"fmt"

	"hubstream/streams"
)

var openTests = []func(*hub){
	theNewestWebSocketWins,
	aWebSocketFollowsAPost,
	aStatefulWebSocketGetsATicket,
	anOpenWebSocketIsNotTakenOver,
	theNewestEventStreamWins,
	anEventStreamFollowsAPost,
	anOpenEventStreamIsNotTakenOver,
	aPostChangesNothing,
	aClosingConnectionIsOnlyPolled,
	aConnectionKeepsItsTransport,
	aConnectionKeepsItsUser,
	aConnectionKeepsItsGeneration,
	aCursorBelowTheFloorIsAGap,
	refusalsHaveTheirOrder,
	knownGroupsAreNotToldAgain,
	manyGroupsChangeNothingElse,
	takingOverRenewsTheLease,
	movedRecordsAreThoseNamed,
	movedRecordsAreNotOlderThanTheirNodeKnows,
	movedRecordsAreThoseTheNodeServedLast,
}

func theNewestWebSocketWins(h *hub) {
	h.opens(request(streams.OpenWebSocket, "c", "n1"), streams.OpenCreated)
	h.appends("the second upgrade", [][]byte{moved("c", "n2")}, func() {
		r := h.opens(request(streams.OpenWebSocket, "c", "n2"), streams.OpenAttached)
		equal(h, "owner", r.Record.Owner, "n2")
		equal(h, "state", r.Record.State, streams.StateNew)
	})
	_, err := h.store.Handshake(h.ctx, h.name, streams.HandshakeRequest{ID: "c", Owner: "n1", Lease: long})
	h.want("the handshake of the first", err, streams.ErrOwner)
	h.handshake("c", "n2", 1)
}

func aWebSocketFollowsAPost(h *hub) {
	h.opens(request(streams.OpenPost, "c", ""), streams.OpenCreated)
	h.appends("the upgrade", nil, func() {
		r := h.opens(request(streams.OpenWebSocket, "c", "n1"), streams.OpenAttached)
		equal(h, "transport", r.Record.Transport, streams.TransportWebSockets)
		equal(h, "owner", r.Record.Owner, "n1")
	})
	h.refuses(request(streams.OpenPost, "c", ""), streams.ErrTransport)
}

func aStatefulWebSocketGetsATicket(h *hub) {
	h.stateful("c", "n1")
	for want := uint64(1); want <= 3; want++ {
		h.appends("the upgrade", nil, func() {
			r := h.opens(request(streams.OpenWebSocket, "c", "n2"), streams.OpenTicket)
			equal(h, "tickets", r.Record.Tickets, want)
			equal(h, "ticket of the owner", r.Record.Ticket, 0)
			equal(h, "owner", r.Record.Owner, "n1")
		})
	}
	equal(h, "tickets", h.record("c").Tickets, 3)
}

func anOpenWebSocketIsNotTakenOver(h *hub) {
	h.webSocket("c", "n1")
	h.refuses(request(streams.OpenWebSocket, "c", "n2"), streams.ErrConflict)
}

func theNewestEventStreamWins(h *hub) {
	h.opens(request(streams.OpenEvents, "c", "n1"), streams.OpenCreated)
	h.appends("the second GET", [][]byte{moved("c", "n2")}, func() {
		r := h.opens(request(streams.OpenEvents, "c", "n2"), streams.OpenAttached)
		equal(h, "owner", r.Record.Owner, "n2")
	})
}

func anEventStreamFollowsAPost(h *hub) {
	for _, posted := range []bool{false, true} { // the handshake before the GET
		id := map[bool]string{false: "new", true: "open"}[posted]
		h.opens(request(streams.OpenPost, id, ""), streams.OpenCreated)
		var start streams.Position
		if posted {
			start = h.handshakePosted(id)
		}
		r := h.opens(request(streams.OpenEvents, id, "n1"), streams.OpenAttached)
		equal(h, "transport", r.Record.Transport, streams.TransportServerSentEvents)
		equal(h, "owner", r.Record.Owner, "n1")
		equal(h, "start", r.Record.Start, start)
		h.check(!posted || r.Record.Cursor.Before(start), "the handshake's answer is not after the cursor")
	}
}

func anOpenEventStreamIsNotTakenOver(h *hub) {
	h.events("c", "n1")
	h.refuses(request(streams.OpenEvents, "c", "n2"), streams.ErrConflict)
}

func aPostChangesNothing(h *hub) {
	h.opens(request(streams.OpenPost, "none", "n1"), streams.OpenCreated)
	h.events("events", "n1")
	h.polling("poll")
	for _, id := range []string{"none", "events", "poll"} {
		h.unchanged(id, func() {
			r := h.opens(request(streams.OpenPost, id, "n2"), streams.OpenFound)
			equal(h, "ID", r.Record.ID, id)
		})
	}
}

func aClosingConnectionIsOnlyPolled(h *hub) {
	h.stateful("socket", "n1")
	h.opens(request(streams.OpenWebSocket, "new socket", "n1"), streams.OpenCreated)
	h.opens(request(streams.OpenEvents, "events", "n1"), streams.OpenCreated)
	h.polling("poll")
	for _, id := range []string{"socket", "new socket", "events", "poll"} {
		h.closing(id)
	}
	h.refuses(request(streams.OpenWebSocket, "socket", "n2"), streams.ErrGone)
	reattach := request(streams.OpenReattach, "socket", "n2")
	reattach.Ticket = 1
	h.refuses(reattach, streams.ErrGone)
	h.refuses(request(streams.OpenWebSocket, "new socket", "n2"), streams.ErrGone)
	h.refuses(request(streams.OpenEvents, "events", "n2"), streams.ErrGone)
	h.refuses(request(streams.OpenPost, "events", ""), streams.ErrGone)
	h.refuses(request(streams.OpenPost, "poll", ""), streams.ErrGone)
	r := h.opens(poll("poll", "n1", "m"), streams.OpenAttached)
	equal(h, "state", r.Record.State, streams.StateClosing)
}

func aConnectionKeepsItsTransport(h *hub) {
	h.opens(request(streams.OpenWebSocket, "socket", "n1"), streams.OpenCreated)
	h.opens(request(streams.OpenEvents, "events", "n1"), streams.OpenCreated)
	h.opens(poll("poll", "", "m"), streams.OpenFirstPoll)
	for _, test := range []struct {
		id    string
		modes []streams.OpenMode
	}{
		{"socket", []streams.OpenMode{streams.OpenEvents, streams.OpenPoll, streams.OpenPost}},
		{"events", []streams.OpenMode{streams.OpenWebSocket, streams.OpenPoll}},
		{"poll", []streams.OpenMode{streams.OpenWebSocket, streams.OpenEvents}},
	} {
		for _, mode := range test.modes {
			h.refuses(request(mode, test.id, "n2"), streams.ErrTransport)
		}
	}
}

// every request that a stranger could make.
func (h *hub) everyMode(id string) []streams.OpenRequest {
	var list []streams.OpenRequest
	for _, mode := range append(creating, streams.OpenReattach) {
		r := request(mode, id, "n2")
		r.Ticket = 9
		list = append(list, r)
	}
	return list
}

func aConnectionKeepsItsUser(h *hub) {
	h.stateful("socket", "n1")
	h.polling("poll")
	for _, id := range []string{"socket", "poll"} {
		for _, r := range h.everyMode(id) {
			for _, user := range []string{"", "bob"} {
				r.User = user
				h.refuses(r, streams.ErrGone)
			}
		}
	}
}

func aConnectionKeepsItsGeneration(h *hub) {
	h.stateful("socket", "n1")
	h.polling("poll")
	gen := h.record("poll").Gen
	h.must("restamp", h.store.Restamp(h.ctx, h.name, restampNode, []streams.RestampItem{{ID: "socket"}, {ID: "poll"}}, gen, "lost"))
	for _, id := range []string{"socket", "poll"} {
		for _, r := range h.everyMode(id) {
			h.refuses(r, streams.ErrGeneration)
		}
	}
	h.must("restamp", h.store.Restamp(h.ctx, h.name, restampNode, []streams.RestampItem{{ID: "poll"}}, "lost", gen))
	h.opens(poll("poll", "n1", "m"), streams.OpenAttached)
}

func aCursorBelowTheFloorIsAGap(h *hub) {
	h.stateful("socket", "n1")
	h.polling("poll")
	h.opens(request(streams.OpenPost, "post", ""), streams.OpenCreated)
	p := h.sendApart("1", "2", "3")
	h.opens(request(streams.OpenPost, "post at the floor", ""), streams.OpenCreated)
	h.save("socket", "n1", p[1], 0)
	h.opens(poll("poll", "n1", "a"), streams.OpenAttached)
	h.answer("poll", "n1", "a", p[1])
	h.opens(poll("poll", "n2", "b"), streams.OpenAttached) // confirms up to p[1]

	h.trim(p[1])
	h.opens(request(streams.OpenWebSocket, "socket", "n2"), streams.OpenTicket)
	reattach := request(streams.OpenReattach, "socket", "n2")
	reattach.Ticket = 1
	h.opens(reattach, streams.OpenAttached)
	h.opens(poll("poll", "n3", "c"), streams.OpenAttached)

	h.trim(p[2])
	reattach = request(streams.OpenReattach, "socket", "n3")
	reattach.Ticket = 2
	h.refuses(request(streams.OpenWebSocket, "socket", "n3"), streams.ErrGap)
	h.refuses(reattach, streams.ErrGap)
	h.refuses(poll("poll", "n4", "d"), streams.ErrGap)
	h.refuses(poll("post", "n4", "d"), streams.ErrGap)
	h.opens(poll("post at the floor", "n4", "d"), streams.OpenFirstPoll)
	h.opens(request(streams.OpenPost, "poll", ""), streams.OpenFound) // a POST reads nothing
}

// A request that is wrong in several ways is refused for the first of them.
func refusalsHaveTheirOrder(h *hub) {
	h.polling("c")
	p := h.sendApart("1", "2")
	h.trim(p[1])
	wrong := request(streams.OpenWebSocket, "c", "n1")
	wrong.User = "bob"
	wrong.CreateUntil = 1
	gen := h.record("c").Gen
	h.must("restamp", h.store.Restamp(h.ctx, h.name, restampNode, []streams.RestampItem{{ID: "c"}}, gen, "lost"))

	h.refuses(wrong, streams.ErrGone)
	wrong.User = "ann"
	h.refuses(wrong, streams.ErrGeneration)
	h.must("restamp", h.store.Restamp(h.ctx, h.name, restampNode, []streams.RestampItem{{ID: "c"}}, "lost", gen))
	h.refuses(wrong, streams.ErrTransport)
	wrong.Mode = streams.OpenPoll
	h.refuses(wrong, streams.ErrGap)
}

func knownGroupsAreNotToldAgain(h *hub) {
	h.polling("c")
	first := h.open(request(streams.OpenPost, "c", ""))
	h.join("c", "g")
	joined := h.open(request(streams.OpenPost, "c", ""))
	equal(h, "groups", len(joined.Record.Groups), 1)
	h.check(joined.Record.Membership != first.Record.Membership, "a join did not change the version of the groups")

	known := request(streams.OpenPost, "c", "")
	known.Membership = joined.Record.Membership
	h.check(h.open(known).Record.Groups == nil, "groups that are known were told again")
	known.Mode, known.Owner = streams.OpenPoll, "n1"
	h.check(h.open(known).Record.Groups == nil, "groups that are known were told again")
	h.join("c", "g2")
	equal(h, "groups after a change", len(h.open(known).Record.Groups), 2)
	known.Membership = 0
	equal(h, "groups told to whoever knows none", len(h.open(known).Record.Groups), 2)
}

// Valkey's scripts read a small record in another way than one that many groups have made large.
func manyGroupsChangeNothingElse(h *hub) {
	h.stateful("c", "n1.a")
	h.opens(reattach("c", "n2.a", h.upgrade("c")), streams.OpenAttached)
	h.join("c", "g")
	rest := func(r streams.Record) string {
		r.Groups, r.Membership = nil, 0
		return fmt.Sprintf("%+v", r)
	}
	want := rest(h.record("c"))
	for n := 1; n <= 64; n *= 2 {
		if n > 1 {
			var more []string
			for i := n / 2; i < n; i++ {
				more = append(more, fmt.Sprint("g", i))
			}
			h.join("c", more...)
		}
		r := h.record("c")
		equal(h, fmt.Sprintf("record with %d groups", n), rest(r), want)
		equal(h, "groups", len(r.Groups), n)
		again := reattach("c", "n2.a", r.Ticket)
		opened := h.opens(again, streams.OpenAttached)
		equal(h, fmt.Sprintf("record that is opened with %d groups", n), rest(opened.Record), want)
		equal(h, "groups told to whoever knows none", len(opened.Record.Groups), n)
		again.Membership = r.Membership
		h.check(h.open(again).Record.Groups == nil, "%d groups that are known were told again", n)
	}
	end := h.ends(streams.EndRequest{ID: "c", Token: "t"}, streams.EndDone)
	equal(h, "record that has ended", rest(end.Record), want)
}

func takingOverRenewsTheLease(h *hub) {
	h.stateful("stateful", "n1")
	h.polling("poll")
	h.opens(request(streams.OpenWebSocket, "socket", "n1"), streams.OpenCreated)
	h.opens(request(streams.OpenPost, "post", ""), streams.OpenCreated)
	for mode, id := range map[streams.OpenMode]string{
		streams.OpenReattach: "stateful", streams.OpenPoll: "poll", streams.OpenWebSocket: "socket", streams.OpenEvents: "post",
	} {
		open := id == "stateful" || id == "poll"
		r := request(mode, id, "n2")
		r.Ticket = 1
		if open {
			r.Lease = short
		} else {
			r.NewLease = short
		}
		h.opens(r, streams.OpenAttached)
		h.waitExpired(id)
		r = request(mode, id, "n3")
		r.Ticket = 2
		if open {
			r.NewLease = short
		} else {
			r.Lease = short
		}
		h.opens(r, streams.OpenAttached)
		h.check(!h.isExpired(id), "%s did not renew the lease", modeName(mode))
	}

	posted := request(streams.OpenPost, "posted", "")
	posted.NewLease = short
	h.opens(posted, streams.OpenCreated)
	h.waitExpired("posted")
	h.opens(poll("posted", "n1", "m"), streams.OpenFirstPoll)
	h.check(!h.isExpired("posted"), "the first poll did not renew the lease")
}

// restampNode is the node whose owner tokens most tests use.
const restampNode = "n1"

func movedRecordsAreThoseTheNodeServedLast(h *hub) {
	h.webSocket("mine", "n1")
	h.webSocket("mine.too", "n1.abc")
	h.webSocket("other", "n10")
	h.polling("answered")
	h.opens(poll("answered", "n1", "second"), streams.OpenAttached)
	h.answer("answered", "n1", "second", h.last())
	gen := h.record("mine").Gen
	h.must("restamp", h.store.Restamp(h.ctx, h.name, "n1", []streams.RestampItem{{ID: "mine"}, {ID: "mine.too"}, {ID: "other"}, {ID: "answered"}}, gen, "next"))
	for _, id := range []string{"mine", "mine.too", "answered"} {
		equal(h, "generation of "+id, h.record(id).Gen, "next")
	}
	equal(h, "generation of what another node serves", h.record("other").Gen, gen)
	h.must("restamp", h.store.Restamp(h.ctx, h.name, "n2", []streams.RestampItem{{ID: "answered"}}, "next", "last"))
	equal(h, "generation of what another node answered", h.record("answered").Gen, "next")
}

func movedRecordsAreThoseNamed(h *hub) {
	for _, id := range []string{"a", "b", "c"} {
		h.webSocket(id, "n1")
	}
	gen := h.record("a").Gen
	h.must("restamp", h.store.Restamp(h.ctx, h.name, restampNode, []streams.RestampItem{{ID: "a"}, {ID: "b"}, {ID: "nobody"}}, gen, "next"))
	equal(h, "generation of a", h.record("a").Gen, "next")
	equal(h, "generation of b", h.record("b").Gen, "next")
	equal(h, "generation of c, not named", h.record("c").Gen, gen)
	h.must("restamp", h.store.Restamp(h.ctx, h.name, restampNode, []streams.RestampItem{{ID: "a"}, {ID: "c"}}, "other", "last"))
	equal(h, "generation of a, of another generation", h.record("a").Gen, "next")
	equal(h, "generation of c, of another generation", h.record("c").Gen, gen)
	h.gone("nobody")
}

func movedRecordsAreNotOlderThanTheirNodeKnows(h *hub) {
	h.webSocket("socket", "n1.a")
	h.polling("poll")
	h.opens(poll("poll", "n1", "second"), streams.OpenAttached)
	h.answer("poll", "n1", "second", h.last())
	answers := h.record("poll").Answers
	h.polling("answered")
	h.opens(poll("answered", "n1.d", "second"), streams.OpenAttached)
	h.answer("answered", "n1.d", "second", h.last())
	gen := h.record("socket").Gen
	restamp := func(to string, items ...streams.RestampItem) {
		h.must("restamp", h.store.Restamp(h.ctx, h.name, "n1", items, gen, to))
	}
	restamp("next", streams.RestampItem{ID: "socket", Owner: "n1.b"})
	equal(h, "generation of a record with another owner", h.record("socket").Gen, gen)
	restamp("next", streams.RestampItem{ID: "poll", Owner: "n1.c", Answers: answers})
	equal(h, "generation of a record that another attach answered", h.record("poll").Gen, gen)
	restamp("next", streams.RestampItem{ID: "answered", Owner: "n1.d", Answers: h.record("answered").Answers - 1})
	equal(h, "generation of a record that the owner answered meanwhile", h.record("answered").Gen, "next")
	restamp("next", streams.RestampItem{ID: "socket", Owner: "n1.a"}, streams.RestampItem{ID: "poll", Answers: answers})
	equal(h, "generation of a record with the owner", h.record("socket").Gen, "next")
	equal(h, "generation of a record with all answers", h.record("poll").Gen, "next")
	restamp("next", streams.RestampItem{ID: "poll", Answers: answers + 1}) // although somebody else has moved it
	moved := h.record("poll").Gen
	h.check(moved != "next" && moved != gen, "a record that lacks an answer is of generation %q", moved)
	restamp("next", streams.RestampItem{ID: "poll"})
	equal(h, "generation of a record that lacks an answer, again", h.record("poll").Gen, moved)
}
