package streams

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// kind is what a simulated client uses.
type kind string

const (
	statefulClient kind = "stateful" // WebSockets with stateful reconnect
	plainClient    kind = "plain"    // WebSockets without
	eventsClient   kind = "events"   // server-sent events
	pollClient     kind = "poll"
)

// Leases as the transports have them.
const (
	simNewLease      = 15 * time.Second
	simLiveLease     = 30 * time.Second
	simDetachedLease = 60 * time.Second
	simPollLease     = 100 * time.Second
	simAttachTime    = 3 * time.Second
	simWireTime      = 2 * time.Second // what is sent has arrived then, or never does
)

// client is a simulated SignalR client and, in sockets and requests, the servers' ends of
// its transports.
type client struct {
	w     *world
	kind  kind
	id    string
	user  string
	hub   *truth
	truth *truthConn
	until int64 // its token's deadline

	got    int  // matches received
	shaken bool // the handshake is done
	over   bool // it has given up, or knows that it was closed
	ending bool // the run ends it, or lets it end
	// closing: it was closed, alone; its record must say so.
	closing bool
	faults

	// sockets are the servers' ends that are not over; socket is the client's, if any.
	sockets []*socket
	socket  *socket
	// The official clients' numbers, with stateful reconnect.
	next, latest uint64

	poller
}

func (c *client) String() string { return fmt.Sprintf("%s (%s)", c.id, c.kind) }

// arrive starts a new client.
func (w *world) arrive() {
	w.names++
	c := &client{w: w, hub: w.hub(), kind: pick(w, statefulClient, statefulClient, statefulClient, pollClient, pollClient, plainClient, eventsClient)}
	c.id = fmt.Sprintf("c%d", w.names)
	if w.chance(600) {
		c.user = w.user()
	}
	c.truth = &truthConn{id: c.id, user: c.user, hub: c.hub, groups: map[string]bool{}, ever: map[string]bool{}}
	c.received = map[string]bool{}
	c.next, c.until = 1, w.mem.now()+time.Minute.Milliseconds()
	w.pull()
	w.clients = append(w.clients, c)
	w.byID[c.id] = c
	w.note("arrive %s user=%q %s", c, c.user, c.hub.hub)
	w.count[string(c.kind)]++
	if c.kind == pollClient {
		c.marked = w.chance(700)
		c.unique = c.marked && w.chance(500)
		if w.chance(200) {
			c.post()
		}
		c.poll()
	} else {
		c.connect()
	}
	c.hub.conns[c.id] = c.truth
}

// post is a POST that comes first.
func (c *client) post() {
	reply, err := c.w.node().Open(context.Background(), c.hub.hub, c.openRequest(OpenPost, ""))
	if err != nil || reply.Outcome != OpenCreated {
		c.w.fail("post: %v %v", reply.Outcome, err)
	}
}

func (c *client) openRequest(mode OpenMode, owner string) OpenRequest {
	return OpenRequest{
		Mode: mode, ID: c.id, User: c.user, Owner: owner, CreateUntil: c.until,
		Lease: simLiveLease, NewLease: simNewLease,
	}
}

// record is a copy of the store's record, nil if there is none.
func (c *client) record() *memoryRecord {
	h := c.w.mem.hub(c.hub.hub)
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.records[c.id]
	if r == nil {
		return nil
	}
	clone := r.Record
	clone.Groups, clone.UserGroups = r.Groups.clone(), h.userGroups(c.user).clone()
	return &memoryRecord{Record: clone}
}

// noteHeard does at once what the node does soon: until then a client is not let in again, and waits.
func (c *client) noteHeard() {
	h := c.w.mem.hub(c.hub.hub)
	h.mu.Lock()
	defer h.mu.Unlock()
	if r := h.records[c.id]; r != nil {
		r.Heard = true
	}
}

// receive takes a message.
func (c *client) receive(body string) {
	c.w.pull()
	if c.loose() {
		c.receiveLoosely(body)
		return
	}
	if c.got >= len(c.truth.want) {
		c.w.fail("%s got %q, but has all its %d matches (closed at %v)", c, body, c.got, c.truth.closed)
	}
	if want := c.truth.want[c.got]; want.body != body {
		c.w.fail("%s got %q, want %q at %v (number %d of %d)", c, body, want.body, want.position, c.got+1, len(c.truth.want))
	}
	c.got++
	c.received[body] = true
	c.w.count["received"]++
}

// closed takes the end of the connection, which comes after everything before it.
func (c *client) closed() {
	c.w.pull()
	if c.truth.closed.IsZero() && !c.mayEnd {
		c.w.fail("%s is told that it is closed, and is not", c)
	}
	if c.got != len(c.truth.want) && !c.loose() && !c.endLost {
		c.w.fail("%s closed with %d of %d matches", c, c.got, len(c.truth.want))
	}
	c.w.count["closed"]++
	c.leave()
}

// leave ends the client.
func (c *client) leave() {
	c.over, c.ending = true, true
	for i, other := range c.w.clients {
		if other == c {
			c.w.clients = append(c.w.clients[:i:i], c.w.clients[i+1:]...)
			break
		}
	}
	for _, s := range append([]*socket(nil), c.sockets...) {
		s.cut()
		s.notice()
	}
}

// gone is for an answer that there is no such connection (any more).
func (c *client) gone() {
	c.w.pull()
	if r := c.record(); r != nil && r.State != StateClosing && !c.mayEnd && !c.orphaned(r) {
		c.w.fail("%s is refused, but is %s, of %s owned by %q", c, r.State, r.Gen, r.Owner)
	}
	c.w.count["gone"]++
	c.leave()
}

// opened holds an Open against the model.
func (c *client) opened(owner string, before *memoryRecord, reply *OpenReply) {
	c.w.pull()
	if reply.Record.Cursor.Before(reply.Floor) {
		c.w.fail("%s is opened at %v, but the floor is %v", c, reply.Record.Cursor, reply.Floor)
	}
	c.w.served(c.hub.hub, c.id, owner)
	if before != nil && before.Owner != "" && before.Owner != owner && c.truth.owner != owner && !c.mayEnd {
		c.w.fail("%s: nobody tells %s that it is displaced", c, before.Owner)
	}
}

// attached holds a socket's attach against the model; a poll's owner gives the connection up with its answer.
func (c *client) attached(a *Attachment) {
	if c.truth.owner != "" && c.truth.owner != a.owner && !c.truth.moved.After(a.filter.known) && !c.mayEnd {
		c.w.fail("%s is attached for %s, but %s took it over before", c, a.owner, c.truth.owner)
	}
}

// attachRefused is for an attach that came too late.
func (c *client) attachRefused(owner string, err error) {
	r := c.record()
	if r != nil && r.Owner == owner && !c.mayEnd {
		c.w.fail("%s: attach refused: %v", c, err)
	}
}

// gap is for an answer that the log does not reach back to cursor; passed is whether
// the node was itself behind the log's floor.
func (c *client) gap(cursor Position, passed bool) {
	c.w.count["gap"]++
	if passed || c.mayEnd {
		return
	}
	reply, _ := c.w.mem.Range(context.Background(), c.hub.hub, Position{}, 1)
	if floor := reply.Floor; !cursor.Before(floor) {
		c.w.fail("%s: gap at %v, but the floor is %v", c, cursor, floor)
	}
}

// wasEnded is called when the log says that the connection has ended.
func (c *client) wasEnded() {
	if c.ending || c.over {
		return
	}
	c.ending = true
	if c.mayEnd {
		return
	}
	for _, s := range c.sockets {
		if s.att != nil && !s.isCut {
			c.w.fail("%s expired although %s serves it", c, s.node.name)
		}
	}
	if c.kind == pollClient && c.shaken && time.Since(c.active) < simNewLease {
		c.w.fail("%s expired although it polls", c)
	}
	c.w.count["expired"]++
}

// act does something random with the client, or with what the servers have of it.
func (c *client) act() {
	w := c.w
	if c.kind == pollClient {
		c.actPoll()
		return
	}
	switch n := w.rng.IntN(100); {
	case n < 75:
		if len(c.sockets) > 0 {
			c.sockets[w.rng.IntN(len(c.sockets))].act()
		}
	case n < 82:
		if c.socket != nil && (c.kind == statefulClient && c.shaken || w.chance(100)) {
			c.socket.cut()
		}
	case n < 88:
		if len(c.sockets) > 0 {
			if s := c.sockets[w.rng.IntN(len(c.sockets))]; s.isCut {
				s.notice()
			}
		}
	default:
		c.reconnect()
	}
}

// connect opens the first socket.
func (c *client) connect() {
	mode := OpenWebSocket
	if c.kind == eventsClient {
		mode = OpenEvents
	}
	s := c.newSocket()
	reply, err := s.node.Open(context.Background(), c.hub.hub, c.openRequest(mode, s.owner))
	if err != nil || reply.Outcome != OpenCreated {
		c.w.fail("%s connects: %v %v", c, reply.Outcome, err)
	}
	c.w.served(c.hub.hub, c.id, s.owner)
	s.opened, s.openedAt = reply, time.Now()
}

func (c *client) newSocket() *socket {
	n := c.w.node()
	s := &socket{c: c, node: n, owner: n.NewOwner(), result: make(chan attached, 1)}
	c.sockets = append(c.sockets, s)
	c.socket = s
	return s
}

// reconnect opens a socket for a stateful connection that has none.
func (c *client) reconnect() {
	if c.socket != nil || c.kind != statefulClient || !c.shaken {
		if c.socket == nil && !c.over {
			c.leave() // nothing to come back to
		}
		return
	}
	if r := c.record(); r != nil && r.Gen != c.w.gen(c.hub.hub) {
		c.w.untangle() // the node waits for somebody to carry it over: time passes, for others, too
	}
	s := c.newSocket()
	reply, err := s.node.Open(context.Background(), c.hub.hub, c.openRequest(OpenWebSocket, s.owner))
	c.w.note("reconnect %s at %s: %v ticket=%d %v", c, s.node.name, reply.Outcome, reply.Record.Tickets, err)
	switch {
	case errors.Is(err, ErrGone):
		s.end()
		c.gone()
	case errors.Is(err, ErrGap):
		s.end()
		c.gap(c.record().Cursor, false)
		c.leave()
	case err == nil && reply.Outcome != OpenTicket && (c.mayEnd || c.w.count["clock"] > 0):
		c.mayEnd = true   // with the clock set back and forth a tombstone does not stand as long as its token
		s.endConnection() // its handshake is lost, and its first frame is none
		s.end()
		c.leave()
	case err != nil || reply.Outcome != OpenTicket:
		c.w.fail("%s reconnects: %v %v", c, reply.Outcome, err)
	default:
		s.ticket = reply.Record.Tickets
		c.w.count["reconnect"]++
	}
}

// lost is called when a node is gone.
func (c *client) lost(n *simNode) {
	for i := len(c.sockets) - 1; i >= 0; i-- {
		if s := c.sockets[i]; s.node == n {
			s.cut()
			s.end()
		}
	}
	c.lostRequests(n)
}

// hurry brings on what must not wait while time passes.
func (c *client) hurry() {
	for _, s := range c.sockets {
		s.collect()
	}
	if c.kind == pollClient && !c.over {
		c.hurryPoll()
	}
}

// behave does everything that a client and its servers would do at once.
func (c *client) behave() {
	if c.over {
		return
	}
	if c.kind == pollClient {
		c.behavePoll()
		return
	}
	for _, s := range append([]*socket(nil), c.sockets...) {
		if s.isCut {
			s.notice()
		}
	}
	if c.socket == nil {
		c.reconnect()
	}
	for i := 0; i < 20 && c.socket != nil; i++ {
		c.socket.behave()
		c.w.wait()
	}
}

// audit holds the record against the model.
func (c *client) audit() {
	r := c.record()
	if r == nil || c.over || !c.shaken || c.mayEnd {
		return
	}
	if c.closing && r.State != StateClosing {
		c.w.fail("%s was closed, but is %s", c, r.State)
	}
	if r.State == StateOpen && c.truth.closed.IsZero() {
		for group := range c.truth.groups {
			if !r.Groups.member(group) {
				c.w.fail("%s is not in %s in its record", c, group)
			}
		}
		if r.Groups.open() != len(c.truth.groups) {
			c.w.fail("%s is in more groups in its record", c)
		}
		left := 0 // since the log was read
		for group := range c.hub.users[c.user] {
			switch {
			case r.UserGroups.member(group):
			case c.hub.mayLeave(c.user, group):
				left++
			default:
				c.w.fail("%s is not in %s through its user", c, group)
			}
		}
		if c.user != "" && r.UserGroups.open() != len(c.hub.users[c.user])-left {
			c.w.fail("%s is in more groups through its user", c)
		}
	}
	if c.kind == statefulClient {
		if n := c.truth.upTo(r.Cursor); uint64(n) != r.Acked {
			c.w.fail("%s: %d acknowledged at %v in the record, want %d", c, r.Acked, r.Cursor, n)
		}
		if r.Acked > c.latest {
			c.w.fail("%s: %d acknowledged, but it has %d", c, r.Acked, c.latest)
		}
	}
	c.auditPending(r)
}

func (c *client) auditPending(r *memoryRecord) {
	if c.kind != statefulClient && c.kind != pollClient {
		return
	}
	const limit = 100
	var items []*Item
	record, err := c.w.node().Pending(context.Background(), c.hub.hub, c.id, func(item *Item) bool {
		items = append(items, item)
		return len(items) < limit
	})
	switch {
	case errors.Is(err, ErrGap):
		c.gap(r.Cursor, false)
		return
	case err != nil:
		c.w.fail("pending of %s: %v", c, err)
	}
	want := c.truth.want[c.truth.upTo(record.Cursor):]
	if len(want) > limit {
		want = want[:limit]
	}
	if len(items) != len(want) {
		c.w.fail("pending of %s: %d, want %d", c, len(items), len(want))
	}
	for i, item := range items {
		if string(item.Body) != want[i].body {
			c.w.fail("pending of %s: %q, want %q", c, item.Body, want[i].body)
		}
	}
}
