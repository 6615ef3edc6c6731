package transports_test

import (
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hubstream/streams"
	"hubstream/transports"
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

// A poll that has messages, and waits for more or for the store, is answered none of them once the loss is known, and its client is told:
// what is lost may be missing in between.
func TestPollIsSentNothingOfALostLog(t *testing.T) {
	for _, test := range []struct {
		name    string
		by      int
		waits   time.Duration // for the store
		arrives time.Duration // before the messages
	}{
		{"held", 1, 0, 0},
		{"held, goes on", 0, 0, 0},
		{"waits for the store", 1, time.Second, 0},
		{"waits for the store, which has committed it", 1, time.Second, 0},
		{"waits for the store, past its time", 1, 15 * time.Second, 20 * time.Second},
	} {
		bubbleRun(t, test.name, func(t *testing.T) {
			c := newCluster(t, 2)
			k := c.openPolling(handshakeJSON)
			c.publishSeen(0, 100)
			k.poll(0, "9").expect(200, invocation(100))
			synctest.Wait()
			var away atomic.Bool
			away.Store(test.waits > 0)
			fails := func(step string) error {
				if step == "answer" && away.Load() {
					return streams.ErrUnavailable
				}
				return nil
			}
			if test.name == "waits for the store, which has committed it" {
				c.store.onAfter(fails)
			} else {
				c.store.onBefore(fails)
			}
			var p *pending
			publish := func() {
				for n := range 4 {
					c.publish(0, n)
				}
			}
			if test.arrives > 0 {
				p = k.poll(test.by, "10").expectNothing(test.arrives)
				publish()
			} else {
				publish()
				p = k.poll(test.by, "10")
			}
			p.expectNothing(15*time.Millisecond + test.waits)
			c.loseLog()
			p.expectNothing(time.Millisecond)
			away.Store(false)
			if test.by == 0 { // which found that its record is of the lost log
				p.expect(404, "No Connection with that ID")
			} else {
				p.expect(200, closeMessage("Messages were lost on the server; the connection cannot be continued."))
			}
		})
	}
}

// The messages of a poll that waits for the store are of a log that is lost. Its client is told when its turn comes, or before that where the
// poll cannot wait: not at once, with all others of the hub.
func TestPollWithMessagesOfALostLogIsEndedInItsTurn(t *testing.T) {
	const spread = 10 * time.Second
	for _, test := range []struct {
		name        string
		waits       time.Duration // before there is a message
		least, most time.Duration // from the loss to the end
		drain       bool
	}{
		{"its turn", 0, spread - 10*time.Millisecond, spread + 10*time.Millisecond, false},
		{"its time is over", 20 * time.Second, 2 * time.Second, 8 * time.Second, false},
		{"its node drains", 0, time.Second, time.Second + 10*time.Millisecond, true},
	} {
		bubbleRun(t, test.name, func(t *testing.T) {
			c := newCluster(t, 0)
			c.lossSpread = spread
			listener, dial := newPipes(t)
			c.start("n0", transports.Config{}, listener, dial)
			k := c.openPolling(handshakeJSON)
			p := k.poll(0, "10").expectNothing(test.waits + time.Millisecond)
			comeBack := c.store.refuse("answer", streams.ErrUnavailable)
			c.publish(0, 1)
			p.expectNothing(20 * time.Millisecond)
			c.loseLog()
			lost := time.Now()
			comeBack()
			p.expectNothing(time.Second)
			if test.drain {
				c.drain(0)
			}
			p.expect(200, closeMessage("Messages were lost on the server; the connection cannot be continued."))
			if after := time.Since(lost); after < test.least || after > test.most {
				t.Errorf("answered %v after the loss, want %v to %v", after, test.least, test.most)
			}
		})
	}
}

// A client that has not had the handshake's answer would take whatever else it were sent for that.
func TestPollWithTheHandshakesAnswerOfALostLogIsSentNoMessage(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		k := c.negotiate()
		k.poll(0, "1").expect(200, "")
		p := k.poll(0, "2").expectNothing(time.Second)
		comeBack := c.store.refuse("answer", streams.ErrUnavailable)
		k.post(1, handshakeJSON)
		p.expectNothing(20 * time.Millisecond)
		c.loseLog()
		p.expectNothing(time.Millisecond)
		comeBack()
		p.expect(204, "")
	})
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
