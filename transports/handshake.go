package transports

import (
	"context"
	"errors"
	"time"

	"hubstream/streams"
	"hubstream/transports/hubprotocol"
)

// handshakeText is what a failed handshake is answered with.
func handshakeText(err error) string {
	var m *hubprotocol.MessageError
	if errors.As(err, &m) {
		return hubprotocol.HandshakeFailed + " " + m.Error()
	}
	return err.Error()
}

// answerHandshake records a handshake that came by POST, and puts its answer into the
// log: whichever node holds the poll or stream finds it there, before everything else.
// A non-empty refusal refuses it, and the connection is over once that was delivered.
func (s *Server) answerHandshake(ctx context.Context, hub, id string, p hubprotocol.Protocol, version int, refusal string) error {
	e := streams.Entry{
		Kind: streams.KindReply, Flags: streams.FlagHandshake, Connections: []string{id},
		Protocol: uint8(p), Version: uint8(min(version, 1)), // version 2 is for WebSockets alone
		Body: hubprotocol.HandshakeResponse(refusal),
	}
	if refusal != "" {
		e.Flags |= streams.FlagFinal
	}
	_, err := s.node.Handshake(ctx, hub, streams.HandshakeRequest{
		ID: id, Protocol: e.Protocol, Version: e.Version, Refused: refusal != "",
		Reply: streams.AppendEntry(nil, &e), Lease: liveLease,
	})
	return err
}

// untilHandshake is how long a connection has left for its handshake.
func (s *Server) untilHandshake(o *streams.OpenReply) time.Duration {
	age := time.Duration(s.node.Now()-o.Record.Since) * time.Millisecond
	return s.cfg.HandshakeTimeout - age
}

// cancelHandshake refuses the handshake that has not come in time.
func (s *Server) cancelHandshake(ctx context.Context, hub string, o *streams.OpenReply) {
	if s.untilHandshake(o) > 0 {
		return
	}
	// Whoever is second, the handshake or this, is refused.
	_ = s.answerHandshake(ctx, hub, o.Record.ID, hubprotocol.JSON, 1, hubprotocol.HandshakeCanceled)
}
