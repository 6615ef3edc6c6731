package transports_test

import (
	"testing"
	"testing/synctest"
	"time"

	"hubstream/streams"
)

// loseLog is what a node does that has read what the log has no more.
func (c *cluster) loseLog() {
	c.Helper()
	known, err := c.store.Verify(c.ctx, hubName, streams.VerifyRequest{})
	if err != nil {
		c.Fatal(err)
	}
	found, err := c.store.Verify(c.ctx, hubName, streams.VerifyRequest{
		Last: known.Last, Proof: known.Last, ProofEntry: "what was there", Gen: known.Gen,
	})
	if err != nil || found.Proven {
		c.Fatalf("got %+v, %v, want a loss", found, err)
	}
}

// A failover lost a message that only one node had seen. The connections of the other nodes must not go on as if
// nothing had been sent: they read of it in the log.
func TestLossThatAnotherNodeFindsEndsConnections(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		a := c.openStateful(0)
		b := c.openPolling(handshakeJSON)
		c.publish(0, 1)
		a.expect(invocation(1))
		b.poll(1, "3").expect(200, invocation(1))
		synctest.Wait()

		c.loseLog()
		began := time.Now()
		a.expect(closeMessage("Messages were lost on the server; the connection cannot be continued."))
		if d := time.Since(began); d > time.Second {
			t.Errorf("told after %v, want it as soon as it is in the log", d)
		}
		b.poll(1, "4").expect(404, "No Connection with that ID")
		fresh := c.negotiate().openSocket(1, handshakeJSON)
		c.publish(0, 2)
		fresh.expect(invocation(2))
	})
}
