package streams

import "time"

// In-flight limits of a stateful connection: beyond them it waits for an Ack on its
// cursor.
const (
	maxUnacked      = 8192
	maxUnackedBytes = 4 << 20 // 4 MiB
)

// ackHold is how long after the last match that was sent again something must come from
// the client to show that it has arrived.
const ackHold = 5 * time.Second

// acks numbers a stateful connection's matches and keeps the positions of those that
// are not acknowledged. Cursor and count are one pair: the cursor is the position of
// match number acked, and a node that replays from it numbers the matches as before.
//
// The official client acknowledges, right after a re-attach, everything that it ever had,
// but it counts on from our Sequence. If the socket drops again before all is sent again,
// the next Sequence must not be beyond what it counted: it gives up the connection
// ("Sequence ID greater than amount of messages we've received."). So such an Ack takes
// effect only with one of what no earlier attach can have sent, or when the client is
// heard after what was sent again has had the time to arrive.
type acks struct {
	writing bool // see again
	// caughtUp: no more of them will come.
	caughtUp bool
	cursor   Position
	acked    uint64
	pending  []unacked
	bytes    int
	// heard is the highest Ack. It may run ahead of what this attach has scanned.
	heard uint64
	// again is the number of the last match that an earlier attach may have sent, too. It is
	// taken, but not known to be written while writing; sent is when it was, or else
	// when this attach began.
	again uint64
	sent  time.Time
}

type unacked struct {
	position Position
	size     int
}

func (k *acks) full() bool { return len(k.pending) >= maxUnacked || k.bytes >= maxUnackedBytes }

// count is the number of the last match.
func (k *acks) count() uint64 { return k.acked + uint64(len(k.pending)) }

// add numbers the match at p; again tells whether an earlier attach may have sent it.
func (k *acks) add(p Position, size int, again bool) {
	k.pending = append(k.pending, unacked{p, size})
	k.bytes += size
	if again {
		k.again, k.writing = k.count(), true
	}
}

// written tells that what was taken has been written.
func (k *acks) written() {
	if k.writing {
		k.writing, k.sent = false, time.Now()
	}
}

// ack takes an Ack(n): every match up to number n has arrived, now or at an earlier attach.
func (k *acks) ack(n uint64) {
	k.heard = max(k.heard, n)
	k.settle()
}

// settle lets the Acks heard take effect, if they may. The client has just been heard.
func (k *acks) settle() {
	proven := k.caughtUp && k.heard > k.again
	if !proven && (k.writing || time.Since(k.sent) < ackHold) {
		return
	}
	for k.acked < k.heard && len(k.pending) > 0 {
		k.acked++
		k.cursor = k.pending[0].position
		k.bytes -= k.pending[0].size
		k.pending = k.pending[1:]
	}
	if len(k.pending) == 0 {
		k.pending = nil
	}
}

// pair is the cursor and count to save when everything up to scanned was considered.
// With nothing outstanding the cursor moves on with the log, or a quiet connection's
// would fall out of it.
func (k *acks) pair(scanned Position) (Position, uint64) {
	if len(k.pending) == 0 {
		return scanned, k.acked
	}
	return k.cursor, k.acked
}
