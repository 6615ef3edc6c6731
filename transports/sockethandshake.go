package transports

import (
	"time"

	"github.com/gobwas/ws"

	"hubstream/streams"
	"hubstream/transports/hubprotocol"
)

// shakeHands takes bytes of the handshake and returns what follows it.
func (c *webSocket) shakeHands(b []byte) (rest []byte, err error) {
	c.begun = append(c.begun, b...)
	h, ok := c.s.readHandshake(c.begun, true)
	switch {
	case (!ok || h.refusal != "") && c.stateful.Load() && comesBack(c.begun):
		if c.decided.CompareAndSwap(false, true) {
			c.over.Store(true)
			c.s.end(c.hub, c.id, c.owner)
			c.drop() // asked for once more it is refused, and the client starts anew
		}
		return nil, errDropped
	case !ok:
		return nil, nil
	case !c.decided.CompareAndSwap(false, true): // it is too late
		return nil, nil
	case h.refusal != "":
		c.refuseHandshake(h.refusal)
		return nil, nil
	}
	c.begun = nil
	if err := c.open(h); err != nil || c.over.Load() { // refused: what came along with it is of no interest
		return nil, err
	}
	return h.rest, nil
}

// maxSequence is more than a Sequence has. What comes byte by byte is looked at with every byte.
const maxSequence = 256

// comesBack tells whether what the client has said first is what it says when it comes back: the connection's record was lost, and this one
// was created in its place.
func comesBack(b []byte) bool {
	for _, p := range [...]hubprotocol.Protocol{hubprotocol.JSON, hubprotocol.MessagePack} {
		parser := hubprotocol.NewParser(p, maxSequence)
		parser.Feed(b[:min(len(b), maxSequence)])
		if m, ok, err := parser.Next(); err == nil && ok && m.Type == hubprotocol.Sequence {
			return true
		}
	}
	return false
}

// open records the handshake and answers it on the socket; messages match from the
// log's end at that moment on.
func (c *webSocket) open(h handshake) error {
	stateful := h.version == 2 && c.stateful.Load()
	if !stateful {
		h.version = min(h.version, 1)
	}
	r := streams.HandshakeRequest{
		ID: c.id, Owner: c.owner, Protocol: uint8(h.protocol), Version: uint8(h.version), Lease: liveLease,
	}
	who := c.who
	if who != nil {
		if refusal := c.s.authorize(c.s.ctx, c.hub, c.id, who); refusal != "" {
			c.refuseHandshake(refusal)
			return nil
		}
		who.Protocol = h.protocol
		r.Connected, r.Context = true, who.keep()
		r.Rename, r.User = who.renamed, who.User
		c.inbound.works, c.who = true, nil
	}
	reply, err := c.s.node.Handshake(c.s.ctx, c.hub, r)
	if err != nil {
		c.s.unconnected(c.hub, c.id, who)
		c.drop()
		return errDropped
	}
	if r.Rename {
		if err := c.s.rename(c.att.Load()); err != nil {
			c.s.end(c.hub, c.id, c.owner)
			c.drop()
			return errDropped
		}
	}
	c.stateful.Store(stateful)
	c.parser = hubprotocol.NewParser(h.protocol, c.s.cfg.MaxMessageBytes)
	c.proto.Store(uint32(h.protocol))
	c.inbound.expect = 1
	answer := protocolFrame(hubprotocol.HandshakeResponse(""), c.protocol())
	if stateful {
		answer = append(answer, handledPing...)
	}
	if err := c.write(answer); err != nil {
		return err
	}
	// A client that has not seen the handshake's answer starts anew with another ID. The JavaScript client opens this one
	// again as well, in the background, and would take what it is sent there for the new connection's.
	c.unheard = stateful
	c.held.Store(stateful)
	now := c.s.wheel.now()
	c.opened.Store(now)
	c.pinged.Store(now)
	// Before Start nothing may be taken from the log: it would not match, and be passed.
	c.att.Load().Start(reply.Start, stateful)
	c.ready.Store(true)
	c.schedule()
	return nil
}

// JavaScript clients begin to count only after they have handled the handshake's answer, and what reaches them along with it,
// because it was held up on the way, they handle before. So what counts waits for the answer to a ping that comes after the
// handshake's, or for anything that the client says. RFC 6455, section 5.5.3, has every client answer it, with the same
// text; maxHold is for one that does not.
const (
	handled = "handled"
	maxHold = 10 * time.Second
)

var handledPing = ws.MustCompileFrame(ws.NewPingFrame([]byte(handled)))

// unhold lets out what counts.
func (c *webSocket) unhold() {
	if c.held.CompareAndSwap(true, false) {
		c.schedule()
	}
}

func (c *webSocket) refuseHandshake(text string) {
	c.over.Store(true)
	c.s.end(c.hub, c.id, c.owner)
	c.writeLast(append(textFrame(hubprotocol.HandshakeResponse(text)), ws.CompiledCloseNormalClosure...))
}
