package transports

import (
	"errors"
	"sync/atomic"

	"hubstream/streams"
	"hubstream/transports/hubprotocol"
)

// Counts is what a Server did since its start. Nothing of it names a connection, user or group, and the keys are few
// and fixed.
type Counts struct {
	// Polls counts the polls that were served.
	Polls int64
	// Takeovers counts the stateful connections that came back here, from whichever node they were at.
	Takeovers int64
	// Ghosts counts the sockets of stateful connections that never meant to come back: JavaScript clients open such.
	Ghosts int64
	// Drained counts the connections and polls that were sent elsewhere because the node stops, by transport;
	// TransportNone are plain event streams.
	Drained map[streams.Transport]int64
	// Closed counts connections that this node closed, by reason.
	Closed map[string]int64
	// StrayItems counts stream items of clients that belonged to no stream under way.
	StrayItems int64
	// Limits counts what was refused: for its size a "message" of a client, or a "post"; messages that came too fast ("rate"); and
	// "connections" that were too many.
	Limits map[string]int64
}

// closeReasons are all values of closing.reason.
var closeReasons = [...]string{"closed", "taken_over", "gap", "lost", "error", "drain", "protocol_error", "client_timeout", "expired", "rate"}

// drainedTransports are those that drains are counted by.
var drainedTransports = [...]streams.Transport{
	streams.TransportNone, streams.TransportWebSockets, streams.TransportServerSentEvents, streams.TransportLongPolling,
}

// counters counts for Counts.
type counters struct {
	polls, takeovers, ghosts atomic.Int64
	largeMessages            atomic.Int64
	strayItems               atomic.Int64
	largePosts               atomic.Int64
	tooFast, tooMany         atomic.Int64
	drained                  [len(drainedTransports)]atomic.Int64
	closed                   [len(closeReasons)]atomic.Int64
}

func (c *counters) drain(t streams.Transport) {
	for i, known := range drainedTransports {
		if t == known {
			c.drained[i].Add(1)
		}
	}
}

func (c *counters) close(reason string) {
	for i, known := range closeReasons {
		if reason == known {
			c.closed[i].Add(1)
		}
	}
}

// refused counts a client's message that could not be taken, if that was for its size.
func (c *counters) refused(err error) {
	var large *hubprotocol.TooLargeError
	if errors.As(err, &large) {
		c.largeMessages.Add(1)
	}
}

// Counts returns what the server did.
func (s *Server) Counts() Counts {
	c := Counts{
		Polls: s.counters.polls.Load(), Takeovers: s.counters.takeovers.Load(), Ghosts: s.counters.ghosts.Load(),
		StrayItems: s.counters.strayItems.Load(),
		Drained:    map[streams.Transport]int64{}, Closed: map[string]int64{},
		Limits: map[string]int64{"message": s.counters.largeMessages.Load(), "post": s.counters.largePosts.Load(),
			"rate": s.counters.tooFast.Load(), "connections": s.counters.tooMany.Load()},
	}
	for i, t := range drainedTransports {
		c.Drained[t] = s.counters.drained[i].Load()
	}
	for i, reason := range closeReasons {
		c.Closed[reason] = s.counters.closed[i].Load()
	}
	return c
}
