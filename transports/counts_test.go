package transports_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"hubstream/streams"
)

// What operators see: who came back, who never meant to, what was closed and why, and what a drain sent elsewhere.
func TestCountsTellWhatHappened(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		a := c.openStateful(0)
		a.cut()
		synctest.Wait()
		ghost := a.dialSocket(1)
		ghost.cut()
		synctest.Wait()
		back := a.returns(1, 1)
		back.expect(sequence(1))
		synctest.Wait()
		if got := c.nodes[1].server.Counts(); got.Ghosts != 1 || got.Takeovers != 1 {
			t.Errorf("one ghost and one return: %+v", got)
		}

		large := c.negotiate().openSocket(0, handshakeJSON)
		large.sendText(strings.Repeat("x", 33<<10))
		synctest.Wait()
		if got := c.nodes[0].server.Counts(); got.Limits["message"] != 1 || got.Closed["protocol_error"] != 1 {
			t.Errorf("one message that was too large: %+v", got)
		}

		c.nodes[1].server.Drain(t.Context())
		if got := c.nodes[1].server.Counts(); got.Drained[streams.TransportWebSockets] != 1 {
			t.Errorf("one socket was drained: %+v", got)
		}
	})
}
