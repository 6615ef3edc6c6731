package bench

import (
	"math"
	"slices"
	"sync"
)

// ledger is what one client has got, and must still get: the messages of each of its streams, numbered from 1.
type ledger struct {
	mu      sync.Mutex
	streams []int             // sorted
	next    []uint32          // after the highest number seen, by place in streams
	from    []uint32          // the first number that must come; nil: 1
	missing map[numbered]bool // passed over, and not come yet

	received, repeated, reordered int64
	strays                        int64 // messages that are not for this client
}

// numbered is one message.
type numbered struct {
	stream int
	number uint32
}

func newLedger(streams []int) *ledger {
	l := &ledger{streams: streams, next: make([]uint32, len(streams)), missing: map[numbered]bool{}}
	for i := range l.next {
		l.next[i] = 1
	}
	return l
}

// place finds a stream; -1 if the client is not to hear it.
func (l *ledger) place(stream int) int {
	if stream < len(l.streams) && l.streams[stream] == stream {
		return stream
	}
	if i, found := slices.BinarySearch(l.streams, stream); found {
		return i
	}
	return -1
}

// unbound tells that a new session begins: nothing must come, until begin is called.
func (l *ledger) unbound() { l.begin(func(int) uint32 { return math.MaxUint32 - 1 }) }

// begin tells that what is issued from now on must come: issued are the last numbers of all streams.
func (l *ledger) begin(issued func(stream int) uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.from == nil {
		l.from = make([]uint32, len(l.streams))
	}
	for i, stream := range l.streams {
		l.from[i] = issued(stream) + 1
	}
}

// take takes a message, and tells whether it is one that had to come or might. One of a send of unknown outcome, which is excused, may
// come after those that were sent when it was given up. The caller holds l.mu.
func (l *ledger) take(stream int, number uint32, excused func(numbered) bool) (fresh bool) {
	i := l.place(stream)
	if i < 0 {
		l.strays++
		return false
	}
	next := l.next[i]
	if number < next {
		if m := (numbered{stream, number}); l.missing[m] {
			delete(l.missing, m)
			if !excused(m) {
				l.reordered++
			}
			l.received++
			return true
		}
		l.repeated++
		return false
	}
	for n := l.first(i); n < number; n++ {
		l.missing[numbered{stream, n}] = true
	}
	l.next[i] = number + 1
	l.received++
	return true
}

// first is the first number after those that have come that must come, by place in streams.
func (l *ledger) first(i int) uint32 {
	if l.from == nil {
		return l.next[i]
	}
	return max(l.next[i], l.from[i])
}

// lost counts what has not come of what was accepted, but for what is excused: sends of unknown outcome.
func (l *ledger) lost(accepted func(stream int) uint32, excused func(numbered) bool) (n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for m := range l.missing {
		if !excused(m) {
			n++
		}
	}
	for i, stream := range l.streams {
		for number := l.first(i); number <= accepted(stream); number++ {
			if !excused(numbered{stream, number}) {
				n++
			}
		}
	}
	return n
}
