package transports

import (
	"context"
	"math/rand/v2"
	"time"
)

// begin counts a request or socket in, unless the node is stopping.
func (s *Server) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.draining:
		return false
	default:
		s.active.Add(1)
		return true
	}
}

// Drain ends the service of all connections, spread over the time that ctx leaves:
// polls are answered and stateful sockets cut, whose clients go on at another node and
// notice nothing; the others are closed and may reconnect. It returns when all are
// gone or ctx ends, whichever is first.
func (s *Server) Drain(ctx context.Context) {
	s.mu.Lock()
	s.drain.Do(func() { close(s.draining) })
	s.mu.Unlock()
	spread := s.drainTime(ctx)
	for _, c := range s.wheel.all() {
		delay := time.Duration(0)
		if spread > 0 {
			delay = rand.N(spread)
		}
		go func() {
			_ = sleep(ctx, delay)
			c.drainOut()
		}()
	}
	gone := make(chan struct{})
	go func() {
		s.active.Wait()
		close(gone)
	}()
	select {
	case <-gone:
	case <-ctx.Done():
	}
	s.stop()
	for _, c := range s.wheel.all() {
		_ = c.conn.Close()
	}
	close(s.wheel.stop)
	<-s.wheel.done
}

// drainTime is the time over which clients are sent away; half of what there is, so that
// the last of them can go in order.
func (s *Server) drainTime(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return 0
	}
	return min(time.Until(deadline)/2, 10*time.Second)
}

// drainPause spreads the end of event streams.
func (s *Server) drainPause(ctx context.Context) {
	_ = sleep(ctx, rand.N(time.Second))
}

// drainOut sends the socket's client away.
func (c *webSocket) drainOut() {
	if c.stateful.Load() && c.ready.Load() {
		c.drop() // its goroutine saves the cursor and detaches
		return
	}
	c.close(closing{reconnect: true, reason: "drain"})
}
