package streams

import (
	"sync/atomic"
	"time"
)

// Figures is what a node did since it started, and has now. Nothing of it names a connection, user, group or hub.
type Figures struct {
	// Connections that are attached to this node now, by transport; TransportNone are plain event streams. A client
	// that polls is attached while a poll waits.
	Connections map[Transport]int64
	// Hubs that this node tails, or has used lately.
	Hubs int
	// Sends counts the entries that Publish and PublishOnce appended here, Deliveries the messages that were handed
	// to transports to be written.
	Sends, Deliveries int64
	// Delays counts, for each of DelayBounds and for what is beyond them, how old the oldest message of a write was.
	Delays []int64
	// Slowest is the largest of these ages since the last call of Figures.
	Slowest time.Duration
	// Gaps are connections that fell behind the retention, Losses logs that lost their tail, Undecodable entries that
	// matched nobody because they could not be read.
	Gaps, Losses, Undecodable int64
}

// DelayBounds are the upper bounds of Figures.Delays. Positions have milliseconds, so nothing finer is known.
var DelayBounds = [...]time.Duration{
	time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond, time.Second, 5 * time.Second, 30 * time.Second,
}

// transports are those that attachments are counted by.
var transports = [...]Transport{TransportNone, TransportWebSockets, TransportServerSentEvents, TransportLongPolling}

// meter counts a node's work. Writers on other processors must not wait for each other's cache lines,
// so what every write counts is spread over stripes.
type meter struct {
	sends    atomic.Int64
	attached [len(transports)]atomic.Int64
	next     atomic.Uint32
	stripes  [16]stripe
}

// stripe is one of a meter's places to count in.
type stripe struct {
	deliveries atomic.Int64
	slowest    atomic.Int64 // ms
	delays     [len(DelayBounds) + 1]atomic.Int64
	_          [64]byte
}

// stripe returns a place to count in.
func (m *meter) stripe() *stripe {
	return &m.stripes[m.next.Add(1)%uint32(len(m.stripes))]
}

// took counts messages that are about to be written, the oldest of them this old, in ms.
func (s *stripe) took(messages int, age int64) {
	s.deliveries.Add(int64(messages))
	i := 0
	for i < len(DelayBounds) && age > DelayBounds[i].Milliseconds() {
		i++
	}
	s.delays[i].Add(1)
	if age > s.slowest.Load() {
		s.slowest.Store(age) // of two at once either will do
	}
}

// attachedTo counts an attachment that comes (1) or goes (-1).
func (m *meter) attachedTo(t Transport, change int64) {
	for i, known := range transports {
		if t == known {
			m.attached[i].Add(change)
		}
	}
}

// Figures returns the node's figures, and begins another time for Slowest: it is for one caller.
func (n *Node) Figures() Figures {
	m := &n.meter
	f := Figures{
		Connections: map[Transport]int64{}, Sends: m.sends.Load(), Delays: make([]int64, len(DelayBounds)+1),
		Gaps: n.stats.Gaps.Load(), Losses: n.stats.Losses.Load(), Undecodable: n.stats.Undecodable.Load(),
	}
	for i, t := range transports {
		f.Connections[t] = m.attached[i].Load()
	}
	for i := range m.stripes {
		s := &m.stripes[i]
		f.Deliveries += s.deliveries.Load()
		f.Slowest = max(f.Slowest, time.Duration(s.slowest.Swap(0))*time.Millisecond)
		for j := range s.delays {
			f.Delays[j] += s.delays[j].Load()
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	f.Hubs = len(n.hubs)
	return f
}
