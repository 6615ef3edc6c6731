package streamstest

import (
	"hubstream/streams"
)

var handshakeTests = []func(*hub){
	aHandshakeStartsAtTheLogsEnd,
	aHandshakeStartsAtItsAnswer,
	aHandshakeHappensOnce,
	aHandshakeIsTheOwners,
	aRefusedHandshakeCloses,
	aRefusedHandshakeOfAWebSocketCloses,
	aHandshakeRenewsTheLease,
	aHandshakeMayChangeTheUser,
	aHandshakeMayMakeItNobodys,
	aPostMayBringTheHandshake,
	aPostMayCreateWithTheHandshake,
	aPostBringsTheHandshakeOnce,
	aHandshakeIsRefusedAsItsPostIs,
}

// posted is a POST that brings a handshake, which token tells from others.
func posted(id, token string) streams.OpenRequest {
	r := request(streams.OpenPost, id, "")
	r.Handshake = &streams.PostedHandshake{Protocol: 3, Version: 1, Reply: reply(id, "{}"), Token: token}
	return r
}

func aPostMayBringTheHandshake(h *hub) {
	created := h.opens(request(streams.OpenEvents, "c", "n1"), streams.OpenCreated)
	h.send("before the handshake")
	r := posted("c", "a")
	var opened streams.OpenReply
	h.appends("the handshake's answer", [][]byte{r.Handshake.Reply}, func() {
		opened = h.opens(r, streams.OpenHandshake)
	})
	equal(h, "start", opened.Record.Start, h.last())
	equal(h, "last", opened.Last, h.last())
	equal(h, "state in the answer", opened.Record.State, streams.StateOpen)
	rec := h.record("c")
	equal(h, "state", rec.State, streams.StateOpen)
	equal(h, "protocol", rec.Protocol, 3)
	equal(h, "version", rec.Version, 1)
	equal(h, "start", rec.Start, h.last())
	equal(h, "cursor: the answer is still to be sent", rec.Cursor, created.Record.Cursor)
	equal(h, "owner", rec.Owner, "n1")
	equal(h, "transport", rec.Transport, streams.TransportServerSentEvents)
	_, err := h.store.Handshake(h.ctx, h.name, streams.HandshakeRequest{ID: "c", Reply: reply("c", "again"), Lease: long})
	h.want("a second handshake", err, streams.ErrGone)

	h.opens(request(streams.OpenEvents, "brief", "n1"), streams.OpenCreated)
	brief := posted("brief", "b")
	brief.Lease = short
	h.opens(brief, streams.OpenHandshake)
	h.waitExpired("brief")
}

func aPostMayCreateWithTheHandshake(h *hub) {
	before := h.send("before the connection")
	r := posted("c", "a")
	h.appends("the handshake's answer", [][]byte{r.Handshake.Reply}, func() { h.opens(r, streams.OpenHandshake) })
	rec := h.record("c")
	equal(h, "state", rec.State, streams.StateOpen)
	equal(h, "transport", rec.Transport, streams.TransportNone)
	equal(h, "owner", rec.Owner, "")
	equal(h, "start", rec.Start, h.last())
	equal(h, "cursor: the answer is still to be sent", rec.Cursor, before)
	attached := h.opens(request(streams.OpenEvents, "c", "n1"), streams.OpenAttached)
	equal(h, "owner", attached.Record.Owner, "n1")
	late := posted("late", "a")
	late.CreateUntil = 1
	h.refuses(late, streams.ErrGone)
}

func aPostBringsTheHandshakeOnce(h *hub) {
	h.opens(request(streams.OpenEvents, "c", "n1"), streams.OpenCreated)
	first := h.opens(posted("c", "a"), streams.OpenHandshake)
	h.unchanged("c", func() {
		again := h.opens(posted("c", "a"), streams.OpenHandshake)
		equal(h, "start", again.Record.Start, first.Record.Start)
		h.opens(posted("c", "b"), streams.OpenFound)
	})
	h.polling("shaken before")
	h.unchanged("shaken before", func() { h.opens(posted("shaken before", "a"), streams.OpenFound) })
}

func aHandshakeIsRefusedAsItsPostIs(h *hub) {
	h.opens(request(streams.OpenWebSocket, "socket", "n1"), streams.OpenCreated)
	h.opens(request(streams.OpenEvents, "anns", "n1"), streams.OpenCreated)
	h.opens(request(streams.OpenEvents, "closing", "n1"), streams.OpenCreated)
	h.closing("closing")
	h.opens(request(streams.OpenEvents, "ended", "n1"), streams.OpenCreated)
	h.ends(streams.EndRequest{ID: "ended", Token: "t"}, streams.EndDone)
	bobs := posted("anns", "a")
	bobs.User = "bob"
	for id, c := range map[string]struct {
		r    streams.OpenRequest
		want error
	}{
		"socket":  {posted("socket", "a"), streams.ErrTransport},
		"anns":    {bobs, streams.ErrGone},
		"closing": {posted("closing", "a"), streams.ErrGone},
		"ended":   {posted("ended", "a"), streams.ErrGone},
	} {
		h.unchanged(id, func() { h.refuses(c.r, c.want) })
	}
}

// Whom it was opened for stays what its requests are asked by; all else is the new user's.
func aHandshakeMayChangeTheUser(h *hub) {
	h.userJoin("ann", "anns", 0)
	h.userJoin("ann", "both", 0)
	h.userJoin("bob", "bobs", 0)
	joined := h.userJoin("bob", "both", 0)
	h.creates("c", "ann")
	h.join("c", "own")
	h.userJoin("ann", "own", 0)
	_, err := h.store.Handshake(h.ctx, h.name, streams.HandshakeRequest{ID: "c", Owner: "n1", Protocol: 3, Version: 2, Lease: long, Rename: true, User: "bob"})
	h.must("handshake", err)
	equal(h, "user", h.record("c").User, "bob")
	h.userIntervals("c", "both", since(joined.Position))
	h.userIntervals("c", "anns")
	for user, want := range map[string]int64{"ann": 0, "bob": 1} {
		h.counts("connections of "+user, streams.HolderUser, user, want)
	}
	for group, want := range map[string]int64{"anns": 0, "bobs": 1, "both": 1, "own": 1} {
		h.counts("members of "+group, streams.HolderGroup, group, want)
	}
	h.touches(streams.TouchItem{ID: "c", Owner: "n1", Lease: long, Heard: true})
	r := request(streams.OpenWebSocket, "c", "n2")
	r.User = "bob"
	h.refuses(r, streams.ErrGone)
	r.User = "ann"
	reply := h.opens(r, streams.OpenTicket)
	equal(h, "user as it is opened again", reply.Record.User, "bob")
	equal(h, "groups as it is opened again", len(reply.Record.UserGroups["bobs"]), 1)
	r.UserMembership, r.Membership = reply.Record.UserMembership, reply.Record.Membership
	equal(h, "groups that are known", h.opens(r, streams.OpenTicket).Record.UserGroups == nil, true)
	h.userLeave("bob", "bobs")
	h.counts("members of bobs, without bob", streams.HolderGroup, "bobs", 0)
	h.ends(streams.EndRequest{ID: "c"}, streams.EndDone)
	for user, group := range map[string]string{"ann": "own", "bob": "both"} {
		h.counts("connections of "+user, streams.HolderUser, user, 0)
		h.counts("members of "+group, streams.HolderGroup, group, 0)
	}
	h.refuses(r, streams.ErrGone)
}

func aHandshakeMayMakeItNobodys(h *hub) {
	h.userJoin("ann", "anns", 0)
	h.pollingAs("c", "ann")
	_, err := h.store.Handshake(h.ctx, h.name, streams.HandshakeRequest{ID: "c", Protocol: 3, Version: 1, Reply: reply("c", "{}"), Lease: long, Rename: true})
	h.must("handshake", err)
	equal(h, "user", h.record("c").User, "")
	h.counts("connections", streams.HolderUser, "ann", 0)
	h.counts("members", streams.HolderGroup, "anns", 0)
	r := poll("c", "n1", "next")
	r.User = ""
	h.refuses(r, streams.ErrGone)
	r.User = "ann"
	equal(h, "groups", len(h.opens(r, streams.OpenAttached).Record.UserGroups), 0)
}

func aHandshakeStartsAtTheLogsEnd(h *hub) {
	cursor := h.opens(request(streams.OpenWebSocket, "c", "n1"), streams.OpenCreated).Record.Cursor
	p := h.send("before the handshake")
	r, err := h.store.Handshake(h.ctx, h.name, streams.HandshakeRequest{ID: "c", Owner: "n1", Protocol: 3, Version: 2, Lease: long})
	h.must("handshake", err)
	equal(h, "start", r.Start, p)
	equal(h, "last: nothing is appended", h.last(), p)
	rec := h.record("c")
	equal(h, "state", rec.State, streams.StateOpen)
	equal(h, "protocol", rec.Protocol, 3)
	equal(h, "version", rec.Version, 2)
	equal(h, "start", rec.Start, p)
	equal(h, "cursor: a close before still counts", rec.Cursor, cursor)
	equal(h, "owner", rec.Owner, "n1")
}

func aHandshakeStartsAtItsAnswer(h *hub) {
	cursor := h.opens(poll("c", "", "m"), streams.OpenFirstPoll).Record.Cursor
	h.send("before the handshake")
	answer := reply("c", "{}")
	r, err := h.store.Handshake(h.ctx, h.name, streams.HandshakeRequest{ID: "c", Protocol: 3, Version: 1, Reply: answer, Lease: long})
	h.must("handshake", err)
	h.at("the handshake's answer", r.Start, answer)
	equal(h, "last", h.last(), r.Start)
	rec := h.record("c")
	equal(h, "state", rec.State, streams.StateOpen)
	equal(h, "protocol", rec.Protocol, 3)
	equal(h, "version", rec.Version, 1)
	equal(h, "start", rec.Start, r.Start)
	equal(h, "cursor: the answer is still to be sent", rec.Cursor, cursor)
}

func aHandshakeHappensOnce(h *hub) {
	h.opens(poll("c", "", "m"), streams.OpenFirstPoll)
	h.handshakePosted("c")
	again := streams.HandshakeRequest{ID: "c", Protocol: 9, Version: 2, Reply: reply("c", "again"), Lease: long}
	h.unchanged("c", func() {
		_, err := h.store.Handshake(h.ctx, h.name, again)
		h.want("a second handshake", err, streams.ErrGone)
	})
	h.closing("c")
	h.unchanged("c", func() {
		_, err := h.store.Handshake(h.ctx, h.name, again)
		h.want("a handshake while closing", err, streams.ErrGone)
	})
	h.end(streams.EndRequest{ID: "c"})
	for _, again.ID = range []string{"c", "nobody"} {
		_, err := h.store.Handshake(h.ctx, h.name, again)
		h.want("a handshake of "+again.ID, err, streams.ErrGone)
	}
}

func aHandshakeIsTheOwners(h *hub) {
	h.opens(request(streams.OpenWebSocket, "c", "n1"), streams.OpenCreated)
	h.unchanged("c", func() {
		_, err := h.store.Handshake(h.ctx, h.name, streams.HandshakeRequest{ID: "c", Owner: "n2", Lease: long})
		h.want("another's handshake", err, streams.ErrOwner)
	})
	h.handshake("c", "n1", 1)

	h.opens(request(streams.OpenEvents, "posted", "n1"), streams.OpenCreated)
	h.handshakePosted("posted") // by whoever got the POST, beside the owner
	equal(h, "owner", h.record("posted").Owner, "n1")
}

func aRefusedHandshakeCloses(h *hub) {
	h.opens(poll("c", "", "m"), streams.OpenFirstPoll)
	refusal := reply("c", `{"error":"no such protocol"}`)
	r, err := h.store.Handshake(h.ctx, h.name, streams.HandshakeRequest{ID: "c", Refused: true, Reply: refusal, Lease: long})
	h.must("refuse the handshake", err)
	h.at("the refusal", r.Start, refusal)
	equal(h, "state", h.record("c").State, streams.StateClosing)
	h.refuses(request(streams.OpenPost, "c", ""), streams.ErrGone)
	_, err = h.store.CloseConnection(h.ctx, h.name, "c", closed("c", "bye"))
	h.want("close", err, streams.ErrGone)
}

func aRefusedHandshakeOfAWebSocketCloses(h *hub) {
	h.opens(request(streams.OpenWebSocket, "c", "n1"), streams.OpenCreated)
	h.appends("the refusal", nil, func() {
		_, err := h.store.Handshake(h.ctx, h.name, streams.HandshakeRequest{ID: "c", Owner: "n1", Refused: true, Lease: long})
		h.must("refuse the handshake", err)
	})
	equal(h, "state", h.record("c").State, streams.StateClosing)
	h.refuses(request(streams.OpenWebSocket, "c", "n2"), streams.ErrGone)
}

func aHandshakeRenewsTheLease(h *hub) {
	h.opens(request(streams.OpenWebSocket, "c", "n1"), streams.OpenCreated)
	_, err := h.store.Handshake(h.ctx, h.name, streams.HandshakeRequest{ID: "c", Owner: "n1", Lease: short})
	h.must("handshake", err)
	h.waitExpired("c")
}
