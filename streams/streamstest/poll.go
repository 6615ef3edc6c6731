package streamstest

import (
	"time"

	"hubstream/streams"
)

var pollTests = []func(*hub){
	aNewMarkProvesTheAnswer,
	noMarkProvesTheAnswer,
	anAnswerThatFailedIsRepeated,
	anEqualMarkIsUndecidedUntilWritten,
	anEqualMarkOfAnOldAnswerIsARepeat,
	anEqualMarkIsNotAboutTheAgeOfThePoll,
	aUniqueMarkThatComesAgainIsARepeat,
	aUniqueMarkOfTheFirstPollIsARepeat,
	aPollThatWasOvertakenByItselfIsRefused,
	aPollComesAgainWhenItsAnswerHasArrived,
	aPollComesAgainWhenItsClientHasPolledOn,
	anAnswerThatIsRepeatedIsNoOther,
	anAnswerThatIsRepeatedIsNotDecidedTwice,
	anAbandonedPollIsRepeated,
	aPollIsJudgedByWhenItCame,
	theFirstPollIsRepeated,
	theFirstPollThatFailedIsRepeatedOnce,
	theFirstPollThatFailedIsNotTheNext,
	noMarkDoesNotProveTheFirstPoll,
	aPollFollowsAPostedHandshake,
	aPollFollowsAPost,
	aPollDisplacesAnother,
	aPollDisplacedHadDecided,
	aPollRepeatedIsTheSame,
	aConfirmedAnswerIsNoGap,
	aRefusedHandshakeIsPolled,
}

// answered is a long polling connection whose last answer went up to the second of
// three messages, with the mark "m"; its cursor is before the first.
func (h *hub) answered(id string, held time.Duration) (cursor, sent streams.Position) {
	h.Helper()
	h.polling(id)
	cursor = h.record(id).Cursor
	h.opens(poll(id, "n1", "m"), streams.OpenAttached)
	p := h.sendApart("1", "2", "3")
	h.answerHeld(id, "n1", "m", p[1], held)
	return cursor, p[1]
}

// begins fails the test unless the poll owns the connection and its answer begins there.
func (h *hub) begins(r streams.OpenRequest, want streams.Position) {
	h.Helper()
	reply := h.opens(r, streams.OpenAttached)
	equal(h, "cursor", reply.Record.Cursor, want)
	equal(h, "sent", reply.Record.Sent, want)
	equal(h, "owner", reply.Record.Owner, r.Owner)
}

// repeats fails the test unless the poll owns the connection and is to be answered what is after the one position up to the other.
func (h *hub) repeats(r streams.OpenRequest, from, to streams.Position) {
	h.Helper()
	reply := h.opens(r, streams.OpenRepeated)
	equal(h, "cursor", reply.Record.Cursor, from)
	equal(h, "sent", reply.Record.Sent, to)
	equal(h, "owner", reply.Record.Owner, r.Owner)
}

func aNewMarkProvesTheAnswer(h *hub) {
	_, sent := h.answered("c", 0) // whether it was written is not known yet
	h.begins(poll("c", "n2", "other"), sent)
}

func noMarkProvesTheAnswer(h *hub) {
	h.polling("c")
	h.opens(poll("c", "n1", ""), streams.OpenAttached)
	p := h.send("1")
	h.answer("c", "n1", "", p)
	h.begins(poll("c", "n2", ""), p)
}

func anAnswerThatFailedIsRepeated(h *hub) {
	for _, mark := range []string{"other", "", "m"} {
		id := "c" + mark
		cursor, sent := h.answered(id, 0)
		n := h.record(id).Answers
		h.wrote(id, n, false)
		if mark == "m" {
			h.repeats(poll(id, "n2", mark), cursor, sent)
		} else {
			h.begins(poll(id, "n2", mark), cursor)
		}
		h.answer(id, "n2", mark, sent)
		h.wrote(id, n+1, true)
		h.begins(poll(id, "n3", "next"), sent) // the failure was the one answer's
	}
}

func anEqualMarkIsUndecidedUntilWritten(h *hub) {
	_, sent := h.answered("written", 0)
	h.unchanged("written", func() {
		h.opens(poll("written", "n2", "m"), streams.OpenUndecided)
		h.opens(poll("written", "n2", "m"), streams.OpenUndecided)
	})
	h.wrote("written", h.record("written").Answers, true)
	force := poll("written", "n2", "m")
	force.Force = true // decides what is undecided only
	h.begins(force, sent)

	cursor, sent := h.answered("forced", 0)
	h.opens(poll("forced", "n2", "m"), streams.OpenUndecided)
	force = poll("forced", "n2", "m")
	force.Force = true
	h.repeats(force, cursor, sent)
}

func anEqualMarkOfAnOldAnswerIsARepeat(h *hub) {
	from, to := h.answered("written", 0)
	h.wrote("written", h.record("written").Answers, true)
	unwritten, sent := h.answered("unwritten", 0)
	time.Sleep(1010 * time.Millisecond)
	h.repeats(poll("written", "n2", "m"), from, to)
	h.repeats(poll("unwritten", "n2", "m"), unwritten, sent)
}

func anEqualMarkIsNotAboutTheAgeOfThePoll(h *hub) {
	_, sent := h.answered("c", time.Hour)
	h.wrote("c", h.record("c").Answers, true)
	h.begins(poll("c", "n2", "m"), sent)
}

// Although it was written, and a moment ago.
func aUniqueMarkThatComesAgainIsARepeat(h *hub) {
	cursor, sent := h.answered("c", 0)
	h.begins(poll("c", "n2", "unique"), sent)
	h.answerUnique("c", "n2", "unique", h.last())
	h.wrote("c", h.record("c").Answers, true)
	last := h.last()
	h.send("more")
	h.repeats(poll("c", "n3", "unique"), sent, last)
	h.repeats(poll("c", "n3", "unique"), sent, last) // a repetition
	h.repeats(poll("c", "n4", "unique"), sent, last) // and that poll again
	h.answerUnique("c", "n4", "unique", last)
	h.repeats(poll("c", "n5", "unique"), sent, last)
	h.answerUnique("c", "n5", "unique", last)
	h.begins(poll("c", "n1", "next"), last)

	// The next answer's mark is another's, whether or not it is equal.
	h.answer("c", "n1", "unique", h.last())
	h.opens(poll("c", "n2", "unique"), streams.OpenUndecided)
	h.check(cursor.Before(sent), "nothing was answered")
}

func aUniqueMarkOfTheFirstPollIsARepeat(h *hub) {
	first := poll("c", "n1", "m")
	first.Unique = true
	h.opens(first, streams.OpenFirstPoll)
	h.wrote("c", 1, true)
	h.opens(first, streams.OpenFirstPoll)
	h.opens(poll("c", "n2", "next"), streams.OpenAttached)
}

// A proxy sends a poll again, and that comes to the store before the first.
func aPollThatWasOvertakenByItselfIsRefused(h *hub) {
	h.polling("c")
	again, first := poll("c", "n2", "m"), poll("c", "n1", "m")
	again.Unique, first.Unique = true, true
	first.Arrived = time.Now().Add(-time.Second)
	h.opens(again, streams.OpenAttached)
	h.refuses(first, streams.ErrOwner)
	h.opens(again, streams.OpenAttached) // a repetition
	from := h.record("c").Cursor
	p := h.send("1")
	h.answerUnique("c", "n2", "m", p)
	h.repeats(first, from, p) // which came first does not matter any more; the store's clock may have been set back
	h.begins(poll("c", "n3", "next"), p)
}

// A node that stood still goes on with a poll that a proxy has sent again, and whose answer has arrived: the client's next poll confirms that.
func aPollComesAgainWhenItsAnswerHasArrived(h *hub) {
	cursor, sent := h.answered("unique", 0)
	h.repeatsForced("unique", cursor, sent)
	h.begins(poll("unique", "n3", "next"), sent)

	// The one before is not looked at again.
	h.send("more")
	h.answerUnique("unique", "n3", "next", h.last())
	h.begins(poll("unique", "n4", "and next"), h.last())

	// Nor is what is confirmed repeated when it is trimmed.
	cursor, sent = h.answered("trimmed", 0)
	h.repeatsForced("trimmed", cursor, sent)
	h.trim(sent)
	h.refuses(poll("trimmed", "n3", "m"), streams.ErrGap)
	h.begins(poll("trimmed", "n3", "next"), sent)
}

// repeatsForced repeats the last answer, with the mark "m", to n2.
func (h *hub) repeatsForced(id string, cursor, sent streams.Position) {
	h.Helper()
	again := poll(id, "n2", "m")
	again.Force = true
	h.repeats(again, cursor, sent)
}

// A poll that comes when its client has polled on disturbs nobody, unless it is insisted on: the client's clock may have been set back.
func aPollComesAgainWhenItsClientHasPolledOn(h *hub) {
	const first, second, third = "1764163200000", "1764163200001", "1764163200002"
	next := func(owner, mark string) streams.OpenRequest {
		r := poll("c", owner, mark)
		r.Unique = true
		return r
	}
	h.polling("c")
	h.opens(next("n1", first), streams.OpenAttached)
	h.answerUnique("c", "n1", first, h.send("1"))
	h.opens(next("n2", second), streams.OpenAttached)
	h.unchanged("c", func() { h.opens(next("n3", first), streams.OpenUndecided) })
	sent := h.send("2")
	h.answerUnique("c", "n2", second, sent)
	for _, mark := range []string{first, "1764163199999"} {
		h.unchanged("c", func() { h.opens(next("n3", mark), streams.OpenUndecided) })
	}
	for _, mark := range []string{third, "176416320000", "17641632000000", "176416320000x", ""} { // later, or no time
		h.begins(next("n3"+mark, mark), sent)
	}
	h.begins(next("n4", third), sent)
	set := next("n5", first)
	set.Force = true
	h.begins(set, sent)

	// So it is where others may have the same.
	h.answered("equal", 0)
	waiting := poll("equal", "n2", second)
	h.opens(waiting, streams.OpenAttached)
	h.unchanged("equal", func() { h.opens(poll("equal", "n3", first), streams.OpenUndecided) })
	again := poll("equal", "n3", second)
	again.Arrived = time.Now().Add(-time.Second)
	h.opens(again, streams.OpenAttached)
}

// A poll that was opened twice, once before it was displaced and answered elsewhere and once, late, after that, may not know that it
// repeats that answer, and have another.
func anAnswerThatIsRepeatedIsNoOther(h *hub) {
	cursor, sent := h.answered("c", 0)
	h.repeatsForced("c", cursor, sent)
	for _, other := range []streams.Position{cursor, h.send("more")} {
		h.unchanged("c", func() {
			_, err := h.store.Answer(h.ctx, h.name, streams.AnswerRequest{ID: "c", Owner: "n2", Sent: other, Mark: "m", Lease: long})
			h.want("another answer", err, streams.ErrOwner)
		})
	}
	h.answer("c", "n2", "m", sent)
}

// What is learned of the answer while it is repeated is that it failed, or nothing.
func anAnswerThatIsRepeatedIsNotDecidedTwice(h *hub) {
	cursor, sent := h.answered("written", 0)
	h.repeatsForced("written", cursor, sent)
	h.wrote("written", h.record("written").Answers, true)
	h.repeats(poll("written", "n3", "m"), cursor, sent)

	cursor, sent = h.answered("failed", 0)
	h.repeatsForced("failed", cursor, sent)
	h.wrote("failed", h.record("failed").Answers, false)
	h.begins(poll("failed", "n3", "next"), cursor)

	cursor, sent = h.answered("again failed", 0)
	h.repeatsForced("again failed", cursor, sent)
	h.answer("again failed", "n2", "m", sent)
	again := poll("again failed", "n3", "m")
	again.Force = true
	h.repeats(again, cursor, sent)
	h.unchanged("again failed", func() { h.wrote("again failed", h.record("again failed").Answers, false) }) // n2's
	h.begins(poll("again failed", "n4", "next"), sent)

	cursor, sent = h.answered("abandoned", 0)
	h.repeatsForced("abandoned", cursor, sent)
	late := poll("abandoned", "n3", "next")
	late.Arrived = time.Now().Add(-time.Hour)
	h.begins(late, sent) // it came before: that the client has waited too long is told by the time of its poll
}

func anAbandonedPollIsRepeated(h *hub) {
	cursor, _ := h.answered("abandoned", 95*time.Second)
	h.wrote("abandoned", h.record("abandoned").Answers, true)
	h.begins(poll("abandoned", "n2", "other"), cursor)

	cursor, sent := h.answered("repeated", 95*time.Second)
	h.repeatsForced("repeated", cursor, sent)
	h.begins(poll("repeated", "n3", "other"), cursor)

	_, sent = h.answered("waiting", 85*time.Second)
	h.begins(poll("waiting", "n2", "other"), sent)
}

// A poll may wait long for a store that is away: what tells is when its client sent it.
func aPollIsJudgedByWhenItCame(h *hub) {
	_, sent := h.answered("equal", 0)
	h.wrote("equal", h.record("equal").Answers, true)
	time.Sleep(1010 * time.Millisecond)
	late := poll("equal", "n2", "m")
	late.Arrived = time.Now().Add(-time.Second)
	h.begins(late, sent)

	_, sent = h.answered("other", 85*time.Second)
	h.wrote("other", h.record("other").Answers, true)
	late = poll("other", "n2", "other")
	late.Arrived = time.Now().Add(-20 * time.Second)
	h.begins(late, sent)
}

func theFirstPollIsRepeated(h *hub) {
	first := h.opens(poll("c", "n1", "m"), streams.OpenFirstPoll).Record
	h.unchanged("c", func() { h.opens(poll("c", "n2", "m"), streams.OpenUndecided) })
	h.handshakePosted("c")
	time.Sleep(5 * time.Millisecond)
	again := poll("c", "n2", "m")
	again.Force = true
	rec := h.opens(again, streams.OpenFirstPoll).Record
	equal(h, "owner", rec.Owner, "")
	equal(h, "answers", rec.Answers, 1)
	equal(h, "cursor", rec.Cursor, first.Cursor)
	h.check(rec.AnsweredAt > first.AnsweredAt, "the time of the answer was not renewed")
	h.begins(poll("c", "n3", "next"), first.Cursor)
}

// What made the first poll's answer a loss must not make it one for ever.
func theFirstPollThatFailedIsRepeatedOnce(h *hub) {
	for _, mark := range []string{"", "m"} {
		id := "c" + mark
		h.opens(poll(id, "n1", mark), streams.OpenFirstPoll)
		h.wrote(id, 1, false)
		rec := h.opens(poll(id, "n2", mark), streams.OpenFirstPoll).Record
		equal(h, "time of the poll", rec.PollAt, rec.AnsweredAt)
		if mark != "" {
			h.opens(poll(id, "n3", mark), streams.OpenUndecided)
			h.wrote(id, 1, true)
		}
		h.begins(poll(id, "n3", mark), rec.Cursor)
	}

	h.opens(poll("brief", "n1", "m"), streams.OpenFirstPoll)
	h.wrote("brief", 1, false)
	again := poll("brief", "n2", "m")
	again.NewLease = short // it is renewed, as by any poll
	h.opens(again, streams.OpenFirstPoll)
	h.waitExpired("brief")
}

// The first poll may be late, and fail, when its client has the answer from another node: to its next poll a JavaScript client with
// MessagePack must not be given it again.
func theFirstPollThatFailedIsNotTheNext(h *hub) {
	rec := h.opens(poll("failed", "n1", "m"), streams.OpenFirstPoll).Record
	h.wrote("failed", 1, false)
	h.begins(poll("failed", "n2", "next"), rec.Cursor)

	old := poll("old", "n1", "m")
	old.Arrived = time.Now().Add(-2 * time.Minute)
	rec = h.opens(old, streams.OpenFirstPoll).Record
	h.begins(poll("old", "n2", "next"), rec.Cursor)
}

// A first poll that failed is known not to be the next by two marks that differ, not by one that is missing.
func noMarkDoesNotProveTheFirstPoll(h *hub) {
	for first, next := range map[string]string{"m": "", "": "m"} {
		id := "first " + first
		h.opens(poll(id, "n1", first), streams.OpenFirstPoll)
		h.wrote(id, 1, false)
		h.opens(poll(id, "n2", next), streams.OpenFirstPoll)
	}
}

func aPollFollowsAPostedHandshake(h *hub) {
	h.opens(request(streams.OpenPost, "c", ""), streams.OpenCreated)
	start := h.handshakePosted("c")
	r := h.opens(poll("c", "n1", "m"), streams.OpenFirstPoll)
	equal(h, "transport", r.Record.Transport, streams.TransportLongPolling)
	equal(h, "owner", r.Record.Owner, "")
	equal(h, "answers", r.Record.Answers, 1)
	equal(h, "mark", r.Record.Mark, "m")
	equal(h, "sent", r.Record.Sent, r.Record.Cursor)
	equal(h, "time of the poll", r.Record.PollAt, r.Now)
	equal(h, "time of the answer", r.Record.AnsweredAt, r.Now)
	h.check(r.Record.Cursor.Before(start), "the handshake's answer is not after the cursor")
	h.begins(poll("c", "n2", "m2"), r.Record.Cursor)
}

func aPollFollowsAPost(h *hub) {
	h.opens(request(streams.OpenPost, "c", ""), streams.OpenCreated)
	r := h.opens(poll("c", "n1", "m"), streams.OpenFirstPoll)
	equal(h, "state", r.Record.State, streams.StateNew)
	start := h.handshakePosted("c")
	reply := h.opens(poll("c", "n2", "m2"), streams.OpenAttached)
	h.check(reply.Record.Cursor.Before(start), "the handshake's answer is not after the cursor")
}

func aPollDisplacesAnother(h *hub) {
	h.polling("c")
	h.appends("the first poll", nil, func() {
		h.opens(poll("c", "n1", "a"), streams.OpenAttached)
	})
	h.appends("the second poll", [][]byte{moved("c", "n2")}, func() {
		r := h.opens(poll("c", "n2", "b"), streams.OpenAttached)
		equal(h, "owner", r.Record.Owner, "n2")
		equal(h, "last, the displacement included", r.Last, h.last())
	})
	_, err := h.store.Answer(h.ctx, h.name, streams.AnswerRequest{ID: "c", Owner: "n1", Sent: h.last(), Lease: long})
	h.want("the answer of the displaced", err, streams.ErrOwner)
	h.answer("c", "n2", "b", h.last())
	h.appends("a poll after the answer", nil, func() {
		h.opens(poll("c", "n3", "c"), streams.OpenAttached)
	})
}

// Whether the answer has arrived is decided once: what is learned of it while another
// poll waits does not take that back.
func aPollDisplacedHadDecided(h *hub) {
	_, sent := h.answered("c", 0)
	h.begins(poll("c", "n2", "other"), sent)
	h.wrote("c", h.record("c").Answers, false)
	h.begins(poll("c", "n3", "m"), sent)

	cursor := h.opens(poll("first", "n1", "m"), streams.OpenFirstPoll).Record.Cursor
	h.begins(poll("first", "n2", "other"), cursor)
	h.wrote("first", 1, false)
	h.begins(poll("first", "n3", "m"), cursor)
}

// A poll whose node asks again, because the store's answer was lost, displaces nobody
// and decides nothing twice.
func aPollRepeatedIsTheSame(h *hub) {
	h.answered("c", 0)
	first := h.opens(poll("c", "n2", "other"), streams.OpenAttached)
	h.unchanged("c", func() {
		again := h.opens(poll("c", "n2", "other"), streams.OpenAttached)
		equal(h, "cursor", again.Record.Cursor, first.Record.Cursor)
		equal(h, "owner", again.Record.Owner, "n2")
	})
}

func aConfirmedAnswerIsNoGap(h *hub) {
	_, sent := h.answered("c", 0)
	h.trim(sent)
	h.begins(poll("c", "n2", "other"), sent) // the client has everything up to the floor

	_, sent = h.answered("failed", 0)
	h.wrote("failed", h.record("failed").Answers, false)
	h.trim(sent)
	h.refuses(poll("failed", "n2", "other"), streams.ErrGap)
}

func aRefusedHandshakeIsPolled(h *hub) {
	h.opens(poll("c", "", "first"), streams.OpenFirstPoll)
	h.wrote("c", 1, true)
	_, err := h.store.Handshake(h.ctx, h.name, streams.HandshakeRequest{
		ID: "c", Refused: true, Reply: reply("c", `{"error":"no"}`), Lease: long,
	})
	h.must("refuse the handshake", err)
	r := h.opens(poll("c", "n1", "m"), streams.OpenAttached)
	equal(h, "state", r.Record.State, streams.StateClosing)
	h.answer("c", "n1", "m", r.Last) // and the refusal is answered
}
