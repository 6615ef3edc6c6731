package transports_test

import (
	"net/http"
	"sync/atomic"
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

// A poll that has messages, and waits for more or for the store, is answered none of them once the loss is known: what is lost may be
// missing in between.
func TestPollIsSentNothingOfALostLog(t *testing.T) {
	lost := closeMessage("Messages were lost on the server; the connection cannot be continued.")
	for name, answered := range map[string]func(c *cluster, k *connection) *pending{
		"held": func(c *cluster, k *connection) *pending {
			for n := range 4 {
				c.publish(0, n)
			}
			p := k.poll(1, "10").expectNothing(15 * time.Millisecond)
			c.loseLog()
			return p
		},
		"held, goes on": func(c *cluster, k *connection) *pending {
			for n := range 4 {
				c.publish(0, n)
			}
			p := k.poll(0, "10").expectNothing(15 * time.Millisecond)
			c.loseLog()
			return p
		},
		"its answer waits for the store": func(c *cluster, k *connection) *pending {
			time.Sleep(time.Second)
			var back atomic.Bool
			c.store.onBefore(func(step string) error {
				if step == "answer" && !back.Load() {
					return streams.ErrUnavailable
				}
				return nil
			})
			c.publishSeen(0, 0)
			p := k.poll(1, "10").expectNothing(15 * time.Millisecond)
			c.loseLog()
			p.expectNothing(time.Millisecond)
			back.Store(true)
			return p
		},
	} {
		bubbleRun(t, name, func(t *testing.T) {
			c := newCluster(t, 2)
			k := c.openPolling(handshakeJSON)
			c.publishSeen(0, 100)
			k.poll(0, "9").expect(200, invocation(100))
			synctest.Wait()
			p := answered(c, k)
			if a := <-p.answered; a.status == 200 && a.body != lost {
				t.Errorf("answered %q after the loss", a.body)
			}
		})
	}
}

// forget loses a connection's record, as a failover does that loses the last writes.
func (c *cluster) forget(id string) {
	c.Helper()
	nobody := streams.AppendEntry(nil, &streams.Entry{Kind: streams.KindControl, Connections: []string{"nobody"}})
	end, err := c.store.Store.End(c.ctx, hubName, streams.EndRequest{ID: id, Tombstone: time.Millisecond, Entry: nobody})
	if err != nil || end.Outcome != streams.EndDone {
		c.Fatalf("got %+v, %v, want the end", end, err)
	}
	time.Sleep(10 * time.Millisecond)
}

// A script that is told of a loss opens its connection again at once, in the background, though it has begun another: created anew
// it would be mixed with that.
func TestConnectionWhoseRecordWasLostIsNotCreatedAnew(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		a := c.openStateful(0)
		synctest.Wait()
		c.forget(a.id)
		c.loseLog()
		a.expect(closeMessage("Messages were lost on the server; the connection cannot be continued."))
		a.wantRefused(1, http.StatusNotFound, "No Connection with that ID")
	})
}

// A client comes back to a connection whose record was lost, so soon that its token still creates one. It is cut off, and refused when it
// tries again: to what it says no handshake's answer is one.
func TestReturnToARecordThatWasLostStartsAnew(t *testing.T) {
	for name, returns := range map[string]func(s *socket){
		"JSON":        func(s *socket) { s.sendText(sequence(1)) },
		"MessagePack": func(s *socket) { s.sendBinary("\x03\x92\x09\x01") },
	} {
		bubbleRun(t, name, func(t *testing.T) {
			c := newCluster(t, 2)
			a := c.openStateful(0)
			synctest.Wait()
			c.forget(a.id)
			a.cut()
			synctest.Wait()
			back := a.dialSocket(1)
			returns(back)
			back.expectEnd()
			a.wantRefused(1, http.StatusNotFound, "No Connection with that ID")
		})
	}
}
