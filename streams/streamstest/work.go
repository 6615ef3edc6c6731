package streamstest

import (
	"fmt"
	"slices"
	"sync"

	"hubstream/streams"
)

var workTests = []func(*hub){
	workBeginsAndEndsWithItsEvents,
	workIsExecutedInOrderByOneWorker,
	anItemIsFinishedOnce,
	anAcceptIsMadeOnce,
	aNumberedAcceptCountsOnce,
	anAcceptOfTheGoneIsRefused,
	aPostIsAcceptedWhileAPollWaits,
	workIsBounded,
	aWorkerThatWaitsIsToldOfMore,
	whoIsGivenWorkIsAlive,
	workOfADeadWorkerIsAdopted,
	releasedWorkIsAdopted,
	workWithoutAWorkerIsAdopted,
	callsInTheBackgroundKeepTheirWork,
	repliesAreMadeOnce,
	repliesTellWhereTheClientIs,
	repliesToTheGoneAreDropped,
	eventsAreMadeOnce,
	noEventsAreMadeUnasked,
	acceptsOfManyStayInOrder,
}

func worker(token string) streams.Worker { return streams.Worker{Token: token, Lease: long} }

func work(id string) []byte {
	return streams.AppendEntry(nil, &streams.Entry{Kind: streams.KindWork, Connections: []string{id}})
}

// working opens a connection whose work n1's worker begins.
func (h *hub) working(id string) {
	h.Helper()
	h.opens(request(streams.OpenPost, id, ""), streams.OpenCreated)
	r, err := h.store.Handshake(h.ctx, h.name, streams.HandshakeRequest{
		ID: id, Protocol: 1, Version: 1, Reply: reply(id, "{}"), Lease: long, Connected: true, Context: "context", Worker: worker("w1"),
	})
	h.must("handshake", err)
	h.check(r.Run, "the work of a new connection is not its worker's")
	rec := h.record(id)
	h.check(rec.Works, "its record does not tell that it has work")
	equal(h, "user, whom nobody has asked to change", rec.User, "ann")
}

func accept(w, token string, items ...string) streams.AcceptRequest {
	return streams.AcceptRequest{ID: "c", Token: token, Items: items, Limit: 100, Worker: worker(w), Bell: work("c")}
}

func (h *hub) accept(r streams.AcceptRequest) bool {
	h.Helper()
	run, err := h.store.Accept(h.ctx, h.name, r)
	h.must("accept", err)
	return run
}

func (h *hub) next(w string, done uint64, entries ...[]byte) streams.NextReply {
	h.Helper()
	r, err := h.store.NextWork(h.ctx, h.name, streams.NextRequest{ID: "c", Worker: w, Number: done, Entries: entries, Bell: work("c")})
	h.must("next", err)
	return r
}

func (h *hub) item(what string, r streams.NextReply, number uint64, item string) {
	h.Helper()
	equal(h, what+": number", r.Number, number)
	equal(h, what+": item", r.Item, item)
}

func (h *hub) notTheWorkers(w string) {
	h.Helper()
	_, err := h.store.NextWork(h.ctx, h.name, streams.NextRequest{ID: "c", Worker: w})
	h.want("the work of another", err, streams.ErrOwner)
}

func workBeginsAndEndsWithItsEvents(h *hub) {
	h.working("c")
	first := h.next("w1", 0)
	h.item("first", first, 1, "c1")
	equal(h, "context", first.Context, "context")
	h.accept(accept("w1", "a", "hello"))
	end := h.end(streams.EndRequest{ID: "c", Reason: "because of it", Worker: worker("w1"), Bell: work("c")})
	h.check(end.Run, "the event is not the worker's")
	h.item("message", h.next("w1", 1), 2, "mhello")
	h.item("last", h.next("w1", 2), 3, "d2 because of it")
	h.item("nothing", h.next("w1", 3), 0, "")
	h.notTheWorkers("w1")
	h.check(len(h.adopt("w2")) == 0, "something is left to adopt")
}

func workIsExecutedInOrderByOneWorker(h *hub) {
	h.working("c")
	h.check(!h.accept(accept("w2", "a", "1", "2")), "the work is another's")
	h.notTheWorkers("w2")
	h.item("connected", h.next("w1", 0), 1, "c1")
	h.item("1", h.next("w1", 1), 2, "m1")
	h.check(!h.accept(accept("w2", "b", "3")), "the work is another's")
	one := reply("c", "one")
	h.appends("an answer", [][]byte{one}, func() { h.item("2", h.next("w1", 2, one), 3, "m2") })
	h.item("3", h.next("w1", 3), 4, "m3")
	h.item("nothing", h.next("w1", 4), 0, "")
	h.check(h.accept(accept("w2", "c", "4")), "what nobody has is the next worker's")
	h.item("4", h.next("w2", 0), 5, "m4")
	h.notTheWorkers("w1")
}

func anItemIsFinishedOnce(h *hub) {
	h.working("c")
	h.accept(accept("w1", "a", "1", "2"))
	h.next("w1", 1)
	one := reply("c", "one")
	h.appends("an answer", [][]byte{one}, func() { h.next("w1", 2, one) })
	h.appends("a repetition", nil, func() { h.item("again", h.next("w1", 2, one), 3, "m2") })
	_, err := h.store.NextWork(h.ctx, h.name, streams.NextRequest{ID: "c", Worker: "w1", Number: 5, Entries: [][]byte{one}})
	h.want("what was not begun", err, streams.ErrOwner)
}

func anAcceptIsMadeOnce(h *hub) {
	h.working("c")
	h.next("w1", 1)
	r := accept("w1", "a", "1")
	h.check(h.accept(r), "the work is the worker's")
	h.check(h.accept(r), "a repetition is told what the first was")
	h.item("1", h.next("w1", 0), 2, "m1")
	h.item("nothing", h.next("w1", 2), 0, "")
	_, err := h.store.Accept(h.ctx, h.name, streams.AcceptRequest{ID: "nobody", Token: "b", Items: []string{"1"}, Worker: worker("w1")})
	h.want("of nobody", err, streams.ErrGone)
	h.closing("c")
	_, err = h.store.Accept(h.ctx, h.name, accept("w1", "d", "2"))
	h.want("while closing", err, streams.ErrGone)
}

func aNumberedAcceptCountsOnce(h *hub) {
	h.stateful("c", "n1")
	r := accept("w1", "", "1", "2")
	r.Owner, r.Numbered, r.Count = "n1", true, 3
	h.accept(r)
	equal(h, "done", h.record("c").Done, 3)
	h.check(h.accept(r), "a repetition is told what the first was")
	h.item("1", h.next("w1", 0), 1, "m1")
	h.item("2", h.next("w1", 1), 2, "m2")
	h.item("nothing", h.next("w1", 2), 0, "")
	r.Done, r.Count, r.Items = 1, 1, []string{"x"}
	_, err := h.store.Accept(h.ctx, h.name, r)
	h.want("out of turn", err, streams.ErrOwner)
	r.Done, r.Owner = 3, "n2"
	_, err = h.store.Accept(h.ctx, h.name, r)
	h.want("another's", err, streams.ErrOwner)
	r.Owner, r.Items = "n1", nil
	h.accept(r)
	equal(h, "done", h.record("c").Done, 4)
}

// The socket of a connection that was ended elsewhere may still bring what its client sent.
func anAcceptOfTheGoneIsRefused(h *hub) {
	h.stateful("c", "n1")
	h.ends(streams.EndRequest{ID: "c"}, streams.EndDone)
	r := accept("w1", "", "1")
	r.Owner, r.Numbered, r.Count = "n1", true, 1
	_, err := h.store.Accept(h.ctx, h.name, r)
	h.want("after the end", err, streams.ErrGone)
	h.check(len(h.adopt("w2")) == 0, "it left work behind")
}

// A POST names no owner: the poll that waits is another request's, and perhaps another node's.
func aPostIsAcceptedWhileAPollWaits(h *hub) {
	h.polling("c")
	h.opens(poll("c", "n1", "m"), streams.OpenAttached)
	h.check(h.accept(accept("w1", "a", "1")), "the work is not its worker's")
	h.item("1", h.next("w1", 0), 1, "m1")
}

func workIsBounded(h *hub) {
	h.working("c")
	h.next("w1", 1)
	r := accept("w1", "a", "1", "2")
	r.Limit = 3
	h.accept(r)
	r.Token, r.Items = "full", []string{"3"}
	h.accept(r)
	r.Token, r.Items = "b", []string{"4"}
	_, err := h.store.Accept(h.ctx, h.name, r)
	h.want("one too many", err, streams.ErrBusy)
	h.next("w1", 2)
	h.accept(r)
	h.next("w1", 3)
	h.item("3", h.next("w1", 4), 5, "m4")
	h.next("w1", 5)
	r.Token, r.Items = "c", []string{"5", "6", "7", "8", "9"}
	h.accept(r) // alone it may be any size
}

// A worker that has the list and nothing to do waits for the log to tell.
func aWorkerThatWaitsIsToldOfMore(h *hub) {
	h.working("c")
	h.accept(accept("w1", "a", "call"))
	h.next("w1", 1)
	r, err := h.store.NextWork(h.ctx, h.name, streams.NextRequest{ID: "c", Worker: "w1", Number: 2, Call: "7"})
	h.must("next", err)
	h.item("nothing", r, 0, "")
	h.check(slices.Equal(r.Calls, []string{"7"}), "calls: %v", r.Calls)
	h.appends("its own", nil, func() { h.check(h.accept(accept("w1", "b", "1")), "the work is its own") })
	h.next("w1", 3)
	h.appends("another's", [][]byte{work("c")}, func() { h.accept(accept("w2", "c", "2")) })
	h.appends("more of it", nil, func() { h.accept(accept("w2", "d", "3")) })
	h.next("w1", 4)
	h.next("w1", 5)
	closed := ended("c")
	h.appends("an end", [][]byte{closed, work("c")}, func() {
		h.end(streams.EndRequest{ID: "c", Entry: closed, Worker: worker("w2"), Bell: work("c")})
	})
}

func (h *hub) adopt(w string) []string {
	h.Helper()
	var all []string
	for cursor := ""; ; {
		r, err := h.store.Adopt(h.ctx, h.name, streams.AdoptRequest{Worker: worker(w), Cursor: cursor, Limit: 2})
		h.must("adopt", err)
		all = append(all, r.IDs...)
		if cursor = r.Next; cursor == "" {
			return all
		}
	}
}

// A worker that is given the first work of a bucket has no lease there yet: with that it gets one.
func whoIsGivenWorkIsAlive(h *hub) {
	h.polling("c")
	h.accept(accept("w1", "a", "1"))
	h.check(len(h.adopt("w2")) == 0, "what a POST brought was adopted at once")
	h.next("w1", 0)
	h.next("w1", 1)

	h = h.sibling()
	h.working("c")
	h.next("w1", 1)
	h.check(h.end(streams.EndRequest{ID: "c", Worker: worker("w3"), Bell: work("c")}).Run, "the event is not the worker's")
	h.check(len(h.adopt("w2")) == 0, "the event of an end was adopted at once")
}

func workOfADeadWorkerIsAdopted(h *hub) {
	h.working("c")
	h.working("d")
	h.check(len(h.adopt("w2")) == 0, "its worker lives")
	h.must("keep", h.store.KeepWorker(h.ctx, streams.Bucket(h.name), streams.Worker{Token: "w1", Lease: short}))
	var all []string
	h.eventually("adopted", func() bool { all = append(all, h.adopt("w2")...); return len(all) >= 2 })
	h.check(same(all, []string{"c", "d"}), "adopted: %v", all)
	h.check(same(h.adopt("w2"), []string{"c", "d"}), "a worker that may not have had the answer is told again what it has")
	h.notTheWorkers("w1")
	h.item("the same again", h.next("w2", 0), 1, "c1")
}

func releasedWorkIsAdopted(h *hub) {
	h.working("c")
	free := message("free")
	h.appends("a release", [][]byte{free}, func() {
		_, err := h.store.NextWork(h.ctx, h.name, streams.NextRequest{ID: "c", Worker: "w1", Number: 1, Release: true, Bell: free})
		h.must("release", err)
	})
	h.notTheWorkers("w1")
	one, err := h.store.Adopt(h.ctx, h.name, streams.AdoptRequest{Worker: worker("w2"), ID: "c"})
	h.must("adopt", err)
	h.check(slices.Equal(one.IDs, []string{"c"}), "adopted: %v", one.IDs)
	one, err = h.store.Adopt(h.ctx, h.name, streams.AdoptRequest{Worker: worker("w2"), ID: "c"})
	h.must("adopt", err)
	h.check(slices.Equal(one.IDs, []string{"c"}), "adopted, when asked again: %v", one.IDs)
	one, err = h.store.Adopt(h.ctx, h.name, streams.AdoptRequest{Worker: worker("w3"), ID: "c"})
	h.must("adopt", err)
	h.check(len(one.IDs) == 0, "adopted twice")
}

func workWithoutAWorkerIsAdopted(h *hub) {
	h.working("c")
	h.next("w1", 1)
	h.end(streams.EndRequest{ID: "c", Reason: "x"})
	h.check(slices.Equal(h.adopt("w2"), []string{"c"}), "the event has no worker")
	h.item("disconnected", h.next("w2", 0), 2, "d2 x")
}

func callsInTheBackgroundKeepTheirWork(h *hub) {
	h.working("c")
	h.accept(accept("w1", "a", "call"))
	h.next("w1", 1)
	_, err := h.store.NextWork(h.ctx, h.name, streams.NextRequest{ID: "c", Worker: "w1", Number: 2, Call: "7"})
	h.must("next", err)
	h.check(!h.accept(accept("w2", "b", "1")), "the work is free")
	again := h.next("w1", 0)
	h.check(slices.Equal(again.Calls, []string{"7"}), "calls: %v", again.Calls)
	h.next("w1", 3)
	_, err = h.store.Reply(h.ctx, h.name, streams.ReplyRequest{ID: "c", Worker: "w1", Call: "7", Number: 1, Final: true})
	h.must("reply", err)
	h.check(h.accept(accept("w2", "c", "2")), "the work is not free")
}

func repliesAreMadeOnce(h *hub) {
	h.working("c")
	h.accept(accept("w1", "a", "call"))
	h.next("w1", 1)
	_, err := h.store.NextWork(h.ctx, h.name, streams.NextRequest{ID: "c", Worker: "w1", Number: 2, Call: "7"})
	h.must("next", err)
	one, end := reply("c", "one"), reply("c", "end")
	r := streams.ReplyRequest{ID: "c", Worker: "w1", Call: "7", Number: 1, Entries: [][]byte{one}}
	say := func() (reply streams.ReplyReply) {
		reply, err := h.store.Reply(h.ctx, h.name, r)
		h.must("reply", err)
		return reply
	}
	h.appends("a reply", [][]byte{one}, func() { h.at("reply", say().Last, one) })
	h.appends("a repetition", nil, func() { say() })
	h.accept(accept("w1", "more", "2"))
	r.Number, r.Entries, r.Final = 2, [][]byte{end}, true
	h.appends("the last", [][]byte{end}, func() { say() })
	h.appends("a repetition of the last while there is more to do", nil, func() { say() })
	h.check(len(h.next("w1", 0).Calls) == 0, "the call goes on")
	h.next("w1", 3)
	_, err = h.store.Reply(h.ctx, h.name, r)
	h.check(err == nil || err.Error() == streams.ErrOwner.Error(), "a repetition of the last: %v", err)
	h.check(h.accept(accept("w2", "b", "1")), "the work is not free")
	h.want("another's reply", func() error { _, err := h.store.Reply(h.ctx, h.name, r); return err }(), streams.ErrOwner)
}

// A client that polls has what it was answered, although only its next poll confirms that.
func repliesTellWhereTheClientIs(h *hub) {
	h.working("c")
	cursor := h.record("c").Cursor
	reply := func() streams.Position {
		r, err := h.store.Reply(h.ctx, h.name, streams.ReplyRequest{ID: "c", Worker: "w1", Call: "7", Number: 1})
		h.must("reply", err)
		return r.Cursor
	}
	equal(h, "before the first poll", reply(), cursor)
	h.opens(poll("c", "n1", "first"), streams.OpenFirstPoll)
	h.wrote("c", 1, true)
	h.opens(poll("c", "n1", "m"), streams.OpenAttached)
	sent := h.send("1")
	h.answer("c", "n1", "m", sent)
	equal(h, "cursor", h.record("c").Cursor, cursor)
	equal(h, "after an answer", reply(), sent)
}

func repliesToTheGoneAreDropped(h *hub) {
	h.working("c")
	h.accept(accept("w1", "a", "call", "2"))
	h.next("w1", 1)
	_, err := h.store.NextWork(h.ctx, h.name, streams.NextRequest{ID: "c", Worker: "w1", Number: 2, Call: "7"})
	h.must("next", err)
	h.end(streams.EndRequest{ID: "c", Worker: worker("w1"), Bell: work("c")})
	h.appends("an answer", nil, func() { h.next("w1", 3, reply("c", "x")) })
	h.appends("a reply", nil, func() {
		r, err := h.store.Reply(h.ctx, h.name, streams.ReplyRequest{ID: "c", Worker: "w1", Call: "7", Number: 1, Entries: [][]byte{reply("c", "y")}})
		h.must("reply", err)
		h.check(r.Ended, "it is not told that the connection has ended")
	})
}

func eventsAreMadeOnce(h *hub) {
	h.working("c")
	end := streams.EndRequest{ID: "c", Token: "t", Reason: "x", Worker: worker("w1"), Bell: work("c")}
	h.ends(end, streams.EndDone)
	again := h.ends(end, streams.EndDone)
	h.check(again.Run, "a repetition is not told what the first was")
	end.Token = "u"
	h.ends(end, streams.EndAlready)
	h.next("w1", 1)
	h.item("disconnected", h.next("w1", 0), 2, "d2 x")
	h.item("nothing", h.next("w1", 2), 0, "")

	h.opens(request(streams.OpenWebSocket, "new", "n1"), streams.OpenCreated) // no handshake: no events
	h.check(!h.end(streams.EndRequest{ID: "new", Worker: worker("w1")}).Run, "an event of what never was connected")
	h.working("d")
	r, err := h.store.NextWork(h.ctx, h.name, streams.NextRequest{ID: "d", Worker: "w1"})
	h.must("next", err)
	h.item("events of a hub are counted together", r, 1, "c3")
}

// Neither of a connection that never was, since its handshake was refused, nor where nobody asked for them.
func noEventsAreMadeUnasked(h *hub) {
	for id, r := range map[string]streams.HandshakeRequest{
		"refused": {Refused: true, Connected: true, Reply: reply("refused", "{}")},
		"renamed": {Rename: true, User: "bob", Reply: reply("renamed", "{}")},
	} {
		h.opens(request(streams.OpenPost, id, ""), streams.OpenCreated)
		r.ID, r.Protocol, r.Version, r.Lease, r.Context, r.Worker = id, 1, 1, long, "context", worker("w1")
		shaken, err := h.store.Handshake(h.ctx, h.name, r)
		h.must("handshake", err)
		h.check(!shaken.Run && !h.record(id).Works, "%s: there is work", id)
		h.check(!h.end(streams.EndRequest{ID: id, Worker: worker("w1")}).Run, "%s: its end is an event", id)
	}
	h.check(len(h.adopt("w2")) == 0, "there is something to adopt")
}

func acceptsOfManyStayInOrder(h *hub) {
	h.working("c")
	h.next("w1", 1)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 20 {
				r := accept("w1", fmt.Sprint(w, " ", i), fmt.Sprint(w, " ", i), "after")
				r.Limit = 1000
				h.accept(r)
			}
		})
	}
	wg.Wait()
	seen := [4]int{}
	for n := uint64(2); ; n += 2 {
		r := h.next("w1", n-1)
		if r.Number == 0 {
			break
		}
		var w, i int
		if _, err := fmt.Sscanf(r.Item, "m%d %d", &w, &i); err != nil || seen[w] != i {
			h.Fatalf("item %q, %v seen", r.Item, seen)
		}
		seen[w]++
		h.item("together", h.next("w1", n), n+1, "mafter")
	}
	equal(h, "all", seen, [4]int{20, 20, 20, 20})
}
