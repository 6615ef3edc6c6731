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
		o.extend(rec)
		return OpenFirstPoll, nil
	}
	if o.overtaken(rec) {
		return 0, ErrOwner
	}
	answer := o.arrival(rec)
	if answer == answerUndecided {
		return OpenUndecided, nil
	}
	cursor := rec.Cursor
	if answer == answerArrived {
		cursor = rec.Sent
	}
	if cursor.Before(o.floor) {
		return 0, ErrGap
	}
	rec.Cursor, rec.Sent = cursor, cursor
	if answer == answerLost && rec.Answers == 1 {
		o.answerFirst(rec)
		return OpenFirstPoll, nil
	}
	rec.ownerMark, rec.ownerCame = "", o.came
	if o.Unique {
		rec.ownerMark = o.Mark
	}
	o.own(rec)
	return OpenAttached, nil
}

// overtaken tells whether the same poll, sent again, came after this one and is being answered, or was answered last.
func (o *memoryOpen) overtaken(rec *memoryRecord) bool {
	switch {
	case o.Mark == "", rec.Owner == o.Owner:
		return false
	case rec.Owner != "":
		return o.Mark == rec.ownerMark && o.came < rec.ownerCame
	}
	return rec.unique && o.Mark == rec.Mark && o.came < rec.PollAt
}

// answerFirst commits the first poll's answer, which is empty: the client then knows
// that the connection stands, and sends its handshake. When that answer is lost and
// given again, it is this poll's: what was known of the other's arrival says nothing.
func (o *memoryOpen) answerFirst(rec *memoryRecord) {
	rec.Answers, rec.Wrote, rec.Failed = 1, 0, 0
	rec.Mark, rec.PollAt, rec.AnsweredAt, rec.unique = o.Mark, o.came, o.now, o.Unique
	rec.Sent = rec.Cursor
}

// arrival decides whether the last answer has arrived. An equal mark alone proves
// nothing, unless it is unique: consecutive polls of one client often carry the same millisecond.
func (o *memoryOpen) arrival(rec *memoryRecord) arrival {
	switch {
	case rec.Owner != "":
		return answerArrived // decided by the poll that is displaced now: Sent is the cursor
	case rec.Failed == rec.Answers:
		return answerLost
	case o.Mark != "" && o.Mark == rec.Mark:
		return o.arrivalOfEqual(rec)
	case o.came-rec.PollAt >= abandonedPoll:
		return answerLost
	default:
		return answerArrived
	}
}

func (o *memoryOpen) arrivalOfEqual(rec *memoryRecord) arrival {
	switch {
	case rec.unique, o.came-rec.AnsweredAt >= repeatedPoll:
		return answerLost
	case rec.Wrote == rec.Answers:
		return answerArrived
	case o.Force:
		return answerLost
	default:
		return answerUndecided
	}
}
