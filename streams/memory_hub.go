package streams

import "sync"

// memoryHub is a hub's log and its connections' records.
type memoryHub struct {
	name   string        // static
	bucket *memoryBucket // static

	mu sync.Mutex
	// guarded by mu
	gen, run    string   // empty without a log
	before      []string // the generations that gen continues, oldest first
	floor, last Position
	entries     memoryEntries
	appended    bool // by the step that holds mu

	records map[string]*memoryRecord
	live    leases // of the records
	graves  map[string]*memoryGrave
	buried  leases // of the graves
	once    map[string]*memoryOnce
	keys    leases // of the idempotency keys
	work    map[string]*memoryWork
	events  int64 // events of connections so far
	users   map[string]*memoryUser
}

func newMemoryHub(name string, bucket *memoryBucket) *memoryHub {
	return &memoryHub{
		name:    name,
		bucket:  bucket,
		records: make(map[string]*memoryRecord),
		graves:  make(map[string]*memoryGrave),
		once:    make(map[string]*memoryOnce),
		work:    make(map[string]*memoryWork),
		users:   make(map[string]*memoryUser),
	}
}

// step begins an atomic step of the hub; what it returns ends the step, and wakes
// the tails if something was appended.
func (h *memoryHub) step() (end func()) {
	h.mu.Lock()
	return h.endStep
}

func (h *memoryHub) endStep() {
	if h.unlock() {
		h.bucket.signal()
	}
}

// appendStep is step for Append and its like, whose callers hold no lock: what is appended may be delivered when it ends.
func (h *memoryHub) appendStep() (end func()) {
	h.mu.Lock()
	return h.endAppend
}

func (h *memoryHub) endAppend() {
	if h.unlock() {
		h.bucket.appended(h.name)
	}
}

// unlock ends the step, and tells whether something was appended.
func (h *memoryHub) unlock() bool {
	appended := h.appended
	h.appended = false
	h.mu.Unlock()
	return appended
}

// makeLog makes the log if there is none. Positions begin after last, which Verify
// may have raised.
func (h *memoryHub) makeLog(run string, now int64) {
	if h.gen == "" {
		h.newGeneration(run, now, true)
	}
}

// newGeneration begins a generation; lost says that none before it can be continued.
func (h *memoryHub) newGeneration(run string, now int64, lost bool) {
	e := Entry{Kind: KindGen, Owner: randomName()}
	switch {
	case h.gen == "":
		h.before = nil
	case lost:
		h.before, e.Flags = nil, FlagLost
	default:
		h.before = append(h.before, h.gen)
		h.before = h.before[max(0, len(h.before)-generationsKept):]
	}
	h.gen, h.run = e.Owner, run
	h.append(string(AppendEntry(nil, &e)), now)
}

// append adds an entry and returns its position: the clock's, or the one after the
// last if the clock is not beyond it.
func (h *memoryHub) append(data string, now int64) Position {
	p := h.last.next()
	if now > 0 && uint64(now) > h.last.ms {
		p = Position{ms: uint64(now)}
	}
	h.last = p
	h.entries.add(RawEntry{Position: p, Data: data})
	h.appended = true
	return p
}

// raise makes sure that no position at or before p is given from now on.
func (h *memoryHub) raise(p Position) { h.last = later(h.last, p) }

// swept limits how many expired keys and tombstones one step removes.
const swept = 64

// sweep forgets what has expired, a little at a time: each step that may add one
// key or tombstone removes up to swept of them, so that they cannot pile up. It tells whether there may be more.
func (h *memoryHub) sweep(now int64) (more bool) {
	keys, graves := h.keys.due(now, swept), h.buried.due(now, swept)
	for _, l := range keys {
		h.keys.remove(l)
		delete(h.once, l.name)
	}
	for _, l := range graves {
		h.buried.remove(l)
		delete(h.graves, l.name)
	}
	return len(keys) == swept || len(graves) == swept
}

// sweepAll forgets all that has expired, in steps of its own: of a hub in which nothing is added any more, which would remove it.
func (h *memoryHub) sweepAll(now int64) {
	for more := true; more; {
		end := h.step()
		more = h.sweep(now)
		end()
	}
}
