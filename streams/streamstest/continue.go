package streamstest

import (
	"fmt"
	"time"

	"hubstream/streams"
)

var continueTests = []func(*hub){
	aPollContinues,
	aPollContinuesAgainAndAgain,
	aPollThatContinuedIsFollowedAnywhere,
	aUniqueMarkOfAPollThatContinued,
	aPollThatWasOvertakenByItselfDoesNotContinue,
	aPollContinuesOnce,
	aPollContinuesOnlyFromTheLastAnswer,
	aPollDoesNotContinueOverAnother,
	aPollDoesNotContinueFromWhatMayBeLost,
	aPollDoesNotContinueAConnectionThatIsOver,
	aPollDoesNotContinueWithoutItsLog,
	aPollThatContinuesRenewsTheLease,
	aPollIsOpenedAfterItMayHaveContinued,
	whatAPollMayHaveContinuedWithIsItsOwn,
	aPollThatWasOpenedDoesNotContinue,
	aPollThatMayHaveContinuedIsOvertaken,
}

// follows is a poll that follows on the one of answered, with all that there is.
func (h *hub) follows(id, owner, mark string) streams.ContinueRequest {
	h.Helper()
	reply := h.lookup(id)
	return streams.ContinueRequest{
		AnswerRequest: streams.AnswerRequest{ID: id, Owner: owner, Sent: reply.Last, Mark: mark, Arrived: time.Now(), Lease: long},
		Gen:           reply.Gen, Last: "n1", Answers: reply.Record.Answers, From: reply.Record.Sent,
	}
}

func (h *hub) continues(r streams.ContinueRequest, want uint64) {
	h.Helper()
	n, err := h.store.Continue(h.ctx, h.name, r)
	h.must("continue", err)
	equal(h, "number of the answer", n, want)
}

// mustOpen fails the test unless the poll does not continue, which changes nothing.
func (h *hub) mustOpen(what string, r streams.ContinueRequest) {
	h.Helper()
	h.unchanged(r.ID, func() {
		h.Helper()
		n, err := h.store.Continue(h.ctx, h.name, r)
		h.must(what, err)
		equal(h, what+": number of the answer", n, 0)
	})
}

func aPollContinues(h *hub) {
	_, sent := h.answered("c", 0)
	before := h.record("c")
	r := h.follows("c", "n2", "other")
	r.Arrived = time.Now().Add(-time.Minute)
	h.continues(r, 3)
	rec := h.record("c")
	equal(h, "answers", rec.Answers, 3)
	equal(h, "cursor", rec.Cursor, sent)
	equal(h, "sent", rec.Sent, r.Sent)
	equal(h, "mark", rec.Mark, "other")
	equal(h, "failed", rec.Failed, before.Failed)
	equal(h, "time of the poll", rec.PollAt, rec.AnsweredAt-time.Minute.Milliseconds())
	h.check(rec.AnsweredAt >= before.AnsweredAt, "the answer's time %d is before the last one's %d", rec.AnsweredAt, before.AnsweredAt)
	equal(h, "owner", rec.Owner, "")
	equal(h, "wrote", rec.Wrote, before.Wrote)
	equal(h, "last: nothing is appended", h.last(), r.Sent)
}

func aPollContinuesAgainAndAgain(h *hub) {
	h.answered("c", 0)
	r := h.follows("c", "n2", "")
	for n := uint64(3); n < 6; n++ {
		h.continues(r, n)
		next := h.follows("c", r.Owner+"x", "")
		next.Last, next.Sent = r.Owner, h.send("more")
		r = next
	}
}

// What the record holds after it is what an Open and an Answer leave: whoever gets the next poll decides by it.
func aPollThatContinuedIsFollowedAnywhere(h *hub) {
	for _, fails := range []bool{false, true} {
		id := "c"
		if fails {
			id = "failed"
		}
		_, sent := h.answered(id, 0)
		r := h.follows(id, "n2", "")
		h.continues(r, 3)
		if fails {
			h.wrote(id, 3, false)
			h.begins(poll(id, "n3", ""), sent)
		} else {
			h.begins(poll(id, "n3", ""), r.Sent)
		}
	}

	// That an answer was given again is past.
	cursor, sent := h.answered("again", 0)
	h.repeatsForced("again", cursor, sent)
	h.answer("again", "n2", "m", sent)
	r := h.follows("again", "n3", "other")
	r.Last = "n2"
	h.continues(r, 4)
	h.wrote("again", 4, false)
	h.begins(poll("again", "n4", "next"), sent)
}

// As aUniqueMarkThatComesAgainIsARepeat has it of an Answer.
func aUniqueMarkOfAPollThatContinued(h *hub) {
	_, sent := h.answered("c", 0)
	r := h.follows("c", "n2", "unique")
	r.Unique = true
	h.continues(r, 3)
	h.wrote("c", 3, true)
	h.repeats(poll("c", "n3", "unique"), sent, r.Sent)
	h.answer("c", "n3", "other", r.Sent)

	next := h.follows("c", "n4", "unique") // not unique itself
	next.Last = "n3"
	h.continues(next, 4+1)
	h.opens(poll("c", "n5", "unique"), streams.OpenUndecided)
}

// A proxy sends the poll again, and that is opened before.
func aPollThatWasOvertakenByItselfDoesNotContinue(h *hub) {
	h.answered("c", 0)
	r := h.follows("c", "n2", "unique")
	r.Unique, r.Arrived = true, time.Now().Add(-time.Second)
	again := poll("c", "n3", "unique")
	again.Unique = true
	h.opens(again, streams.OpenAttached)
	h.mustOpen("while it is being answered", r)
	h.answerUnique("c", "n3", "unique", h.last())
	h.mustOpen("after it was answered", r)
}

func aPollContinuesOnce(h *hub) {
	h.answered("c", 0)
	r := h.follows("c", "n2", "")
	h.continues(r, 3)
	h.unchanged("c", func() { h.continues(r, 3) }) // a repetition
	other := r
	other.Owner = "n3"
	h.mustOpen("another from the same answer", other)
}

func aPollContinuesOnlyFromTheLastAnswer(h *hub) {
	cursor, _ := h.answered("c", 0)
	for what, change := range map[string]func(*streams.ContinueRequest){
		"another's answer": func(r *streams.ContinueRequest) { r.Last = "n0" },
		"an older answer":  func(r *streams.ContinueRequest) { r.Answers-- },
		"another position": func(r *streams.ContinueRequest) { r.From = cursor },
		"a generation":     func(r *streams.ContinueRequest) { r.Gen = "other" },
		"beyond the end":   func(r *streams.ContinueRequest) { r.Sent = ahead(r.Sent) },
		"of nobody":        func(r *streams.ContinueRequest) { r.ID = "nobody" },
	} {
		r := h.follows("c", "n2", "")
		change(&r)
		h.mustOpen(what, r)
	}
	h.continues(h.follows("c", "n2", ""), 3)
}

func aPollDoesNotContinueOverAnother(h *hub) {
	h.answered("c", 0)
	r := h.follows("c", "n2", "")
	h.opens(poll("c", "n3", ""), streams.OpenAttached)
	h.mustOpen("while another poll waits", r)
	h.answer("c", "n3", "", r.Sent)
	h.mustOpen("after another's answer", r)
}

func aPollDoesNotContinueFromWhatMayBeLost(h *hub) {
	h.answered("failed", 0)
	r := h.follows("failed", "n2", "other")
	h.wrote("failed", r.Answers, false)
	h.mustOpen("an answer that failed", r)

	h.answered("equal", 0)
	h.mustOpen("an equal mark, not known to be written", h.follows("equal", "n2", "m"))
	h.wrote("equal", h.record("equal").Answers, true)
	h.continues(h.follows("equal", "n2", "m"), 3)

	h.polling("unique")
	h.opens(poll("unique", "n1", "m"), streams.OpenAttached)
	h.answerUnique("unique", "n1", "m", h.send("1"))
	h.wrote("unique", h.record("unique").Answers, true)
	h.mustOpen("an equal mark that is unique", h.follows("unique", "n2", "m"))

	h.answered("abandoned", 95*time.Second)
	h.mustOpen("a poll that its client may have given up", h.follows("abandoned", "n2", "other"))
	h.answered("held", 85*time.Second)
	h.continues(h.follows("held", "n2", "other"), 3)
	h.answered("late", 100*time.Second)
	r = h.follows("late", "n2", "other")
	r.Arrived = time.Now().Add(-20 * time.Second) // what tells is when its client sent it
	h.continues(r, 3)
}

func aPollDoesNotContinueAConnectionThatIsOver(h *hub) {
	h.answered("closing", 0)
	h.closing("closing")
	h.mustOpen("state closing", h.follows("closing", "n2", ""))

	h.answered("dead", 0)
	r := h.follows("dead", "n2", "")
	h.end(streams.EndRequest{ID: "dead"})
	h.mustOpen("state dead", r)

	h.answered("repeated", 0)
	r = h.follows("repeated", "n2", "")
	h.continues(r, 3)
	h.end(streams.EndRequest{ID: "repeated"})
	h.mustOpen("a repetition in state dead", r)
}

func aPollDoesNotContinueWithoutItsLog(h *hub) {
	_, sent := h.answered("c", 0)
	h.trim(sent)
	h.continues(h.follows("c", "n2", ""), 3) // everything up to the floor has arrived

	h.answered("gap", 0)
	r := h.follows("gap", "n2", "")
	h.trim(h.send("more"))
	r.Sent = h.last()
	h.mustOpen("below the floor", r)
}

func aPollThatContinuesRenewsTheLease(h *hub) {
	h.answered("c", 0)
	r := h.follows("c", "n2", "")
	r.Lease = short
	h.continues(r, 3)
	h.waitExpired("c")
	r = h.follows("c", "n3", "")
	r.Last = "n2"
	h.continues(r, 4)
	h.check(!h.isExpired("c"), "the answer did not renew the lease")
}

// mayHaveContinued opens a poll after a Continue whose outcome is not known.
func mayHaveContinued(id, owner, mark string) streams.OpenRequest {
	r := poll(id, owner, mark)
	r.Continued = true
	return r
}

func aPollIsOpenedAfterItMayHaveContinued(h *hub) {
	for _, made := range []bool{true, false} {
		for _, mark := range []string{"", "other"} {
			id := fmt.Sprint("c", made, mark)
			_, sent := h.answered(id, 0)
			if made {
				r := h.follows(id, "n2", mark)
				h.continues(r, 3)
				after := mayHaveContinued(id, "n2", mark)
				h.unchanged(id, func() { h.opens(after, streams.OpenUndecided) })
				after.Force = true // however long that lasts
				h.unchanged(id, func() { h.opens(after, streams.OpenUndecided) })
				h.unchanged(id, func() { h.continues(r, 3) })                     // which tells what it is
				h.unchanged(id, func() { h.opens(after, streams.OpenUndecided) }) // one that is late, when that was given
				h.begins(poll(id, "n3", "next"), r.Sent)
				continue
			}
			h.begins(mayHaveContinued(id, "n2", mark), sent)
			h.begins(mayHaveContinued(id, "n2", mark), sent) // a repetition
			h.begins(poll(id, "n3", ""), sent)               // which was decided
		}
	}

	h.answered("waits", 0)
	h.opens(poll("waits", "n3", ""), streams.OpenAttached)
	h.opens(mayHaveContinued("waits", "n2", ""), streams.OpenAttached) // it was not made, and is a poll as others are

	h.answered("answered", 0)
	h.opens(poll("answered", "n3", ""), streams.OpenAttached)
	h.answer("answered", "n3", "", h.last())
	h.begins(mayHaveContinued("answered", "n2", ""), h.last()) // nor here, from an answer that was not the last any more
}

// A Continue may take longer to the store than the Open after it: the poll then seems to have come before it was answered.
func whatAPollMayHaveContinuedWithIsItsOwn(h *hub) {
	h.answered("c", 0)
	r := h.follows("c", "n2", "unique")
	r.Unique = true
	h.continues(r, 3)
	after := mayHaveContinued("c", "n2", "unique")
	after.Unique, after.Arrived = true, r.Arrived.Add(-time.Second)
	h.unchanged("c", func() { h.opens(after, streams.OpenUndecided) })
}

func aPollThatWasOpenedDoesNotContinue(h *hub) {
	h.answered("c", 0)
	r := h.follows("c", "n2", "")
	h.opens(mayHaveContinued("c", "n2", ""), streams.OpenAttached)
	h.mustOpen("while it waits", r)
	h.opens(poll("c", "n3", ""), streams.OpenAttached)
	h.mustOpen("while another waits", r)
	h.answer("c", "n3", "", r.From)
	h.mustOpen("after another's answer", r)

	h.answered("own", 0)
	r = h.follows("own", "n2", "")
	h.opens(mayHaveContinued("own", "n2", ""), streams.OpenAttached)
	h.answer("own", "n2", "", r.Sent)
	h.unchanged("own", func() { h.continues(r, 3) }) // it is answered
}

func aPollThatMayHaveContinuedIsOvertaken(h *hub) {
	h.answered("c", 0)
	h.continues(h.follows("c", "n2", ""), 3)
	h.opens(poll("c", "n3", ""), streams.OpenAttached)
	h.unchanged("c", func() { h.refuses(mayHaveContinued("c", "n2", ""), streams.ErrOwner) })
	h.answer("c", "n3", "", h.last())
	h.unchanged("c", func() { h.refuses(mayHaveContinued("c", "n2", ""), streams.ErrOwner) })
}
