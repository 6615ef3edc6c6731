package streams

import (
	"container/list"
	"context"
	"slices"
	"sync"
	"time"
)

// hub is a hub as this node sees it: the window over its log, and the connections
// that it serves, by what an entry may name.
//
// The index decides whom an entry wakes, never what a connection is sent: that is its
// filter's business. It may wake too many, but never too few.
type hub struct {
	name  string
	node  *Node
	pages pages

	verifying sync.Mutex // one Verify at a time

	mu      sync.RWMutex
	win     window
	gen     string
	run     string // of the store's process, when the log was verified last
	tailing bool
	// resets counts how often the window began anew, passing over entries, or went over to a log that does not continue the one
	// before.
	resets uint64
	losses uint64 // of these, the latter
	// read is what resets was when the tail's read began; the tailer's.
	read uint64
	// proof is the newest entry that the tail has read, but for blank ones, which are the same in every log; without a tail, the newest
	// one that was appended here.
	proof RawEntry
	// own are the entries that were appended here, and that the tail is still to read.
	own own
	// doubt: one of them was not there.
	doubt bool
	// verified is where the log ended when it was verified last: generations up to there are known.
	verified Position
	// advanced is closed when the window's end moves; nil when nobody waits.
	advanced chan struct{}

	crowds []*crowd // of all attachments
	// forAll is the last entry for everybody. Whoever has a Waker is not marked for it: no cursor moves over it by itself.
	forAll Position
	conns  map[string][]*Attachment
	users  map[string][]*Attachment
	groups map[string]attachments

	// uses counts attachments and pending operations; idle is when it last became zero.
	uses int
	idle time.Time

	memberships map[string]membership // of connections that polled lately
	polled      map[string]*polled    // how they go on
	// recent are the connections that were served here lately, and when: after a clean
	// fail-over they are carried over to the new generation.
	recent map[string]recent
	// carries counts when recent was read to carry connections over: what was committed before, and is not known by then, may be lost.
	carries uint64
	trims   trimSamples
	// usersDue is when to look for users whose time in a group has passed.
	usersDue time.Time
	// woken and calls are append's.
	woken []*Attachment
	calls []wakerCall
	// pressed: the log is over its limit, and trimmed to the shortest retention. full:
	// that did not help, and sends are refused.
	pressed, full bool
}

// recent is what the node knows of a connection that it served lately.
type recent struct {
	at time.Time
	// gen is the log's generation when it was opened here. A slow node may not have noticed yet that it is a new one.
	gen string
	// owner is the token of the newest attach here, also of one that is not in live service yet or any more; empty
	// when it was given up with an answer.
	owner string
	// answers is the number of the last answer to a poll that was committed here.
	answers uint64
}

// serve notes that a connection is served here, by owner; answers may be 0: nothing new. h.mu is held.
func (h *hub) serve(id, owner string, answers uint64) {
	known := h.recent[id]
	if known.gen == "" {
		known.gen = h.gen
	}
	h.recent[id] = recent{time.Now(), known.gen, owner, max(answers, known.answers)}
}

// carriedOver is how often this node has carried records over; see stands.
func (h *hub) carriedOver() uint64 {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.carries
}

// stands notes that an answer was committed, and tells whether it is known to stand: if records were carried over since carries was
// read, before the answer was sent off, the store may have failed over without it.
func (h *hub) stands(id string, answers, carries uint64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.carries != carries {
		return false
	}
	h.serve(id, "", answers)
	h.idle = time.Now() // a poll that continued was not attached
	return true
}

// membership is what the node knows of a connection's groups, valid as long as they have these versions.
type membership struct {
	version            uint64
	userVersion        Position
	groups, userGroups Memberships
	at                 time.Time
}

func newHub(n *Node, name string) *hub {
	h := &hub{
		name: name, node: n,
		conns: map[string][]*Attachment{}, users: map[string][]*Attachment{}, groups: map[string]attachments{},
		memberships: map[string]membership{}, polled: map[string]*polled{}, recent: map[string]recent{},
		idle: time.Now(),
	}
	h.pages = pages{
		log: n.store, name: name, size: h.pageEntries, byFrom: map[Position]*list.Element{}, tip: h.tip,
		maxBytes: n.cfg.WindowBytes, held: &n.pageBytes, nodeMaxBytes: n.cfg.NodeWindowBytes,
	}
	return h
}

// pageEntries is how many entries a page has: fewer where the newest ones are large.
func (h *hub) pageEntries() int {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.win.bytes == 0 {
		return h.node.pageEntries
	}
	most := min(pageBytes, h.node.cfg.WindowBytes/4)
	return min(h.node.pageEntries, max(1, most*h.win.len()/h.win.bytes))
}

// tip is up to where the tail has read the log, and its generation.
func (h *hub) tip() (Position, string) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.win.end, h.gen
}

// append takes what the tail has read, unless an entry is missing there that the store had acknowledged to this node. What comes
// with a generation that was not verified it does not take: the log may have been lost, and made anew by who found none, without
// the end of any connection. With an error the log is to be verified before it is read on.
func (h *hub) append(entries []RawEntry) error {
	var lost *lostLog
	var told []*Item
	wake, calls := h.woken[:0], h.calls[:0]
	h.mu.Lock()
	if !h.tailing { // retired while the read was under way
		h.mu.Unlock()
		return nil
	}
	if h.read != h.resets {
		h.mu.Unlock()
		return errReadBefore
	}
	known, err := h.ofKnownGenerations(entries)
	entries = entries[:known]
	if !h.own.confirm(entries) {
		h.doubt = true
		h.mu.Unlock()
		return errEntryMissing
	}
	everybody := false
	before := h.win.bytes
	for _, e := range entries {
		if !e.Position.After(h.win.end) {
			continue
		}
		item, err := newItem(e)
		if err != nil {
			h.node.undecodable(h.name, e.Position, err)
		}
		if item.Kind == KindBlank {
			h.win.pass(item.Position)
			continue
		}
		h.win.push(item)
		if h.node.cfg.Traced != nil && item.Trace() != "" {
			h.node.cfg.Traced(item)
			h.win.special = h.win.next() // whoever takes it is to see that it does
		}
		wake = h.receivers(item, wake)
		if item.Flags&FlagAll != 0 {
			everybody, h.forAll = true, item.Position
		}
		if forNodes(&item.Entry) {
			told = append(told, item)
		}
		if item.Kind == KindGen && item.Flags&FlagLost != 0 && h.gen != "" && item.Owner != h.gen {
			lost = h.disown(item.Owner, h.win.next()-1)
		}
	}
	if everybody {
		wake, calls = h.wakeEverybody(wake, calls)
	}
	h.evict(before)
	for _, e := range slices.Backward(entries) {
		if !isKind(e.Data, KindBlank) {
			if e.Position.After(h.proof.Position) {
				h.proof = e
			}
			break
		}
	}
	if h.advanced != nil {
		close(h.advanced)
		h.advanced = nil
	}
	h.mu.Unlock()
	for _, c := range calls {
		c.crowd.waker.WakeAll(c.crowd, c.members)
	}
	for _, a := range wake {
		a.wake()
	}
	clear(wake) // those that leave must not stay in memory
	clear(calls)
	h.woken, h.calls = wake, calls
	for _, item := range told {
		h.node.tell(h.name, &item.Entry)
	}
	if lost != nil {
		h.tellLost(lost)
	}
	return err
}

// ofKnownGenerations returns how many of the entries come before a generation that was not verified, and an error if there is one.
// One that tells of a loss needs no proof. h.mu is held.
func (h *hub) ofKnownGenerations(entries []RawEntry) (int, error) {
	for i := range entries {
		e := &entries[i]
		if !isKind(e.Data, KindGen) || h.gen == "" || !e.Position.After(h.verified) || !e.Position.After(h.win.end) {
			continue
		}
		if item, err := newItem(*e); err == nil && item.Flags&FlagLost == 0 && item.Owner != h.gen {
			return i, errOtherGeneration
		}
	}
	return len(entries), nil
}

// evict keeps the window within its limits; before is what it held before it grew.
func (h *hub) evict(before int) {
	n := h.node
	for h.win.len() > 0 && (h.win.bytes > n.cfg.WindowBytes ||
		(n.windowBytes.Load()+int64(h.win.bytes-before) > n.cfg.NodeWindowBytes && h.win.bytes > minWindowBytes)) {
		h.win.pop()
	}
	n.windowBytes.Add(int64(h.win.bytes - before))
}

// minWindowBytes is what a hub's window may hold however many hubs there are.
const minWindowBytes = 1 << 20 // 1 MiB

// visit steps an attachment's filter through the window, if the window reaches back to its cursor.
func (h *hub) visit(a *Attachment, offer func(*Item, verdict) want) (reached bool) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	w := &h.win
	if a.resets != h.resets {
		return true
	}
	if a.cursor.Before(w.start) {
		return false
	}
	if !a.cursor.Before(w.end) {
		return true
	}
	a.next = w.visit(&a.filter, w.nextAfter(a.cursor, a.next), offer)
	a.cursor = w.before(a.next)
	return true
}

// lost is how often the log was lost, and the generation that it has since.
func (h *hub) lost() (gen string, losses uint64) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.gen, h.losses
}

// wait returns when the window has reached p, which was read when the log had been lost so often. Lost again it may never reach it: errWindowMoved.
func (h *hub) wait(ctx context.Context, p Position, losses uint64) error {
	for {
		h.mu.Lock()
		if !h.win.end.Before(p) {
			h.mu.Unlock()
			return nil
		}
		if h.losses != losses {
			h.mu.Unlock()
			return errWindowMoved
		}
		if h.advanced == nil {
			h.advanced = make(chan struct{})
		}
		ch := h.advanced
		h.mu.Unlock()
		select {
		case <-ch:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// enter takes an attachment into live service. Its record was read when the log's end
// was known; the window must have reached it.
func (h *hub) enter(a *Attachment, gen string, known Position) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if gen != h.gen {
		return ErrUnverified
	}
	if known.Before(h.win.start) || h.win.end.Before(known) {
		return errWindowMoved
	}
	a.resets, a.losses, a.gen = h.resets, h.losses, gen
	h.crowd(nil).add(a)
	h.node.meter.attachedTo(a.transport, 1)
	if a.id != "" {
		h.conns[a.id] = append(h.conns[a.id], a)
	}
	h.index(a, known)
	return nil
}

// leave takes an attachment out of live service; it may be called twice.
func (h *hub) leave(a *Attachment) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if a.place == 0 {
		return
	}
	h.leaveCrowd(a)
	h.node.meter.attachedTo(a.transport, -1)
	if a.id != "" {
		known, again := h.recent[a.id]
		if !again {
			known.owner = a.owner
		}
		h.serve(a.id, known.owner, 0)
	}
	removeFew(h.conns, a.id, a)
	removeFew(h.users, a.user, a)
	for group := range a.groups {
		remove(h.groups, group, a)
	}
	h.unuse()
}

func (h *hub) use() {
	h.uses++
}

func (h *hub) unuse() {
	h.uses--
	if h.uses == 0 {
		h.idle = time.Now()
	}
}

// live returns the attachments.
func (h *hub) live() []*Attachment {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.attached()
}

// inService returns those of some attachments that have not left.
func (h *hub) inService(some []*Attachment) []*Attachment {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return slices.DeleteFunc(some, func(a *Attachment) bool { return a.place == 0 })
}

// attached is live with h.mu held.
func (h *hub) attached() []*Attachment {
	var all []*Attachment
	for _, c := range h.crowds {
		all = append(all, c.list...)
	}
	return all
}
