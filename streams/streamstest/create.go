package streamstest

import (
	"fmt"
	"strings"

	"hubstream/streams"
)

var createTests = []func(*hub){
	aWebSocketCreates,
	anEventStreamCreates,
	aFirstPollCreates,
	aPostCreates,
	nothingIsCreatedTooLate,
	aReattachNeverCreates,
	aNewConnectionStartsAtTheLogsEnd,
	theNewLeaseHoldsUntilTheHandshake,
	lookupTellsTheRecordAndTheLog,
	aRecordKeepsNamesOfAnyBytesAndLength,
}

// creating are the modes that create a connection.
var creating = []streams.OpenMode{streams.OpenWebSocket, streams.OpenEvents, streams.OpenPoll, streams.OpenPost}

// created fails the test unless the reply has a fresh record.
func (h *hub) created(r streams.OpenReply, transport streams.Transport, owner string) {
	h.Helper()
	rec := r.Record
	equal(h, "ID", rec.ID, "c")
	equal(h, "user", rec.User, "ann")
	equal(h, "transport", rec.Transport, transport)
	equal(h, "state", rec.State, streams.StateNew)
	equal(h, "owner", rec.Owner, owner)
	h.check(r.Gen != "", "no generation")
	equal(h, "generation of the record", rec.Gen, r.Gen)
	equal(h, "since", rec.Since, r.Now)
	equal(h, "cursor", rec.Cursor, r.Last)
	equal(h, "start", rec.Start, streams.Position{})
	equal(h, "acked", rec.Acked, 0)
	equal(h, "done", rec.Done, 0)
	equal(h, "groups", len(rec.Groups), 0)
	equal(h, "last", r.Last, h.last())
	equal(h, "record that a look-up tells", fmt.Sprintf("%+v", h.record("c")), fmt.Sprintf("%+v", rec))
}

func aWebSocketCreates(h *hub) {
	r := h.opens(request(streams.OpenWebSocket, "c", "n1"), streams.OpenCreated)
	h.created(r, streams.TransportWebSockets, "n1")
}

func anEventStreamCreates(h *hub) {
	r := h.opens(request(streams.OpenEvents, "c", "n1"), streams.OpenCreated)
	h.created(r, streams.TransportServerSentEvents, "n1")
}

func aFirstPollCreates(h *hub) {
	r := h.opens(poll("c", "n1", "m"), streams.OpenFirstPoll)
	h.created(r, streams.TransportLongPolling, "") // it is answered at once: nobody owns it
	rec := r.Record
	equal(h, "answers", rec.Answers, 1)
	equal(h, "wrote", rec.Wrote, 0)
	equal(h, "failed", rec.Failed, 0)
	equal(h, "mark", rec.Mark, "m")
	equal(h, "time of the poll", rec.PollAt, r.Now)
	equal(h, "time of the answer", rec.AnsweredAt, r.Now)
	equal(h, "sent", rec.Sent, rec.Cursor)
}

func aPostCreates(h *hub) {
	r := h.opens(request(streams.OpenPost, "c", "n1"), streams.OpenCreated)
	h.created(r, streams.TransportNone, "")
	equal(h, "answers", r.Record.Answers, 0)
}

func nothingIsCreatedTooLate(h *hub) {
	for _, mode := range creating {
		late := request(mode, "c", "n1")
		late.CreateUntil = 1
		h.refuses(late, streams.ErrGone)
	}
	// The deadline is for creation alone: what is there is served for as long as it lives.
	h.opens(request(streams.OpenWebSocket, "c", "n1"), streams.OpenCreated)
	late := request(streams.OpenWebSocket, "c", "n2")
	late.CreateUntil = 1
	h.opens(late, streams.OpenAttached)
}

func aReattachNeverCreates(h *hub) {
	r := request(streams.OpenReattach, "c", "n1")
	r.Ticket = 1
	h.refuses(r, streams.ErrGone)
	h.send("a log")
	h.refuses(r, streams.ErrGone)
}

func aNewConnectionStartsAtTheLogsEnd(h *hub) {
	before := h.send("before")
	r := h.opens(poll("c", "", "m"), streams.OpenFirstPoll)
	equal(h, "cursor", r.Record.Cursor, before)
	equal(h, "last", r.Last, before)
	start := h.handshakePosted("c")
	h.check(start.After(h.record("c").Cursor), "the handshake's answer is not after the cursor: it would never be sent")
}

func theNewLeaseHoldsUntilTheHandshake(h *hub) {
	for i, mode := range creating {
		id := string(rune('a' + i))
		r := request(mode, id, "n1")
		r.NewLease = short
		h.open(r)
		h.waitExpired(id)
	}
	// A look-up is no sign of life; the handshake is.
	h.record("a")
	h.check(h.isExpired("a"), "a look-up renewed the lease")
	h.handshake("a", "n1", 1)
	h.check(!h.isExpired("a"), "the handshake did not renew the lease")

	r := request(streams.OpenWebSocket, "z", "n1")
	r.Lease = short // for later
	h.opens(r, streams.OpenCreated)
	h.waitExpired("b")
	h.check(!h.isExpired("z"), "a new connection has the lease of an open one")
}

func lookupTellsTheRecordAndTheLog(h *hub) {
	h.gone("c")
	h.webSocket("c", "n1")
	h.join("c", "g")
	p := h.sendApart("1", "2")
	h.trim(p[0])
	r := h.lookup("c")
	equal(h, "last", r.Last, p[1])
	equal(h, "floor", r.Floor, p[0])
	equal(h, "state", r.Record.State, streams.StateOpen)
	equal(h, "groups", len(r.Record.Groups), 1)
	h.check(r.Now > 0, "no time")
	equal(h, "generation", r.Gen, h.slice(p[1], 1).Gen)
	h.unchanged("c", func() { h.lookup("c") })
	h.closing("c")
	equal(h, "state", h.record("c").State, streams.StateClosing)
	h.end(streams.EndRequest{ID: "c"})
	h.gone("c")
}

func aRecordKeepsNamesOfAnyBytesAndLength(h *hub) {
	for _, size := range []int{1, 31, 32, 255, 256, 65535, 65536} {
		id := fmt.Sprint("c", size)
		r := request(streams.OpenPost, id, "")
		r.User = strings.Repeat("\x00\xff", size)[:size]
		h.opens(r, streams.OpenCreated)
		equal(h, "user that a look-up tells", h.record(id).User, r.User)
		equal(h, "user when it is found", h.opens(r, streams.OpenFound).Record.User, r.User)
	}
}
