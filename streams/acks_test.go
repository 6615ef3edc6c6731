package streams

import (
	"testing"
	"testing/synctest"
	"time"
)

func at(n uint64) Position { return NewPosition(1, n) }

func wantPair(t *testing.T, k *acks, scanned, cursor Position, acked uint64) {
	t.Helper()
	if p, n := k.pair(scanned); p != cursor || n != acked {
		t.Fatalf("pair: %v, %d; want %v, %d", p, n, cursor, acked)
	}
}

func TestCursorAndCountOfAcksChangeTogether(t *testing.T) {
	k := acks{cursor: at(1), acked: 10, caughtUp: true}
	wantPair(t, &k, at(2), at(2), 10) // nothing outstanding: it moves with the log
	k.add(at(3), 1, false)
	k.add(at(5), 1, false)
	wantPair(t, &k, at(6), at(1), 10) // not beyond what is outstanding
	k.ack(11)
	wantPair(t, &k, at(6), at(3), 11)
	k.ack(11)
	k.ack(3)
	wantPair(t, &k, at(6), at(3), 11)
	k.ack(12)
	wantPair(t, &k, at(6), at(6), 12)
	if k.bytes != 0 || k.pending != nil {
		t.Fatalf("%d bytes in %v left", k.bytes, k.pending)
	}
}

// The official client acknowledges everything that it ever had as soon as it is back, and
// gives the connection up if a later Sequence is beyond what it counted since.
func TestAckOfEarlierAttachWaitsUntilResentMatchesArrived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := acks{cursor: at(1), sent: time.Now()}
		k.ack(2)
		k.add(at(2), 1, true)
		k.add(at(3), 1, true)
		k.caughtUp = true
		wantPair(t, &k, at(4), at(1), 0)
		k.ack(2)
		time.Sleep(time.Minute)
		k.settle()
		wantPair(t, &k, at(4), at(1), 0) // they are not even written
		k.written()
		k.settle()
		wantPair(t, &k, at(4), at(1), 0)
		time.Sleep(ackHold)
		wantPair(t, &k, at(4), at(1), 0) // time alone proves nothing: its socket may be dead
		k.settle()
		wantPair(t, &k, at(4), at(4), 2)
	})
}

func TestAckOfNewMatchProvesThatResentOnesArrived(t *testing.T) {
	k := acks{cursor: at(1), sent: time.Now()}
	k.add(at(2), 1, true)
	k.add(at(3), 1, true)
	k.caughtUp = true
	k.add(at(5), 1, false)
	k.ack(2)
	wantPair(t, &k, at(5), at(1), 0)
	k.ack(3)
	wantPair(t, &k, at(5), at(5), 3)
}

// After a re-attach an Ack may be ahead of what was taken again so far: what is still to be sent again may not have arrived.
func TestAckAheadOfWhatIsSentAgainProvesNothing(t *testing.T) {
	k := acks{cursor: at(1), sent: time.Now()}
	k.add(at(2), 1, true)
	k.written()
	k.ack(2)
	wantPair(t, &k, at(2), at(1), 0)
	k.add(at(3), 1, true)
	k.caughtUp = true
	k.written()
	k.settle()
	wantPair(t, &k, at(3), at(1), 0)
	k.add(at(4), 1, false)
	k.ack(3)
	wantPair(t, &k, at(4), at(4), 3)
}

func TestUnacknowledgedMatchesAreLimited(t *testing.T) {
	k := acks{caughtUp: true}
	for i := range maxUnacked - 1 {
		k.add(at(uint64(i+1)), 1, false)
	}
	if k.full() {
		t.Fatal("full before its limit")
	}
	k.add(at(maxUnacked), 1, false)
	if !k.full() {
		t.Fatal("not full at its limit")
	}
	k.ack(1)
	if k.full() {
		t.Fatal("full after an Ack")
	}
	k.add(at(maxUnacked+1), maxUnackedBytes, false)
	if !k.full() {
		t.Fatal("not full at its limit of bytes")
	}
}

func TestAcksAllocateNothing(t *testing.T) {
	k := acks{cursor: at(1), caughtUp: true}
	for n := range uint64(maxUnacked) {
		k.add(at(n+2), 100, false)
	}
	n := uint64(0)
	if got := testing.AllocsPerRun(1000, func() {
		n++
		k.ack(n)
		k.pair(at(maxUnacked + 1))
	}); got != 0 {
		t.Errorf("%v allocations for an Ack", got)
	}
	if k.acked != n {
		t.Errorf("%d are acknowledged, want %d", k.acked, n)
	}
}
