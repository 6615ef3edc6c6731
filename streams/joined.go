package streams

// Joined is what a connection is sent next, in one format. It is used again and again, for any number
// of connections, but by one goroutine at a time.
type Joined struct {
	// Bytes are encodings, one after another. They must not be written to. They stay as they are, unless Copied.
	Bytes []byte
	// Copied: Bytes are overwritten by the next use.
	Copied bool
	// More: there is more at hand, or may be, and wake is not called for it.
	More bool
	// Traced are those messages in Bytes that have a trace context, if the node looks for them; see Config.Traced.
	Traced []*Item

	node   *Node
	stripe *stripe
	now    int64 // the store's clock, ms
	items  []*Item
	buffer []byte
}

// NewJoined returns an empty one, for the connections of one node.
func (n *Node) NewJoined() *Joined {
	return &Joined{node: n, stripe: n.meter.stripe(), now: n.clock.now()}
}

// Tick reads the clock, by which the delay of what is taken is measured.
func (j *Joined) Tick() { j.now = j.node.clock.now() }

// Reset empties it.
func (j *Joined) Reset() {
	j.Bytes, j.Copied, j.More, j.Traced = nil, false, false, j.Traced[:0]
}

// Release gives up what it refers to, and what is large.
func (j *Joined) Release() {
	clear(j.items[:cap(j.items)])
	clear(j.Traced[:cap(j.Traced)])
	j.Bytes = nil
	if cap(j.buffer) > maxJoinBuffer {
		j.buffer = nil
	}
}

// maxJoinBuffer is the most that is kept to copy into.
const maxJoinBuffer = 256 << 10 // 256 KiB

// Take is Next for what is at hand, in a format and joined; maxBytes limits the encodings or the bodies. It returns false where only Next can say
// what is next: it would have to read the store, or there is an error. It never waits for the store.
func (a *Attachment) Take(j *Joined, f *Format, maxBytes int) bool {
	j.Reset()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil {
		return false
	}
	if !a.begin() {
		return true
	}
	if a.takeBroadcasts(j, f, maxBytes) {
		a.checkHeard()
		return a.err == nil
	}
	t := taker{a: a, items: j.items[:0], left: maxBytes}
	reached := a.hub.visit(a, t.offer)
	j.items = t.items
	if !reached {
		return false
	}
	a.reached(t.done)
	if len(t.items) == 0 {
		a.checkHeard()
		return a.err == nil
	}
	j.stripe.took(len(t.items), j.now-int64(t.items[0].Position.ms))
	j.More = t.done || a.acks.writing
	j.Join(t.items, f)
	return true
}

// takeBroadcasts takes what is at hand if that is nothing but broadcasts: everybody is sent them, no filter need look.
func (a *Attachment) takeBroadcasts(j *Joined, f *Format, maxBytes int) (done bool) {
	h := a.hub
	h.mu.RLock()
	defer h.mu.RUnlock()
	w := &h.win
	if a.resets == h.resets && a.cursor.Before(w.start) {
		return false
	}
	if a.resets != h.resets || !a.cursor.Before(w.end) {
		a.reached(false)
		return true
	}
	number := w.nextAfter(a.cursor, a.next)
	if number == w.next() { // what follows is blank
		a.next, a.cursor = number, w.end
		a.reached(false)
		return true
	}
	if number < w.special || !a.filter.started || a.cursor.Before(a.filter.start) {
		return false
	}
	t := &w.tapes[f.slot]
	if t.lengthen(w, f, number); number < t.begin || a.stateful { // which is numbered one by one
		return false
	}
	b, next := t.joined(number, maxBytes)
	j.stripe.took(int(next-number), j.now-int64(w.item(number).Position.ms))
	j.Bytes, j.More = b, next < w.next()
	a.next, a.cursor = next, w.before(next)
	a.reached(j.More)
	return true
}

// Join joins the encodings of items, of which there is at least one. Those that are neighbours on a tape are not copied.
func (j *Joined) Join(items []*Item, f *Format) {
	j.Traced = j.Traced[:0]
	if j.node.cfg.Traced != nil {
		j.noteTraced(items)
	}
	j.Bytes, j.Copied = items[0].Encoding(f), false
	for _, item := range items[1:] {
		b := item.Encoding(f)
		if both, ok := adjoin(j.Bytes, b); ok && !j.Copied {
			j.Bytes = both
			continue
		}
		if !j.Copied {
			j.buffer, j.Copied = append(j.buffer[:0], j.Bytes...), true
		}
		j.buffer = append(j.buffer, b...)
		j.Bytes = j.buffer
	}
}

func (j *Joined) noteTraced(items []*Item) {
	for _, item := range items {
		if item.Trace() != "" {
			j.Traced = append(j.Traced, item)
		}
	}
}
