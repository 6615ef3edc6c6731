package streamstest

import (
	"time"

	"hubstream/streams"
)

var answerTests = []func(*hub){
	anAnswerIsCommitted,
	anAnswerIsCommittedOnce,
	anAnswerIsTheOwners,
	anAnswerBeyondTheEndIsRefused,
	anAnswerOfTheGoneIsRefused,
	anAnswerRenewsTheLease,
	wroteAndFailedOnlyRise,
	wroteOfAnAnswerThatIsNotThereIsNothing,
	wroteOfTheGoneIsNothing,
}

func (h *hub) answer(id, owner, mark string, sent streams.Position) uint64 {
	h.Helper()
	return h.answerHeld(id, owner, mark, sent, 0)
}

func (h *hub) answerHeld(id, owner, mark string, sent streams.Position, held time.Duration) uint64 {
	h.Helper()
	n, err := h.store.Answer(h.ctx, h.name, streams.AnswerRequest{
		ID: id, Owner: owner, Sent: sent, Mark: mark, Arrived: time.Now().Add(-held), Lease: long,
	})
	h.must("answer", err)
	return n
}

func (h *hub) answerUnique(id, owner, mark string, sent streams.Position) {
	h.Helper()
	_, err := h.store.Answer(h.ctx, h.name, streams.AnswerRequest{ID: id, Owner: owner, Sent: sent, Mark: mark, Unique: true, Lease: long})
	h.must("answer", err)
}

func anAnswerIsCommitted(h *hub) {
	h.polling("c")
	time.Sleep(3 * time.Millisecond) // after the first poll's answer
	before := h.opens(poll("c", "n1", "m"), streams.OpenAttached)
	p := h.send("1")
	equal(h, "number of the answer", h.answerHeld("c", "n1", "m", p, time.Hour), 2)
	rec := h.record("c")
	equal(h, "answers", rec.Answers, 2)
	equal(h, "sent", rec.Sent, p)
	equal(h, "mark", rec.Mark, "m")
	equal(h, "time of the poll", rec.PollAt, rec.AnsweredAt-time.Hour.Milliseconds())
	h.check(rec.AnsweredAt >= before.Now, "the answer's time %d is before its poll's %d", rec.AnsweredAt, before.Now)
	equal(h, "owner", rec.Owner, "")
	equal(h, "cursor: nothing is known to have arrived", rec.Cursor, before.Record.Cursor)
	equal(h, "wrote", rec.Wrote, 1)
	equal(h, "last: nothing is appended", h.last(), p)

	h.opens(poll("c", "n2", "m2"), streams.OpenAttached)
	equal(h, "number of the next answer", h.answer("c", "n2", "m2", p), 3)
}

func anAnswerIsCommittedOnce(h *hub) {
	h.polling("c")
	h.opens(poll("c", "n1", "m"), streams.OpenAttached)
	p := h.send("1")
	n := h.answer("c", "n1", "m", p)
	h.unchanged("c", func() {
		equal(h, "number of the repeat", h.answer("c", "n1", "m", p), n)
	})
}

func anAnswerIsTheOwners(h *hub) {
	h.polling("c")
	p := h.last()
	refused := func(owner string) {
		h.Helper()
		h.unchanged("c", func() {
			h.Helper()
			_, err := h.store.Answer(h.ctx, h.name, streams.AnswerRequest{ID: "c", Owner: owner, Sent: p, Mark: "x", Lease: long})
			h.want("answer of "+owner, err, streams.ErrOwner)
		})
	}
	refused("n1") // nobody owns it
	h.opens(poll("c", "n1", "a"), streams.OpenAttached)
	refused("n2")
	h.answer("c", "n1", "a", p)
	h.opens(poll("c", "n2", "b"), streams.OpenAttached)
	h.answer("c", "n2", "b", p)
	refused("n1") // its answer is not the last any more
}

func anAnswerBeyondTheEndIsRefused(h *hub) {
	h.polling("c")
	h.opens(poll("c", "n1", "m"), streams.OpenAttached)
	h.unchanged("c", func() {
		_, err := h.store.Answer(h.ctx, h.name, streams.AnswerRequest{
			ID: "c", Owner: "n1", Sent: ahead(h.last()), Lease: long,
		})
		h.want("an answer beyond the log's end", err, streams.ErrBeyond)
	})
	h.answer("c", "n1", "m", h.last())
}

func anAnswerOfTheGoneIsRefused(h *hub) {
	h.polling("c")
	h.opens(poll("c", "n1", "m"), streams.OpenAttached)
	h.end(streams.EndRequest{ID: "c"})
	for _, id := range []string{"c", "nobody"} {
		_, err := h.store.Answer(h.ctx, h.name, streams.AnswerRequest{ID: id, Owner: "n1", Sent: h.last(), Lease: long})
		h.want("an answer of "+id, err, streams.ErrGone)
	}
}

func anAnswerRenewsTheLease(h *hub) {
	h.polling("c")
	r := poll("c", "n1", "m")
	r.Lease = short
	h.opens(r, streams.OpenAttached)
	h.waitExpired("c")
	h.answer("c", "n1", "m", h.last())
	h.check(!h.isExpired("c"), "the answer did not renew the lease")
	h.opens(poll("c", "n2", "m2"), streams.OpenAttached)
	_, err := h.store.Answer(h.ctx, h.name, streams.AnswerRequest{ID: "c", Owner: "n2", Sent: h.last(), Lease: short})
	h.must("answer", err)
	h.waitExpired("c")
}

func wroteAndFailedOnlyRise(h *hub) {
	h.polling("c")
	for _, owner := range []string{"n1", "n2", "n3"} {
		h.opens(poll("c", owner, owner), streams.OpenAttached)
		h.answer("c", owner, owner, h.last())
	}
	is := func(wrote, failed uint64) {
		h.Helper()
		rec := h.record("c")
		equal(h, "wrote", rec.Wrote, wrote)
		equal(h, "failed", rec.Failed, failed)
	}
	is(1, 0)
	h.wrote("c", 3, true)
	is(3, 0)
	h.wrote("c", 2, true)
	is(3, 0)
	h.wrote("c", 3, false)
	is(3, 3)
	h.wrote("c", 2, false)
	is(3, 3)
	h.wrote("c", 4, true)
	is(4, 3)
}

// It is of a record that was lost, in whose place this one was made, or of an answer that is lost: the one that will have
// the number is another.
func wroteOfAnAnswerThatIsNotThereIsNothing(h *hub) {
	h.polling("c")
	h.opens(poll("c", "n1", "n1"), streams.OpenAttached)
	h.wrote("c", 2, false)
	h.wrote("c", 2, true)
	rec := h.record("c")
	equal(h, "wrote", rec.Wrote, 1)
	equal(h, "failed", rec.Failed, 0)
	p := h.last()
	h.answer("c", "n1", "n1", p)
	equal(h, "the next poll's cursor", h.opens(poll("c", "n2", "n2"), streams.OpenAttached).Record.Cursor, p)
}

func wroteOfTheGoneIsNothing(h *hub) {
	h.wrote("nobody", 1, true)
	h.gone("nobody")
	h.polling("c")
	h.end(streams.EndRequest{ID: "c"})
	h.wrote("c", 2, true)
	h.wrote("c", 2, false)
	h.gone("c")
	h.refuses(poll("c", "n1", "m"), streams.ErrGone)
}
