package streams

// arrival is what is known about an answer when the next poll comes.
type arrival uint8

const (
	answerArrived arrival = iota
	answerLost
	answerUndecided
)

// poll opens a record for a poll: it decides whether the answer before has arrived,
// and so where this poll's answer begins.
func (o *memoryOpen) poll(rec *memoryRecord) (OpenOutcome, error) {
	if otherTransport(rec, TransportLongPolling) {
		return 0, ErrTransport
	}
	if rec.Transport == TransportNone {
		if rec.Cursor.Before(o.floor) {
			return 0, ErrGap
		}
		rec.Transport = TransportLongPolling
		o.answerFirst(rec)
		return OpenFirstPoll, nil
	}
	if rec.Owner != "" && rec.Owner == o.Owner {
		return rec.polled(), nil // a repetition
	}
	if o.unwritten(rec) {
		return OpenUndecided, nil
	}
	if o.overtaken(rec) {
		return 0, ErrOwner
	}
	answer := o.arrival(rec)
	if answer == answerUndecided || o.late(rec) {
		return OpenUndecided, nil
	}
	cursor := rec.Cursor
	if answer == answerArrived {
		cursor = rec.Sent
	}
	if cursor.Before(o.floor) {
		return 0, ErrGap
	}
	rec.Cursor = cursor
	if answer == answerLost && rec.Answers == 1 {
		o.answerFirst(rec)
		return OpenFirstPoll, nil
	}
	switch again := answer == answerLost && o.Mark != "" && o.Mark == rec.Mark; {
	case !again:
		rec.repeats, rec.Sent = 0, cursor
	case rec.repeats == 0:
		rec.repeats = rec.Answers
	}
	rec.ownerMark, rec.ownerCame = o.Mark, 0
	if o.Unique {
		rec.ownerCame = o.came
	}
	o.own(rec)
	return rec.polled(), nil
}

// polled is the outcome for the poll that owns the connection.
func (r *memoryRecord) polled() OpenOutcome {
	if r.repeats > 0 {
		return OpenRepeated
	}
	return OpenAttached
}

// late tells whether the poll seems to have been sent before one that is known already.
func (o *memoryOpen) late(rec *memoryRecord) bool {
	return !o.Force && (sentBefore(o.Mark, rec.Mark) || rec.Owner != "" && sentBefore(o.Mark, rec.ownerMark))
}

// sentBefore tells whether both marks are times in milliseconds, as those of the official clients are, and the first is the earlier.
func sentBefore(mark, other string) bool {
	return isTime(mark) && isTime(other) && mark < other
}

func isTime(mark string) bool {
	if len(mark) != timeDigits {
		return false
	}
	for i := range len(mark) {
		if mark[i] < '0' || mark[i] > '9' {
			return false
		}
	}
	return true
}

// unwritten tells whether the last answer is one that a Continue of this very poll committed: its bytes were not written.
func (o *memoryOpen) unwritten(rec *memoryRecord) bool {
	return o.Continued && rec.Owner == "" && rec.continued == committed{o.Owner, rec.Answers}
}

// overtaken tells whether another poll was opened or answered since this one was continued; or the same one, sent again, came after
// it and is being answered.
func (o *memoryOpen) overtaken(rec *memoryRecord) bool {
	return o.Continued && rec.continued.owner == o.Owner ||
		rec.Owner != "" && o.Mark != "" && o.Mark == rec.ownerMark && o.came < rec.ownerCame
}

// answerFirst commits the first poll's answer, which is empty: the client then knows
// that the connection stands, and sends its handshake. When that answer is lost and
// given again, it is this poll's: what was known of the other's arrival says nothing.
func (o *memoryOpen) answerFirst(rec *memoryRecord) {
	rec.Answers, rec.Wrote, rec.Failed = 1, 0, 0
	rec.Mark, rec.PollAt, rec.AnsweredAt, rec.unique = o.Mark, o.came, o.now, o.Unique
	rec.Sent = rec.Cursor
	o.extend(rec)
}

// arrival decides whether the last answer has arrived.
func (o *memoryOpen) arrival(rec *memoryRecord) arrival {
	if rec.Owner != "" && rec.repeats == 0 {
		return answerArrived // decided by the poll that is displaced now: Sent is the cursor
	}
	// A poll that is displaced while it repeats the last answer has decided nothing: its client may have got that before. But for
	// whoever has the same mark the answer is still to be repeated.
	return rec.arrival(o.Mark, rec.unique || rec.Owner != "", o.came, o.Force)
}

// arrival decides by the next poll, which came at a time with a mark, whether the last answer has arrived. An equal mark alone proves
// nothing, unless it is unique: consecutive polls of one client often carry the same millisecond.
func (r *memoryRecord) arrival(mark string, unique bool, came int64, force bool) arrival {
	switch {
	case r.Answers == 1 && mark != "" && r.Mark != "" && mark != r.Mark:
		return answerArrived // who has not had the first poll's answer sends no other
	case r.Failed == r.Answers:
		return answerLost
	case mark != "" && mark == r.Mark && unique:
		return answerLost
	case mark != "" && mark == r.Mark:
		return r.arrivalOfEqual(came, force)
	case came-r.PollAt >= abandonedPoll:
		return answerLost
	default:
		return answerArrived
	}
}

func (r *memoryRecord) arrivalOfEqual(came int64, force bool) arrival {
	switch {
	case came-r.AnsweredAt >= repeatedPoll:
		return answerLost
	case r.Wrote == r.Answers:
		return answerArrived
	case force:
		return answerLost
	default:
		return answerUndecided
	}
}

// goesOn tells whether a poll that came at a time goes on from the last answer; see ContinueRequest.
func (h *memoryHub) goesOn(rec *memoryRecord, r *ContinueRequest, came int64) bool {
	switch {
	case rec.State != StateOpen, rec.Owner != "", rec.Gen != r.Gen, h.gen != r.Gen:
		return false
	case rec.answeredBy != r.Last, rec.Answers != r.Answers, rec.Sent != r.From:
		return false
	case r.From.Before(h.floor), r.Sent.After(h.last):
		return false
	}
	return rec.arrival(r.Mark, rec.unique, came, false) == answerArrived
}
