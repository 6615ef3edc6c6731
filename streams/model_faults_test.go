package streams

import (
	"maps"
	"strings"
	"testing/synctest"
	"time"
)

// failures is what the world knows of the store's faults.
type failures struct {
	// faulty: there are some.
	faulty bool
	// replica is the store as it was a while ago, with the model: what a failover may go back to.
	replica func()
	tokens  map[string]*simNode // the nodes that owner tokens are of
	stepped time.Time           // when the store's clock stepped last
}

// faults is what the store's faults mean to a client. What the model allows: a session may end, once the store has
// lost anything of its hub. It may not go on if it was sent what is lost, nor if one of the nodes that
// live knows of something that is lost; and while it goes on nothing is missing, and nothing comes twice.
type faults struct {
	// mayEnd: the session may end at any time, without a reason in the log.
	mayEnd bool
	// must: it was sent what is lost, and cannot go on.
	must bool
	// unrecorded: its record does not know of its handshake, or is lost. It is served until a node notices.
	unrecorded bool
	// reused: its handshake may be given a position that was lost. A node that has not noticed sends it what came after that.
	reused bool
	// endLost: the log had its end, or its close, and lost that. A node that has not noticed tells of it still, whatever
	// has come since in a log in which it began anew.
	endLost bool
	// stale: its record is older than what it was sent, though the log may be whole. One of the nodes knows it and ends
	// the session, but until then it may be sent something again, or miss it.
	stale bool
	// losses are those that nodes should find.
	losses   []*loss
	received map[string]bool
}

// loss is a failover without the log's tail.
type loss struct {
	hub       *truth
	witnesses map[*simNode]Position // that can prove it, and by what
	before    int                   // the hub's losses
}

func (l *loss) found() bool { return l.hub.losses > l.before }

func (l *loss) known() bool {
	for n := range l.witnesses {
		if !n.dead() {
			return true
		}
	}
	return false
}

// trimmed is for a hub's floor. A node that does not run until the floor has passed what it knows of a loss cannot tell that from what was
// trimmed in order.
func (w *world) trimmed(t *truth, floor Position) {
	for _, c := range w.clients {
		for _, l := range c.losses {
			maps.DeleteFunc(l.witnesses, func(n *simNode, proof Position) bool {
				return l.hub == t && n.store.isFrozen() && !proof.After(floor)
			})
		}
	}
}

// loose: the session is not what its log says any more, and will end.
func (c *client) loose() bool {
	return c.must || c.unrecorded || c.stale || len(c.losses) > 0
}

// receiveLoosely takes a message although some are lost: those that it was sent before, and those that come before the
// loss is found. None comes twice, and none that is not for it. A node that has not noticed the failover may
// read what is new before what is lost.
func (c *client) receiveLoosely(body string) {
	_, was := c.truth.ever[body]
	c.w.note("received loosely %s %q", c, body)
	switch {
	case c.stale, c.kind == pollClient && len(c.losses) > 0:
		return // until the slower node notices
	case c.received[body]:
		c.w.fail("%s got %q twice", c, body)
	case !was && !c.unrecorded && !c.reused:
		c.w.fail("%s got %q, which is not for it", c, body)
	}
	c.received[body] = true
	c.must = c.must || !c.unrecorded && !c.truth.wants(body)
	c.w.count["received loosely"]++
}

func (c *truthConn) wants(body string) bool {
	for _, m := range c.want {
		if m.body == body {
			return true
		}
	}
	return false
}

// checkLoss is for the end of the run, when everything that goes on has gone on.
func (c *client) checkLoss() {
	if c.must {
		c.w.fail("%s goes on although it was sent what is lost", c)
	}
	for _, l := range c.losses {
		switch {
		case l.found():
			c.w.fail("%s goes on after a loss", c)
		case l.known():
			c.w.fail("nobody found out what is lost, but %d nodes knew it", len(l.witnesses))
		}
	}
}

// lostConnection is for a connection that is closed because the log is not what it was.
func (w *world) lostConnection(c *client, err error) {
	if !c.mayEnd {
		w.fail("%s: %v, but nothing is", c, err)
	}
	w.count["lost"]++
	c.ending = true
}

// served notes which node an owner token is of.
func (w *world) served(hub, id, owner string) {
	for _, n := range w.nodes {
		if strings.HasPrefix(owner, n.Node.cfg.Name+".") && !n.dead() {
			w.tokens[owner] = n
		}
	}
}

// orphaned tells whether nobody can have carried the record over to the log's generation in time: the node that
// served it last is gone, does not run, or has forgotten the hub.
func (c *client) orphaned(r *memoryRecord) bool {
	if r.Gen == c.w.gen(c.hub.hub) {
		return false
	}
	last := r.Owner
	if last == "" {
		last = r.answeredBy
	}
	n := c.w.tokens[last]
	if n == nil || n.dead() || n.store.isFrozen() {
		return true
	}
	h := n.find(c.hub.hub)
	if h == nil {
		return true
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	_, known := h.recent[c.id]
	return !h.tailing || n.late && !known // it found a loss that was before the record's generation
}

func (w *world) gen(hub string) string {
	h := w.mem.hub(hub)
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.gen
}

// userGroups are the groups that the store has users in.
func (w *world) userGroups(hub string) map[string]map[string]bool {
	h := w.mem.hub(hub)
	h.mu.Lock()
	defer h.mu.Unlock()
	all := map[string]map[string]bool{}
	for user, u := range h.users {
		all[user] = map[string]bool{}
		for group := range u.groups {
			if u.groups.member(group) {
				all[user][group] = true
			}
		}
	}
	return all
}

// isBehind tells whether a node does not know yet of a failover before: of a hub that it does not tail it learns with a beat.
func (w *world) isBehind(n *simNode) bool {
	for _, t := range w.hubs {
		if h := n.find(t.hub); h != nil {
			h.mu.RLock()
			gen := h.gen
			h.mu.RUnlock()
			if gen != "" && gen != w.gen(t.hub) {
				return true
			}
		}
	}
	return false
}

func (n *simNode) find(hub string) *hub {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.hubs[hub]
}

// fault lets something happen to the store, now and then. It tells whether it did.
func (w *world) fault() bool {
	switch n := w.rng.IntN(1000); {
	case n < 25:
		w.remember()
	case n < 30:
		w.failOver(pick(w, 0, 0, 1, 1, 1, 2))
	case n < 35:
		w.stepClock()
	case n < 38:
		w.trimAll()
	case n < 55:
		w.thaw()
	default:
		return false
	}
	return true
}

// remember lets the replica catch up.
func (w *world) remember() {
	synctest.Wait()
	w.pull()
	var back []func()
	for _, t := range w.hubs {
		restore, old := w.mem.Checkpoint(t.hub), t.clone()
		back = append(back, func() {
			restore()
			t.restore(old)
		})
	}
	w.replica = func() {
		for _, f := range back {
			f()
		}
	}
	w.note("replica is in step")
}

// failOver puts another process in the store's place: with all its data (0), without what the replica lacks (1), or
// empty (2). Some nodes notice later than others.
func (w *world) failOver(kind int) {
	synctest.Wait()
	w.pull()
	for _, c := range w.clients {
		c.tell()
	}
	for _, n := range w.nodes {
		if w.chance(250) {
			n.store.set(func() { n.store.frozen = true })
		}
		n.late = n.late || n.store.isFrozen() || w.isBehind(n)
	}
	w.mem.SetAvailable(false) // nobody reads from the old process any more
	switch {
	case kind == 2:
		w.lose(func() {
			for _, t := range w.hubs {
				w.mem.Empty(t.hub)
				t.restore(newTruth(t.hub))
			}
		})
	case kind == 1 && w.replica != nil:
		w.lose(w.replica)
	default:
		kind = 0
	}
	w.mem.ChangeRun()
	w.mem.SetAvailable(true)
	w.replica = nil
	w.note("failover kind=%d", kind)
	w.count[[]string{"failover", "failover without the tail", "restart empty"}[kind]]++
}

// lose takes the store back, and notes what that means to everybody.
func (w *world) lose(back func()) {
	proofs := map[*truth]map[*simNode]Position{}
	for _, t := range w.hubs {
		proofs[t] = map[*simNode]Position{}
		for _, n := range w.nodes {
			proofs[t][n] = n.proof(t.hub)
		}
	}
	before, closed := map[*client]*memoryRecord{}, map[*client]bool{}
	for _, c := range w.clients {
		before[c], closed[c] = c.record(), !c.truth.closed.IsZero()
	}
	tips := map[*truth]Position{}
	for _, t := range w.hubs {
		tips[t] = t.after
	}
	back()
	for _, t := range w.hubs {
		t.rolledBack = true
		l := &loss{hub: t, witnesses: map[*simNode]Position{}, before: t.losses}
		for _, n := range w.nodes {
			if proofs[t][n].After(t.after) {
				l.witnesses[n] = proofs[t][n]
			}
		}
		lost := tips[t].After(t.after)
		w.note("%s lost %v, is at %v, known by %d nodes", t.hub, lost, t.after, len(l.witnesses))
		for _, c := range w.byID {
			c.mayEnd = c.mayEnd || c.hub == t // also those that had ended: their end may be lost
		}
		for _, c := range w.clients {
			if c.hub != t {
				continue
			}
			c.endLost = c.endLost || closed[c] && c.truth.closed.IsZero()
			r := c.record()
			if r == nil && !c.shaken {
				c.losses = nil // begins anew, and what was lost before is nothing to it
				continue
			}
			c.closing = false
			c.reused = c.reused || lost && !c.shaken
			if len(l.witnesses) > 0 {
				c.losses = append(c.losses, l)
			}
			c.stale = c.stale || c.kind == pollClient && r != nil && r.olderPoll(before[c])
			c.unrecorded = c.unrecorded || r == nil || r.State == StateNew && c.shaken
			c.must = c.must || r == nil || c.got > len(c.truth.want)
		}
	}
}

// behindFloor: a node that has not noticed yet that the log's tail was lost trims by what it saw of it, and so perhaps
// what has just come. All that are there end when it notices.
func (w *world) behindFloor(t *truth, floor Position) {
	if !t.rolledBack {
		w.fail("the model fell behind the floor")
	}
	t.after = floor
	t.users = w.userGroups(t.hub) // who comes later joins what is now
	w.allMayEnd(t)
	for _, c := range w.clients {
		c.stale = c.stale || c.hub == t
	}
}

// olderPoll tells whether something is missing in r that decides where the next poll's answer begins.
func (r *memoryRecord) olderPoll(s *memoryRecord) bool {
	return s == nil || r.Answers != s.Answers || r.Wrote != s.Wrote || r.Failed != s.Failed || r.Cursor != s.Cursor || r.Sent != s.Sent
}

// allMayEnd is for a loss that a node has found: it closes all that there is.
func (w *world) allMayEnd(t *truth) {
	for _, c := range w.clients {
		c.mayEnd = c.mayEnd || c.hub == t
	}
}

// proof is the newest position in a hub that the node has seen.
func (n *simNode) proof(hub string) Position {
	h := n.find(hub)
	if h == nil {
		return Position{}
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.gen == "" {
		return Position{}
	}
	return later(h.proof.Position, h.own.last())
}

// thaw lets the nodes run that do not.
func (w *world) thaw() {
	for _, n := range w.nodes {
		if n.store.isFrozen() {
			w.note("thaw %s", n.name)
			n.store.set(func() { n.store.frozen = false })
		}
	}
}

// stepClock steps the store's clock.
func (w *world) stepClock() {
	if time.Since(w.stepped) < 2*beatInterval {
		return // back and forth between two beats is not noticed
	}
	d := pick(w, time.Second, 30*time.Second, 5*time.Minute, time.Hour)
	if w.chance(500) {
		d = -d
	}
	w.note("clock %v", d)
	w.count["clock"]++
	for _, c := range append([]*client(nil), w.clients...) {
		c.beforeStep() // takes seconds
	}
	w.mem.StepClock(d)
	w.stepped = time.Now()
}

// beforeStep: by how much time passes between an answer and the next poll the store tells a poll that was sent again
// from the next one. A step in just that moment is not told from a client that waited.
func (c *client) beforeStep() {
	if c.kind != pollClient || c.over {
		return
	}
	c.tell()
	c.marksOff = true
	for i := 0; i < 20 && !c.over && (c.request == nil || c.request.stage != held); i++ {
		c.hurryPoll()
	}
	// One that is not in service yet is renewed by nobody, however long it waits for that.
	c.mayEnd = c.mayEnd || c.request != nil && c.request.stage != held
}

// trimAll drops what every node has read, however young it is.
func (w *world) trimAll() {
	w.openGates()
	t := w.hub()
	upTo := t.after
	for _, n := range w.nodes {
		if n.store.isFrozen() {
			return
		}
		if h := n.find(t.hub); h != nil {
			h.mu.RLock()
			if h.tailing && h.win.end.Before(upTo) {
				upTo = h.win.end
			}
			h.mu.RUnlock()
		}
	}
	for _, c := range w.clients { // an attach takes less time than anything stays in the log
		for _, s := range c.sockets {
			if s.att == nil && s.ticket == 0 && s.opened.Last.Before(upTo) {
				upTo = s.opened.Last
			}
		}
		if r := c.request; r != nil && r.stage != sent && r.stage < held && r.opened.Last.Before(upTo) {
			upTo = r.opened.Last
		}
	}
	reply, err := w.mem.Trim(w.t.Context(), t.hub, upTo)
	if err != nil {
		w.fail("trim: %v", err)
	}
	w.note("trim all of %s up to %v: floor %v", t.hub, upTo, reply.Floor)
	w.count["trim all"]++
}
