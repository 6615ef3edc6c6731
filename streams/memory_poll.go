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
	o.own(rec)
	return OpenAttached, nil
}

// answerFirst commits the first poll's answer, which is empty: the client then knows
// that the connection stands, and sends its handshake. When that answer is lost and
// given again, it is this poll's: what was known of the other's arrival says nothing.
func (o *memoryOpen) answerFirst(rec *memoryRecord) {
	rec.Answers, rec.Wrote, rec.Failed = 1, 0, 0
	rec.Mark, rec.PollAt, rec.AnsweredAt = o.Mark, o.came, o.now
	rec.Sent = rec.Cursor
}

// arrival decides whether the last answer has arrived. An equal mark alone proves
// nothing: consecutive polls of one client often carry the same millisecond.
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
	case o.came-rec.AnsweredAt >= repeatedPoll:
		return answerLost
	case rec.Wrote == rec.Answers:
		return answerArrived
	case o.Force:
		return answerLost
	default:
		return answerUndecided
	}
}
