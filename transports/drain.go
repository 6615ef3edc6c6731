package transports

import (
	"context"
	"sync"
	"time"

	"hubstream/internal/sleep"
	"hubstream/streams"
)

// activity counts what is under way.
type activity struct {
	mu      sync.Mutex
	count   int
	stopped bool          // nothing begins any more
	idle    chan struct{} // closed when the count falls to zero; nil while nobody waits
}

// begin counts one in, unless the node has stopped.
func (a *activity) begin() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stopped {
		return false
	}
	a.count++
	return true
}

// Done counts one out.
func (a *activity) Done() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.count--
	if a.count == 0 && a.idle != nil {
		close(a.idle)
		a.idle = nil
	}
}

// wait returns when nothing is under way, or when ctx ends.
func (a *activity) wait(ctx context.Context) {
	a.mu.Lock()
	if a.count == 0 {
		a.mu.Unlock()
		return
	}
	if a.idle == nil {
		a.idle = make(chan struct{})
	}
	idle := a.idle
	a.mu.Unlock()
	select {
	case <-idle:
	case <-ctx.Done():
	}
}

func (a *activity) stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stopped = true
}

// begin counts a new socket or stream in, unless the node is stopping. Requests of
// connections that exist are served until it has stopped: balancers take their time to notice, and
// to refuse a poll ends the client's connection.
func (s *Server) begin() bool { return !s.isDraining() && s.active.begin() }

func (s *Server) isDraining() bool {
	select {
	case <-s.draining:
		return true
	default:
		return false
	}
}

// maxSpread is the longest time over which clients are sent away.
const maxSpread = 10 * time.Second

// Drain ends the service of all connections, spread over the time that ctx leaves:
// polls are answered and stateful sockets cut, whose clients go on at another node and
// notice nothing; the others are closed and may reconnect. It returns when all are
// gone or ctx ends, whichever is first; what is left then is cut. It may be called again.
func (s *Server) Drain(ctx context.Context) {
	s.drainOnce.Do(func() {
		// Half of the time there is, so that the last of them can go in order.
		if deadline, ok := ctx.Deadline(); ok {
			s.spread = min(max(time.Until(deadline)/2, 0), maxSpread)
		}
		close(s.draining)
		sockets, streams := s.wheel.all()
		go drainOut(s, sockets)
		go drainOut(s, streams)
	})
	s.active.wait(ctx)
	s.stopOnce.Do(func() {
		s.active.stop()
		s.stop()
		sockets, streams := s.wheel.all()
		for _, c := range sockets {
			c.hangUp()
		}
		for _, t := range streams {
			t.hangUp()
		}
		s.wheel.close()
		s.writers.close()
		s.node.Dismiss()
		s.works.stop(ctx)
	})
}

// drainOut sends clients away, one after the other.
func drainOut[T interface{ drainOut() }](s *Server, clients []T) {
	for i, c := range clients {
		if i > 0 && sleep.For(s.ctx, s.spread/time.Duration(len(clients))) != nil {
			return
		}
		go c.drainOut()
	}
}

// drainOut sends the socket's client away.
func (c *webSocket) drainOut() {
	c.s.counters.drain(streams.TransportWebSockets)
	if c.att.Load() == nil || c.isStateful() {
		c.drop() // its goroutine saves the cursor and detaches; one that only waits is told nothing
		return
	}
	c.close(closing{reconnect: true, reason: "drain"})
}
