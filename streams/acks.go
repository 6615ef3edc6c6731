package streams

// In-flight limits of a stateful connection: beyond them it waits for an Ack on its
// cursor.
const (
	maxUnacked      = 8192
	maxUnackedBytes = 4 << 20 // 4 MiB
)

// acks numbers a stateful connection's matches and keeps the positions of those that
// are not acknowledged. Cursor and count are one pair: the cursor is the position of
// match number acked, and a node that replays from it numbers the matches as before.
type acks struct {
	cursor  Position
	acked   uint64
	pending []unacked
	bytes   int
	// ahead is an Ack beyond what this attach has scanned: after a re-attach the client
	// acknowledges what it had before the drop.
	ahead uint64
}

type unacked struct {
	position Position
	size     int
}

func (k *acks) full() bool { return len(k.pending) >= maxUnacked || k.bytes >= maxUnackedBytes }

// add numbers the match at p.
func (k *acks) add(p Position, size int) {
	if k.acked < k.ahead {
		k.acked++
		k.cursor = p
		return
	}
	k.pending = append(k.pending, unacked{p, size})
	k.bytes += size
}

// ack takes an Ack(n): every match up to number n has arrived.
func (k *acks) ack(n uint64) {
	for k.acked < n && len(k.pending) > 0 {
		k.acked++
		k.cursor = k.pending[0].position
		k.bytes -= k.pending[0].size
		k.pending = k.pending[1:]
	}
	if k.acked < n {
		k.ahead = max(k.ahead, n)
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
