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
	// HubsUnread are those of the hubs that the node tails whose logs it cannot read now.
	HubsUnread int
	// Sends counts the messages that were published and appended here, not closes and answers. Deliveries counts those that were handed
	// to transports to be written.
	Sends, Deliveries int64
	// Delays counts, for each of DelayBounds and for what is beyond them, how old the oldest message of a write was.
	Delays []int64
	// Slowest is the largest of these ages since the last call of Figures.
	Slowest time.Duration
	// Attaches counts the connections that were attached here, by transport, a poll each time.
	Attaches map[Transport]int64
	// Lag is how old the oldest entry is that an attached connection has not been handed, as of the last second.
	Lag time.Duration
	// WindowBytes is what this node holds of the hubs' logs, in bytes.
	WindowBytes int64
	// Trims counts the trims of logs by this node.
	Trims int64
	// StoreErrors counts what the store failed to do, repeated attempts included; zero for a log in memory.
	StoreErrors map[StoreErrorKind]int64
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
	attaches [len(transports)]atomic.Int64
	trims    atomic.Int64
	lag      atomic.Int64 // ms
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

// sent counts an entry that was published, if it is a message.
func (m *meter) sent(e *Entry) {
	if e.Kind == KindMessage {
		m.sends.Add(1)
	}
}

// attachedTo counts an attachment that comes (1) or goes (-1).
func (m *meter) attachedTo(t Transport, change int64) {
	for i, known := range transports {
		if t == known {
			m.attached[i].Add(change)
			m.attaches[i].Add(max(change, 0))
		}
	}
}

// Figures returns the node's figures, and begins another time for Slowest: it is for one caller.
func (n *Node) Figures() Figures {
	f := n.Totals()
	for i := range n.meter.stripes {
		f.Slowest = max(f.Slowest, time.Duration(n.meter.stripes[i].slowest.Swap(0))*time.Millisecond)
	}
	return f
}

// Totals is Figures without Slowest, for any number of callers.
func (n *Node) Totals() Figures {
	m := &n.meter
	f := Figures{
		Connections: map[Transport]int64{}, Attaches: map[Transport]int64{}, StoreErrors: new(errorMeter).counts(),
		Lag: time.Duration(m.lag.Load()) * time.Millisecond, WindowBytes: n.windowBytes.Load(), Trims: m.trims.Load(),
		Sends: m.sends.Load(), Delays: make([]int64, len(DelayBounds)+1),
		Gaps: n.stats.Gaps.Load(), Losses: n.stats.Losses.Load(), Undecodable: n.stats.Undecodable.Load(),
	}
	for i, t := range transports {
		f.Connections[t] = m.attached[i].Load()
		f.Attaches[t] = m.attaches[i].Load()
	}
	for i := range m.stripes {
		s := &m.stripes[i]
		f.Deliveries += s.deliveries.Load()
		for j := range s.delays {
			f.Delays[j] += s.delays[j].Load()
		}
	}
	if counting, ok := n.store.(interface {
		errorCounts() map[StoreErrorKind]int64
	}); ok {
		f.StoreErrors = counting.errorCounts()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	f.Hubs = len(n.hubs)
	for _, t := range n.tailers {
		f.HubsUnread += t.unread()
	}
	return f
}

// StoreErrorKind is how the store failed.
type StoreErrorKind string

// The kinds of a store's errors.
const (
	// StoreUnreachable: no answer, or none in time.
	StoreUnreachable StoreErrorKind = "unreachable"
	// StoreFull: there is no room (OOM).
	StoreFull StoreErrorKind = "full"
	// StoreRefused: any other error reply, such as a replica's.
	StoreRefused StoreErrorKind = "refused"
)

// storeErrorKinds are those that errors are counted by.
var storeErrorKinds = [...]StoreErrorKind{StoreUnreachable, StoreFull, StoreRefused}

// errorMeter counts a store's errors by kind.
type errorMeter [len(storeErrorKinds)]atomic.Int64

func (m *errorMeter) count(kind StoreErrorKind) {
	for i, known := range storeErrorKinds {
		if kind == known {
			m[i].Add(1)
		}
	}
}

func (m *errorMeter) counts() map[StoreErrorKind]int64 {
	counts := map[StoreErrorKind]int64{}
	for i, kind := range storeErrorKinds {
		counts[kind] = m[i].Load()
	}
	return counts
}

// lag is the age of the oldest entry that the connection has not considered, of which one may be for it.
func (a *Attachment) lag(now int64) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.advance()
	h := a.hub
	h.mu.RLock()
	defer h.mu.RUnlock()
	if a.err != nil || !a.cursor.Before(h.win.end) {
		return 0
	}
	first := a.cursor // it is behind the window: what follows is not at hand, but about as old
	if !a.cursor.Before(h.win.start) {
		number := h.win.numberAfter(a.cursor)
		if number == h.win.next() {
			return 0 // what follows is blank
		}
		first = h.win.item(number).Position
	}
	return max(0, time.Duration(now-int64(first.ms))*time.Millisecond)
}

// measureLag notes the largest lag there is.
func (n *Node) measureLag(live []*Attachment, largest time.Duration) time.Duration {
	now := n.clock.now()
	for _, a := range live {
		largest = max(largest, a.lag(now))
	}
	return largest
}
