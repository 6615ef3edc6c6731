package streams

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var (
	modelSeed  = flag.Uint64("seed", 0, "TestModel: run only this seed")
	modelSeeds = flag.Uint64("seeds", 48, "TestModel: how many seeds to run")
	modelTrace = flag.Int("trace", 60, "TestModel: how many of the last steps a failure shows")
	modelSteps = flag.Int("steps", 2500, "TestModel: steps of each seed")
)

// TestModel runs several nodes over one store, with clients that come and go, nodes
// that die, tails that lag and logs that are trimmed, and compares what every client
// was sent with a one-page model of the log. The store fails over, with the log's tail or
// without, begins anew empty, and its clock steps; see faults.
//
// In every third seed whoever appends reads the tails; see prompt.
//
// A failure prints its seed; -seed replays it. Every fourth seed lets the nodes run
// as they like, over a store without faults, and may not fail the same way again.
func TestModel(t *testing.T) {
	first, count := uint64(1), *modelSeeds
	if *modelSeed != 0 {
		first, count = *modelSeed, 1
	}
	for seed := first; seed < first+count; seed++ {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { runModel(t, seed, *modelSteps) })
		})
	}
}

// world is one run.
type world struct {
	t    *testing.T
	seed uint64
	rng  *rand.Rand
	free bool // the nodes run beside the steps, not between them
	mem  *FaultyMemory
	failures
	hubs  []*truth
	nodes []*simNode
	// clients are those that live, byID all that ever were.
	clients []*client
	byID    map[string]*client

	step   int
	names  int
	bodies int
	trace  []string
	count  map[string]int
}

// simNode is a node in one of the places for nodes.
type simNode struct {
	*Node
	name   string
	store  *simStore
	late   bool // it did not run when the store failed over
	ctx    context.Context
	cancel context.CancelFunc
	joined *Joined
}

func (n *simNode) dead() bool { return n.ctx.Err() != nil }

const (
	modelNodes   = 3
	modelClients = 10
	modelTrimAge = 15 * time.Second // what is younger is never trimmed
)

// modelHubs are in one bucket, so that one tail reads both.
var modelHubs = SameBucket("hub0", 2)

// SameBucket returns n hubs of the bucket of a hub.
func SameBucket(hub string, n int) (names []string) {
	for i := 0; len(names) < n; i++ {
		if name := fmt.Sprintf("hub%d", i); Bucket(name) == Bucket(hub) {
			names = append(names, name)
		}
	}
	return names
}

func runModel(t *testing.T, seed uint64, steps int) {
	w := newWorld(t, seed)
	defer w.stop()
	for w.step = 1; w.step <= steps; w.step++ {
		w.act()
		w.wait()
		w.pull()
		if w.step%5 == 0 {
			w.checkWakes()
		}
		if w.step%50 == 0 {
			w.audit()
		}
	}
	w.settle()
	w.compare()
	w.finish()
	t.Log(w.count)
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{
		t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 0)), free: seed%4 == 0,
		mem: NewFaultyMemory(), byID: map[string]*client{}, count: map[string]int{},
	}
	w.tokens, w.faulty = map[string]*simNode{}, !w.free && w.chance(800)
	for _, name := range modelHubs[:1+w.rng.IntN(2)] {
		w.hubs = append(w.hubs, newTruth(name))
	}
	for i := range modelNodes {
		w.nodes = append(w.nodes, w.startNode(i))
	}
	return w
}

func (w *world) startNode(i int) *simNode {
	w.names++
	s := &simNode{name: fmt.Sprintf("node%d", i), store: newSimStore(w.mem.Memory, w.seed%3 == 0)}
	s.ctx, s.cancel = context.WithCancel(context.WithValue(context.Background(), stallable{}, true))
	s.Node = NewNode(s.store, Config{
		Name: s.name, Retention: 45 * time.Second, Linger: 5 * time.Second, Contact: 25 * time.Second,
		WindowBytes: pick(w, 1, 2500, 10000, 64<<20), LossSpread: pick(w, 0, 10*time.Second, 30*time.Second),
	})
	s.Node.pageEntries = pick(w, 2, 7, pageEntries)
	s.Node.tailEntries = pick(w, 3, tailEntries)
	if err := s.Start(s.ctx); err != nil {
		w.fail("start: %v", err)
	}
	return s
}

// stop ends what still runs, whatever happened.
func (w *world) stop() {
	for _, n := range w.nodes {
		n.cancel()
		n.store.release(true)
	}
	for _, n := range w.nodes {
		n.Wait()
	}
}

func pick[T any](w *world, list ...T) T { return list[w.rng.IntN(len(list))] }

// chance is true in n of 1000 cases.
func (w *world) chance(n int) bool { return w.rng.IntN(1000) < n }

func (w *world) note(format string, args ...any) {
	s := fmt.Sprintf("%d %s", w.step, fmt.Sprintf(format, args...))
	w.trace = append(w.trace, s)
}

func (w *world) fail(format string, args ...any) {
	w.t.Helper()
	for _, n := range w.nodes {
		if n.store.hasSpun() {
			format += "\n" + n.name + " asks the store for the same again and again, and never waits"
		}
	}
	w.t.Fatalf("seed %d, step %d: %s\nlast steps:\n%s", w.seed, w.step, fmt.Sprintf(format, args...),
		strings.Join(w.trace[max(0, len(w.trace)-*modelTrace):], "\n"))
}

// wait lets everything that was set off come to rest.
func (w *world) wait() {
	if !w.free {
		synctest.Wait()
	}
}

// pull lets the model read what the log has more.
func (w *world) pull() {
	for _, n := range w.nodes {
		if n.store.hasSpun() {
			w.fail("a node does not come to rest")
		}
	}
	for _, t := range w.hubs {
		for {
			reply, err := w.mem.Range(context.Background(), t.hub, t.after, 1000)
			if err != nil {
				w.fail("pull: %v", err)
			}
			if t.after.Before(reply.Floor) {
				w.behindFloor(t, reply.Floor)
			}
			w.trimmed(t, reply.Floor)
			losses := t.losses
			for _, e := range reply.Entries {
				t.take(e, time.Now().UnixMilli())
			}
			if t.losses > losses {
				w.allMayEnd(t)
			}
			if len(reply.Entries) < 1000 {
				break
			}
		}
		for id, c := range t.conns {
			if c.ended == 0 {
				continue
			}
			if c.ended > 1 && !w.byID[id].mayEnd {
				w.fail("%s ended %d times", id, c.ended)
			}
			w.byID[id].wasEnded()
		}
	}
}

// act does one random thing.
func (w *world) act() {
	if len(w.clients) < modelClients && w.chance(300) {
		w.arrive()
		return
	}
	if w.faulty && w.fault() {
		return
	}
	switch n := w.rng.IntN(1000); {
	case n < 140:
		w.publish()
	case n < 200:
		w.join()
	case n < 225:
		w.changeUser()
	case n < 830:
		w.someClientsAct()
	case n < 890:
		w.gate()
	case n < 945:
		w.sleep(time.Duration(w.rng.IntN(30)) * time.Millisecond)
	case n < 955:
		w.sleep(time.Duration(w.rng.IntN(2000)) * time.Millisecond)
	case n < 958:
		w.sleep(5*time.Second + time.Duration(w.rng.IntN(15000))*time.Millisecond)
	case n < 959:
		if w.chance(300) {
			w.sleep(40*time.Second + time.Duration(w.rng.IntN(40000))*time.Millisecond)
		}
	case n < 962:
		w.trim()
	case n < 972:
		w.stall()
	case n < 982:
		w.node().store.release(false)
	case n < 986:
		w.crash()
	case n < 988:
		w.stopNode()
	case n < 989:
		w.freeze()
	case n < 990:
		w.oversleep()
	case n < 995:
		w.close()
	}
}

// someClientsAct lets a few clients, and their servers, do something.
func (w *world) someClientsAct() {
	for range 1 + w.rng.IntN(4) {
		if len(w.clients) > 0 {
			w.clients[w.rng.IntN(len(w.clients))].act()
			w.wait()
		}
	}
}

func (w *world) node() *simNode { return w.nodes[w.rng.IntN(len(w.nodes))] }

func (w *world) hub() *truth { return w.hubs[w.rng.IntN(len(w.hubs))] }

func (w *world) audience(t *truth, e *Entry) {
	for range w.rng.IntN(3) {
		switch w.rng.IntN(6) {
		case 0:
			e.Flags |= FlagAll
		case 1, 2:
			e.Groups = append(e.Groups, w.group())
		case 3:
			e.Users = append(e.Users, w.user())
		case 4:
			e.Connections = append(e.Connections, w.someID(t))
		case 5:
			e.Excluded = append(e.Excluded, w.someID(t))
		}
	}
}

const modelGroups = 5

func groupName(i int) string   { return fmt.Sprintf("g%d", i) }
func (w *world) group() string { return groupName(w.rng.IntN(modelGroups)) }
func (w *world) user() string  { return fmt.Sprintf("u%d", w.rng.IntN(4)) }

func (w *world) someID(t *truth) string {
	if c := w.someClient(t); c != nil {
		return c.id
	}
	return "nobody"
}

func (w *world) someClient(t *truth) *client {
	for range 5 {
		if len(w.clients) == 0 {
			return nil
		}
		if c := w.clients[w.rng.IntN(len(w.clients))]; c.hub == t {
			return c
		}
	}
	return nil
}

func (w *world) body() []byte {
	w.bodies++
	return fmt.Appendf(nil, "m%d%s", w.bodies, strings.Repeat(".", w.rng.IntN(40)))
}

func (w *world) publish() {
	t := w.hub()
	for range 1 + w.rng.IntN(3)*w.rng.IntN(5) {
		e := Entry{Kind: KindMessage, Body: w.body()}
		if c := w.someClient(t); w.chance(50) && c != nil && c.shaken {
			e.Kind = KindReply
			e.Connections = []string{c.id}
		} else {
			w.audience(t, &e)
		}
		receipt, err := w.node().Publish(context.Background(), t.hub, &e)
		if err != nil {
			w.fail("publish: %v", err)
		}
		w.note("publish %s %v %q flags=%d g=%v u=%v c=%v x=%v", t.hub, receipt.Position, e.Body, e.Flags, e.Groups, e.Users, e.Connections, e.Excluded)
		w.count["publish"]++
	}
}

// join changes memberships and holds the store's answer against the model's.
func (w *world) join() {
	c := w.someClient(w.hub())
	if w.chance(500) {
		if other := w.attachingClient(); other != nil {
			c = other
		}
	}
	if c == nil {
		return
	}
	verb, groups := VerbJoin, []string{w.group()}
	switch w.rng.IntN(8) {
	case 0:
		verb, groups = VerbLeaveAll, nil
	case 1, 2, 3:
		verb = VerbLeave
	}
	for verb != VerbLeaveAll && w.chance(400) {
		groups = append(groups, w.group())
	}
	changes := verb == VerbLeaveAll && len(c.truth.groups) > 0
	for _, group := range groups {
		changes = changes || c.truth.groups[group] != (verb == VerbJoin)
	}
	record := c.record()
	reply, err := w.node().Join(context.Background(), c.hub.hub, c.id, verb, groups...)
	w.note("join %s verb=%d %v: %v %v", c.id, verb, groups, reply, err)
	w.count["join"]++
	switch {
	case record == nil || record.State == StateClosing:
		if !errors.Is(err, ErrGone) {
			w.fail("join of a connection that is gone: %v", err)
		}
		return
	case err != nil || reply.Changed != changes:
		w.fail("join %v of %s, in %v: changed=%v, %v", groups, c.id, c.truth.groups, reply.Changed, err)
	}
	w.pull()
	for _, group := range groups {
		if c.truth.groups[group] != (verb == VerbJoin) {
			w.fail("join %v verb %d of %s is not in the log: it is in %v", groups, verb, c.id, c.truth.groups)
		}
	}
}

// attachingClient is one between the reading of its record and its attach.
func (w *world) attachingClient() *client {
	for _, c := range w.clients {
		if r := c.request; r != nil && (r.stage == opened || r.stage == attaching) {
			return c
		}
		for _, s := range c.sockets {
			if s.ticket == 0 && s.att == nil {
				return c
			}
		}
	}
	return nil
}

// gate stops a node's tail, lets it read a little, or lets it run.
func (w *world) gate() {
	n := w.node()
	allow := pick(w, 0, 0, 1, 1, 2, 5, math.MaxInt, math.MaxInt)
	n.store.set(func() { n.store.gate.allow = allow })
	w.note("gate %s %d", n.name, allow)
}

// freeze holds a node's tails up for a while, as if the process did not run.
func (w *world) freeze() {
	w.openGates()
	n := w.node()
	n.store.set(func() { n.store.frozen = !n.store.frozen })
	w.note("freeze %s %v", n.name, n.store.frozen)
}

// openGates lets tails read what there is: a tail that lags has full batches or is late,
// but one that is held at a gate seems to have read everything.
func (w *world) openGates() {
	for _, n := range w.nodes {
		n.store.set(func() { n.store.gate.allow = math.MaxInt })
	}
	synctest.Wait()
}

// oversleep freezes a node for so long that what it has not read is trimmed.
func (w *world) oversleep() {
	w.openGates()
	n := w.node()
	w.note("oversleep %s", n.name)
	n.store.set(func() { n.store.frozen = true })
	for range 3 {
		w.publish()
		w.join()
		w.changeUser()
	}
	w.sleep(modelTrimAge + 3*time.Second)
	for range 3 {
		w.publish()
		w.trim()
	}
	n.store.set(func() { n.store.frozen = false })
}

// checkWakes makes sure that nobody sleeps while there is something for it.
func (w *world) checkWakes() {
	if w.free {
		return
	}
	for _, c := range w.clients {
		for _, s := range c.sockets {
			if s.att != nil && s.live && s.reading == nil && !s.woken.Load() {
				c.checkWoken(s.att)
			}
		}
		if r := c.request; r != nil && r.stage == held && !r.woken.Load() {
			c.checkWoken(r.att)
		}
	}
}

func (c *client) checkWoken(a *Attachment) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.hub.mu.RLock()
	defer a.hub.mu.RUnlock()
	end := a.hub.win.end
	if a.err != nil || a.waiting || !a.cursor.Before(end) || c.mayEnd {
		return
	}
	if c.truth.moved.After(a.cursor) && !c.truth.moved.After(end) && c.truth.owner != a.owner {
		c.w.fail("%s at %s is at %v and sleeps, but was taken over at %v", c, a.owner, a.cursor, c.truth.moved)
	}
	if n := c.truth.upTo(a.cursor); n < c.truth.upTo(end) {
		c.w.fail("%s at %s is at %v and sleeps; next is %v, read up to %v", c, a.owner, a.cursor, c.truth.want[n], end)
	}
	if !c.truth.closed.IsZero() && c.truth.closed.After(a.cursor) && !c.truth.closed.After(end) {
		c.w.fail("%s at %s is at %v and sleeps, but was closed at %v", c, a.owner, a.cursor, c.truth.closed)
	}
}

func (w *world) stall() {
	n := w.node()
	method := pick(w, "Range", "Range answer", "Range", "Range answer", "Touch", "Touch answer", "Trim", "End", "Expired answer",
		"LeaveUser", "LeaveUser answer", "DueUsers answer")
	n.store.set(func() { n.store.stall[method] = true })
	w.note("stall %s %s", n.name, method)
}

func (w *world) sleep(d time.Duration) {
	if d > 3*time.Second {
		w.untangle()
	}
	for _, c := range append([]*client(nil), w.clients...) {
		c.decide()
	}
	w.note("sleep %v", d)
	for ; d > 0; d -= 5 * time.Second {
		time.Sleep(min(d, 5*time.Second))
		w.pull()
	}
}

// untangle lets everything that waits for the run go on, but frozen tails.
func (w *world) untangle() {
	for _, n := range w.nodes {
		n.store.set(func() { n.store.gate.allow = math.MaxInt })
	}
	w.unstall()
	synctest.Wait()
	w.pull()
	for _, c := range append([]*client(nil), w.clients...) {
		c.hurry()
	}
}

// unstall lets the calls go on that are held up: none is on its way for seconds.
func (w *world) unstall() {
	for _, n := range w.nodes {
		n.store.set(func() { clear(n.store.stall) })
		n.store.release(true)
	}
}

// trim drops what is old enough.
func (w *world) trim() {
	t := w.hub()
	limit := time.Now().Add(-modelTrimAge).UnixMilli()
	n := 0
	for n < len(t.times) && t.times[n].at <= limit {
		n++
	}
	if n == 0 {
		return
	}
	upTo := t.times[w.rng.IntN(n)].position
	w.openGates()
	reply, err := w.mem.Trim(context.Background(), t.hub, upTo)
	if err != nil {
		w.fail("trim: %v", err)
	}
	w.trimmed(t, reply.Floor)
	w.note("trim %s %v: floor %v", t.hub, upTo, reply.Floor)
	w.count["trim"]++
}

// crash takes a node away without a word, and starts another in its place.
func (w *world) crash() {
	i := w.rng.IntN(len(w.nodes))
	n := w.nodes[i]
	for _, c := range w.clients {
		c.tell() // a poll in the very millisecond of an answer whose node dies is sent twice
	}
	w.note("crash %s", n.name)
	n.store.set(func() { n.store.dead = true })
	n.cancel()
	w.replace(i)
}

// stopNode stops a node in good order.
func (w *world) stopNode() {
	i := w.rng.IntN(len(w.nodes))
	n := w.nodes[i]
	w.note("stop %s", n.name)
	n.store.release(true)
	synctest.Wait()
	for _, c := range append([]*client(nil), w.clients...) {
		for _, s := range append([]*socket(nil), c.sockets...) {
			if s.node == n {
				s.cut()
				s.notice()
			}
		}
		if c.request != nil && c.request.node == n {
			c.request.drain()
		}
	}
	n.cancel()
	w.replace(i)
}

func (w *world) replace(i int) {
	n := w.nodes[i]
	n.store.release(true)
	n.Wait()
	w.nodes[i] = w.startNode(i)
	for _, c := range append([]*client(nil), w.clients...) {
		c.lost(n)
	}
	w.count["node"]++
}

// close closes or ends connections: one, a group's, a user's, or all of a hub.
func (w *world) close() {
	t := w.hub()
	c := w.someClient(t)
	if c == nil {
		return
	}
	ctx := context.Background()
	reason := Entry{Kind: KindClose, Body: []byte("closed")}
	switch n := w.rng.IntN(12); {
	case n < 5:
		record := c.record()
		p, err := w.node().CloseConnection(ctx, t.hub, c.id, "closed", false)
		w.note("close %s: %v %v", c.id, p, err)
		c.closing = c.closing || err == nil
		if gone := record == nil || record.State == StateClosing; gone != errors.Is(err, ErrGone) || !gone && err != nil {
			w.fail("close of %s (gone %v): %v", c.id, gone, err)
		}
		return
	case n < 7:
		record := c.record()
		c.ending = true
		reply, err := w.node().End(ctx, t.hub, c.id, "")
		w.note("end %s: %v %v", c.id, reply.Outcome, err)
		if err != nil || (reply.Outcome == EndDone) != (record != nil) {
			w.fail("end of %s: %v %v", c.id, reply.Outcome, err)
		}
		return
	case n < 9:
		reason.Groups = []string{w.group()}
	case n < 11:
		reason.Users = []string{w.user()}
	default:
		reason.Flags = FlagAll
	}
	if w.chance(300) {
		reason.Excluded = []string{c.id}
	}
	receipt, err := w.node().Publish(ctx, t.hub, &reason)
	w.note("close %v flags=%d g=%v u=%v x=%v: %v", receipt.Position, reason.Flags, reason.Groups, reason.Users, reason.Excluded, err)
	if err != nil {
		w.fail("close: %v", err)
	}
}

// audit holds every record against the model, and what Pending shows.
func (w *world) audit() {
	w.pull()
	for _, c := range w.clients {
		c.audit()
	}
}

// settle lets everything go well until every client has what it must have.
func (w *world) settle() {
	w.note("settle")
	for _, n := range w.nodes {
		n.store.set(func() { n.store.frozen = false })
	}
	w.untangle()
	for range 8 { // whose record was lost is told when its lease is renewed, or when no handshake comes
		w.sleep(touchUnchanged)
	}
	for range 30 {
		w.untangle()
		for _, c := range append([]*client(nil), w.clients...) {
			c.behave()
			w.wait()
			w.pull()
		}
		time.Sleep(10 * time.Millisecond)
	}
	w.audit()
}

func (w *world) compare() {
	synctest.Wait()
	w.pull()
	for _, c := range w.clients {
		c.checkLoss()
		if c.loose() {
			continue
		}
		if c.got != len(c.truth.want) {
			w.fail("%s has %d of %d matches; next is %v", c, c.got, len(c.truth.want), c.truth.want[c.got])
		}
		if !c.truth.closed.IsZero() {
			w.fail("%s does not know that it was closed", c)
		}
	}
}

// finish lets everybody go: every connection must end, once.
func (w *world) finish() {
	for _, c := range append([]*client(nil), w.clients...) {
		for _, s := range append([]*socket(nil), c.sockets...) {
			s.cut()
			s.notice()
		}
		c.over = true
	}
	w.wait()
	w.pull()                        // by the new time all that is there is old, and may be trimmed
	w.mem.StepClock(24 * time.Hour) // it may have been set back meanwhile
	// A hub that nobody uses any more is swept when its bucket's turn comes.
	for i := 0; i < 400 && !w.allEnded(); i++ {
		time.Sleep(10 * time.Second)
		w.pull()
	}
	w.finishUsers()
	for range 6 { // a minute, of which nothing is trimmed before it is pulled
		time.Sleep(10 * time.Second)
		w.pull()
	}
	for _, c := range w.byID {
		if c.truth.ended != 1 && !c.mayEnd || c.record() != nil {
			w.fail("%s ended %d times; its record is %+v", c, c.truth.ended, c.record())
		}
	}
}

func (w *world) allEnded() bool {
	for _, c := range w.byID {
		if c.record() != nil {
			return false
		}
	}
	return true
}
