package transports

import (
	"context"
	"errors"
	"time"

	"hubstream/streams"
	"hubstream/transports/hubprotocol"
)

// handshake is a client's handshake, settled.
type handshake struct {
	protocol hubprotocol.Protocol
	version  int
	rest     []byte // what the client sent along with it
	refusal  string // the error to answer with; empty: accepted
}

// readHandshake reads the first bytes of a connection. ok is false if more are needed.
func (s *Server) readHandshake(b []byte, binaryAllowed bool) (h handshake, ok bool) {
	request, rest, err := hubprotocol.ParseHandshake(b)
	if len(b)-len(rest) > s.cfg.MaxMessageBytes {
		return handshake{refusal: hubprotocol.HandshakeCanceled}, true
	}
	if errors.Is(err, hubprotocol.ErrIncomplete) {
		return handshake{}, false
	}
	if err != nil {
		return handshake{refusal: hubprotocol.HandshakeFailed + " " + err.Error()}, true
	}
	protocol, err := request.Check(binaryAllowed)
	if err != nil {
		return handshake{refusal: err.Error()}, true
	}
	return handshake{protocol: protocol, version: request.Version, rest: rest}, true
}

// answerHandshake records a handshake that came by POST, and puts its answer into the
// log: whichever node holds the poll or stream finds it there, before everything else.
// If it is refused, the connection is over once that was delivered. who is the client of a connection that has work, else nil.
func (s *Server) answerHandshake(ctx context.Context, hub, id string, who *client, h handshake) error {
	e := h.answer(id)
	if who != nil && who.renamed {
		e.Named = []string{who.User} // for the node that holds the poll or stream
	}
	r := streams.HandshakeRequest{
		ID: id, Protocol: e.Protocol, Version: e.Version, Refused: h.refusal != "",
		Reply: streams.AppendEntry(nil, &e), Lease: liveLease,
	}
	if who != nil {
		r.Connected, r.Context = true, who.keep()
		r.Rename, r.User = who.renamed, who.User
	}
	_, err := s.node.Handshake(ctx, hub, r)
	return err
}

// answer is the answer, for the log.
func (h *handshake) answer(id string) streams.Entry {
	e := streams.Entry{
		Kind: streams.KindReply, Flags: streams.FlagHandshake, Connections: []string{id},
		Protocol: uint8(h.protocol), Version: uint8(min(h.version, 1)), // version 2 is for WebSockets alone
		Body: hubprotocol.HandshakeResponse(h.refusal),
	}
	if h.refusal != "" {
		e.Flags |= streams.FlagFinal
	}
	return e
}

// handshakeTimeout is how long the connection's handshake may take: what the access token says, or else what is usual.
func (s *Server) handshakeTimeout(c *request) time.Duration {
	if c.who.HandshakeTimeout != 0 {
		return c.who.HandshakeTimeout
	}
	return s.cfg.HandshakeTimeout
}

// untilHandshake is how long a connection has left for its handshake, which may take so long, that has been there since
// a time, ms of the store's clock.
func (s *Server) untilHandshake(since int64, timeout time.Duration) time.Duration {
	age := time.Duration(s.node.Now()-since) * time.Millisecond
	return timeout - age
}

// cancelHandshake refuses the handshake if it has not come in time, and returns after
// what time to look again.
func (s *Server) cancelHandshake(ctx context.Context, hub, id string, since int64, timeout time.Duration) time.Duration {
	if left := s.untilHandshake(since, timeout); left > 0 {
		return left
	}
	// Whoever is second, the handshake or this, is refused.
	_ = s.answerHandshake(ctx, hub, id, nil, handshake{protocol: hubprotocol.JSON, version: 1, refusal: hubprotocol.HandshakeCanceled})
	return storeRetry
}
