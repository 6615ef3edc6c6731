package streams

import (
	"bytes"
	"context"
	"errors"
	"sync/atomic"
	"time"
)

// socket is the server's end of a WebSocket or an event stream, and the wire between.
type socket struct {
	c     *client
	node  *simNode
	owner string

	ticket    uint64 // of a re-attach whose Sequence has not come yet
	opened    OpenReply
	openedAt  time.Time
	attaching bool
	result    chan attached
	att       *Attachment
	live      bool // the handshake is done, or was before
	woken     atomic.Bool
	reading   chan read // of a Next that is under way

	down      []frame // on the way to the client
	up        []upAck // on the way to the server
	sequenced bool    // the client has had the Sequence
	isCut     bool    // nothing arrives any more
	isOver    bool
}

type attached struct {
	att *Attachment
	err error
}

// read is what a Next returned.
type read struct {
	items []*Item
	err   error
}

// upAck is an Ack on its way, or a ping if it has no number.
type upAck struct {
	number uint64
	sent   time.Time
}

// frame is one of a body, a Sequence, or the close of the connection.
type frame struct {
	body     string
	sequence uint64
	close    bool
	lost     bool // the close of a connection that cannot be continued
	sent     time.Time
}

// act does the next thing at the server's end, or something random.
func (s *socket) act() {
	w := s.c.w
	switch {
	case s.ticket > 0:
		s.takeOver()
	case s.att == nil && !s.attaching:
		s.attachOrFail()
	case s.att == nil:
		s.collect()
	case !s.live && w.chance(500):
		s.handshake()
	default:
		switch n := w.rng.IntN(100); {
		case n < 40:
			s.pump()
		case n < 75:
			s.deliver(1 + w.rng.IntN(8))
		case n < 85:
			s.acknowledge()
		case n < 95:
			s.takeAck()
		default:
			s.reply()
		}
	}
}

// behave does what would follow at once.
func (s *socket) behave() {
	switch {
	case s.ticket > 0:
		s.takeOver()
	case s.att == nil && !s.attaching:
		s.attachOrFail()
	case s.att == nil:
		s.collect()
	case !s.live:
		s.handshake()
	default:
		s.pump()
		s.deliver(len(s.down))
		s.acknowledge()
		for len(s.up) > 0 && !s.isOver {
			s.takeAck()
		}
	}
}

// takeOver is the client's Sequence on a returning socket.
func (s *socket) takeOver() {
	c := s.c
	r := c.openRequest(OpenReattach, s.owner)
	r.Ticket = s.ticket
	before := c.record()
	reply, err := s.node.Open(context.Background(), c.hub.hub, r)
	c.w.note("takeOver %s at %s ticket=%d: last=%v record=%+v %v", c, s.node.name, s.ticket, reply.Last, reply.Record, err)
	switch {
	case errors.Is(err, ErrGone):
		mine := !s.isCut
		s.drop()
		if mine {
			c.gone()
		}
	case errors.Is(err, ErrOwner):
		if (before == nil || before.Ticket < s.ticket) && !c.mayEnd {
			c.w.fail("%s: ticket %d refused", c, s.ticket)
		}
		s.drop()
	case errors.Is(err, ErrGap):
		c.gap(before.Cursor, false)
		mine := !s.isCut
		s.drop()
		if mine {
			c.leave()
		}
	case err != nil || reply.Outcome != OpenAttached:
		c.w.fail("%s takes over: %v %v", c, reply.Outcome, err)
	default:
		if before.Ticket >= s.ticket {
			c.w.fail("%s: ticket %d accepted after %d", c, s.ticket, before.Ticket)
		}
		c.opened(s.owner, before, &reply)
		s.ticket, s.live = 0, true
		s.opened, s.openedAt = reply, time.Now()
		c.w.count["takeOver"]++
		if c.w.chance(700) {
			s.attach()
		}
	}
}

func (s *socket) attachOrFail() {
	if time.Since(s.openedAt) > simAttachTime {
		s.failed() // a server would have done it at once
		return
	}
	s.attach()
}

// attach takes the connection into live service, which waits for the node's tail.
func (s *socket) attach() {
	s.attaching = true
	go func() {
		ctx, cancel := context.WithDeadline(s.node.ctx, s.openedAt.Add(simAttachTime))
		defer cancel()
		att, err := s.node.Attach(ctx, s.c.hub.hub, s.opened, s.owner, simLiveLease, func() { s.woken.Store(true) })
		if err == nil {
			att.WakeWith(flags{}, &s.woken)
		}
		s.result <- attached{att, err}
	}()
	s.c.w.wait()
	s.collect()
}

// flags is the Waker of all sockets, whose flags are the members.
type flags struct{}

func (flags) WakeAll(_ any, members []any) {
	for _, m := range members {
		m.(*atomic.Bool).Store(true)
	}
}

// collect takes the attach's result, if it is there.
func (s *socket) collect() {
	if !s.attaching || s.isOver {
		return
	}
	var r attached
	select {
	case r = <-s.result:
	default:
		return
	}
	c := s.c
	s.attaching = false
	s.c.w.note("attached %s at %s: %v", s.c, s.node.name, r.err)
	switch {
	case r.err == nil:
	case errors.Is(r.err, ErrUnavailable):
		s.failed()
		return
	case errors.Is(r.err, ErrOwner), errors.Is(r.err, ErrGone):
		s.c.attachRefused(s.owner, r.err)
		s.drop()
		return
	case errors.Is(r.err, ErrGap):
		s.c.gap(s.opened.Record.Cursor, false)
		s.endConnection()
		s.drop()
		s.c.leave()
		return
	default:
		s.c.w.fail("attach of %s: %v", s.c, r.err)
	}
	s.att = r.att
	c.attached(s.att)
	s.woken.Store(true)
	if s.live {
		s.down = append(s.down, frame{sequence: s.att.Acked() + 1, sent: time.Now()})
	}
}

// failed is an attach that must be tried again: by the client, who finds the socket closed.
func (s *socket) failed() {
	s.c.w.count["attach failed"]++
	if s.live {
		s.drop()
		return
	}
	s.c.ending = true
	s.endConnection()
	mine := !s.isCut
	s.drop()
	if mine {
		s.c.leave()
	}
}

// handshake opens a connection in state new.
func (s *socket) handshake() {
	c := s.c
	r := HandshakeRequest{ID: c.id, Owner: s.owner, Protocol: 1, Version: 1, Lease: simLiveLease}
	node := s.node
	switch c.kind {
	case statefulClient:
		r.Version = 2
	case eventsClient:
		node, r.Owner = c.w.node(), ""
		r.Reply = handshakeReply(c.id)
	}
	reply, err := node.Handshake(context.Background(), c.hub.hub, r)
	c.w.note("handshake %s: %v %v", c, reply.Start, err)
	if err != nil {
		if r := c.record(); r != nil && r.State == StateNew && !c.mayEnd {
			c.w.fail("handshake of %s: %v", c, err)
		}
		if c.kind == eventsClient {
			s.live = true // the stream will end
			return
		}
		s.endConnection()
		c.leave()
		return
	}
	c.shaken, s.live, s.sequenced = true, true, true
	if c.kind == eventsClient {
		c.w.pull()
		return
	}
	c.truth.start = reply.Start
	if c.w.chance(300) { // others act in between
		c.w.publish()
		c.w.wait()
		s.pump()
	}
	s.att.Start(reply.Start, c.kind == statefulClient)
	if c.kind == statefulClient {
		s.att.Heard() // clients ping when they have the answer
		c.noteHeard()
	}
}

func handshakeReply(id string) []byte {
	return AppendEntry(nil, &Entry{
		Kind: KindReply, Flags: FlagHandshake, Protocol: 1, Version: 1, Connections: []string{id}, Body: []byte("{}" + id),
	})
}

// pump takes what there is for the client, if the node said that there may be something.
func (s *socket) pump() {
	w := s.c.w
	switch {
	case s.reading != nil:
		select {
		case r := <-s.reading:
			s.reading = nil
			s.take(r)
		default:
		}
	case !s.woken.Swap(false):
	case w.chance(500) && s.takeJoined(w.limit()):
	case w.chance(200): // while others go on
		s.reading = make(chan read, 1)
		go func(reading chan read, limit int) {
			items, err := s.att.Next(s.node.ctx, nil, limit)
			reading <- read{items, err}
		}(s.reading, w.limit())
	default:
		s.take(next(s.att, w.limit()))
	}
}

// modelFormat ends a body by what is in none.
var modelFormat = NewFormat(func(dst []byte, i *Item) []byte { return append(append(dst, i.Body...), 0) })

// takeJoined takes what is at hand, if that is all there is to say.
func (s *socket) takeJoined(limit int) bool {
	if s.node.joined == nil {
		s.node.joined = s.node.NewJoined()
	}
	j := s.node.joined
	if !s.att.Take(j, modelFormat, limit) {
		return false
	}
	for body := range bytes.SplitAfterSeq(j.Bytes, []byte{0}) {
		if len(body) > 0 {
			s.down = append(s.down, frame{body: string(body[:len(body)-1]), sent: time.Now()})
		}
	}
	if j.More {
		s.woken.Store(true)
	}
	s.c.w.note("pump %s at %s: %q joined, more %v", s.c, s.node.name, j.Bytes, j.More)
	return true
}

// next is Next with a little patience: the page may be one that somebody else reads.
func next(att *Attachment, limit int) read {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	items, err := att.Next(ctx, nil, limit)
	return read{items, err}
}

// limit is a number of bytes.
func (w *world) limit() int { return pick(w, 0, 30, 1000, 1<<20) }

func (s *socket) take(r read) {
	for _, item := range r.items {
		s.down = append(s.down, frame{body: string(item.Body), sent: time.Now()})
	}
	if n := len(r.items); n > 0 {
		s.woken.Store(true)
		s.c.w.note("pump %s at %s: %d from %v to %v", s.c, s.node.name, n, r.items[0].Position, r.items[n-1].Position)
	}
	switch {
	case r.err == nil:
	case notFinal(r.err):
		s.woken.Store(true)
	default:
		s.finish(r.err)
	}
}

// notFinal tells whether an error of Next is not final.
func notFinal(err error) bool {
	return errors.Is(err, ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// finish is the attachment's end.
func (s *socket) finish(err error) {
	c := s.c
	c.w.note("finish %s at %s: %v", c, s.node.name, err)
	var closed *CloseError
	switch {
	case errors.As(err, &closed):
		if !closed.Ended {
			s.endConnection()
			s.down = append(s.down, frame{close: true})
		}
	case errors.Is(err, ErrOwner):
		if r := c.record(); r != nil && r.Owner == s.owner && !c.mayEnd {
			c.w.fail("%s at %s is told that it lost ownership, and has not", c, s.node.name)
		}
	case errors.Is(err, ErrLost), errors.Is(err, ErrBeyond):
		c.w.lostConnection(c, err)
		s.endConnection()
		s.down = append(s.down, frame{close: true, lost: true})
	case errors.Is(err, ErrGap):
		c.gap(s.att.Cursor(), s.node.stats.Gaps.Load() > 0)
		c.ending = true
		s.endConnection()
		s.down = append(s.down, frame{close: true, lost: true})
	default:
		c.w.fail("%s: %v", c, err)
	}
	s.deliver(len(s.down))
	s.drop()
}

// endConnection ends the connection, as its owner.
func (s *socket) endConnection() {
	s.c.ending = true
	reply, err := s.node.End(context.Background(), s.c.hub.hub, s.c.id, s.owner)
	if err != nil {
		s.c.w.fail("end of %s: %v", s.c, err)
	}
	s.c.w.note("end %s: %d", s.c, reply.Outcome)
}

// deliver lets frames arrive at the client.
func (s *socket) deliver(n int) {
	for ; n > 0 && len(s.down) > 0 && !s.isCut; n-- {
		f := s.down[0]
		s.down = s.down[1:]
		s.arrive(f)
	}
}

func (s *socket) arrive(f frame) {
	c := s.c
	switch {
	case f.lost:
		c.leave()
	case f.close:
		c.closed()
	case c.kind != statefulClient:
		c.receive(f.body)
	case f.sequence > 0:
		c.w.note("sequence %s: %d, latest %d", c, f.sequence, c.latest)
		if f.sequence > c.next {
			c.w.fail("%s: Sequence %d, but the next message is %d", c, f.sequence, c.next)
		}
		c.next = f.sequence
		s.sequenced = true
	case !s.sequenced:
		c.w.fail("%s: a message before the Sequence", c)
	default:
		number := c.next
		c.next++
		if number <= c.latest {
			c.w.count["repeated"]++
			return
		}
		c.latest = number
		c.receive(f.body)
	}
}

// acknowledge sends an Ack, or a ping.
func (s *socket) acknowledge() {
	switch {
	case s.c.kind != statefulClient || s.isCut:
	case s.c.w.chance(200):
		s.up = append(s.up, upAck{0, time.Now()})
	case s.c.latest > 0:
		s.up = append(s.up, upAck{s.c.latest, time.Now()})
	}
}

// takeAck is the arrival of an Ack: also late, on a socket that was cut.
func (s *socket) takeAck() {
	if len(s.up) == 0 || !s.live {
		return
	}
	ack := s.up[0]
	s.up = s.up[1:]
	if time.Since(ack.sent) > simWireTime && s.isCut {
		return // nothing stays in a wire for ever
	}
	if n := len(s.down); n > 0 && time.Since(s.down[0].sent) > simWireTime {
		s.deliver(n)
	}
	switch {
	case s.isOver:
	case ack.number == 0:
		s.att.Heard()
	default:
		s.c.w.note("ack %s at %s: %d", s.c, s.node.name, ack.number)
		s.att.Ack(ack.number)
	}
}

// reply is the server's answer to a call of the client, through the log.
func (s *socket) reply() {
	c := s.c
	record := c.record()
	if c.kind != statefulClient || !s.live || record == nil {
		return
	}
	r := FinishRequest{ID: c.id, Owner: s.owner, Done: record.Done, Count: 1, Entries: [][]byte{
		AppendEntry(nil, &Entry{Kind: KindReply, Connections: []string{c.id}, Body: c.w.body()}),
	}}
	owns := record.Owner == s.owner
	_, err := s.node.Finish(context.Background(), c.hub.hub, r)
	c.w.note("reply %s at %s: %v", c, s.node.name, err)
	if c.mayEnd {
		return
	}
	if owns != (err == nil) {
		c.w.fail("reply of %s: %v", c, err)
	}
}

// cut breaks the wire; what is on it is lost.
func (s *socket) cut() {
	if s.isCut {
		return
	}
	for len(s.down) > 0 && time.Since(s.down[0].sent) > simWireTime {
		s.deliver(1)
	}
	if s.isCut {
		return
	}
	s.c.w.note("cut %s at %s", s.c, s.node.name)
	s.isCut = true
	s.down = nil
	if s.c.socket == s {
		s.c.socket = nil
	}
}

// notice is the server's: the socket was cut.
func (s *socket) notice() {
	s.collect()
	c := s.c
	switch {
	case s.isOver:
		return
	case s.ticket > 0:
	case s.live && c.kind == statefulClient:
		if s.att != nil {
			c.w.note("detach %s at %s", c, s.node.name)
			if err := s.att.Detach(context.Background(), simDetachedLease, LeavingSocket); err != nil {
				c.w.fail("detach of %s: %v", c, err)
			}
		}
	default:
		c.ending = true
		s.endConnection()
	}
	s.drop()
}

// drop is the server's end of the socket.
func (s *socket) drop() {
	if s.att != nil {
		_ = s.att.Detach(context.Background(), 0, LeavingNone)
	}
	s.cut()
	s.end()
}

// end forgets the socket.
func (s *socket) end() {
	if s.isOver {
		return
	}
	s.isOver = true
	if s.attaching {
		go func() { // the attach may still succeed; nobody needs it
			if r := <-s.result; r.att != nil {
				_ = r.att.Detach(context.Background(), 0, LeavingNone)
			}
		}()
	}
	if s.c.socket == s {
		s.c.socket = nil
	}
	for i, other := range s.c.sockets {
		if other == s {
			s.c.sockets = append(s.c.sockets[:i:i], s.c.sockets[i+1:]...)
			return
		}
	}
}
