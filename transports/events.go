package transports

import (
	"context"
	"errors"
	"net/http"
	"time"

	"hubstream/streams"
	"hubstream/transports/hubprotocol"
)

// maxEventsBytes is about how much is joined into one write of a stream.
const maxEventsBytes = 64 << 10 // 64 KiB

var pingEvent = appendEvent(nil, hubprotocol.AppendPing(nil, hubprotocol.JSON))

// serveEvents serves the event stream of a connection until it ends
// (TransportProtocols.md, "Server-Sent Events"). An ID that is not accepted gets 404, never 5xx: Node's
// EventSource would ask again every second for ever.
func (s *Server) serveEvents(c *request) {
	if !s.begin() {
		c.refuse(http.StatusNotFound, "the node is stopping")
		return
	}
	defer s.active.Done()
	owner := s.node.NewOwner()
	opened, err := s.openWaiting(c, s.openRequest(c, streams.OpenEvents, owner))
	if errors.Is(err, streams.ErrUnavailable) || errors.Is(err, streams.ErrFull) {
		c.refuse(http.StatusNotFound, "the connection's store is not reachable")
		return
	}
	if err != nil {
		s.refuseError(c, err)
		return
	}
	wake := make(chan struct{}, 1)
	att, err := s.node.Attach(c.Context(), c.hub, opened, owner, liveLease, func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	})
	if err != nil {
		s.end(c.hub, c.token.ConnectionID, owner)
		c.refuse(http.StatusNotFound, "No Connection with that ID")
		return
	}
	defer att.Detach(context.Background(), 0)
	defer s.end(c.hub, c.token.ConnectionID, owner) // the client cannot come back to it
	e := &eventStream{request: c, s: s, att: att, opened: opened, wake: wake}
	e.serve()
}

type eventStream struct {
	*request
	s      *Server
	att    *streams.Attachment
	opened streams.OpenReply
	wake   chan struct{}
	buf    []byte
}

func (e *eventStream) serve() {
	h := e.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache,no-store")
	h.Set("Pragma", "no-cache")
	h.Set("Content-Encoding", "identity")
	h.Set("X-Accel-Buffering", "no")
	e.w.WriteHeader(http.StatusOK)
	if e.send([]byte(":\r\n")) != nil { // Firefox opens only after the first bytes
		return
	}
	handshake := time.NewTimer(e.s.untilHandshake(&e.opened))
	defer handshake.Stop()
	ping := time.NewTicker(e.s.cfg.KeepAlive)
	defer ping.Stop()
	for {
		more, err := e.flush()
		if err != nil {
			return
		}
		if more {
			continue
		}
		select {
		case <-e.wake:
		case <-ping.C:
			err = e.send(pingEvent)
		case <-handshake.C:
			if e.opened.Record.State == streams.StateNew {
				e.s.cancelHandshake(e.Context(), e.hub, &e.opened)
			}
		case <-e.s.draining:
			e.s.drainPause(e.Context())
			_ = e.close(closing{reconnect: true, reason: "drain"})
			return
		case <-e.Context().Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// flush writes what there is now. more says that there may be more at once.
func (e *eventStream) flush() (more bool, err error) {
	items, err := e.att.Next(e.Context(), nil, maxEventsBytes)
	e.buf = e.buf[:0]
	for _, item := range items {
		e.buf = append(e.buf, event(item)...)
		if item.Flags&streams.FlagFinal != 0 {
			_ = e.send(e.buf)
			return false, streams.ErrGone
		}
	}
	switch {
	case len(items) > 0:
		return true, e.send(e.buf)
	case err == nil:
		return false, nil
	case errors.Is(err, streams.ErrUnavailable):
		return true, sleep(e.Context(), storeRetry)
	case e.Context().Err() != nil:
		return false, err
	}
	_ = e.close(closingFor(err))
	return false, err
}

// close sends a Close message; the end of the response follows.
func (e *eventStream) close(c closing) error {
	e.s.log.Debug("connection closed", "hub", e.hub, "connection_id", e.token.ConnectionID, "reason", c.reason)
	if c.silent {
		return nil
	}
	return e.send(appendEvent(nil, hubprotocol.AppendClose(nil, hubprotocol.JSON, c.text, c.reconnect)))
}

func (e *eventStream) send(b []byte) error {
	_ = e.rc.SetWriteDeadline(time.Now().Add(e.s.cfg.SendTimeout))
	if _, err := e.w.Write(b); err != nil {
		return err
	}
	return e.rc.Flush()
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
