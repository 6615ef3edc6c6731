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
	r := s.openRequest(c, streams.OpenEvents, s.node.NewOwner())
	opened, err := s.openWaiting(c, r)
	if isAway(err) {
		c.refuse(http.StatusNotFound, "the connection's store is not reachable")
		return
	}
	if err != nil {
		s.refuseError(c, err)
		return
	}
	defer s.end(c.hub, c.token.ConnectionID, r.Owner) // the client cannot come back to it
	wake := make(chan struct{}, 1)
	att, err := s.attachWaiting(c.Context(), c.hub, r, &opened, func() { ring(wake) })
	if err != nil {
		c.refuse(http.StatusNotFound, "No Connection with that ID")
		return
	}
	defer func() { _ = att.Detach(context.Background(), 0) }()
	e := &eventStream{request: c, s: s, att: att, owner: r.Owner, opened: opened, wake: wake}
	e.serve()
}

// ring rings a bell: a channel of capacity 1 that remembers one stroke.
func ring(bell chan<- struct{}) {
	select {
	case bell <- struct{}{}:
	default:
	}
}

type eventStream struct {
	*request
	s        *Server
	att      *streams.Attachment
	owner    string
	opened   streams.OpenReply
	wake     chan struct{}
	answered bool // the handshake is
	buf      []byte
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
	draining, leave := e.s.draining, (<-chan time.Time)(nil)
	for {
		retry, err := e.flush()
		if err != nil {
			return
		}
		select {
		case <-e.wake:
		case <-retry:
		case <-ping.C:
			if e.answered { // nothing may come before the handshake's answer
				err = e.send(pingEvent)
			}
		case <-handshake.C:
			if !e.answered {
				handshake.Reset(e.s.cancelHandshake(e.Context(), e.hub, &e.opened))
			}
		case <-draining:
			draining, leave = nil, time.After(e.s.drainDelay())
		case <-leave:
			e.s.counters.drain(streams.TransportServerSentEvents)
			e.close(closing{reconnect: true, reason: "drain"})
			return
		case <-e.Context().Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// flush writes what there is now. If there may be more, and wake is not called for it,
// retry ticks. An error says that the stream is over.
func (e *eventStream) flush() (retry <-chan time.Time, err error) {
	items, err := e.att.Next(e.Context(), nil, maxEventsBytes)
	if last, sendErr := e.write(items); last || sendErr != nil {
		return nil, errors.Join(streams.ErrGone, sendErr)
	}
	switch {
	case len(items) > 0:
		ring(e.wake)
		return nil, nil
	case err == nil:
		return nil, nil
	case errors.Is(err, streams.ErrUnavailable):
		return time.After(storeRetry), nil
	case e.Context().Err() != nil:
		return nil, err
	}
	e.close(closingFor(err))
	return nil, err
}

// write writes items. last: nothing follows them.
func (e *eventStream) write(items []*streams.Item) (last bool, err error) {
	for _, item := range items {
		b, final := event(item), item.Flags&streams.FlagFinal != 0
		if item.Flags&streams.FlagHandshake != 0 {
			e.answered = true
			if item.Protocol == uint8(hubprotocol.MessagePack) && !final {
				b, final = binaryRefused, true
			}
		}
		e.buf = append(e.buf, b...)
		if final {
			return true, e.send(e.buf)
		}
	}
	if len(e.buf) == 0 {
		return false, nil
	}
	err = e.send(e.buf)
	e.buf = reuse(e.buf)
	return false, err
}

// keptBytes is the largest buffer that an idle stream keeps.
const keptBytes = 4 << 10 // 4 KiB

// reuse empties a buffer, or lets it go if it is large.
func reuse(b []byte) []byte {
	if cap(b) > keptBytes {
		return nil
	}
	return b[:0]
}

// binaryRefused answers a handshake that came before the stream was opened, when the
// transport was not known.
var binaryRefused = func() []byte {
	_, err := hubprotocol.HandshakeRequest{Protocol: hubprotocol.MessagePack.String(), Version: 1}.Check(false)
	return appendEvent(nil, hubprotocol.HandshakeResponse(err.Error()))
}()

// close sends a Close message; the end of the response follows.
func (e *eventStream) close(c closing) {
	e.s.counters.close(c.reason)
	e.s.log.Debug("connection closed", "hub", e.hub, "connection_id", e.token.ConnectionID, "reason", c.reason)
	if c.silent || e.s.end(e.hub, e.token.ConnectionID, e.owner) {
		return
	}
	_ = e.send(appendEvent(nil, hubprotocol.AppendClose(nil, hubprotocol.JSON, c.text, c.reconnect)))
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
