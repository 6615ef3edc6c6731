package transports

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/gobwas/ws"

	"hubstream/internal/sleep"
	"hubstream/streams"
	"hubstream/transports/hubprotocol"
)

// ackInterval is the pause between two Acks to a client. Right after a re-attach an
// Ack would disturb the JavaScript client's replay.
const ackInterval = time.Second

// inbound numbers a stateful client's messages (TransportProtocols.md and HubProtocol.md,
// "Stateful Reconnect"). Owned by the reading goroutine.
type inbound struct {
	expect  uint64 // number of the next message
	done    uint64 // messages that have had their effect, durably
	count   uint64 // messages after done, not finished yet
	replies [][]byte

	// Of any connection: its messages are executed, and these of those that came are not on their way yet.
	works bool
	items []string
}

var errSequence = errors.New("Sequence ID greater than amount of messages we've received.")

// numbered takes a message of a stateful client.
func (c *webSocket) numbered(m *hubprotocol.Message) error {
	switch {
	case m.Type == hubprotocol.Ack:
		c.att.Load().Ack(m.SequenceID)
		return nil
	case m.Type == hubprotocol.Sequence:
		if err := c.sequence(m.SequenceID); err != nil {
			return err
		}
		// The client drops everything until our Sequence comes. Cut off, it comes back and gets one.
		c.drop()
		return errDropped
	case !m.Type.Trackable():
		return nil
	}
	number := c.inbound.expect
	c.inbound.expect++
	if number <= c.inbound.done+c.inbound.count {
		c.ackDue.Store(c.inbound.done) // sent again: it has not had our Ack
		return nil
	}
	c.inbound.count++
	if ours(m) {
		return c.result(m)
	}
	if c.inbound.works {
		c.inbound.items = append(c.inbound.items, workItem(c.protocol(), m))
		return nil
	}
	if reply := c.s.unanswered(m, hubprotocol.JSON); reply != nil {
		c.inbound.replies = append(c.inbound.replies, streams.AppendEntry(nil, &streams.Entry{
			Kind: streams.KindReply, Connections: []string{c.id}, Body: reply,
		}))
	}
	return nil
}

func (c *webSocket) sequence(n uint64) error {
	if n > c.inbound.expect || n == 0 {
		return errSequence
	}
	c.inbound.expect = n
	return nil
}

// finish makes the effect of the messages taken durable, before any Ack covers them.
func (c *webSocket) finish() error {
	in := &c.inbound
	if in.count == 0 && len(in.items) == 0 {
		return nil
	}
	replies, items := in.replies, in.items
	in.replies, in.items = nil, nil
	token := ""
	if len(items) > 0 {
		token = c.s.node.NewOwner()
	}
	for {
		ctx, cancel := context.WithTimeout(c.s.ctx, c.s.cfg.StoreTimeout)
		var err error
		if in.works {
			err = c.s.node.Accept(ctx, c.hub, streams.AcceptRequest{
				ID: c.id, Owner: c.owner, Numbered: c.stateful.Load(), Token: token, Done: in.done, Count: in.count, Items: items,
			})
		} else {
			_, err = c.s.node.Finish(ctx, c.hub, streams.FinishRequest{ID: c.id, Owner: c.owner, Done: in.done, Count: in.count, Entries: replies})
		}
		cancel()
		if err == nil {
			break
		}
		if errors.Is(err, streams.ErrBusy) { // nothing more is read from the client meanwhile
			if sleep.For(c.s.ctx, busyPause) != nil || c.isClosed() {
				return errDropped
			}
			continue
		}
		if !isAway(err) { // a client that is cut off while the store is full comes back at once, and again, with the same
			c.over.Store(true)
			c.drop()
			return errDropped
		}
		if sleep.For(c.s.ctx, storeRetry) != nil {
			return errDropped
		}
	}
	in.done += in.count
	in.count = 0
	if c.stateful.Load() {
		c.ackDue.Store(in.done)
	}
	return nil
}

// awaitSequence prepares for the first message of a returning client. Until it has
// come nothing is sent and nobody is displaced: JavaScript clients also open sockets that they abandon.
func (c *webSocket) awaitSequence(opened streams.OpenReply) {
	c.ticket = opened.Record.Tickets
	c.left = opened.Outcome == streams.OpenAbandoned
	c.silent.Store(c.opened.Load() + silentTime.Milliseconds())
	c.stateful.Store(true)
	c.pinged.Store(c.s.wheel.now())
	c.proto.Store(uint32(opened.Record.Protocol))
	c.parser = hubprotocol.NewParser(c.protocol(), c.s.cfg.MaxMessageBytes)
}

// Clients that mean to come back speak at once. silentTime is how long one may take, silentAgain how often it is
// noted again that one is still there that did not.
const (
	silentTime  = 2 * time.Second
	silentAgain = time.Hour
)

// abandoned notes that the client has left the connection, and has this socket still.
func (c *webSocket) abandoned() {
	ctx, cancel := context.WithTimeout(c.s.ctx, c.s.cfg.StoreTimeout)
	defer cancel()
	if err := c.s.node.Abandon(ctx, c.hub, c.id, c.ticket); err != nil {
		c.silent.Store(c.s.wheel.now()) // again
	}
}

// sendBack cuts off a client that takes this socket for one of the connection that it has now: it opens that one again. The
// connection of this socket is over, for all that it was still waited for; asked for once more it is refused, lest a client that did
// mean it tries for ever.
func (c *webSocket) sendBack() error {
	c.s.end(c.hub, c.id, "")
	_, _ = c.reattach(streams.OpenRequest{Mode: streams.OpenReattach, ID: c.id, User: c.user, Owner: c.owner, Lease: liveLease, Ticket: c.ticket})
	c.drop()
	return errDropped
}

// displacedWait is the time that a node has to cut off a client whose connection was taken over. It is given before the new
// socket says anything: a JavaScript client may have both at once, and would count what still comes on the old one
// as if it came on the new one.
const displacedWait = 150 * time.Millisecond

// takeOver makes this socket the connection's, from whichever node had it.
func (c *webSocket) takeOver(sequence uint64) error {
	c.silent.Store(math.MaxInt64)
	if c.left {
		return c.sendBack()
	}
	r := streams.OpenRequest{
		Mode: streams.OpenReattach, ID: c.id, User: c.user, Owner: c.owner, Lease: liveLease, Ticket: c.ticket,
	}
	opened, err := c.reattach(r)
	switch {
	case errors.Is(err, streams.ErrOwner), errors.Is(err, streams.ErrUnavailable):
		c.drop() // a newer socket has it; or the client may try again
		return errDropped
	case err != nil:
		c.sayGone(err)
		return errDropped
	}
	if opened.Displaced && sleep.For(c.s.ctx, displacedWait) != nil {
		c.drop()
		return errDropped
	}
	att, err := c.s.attachWaiting(c.s.ctx, c.hub, r, &opened, c.schedule)
	if err != nil {
		c.drop()
		return errDropped
	}
	c.inbound = inbound{expect: opened.Record.Done + 1, done: opened.Record.Done, works: opened.Record.Works}
	now := c.s.wheel.now()
	c.acked.Store(now)
	c.pinged.Store(now)
	// The client drops everything before our Sequence.
	if err := c.writeMessage(hubprotocol.AppendSequence(nil, c.protocol(), att.Acked()+1)); err != nil {
		c.att.Store(att)
		return err
	}
	c.att.Store(att)
	c.follow(att)
	if err := c.sequence(sequence); err != nil {
		return err
	}
	c.s.counters.takeovers.Add(1)
	c.ready.Store(true)
	c.schedule()
	return nil
}

func (c *webSocket) reattach(r streams.OpenRequest) (streams.OpenReply, error) {
	ctx, cancel := context.WithTimeout(c.s.ctx, c.s.cfg.StoreTimeout)
	defer cancel()
	for {
		opened, err := c.s.node.Open(ctx, c.hub, r)
		if !errors.Is(err, streams.ErrUnavailable) || sleep.For(ctx, storeRetry) != nil {
			return opened, err
		}
	}
}

// sayGone tells a client, whose upgrade was accepted already, that its connection is over. It is ended first: a JavaScript client that
// is told opens it again at once, beside its next one, and must be refused, though the record was only not carried over in time.
func (c *webSocket) sayGone(err error) {
	how := closing{text: fmt.Sprintf("The connection cannot be continued: %v.", err), reconnect: true}
	if errors.Is(err, streams.ErrGap) {
		how = closingFor(err)
	}
	if _, err := c.s.endFor(c.hub, c.id, "", ""); err != nil {
		c.drop() // it comes back
		return
	}
	b := hubprotocol.AppendSequence(nil, c.protocol(), 1)
	b = hubprotocol.AppendClose(b, c.protocol(), how.text, how.reconnect)
	c.over.Store(true)
	c.writeLast(append(protocolFrame(b, c.protocol()), ws.CompiledCloseNormalClosure...))
}
