package transports_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"
)

const drainTime = 10 * time.Second

// drain begins to drain a node; done is closed when Drain has returned.
func (c *cluster) drain(by int) (done chan struct{}) {
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	done = make(chan struct{})
	go func() {
		defer close(done)
		defer cancel()
		c.nodes[by].server.Drain(ctx)
	}()
	synctest.Wait()
	return done
}

// A poll whose answer was lost comes again, to a node that is drained while the store is away: answered with nothing, it would not get that.
func TestDrainWaitsForTheStoreBeforeAPollIsOpened(t *testing.T) {
	for _, what := range []string{"which comes back", "which does not"} {
		bubbleRun(t, what, func(t *testing.T) {
			c := newCluster(t, 2)
			k := c.answeredPolling(script)
			c.store.goAway()
			again := k.poll(0, mark1, script...).expectNothing(time.Second)
			began := time.Now()
			c.drain(0)
			if what == "which comes back" {
				time.Sleep(2 * time.Second)
				c.store.comeBack()
				again.expect(200, invocation(1))
				return
			}
			again.expect(200, "")
			if waited := time.Since(began); waited < drainTime/2 || waited > drainTime/2+time.Second {
				t.Errorf("it was answered after %v of %v", waited, drainTime)
			}
		})
	}
}

func TestDrainAnswersPollsWhichGoOnElsewhere(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		k := c.openPolling(handshakeMessagePack)
		waiting := k.poll(0, "10").expectNothing(time.Second)
		done := c.drain(0)
		within(t, waiting.expect(200, ""), time.Second, time.Second)
		<-done
		c.publish(1, 1)
		k.poll(1, "11").expect(200, packed(invocation(1)))
	})
}

// Balancers take their time to notice: until then the node serves its clients, without
// answering polls again and again at once.
func TestDrainingNodeServesConnectionsThatExist(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		k := c.openPolling(handshakeJSON)
		other := c.openPolling(handshakeJSON)
		busy := other.poll(0, "10")
		// Before the handshake an empty answer would kill some clients.
		unshaken := c.negotiate()
		unshaken.poll(0, "1").expect(200, "")
		waits := unshaken.poll(0, "2")
		synctest.Wait()
		done := c.drain(0)
		busy.expect(200, "")
		within(t, k.poll(0, "10").expect(200, ""), time.Second, time.Second)
		waits.expectNothing(time.Second)
		k.post(0, call(0))
		k.poll(0, "11").expect(200, failure(0))
		c.publish(1, 1)
		k.poll(0, "12").expect(200, invocation(1))
		unshaken.post(0, handshakeMessagePack)
		waits.expect(200, accepted)
		c.negotiate().wantRefused(0, 503, "the node is stopping")
		<-done
		// Too late for any answer: an empty one would say that the one before has arrived.
		k.poll(0, "13").expectCut()
		c.publish(1, 2)
		k.poll(1, "13").expect(200, invocation(2))
		k.want("POST", k.do(0, http.MethodPost, "", ping), 503, "the node is stopping")
	})
}

// Neither a Close nor a close frame: .NET would not come back after one.
func TestDrainCutsStatefulSocketsWhoseClientsMissNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		var sockets []*socket
		for range 20 {
			s := c.openStateful(0)
			c.publishTo(1, s.id, 1)
			s.expect(invocation(1))
			sockets = append(sockets, s)
		}
		ghost := c.openStateful(0).dialSocket(0)
		began := time.Now()
		done := c.drain(0)
		var first, last time.Duration
		for i, s := range sockets {
			s.expectEnd()
			last = max(last, time.Since(began))
			if i == 0 {
				first = last
			}
			c.publishTo(1, s.id, 2)
			b := s.returns(1, 1, ack(1))
			f, err := b.next()
			if err != nil || string(f.Payload) != sequence(1) {
				t.Fatalf("got %q %v, want Sequence 1", f.Payload, err)
			}
			for string(f.Payload) != invocation(2) {
				if f, err = b.next(); err != nil {
					t.Fatal(err)
				}
			}
		}
		ghost.expectEnd() // was told nothing
		<-done
		if last < 2*time.Second || time.Since(began) > drainTime {
			t.Errorf("cut from %v to %v, the drain took %v; want them spread", first, last, time.Since(began))
		}
	})
}

func (c *cluster) publishTo(by int, id string, n int) {
	c.Helper()
	c.publishEntry(by, messageTo(id, invocation(n)))
}

func TestDrainClosesTheOthersWhoMayReconnect(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		const plainClose = `{"type":7,"allowReconnect":true}` + "\x1e"
		var ends []time.Duration
		var sockets []*socket
		var streams []*events
		for range 10 {
			sockets = append(sockets, c.negotiate().openSocket(0, handshakeJSON))
			streams = append(streams, c.negotiate().openEvents(0).shakesHands(0))
		}
		began := time.Now()
		done := c.drain(0)
		finished := make(chan time.Duration)
		for i := range sockets {
			go func() {
				sockets[i].expect(plainClose)
				sockets[i].expectClose(ws.StatusNormalClosure)
				finished <- time.Since(began)
			}()
			go func() {
				streams[i].expectEvents(plainClose)
				streams[i].expectEnd()
				finished <- time.Since(began)
			}()
		}
		for range 2 * len(sockets) {
			ends = append(ends, <-finished)
		}
		<-done
		if spread := ends[len(ends)-1] - ends[0]; spread < time.Second || time.Since(began) > drainTime {
			t.Errorf("closed within %v, the drain took %v; want them spread", spread, time.Since(began))
		}
		for _, s := range sockets {
			s.wantRecord(false)
		}
	})
}

func TestDrainMayBeCalledAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1)
		s := c.negotiate().openSocket(0, handshakeJSON)
		one, two := c.drain(0), c.drain(0)
		s.expect(`{"type":7,"allowReconnect":true}` + "\x1e")
		s.expectClose(ws.StatusNormalClosure)
		<-one
		<-two
		<-c.drain(0)
	})
}

// A poll that waited went on to wait for the store when its node had been drained, and the node ended some seconds after the time for that.
func TestDrainOfAPollDoesNotWaitForAStoreThatStaysAway(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1)
		k := c.openPolling(handshakeJSON)
		waiting := k.poll(0, "10").expectNothing(time.Second)
		c.store.goAway()
		began := time.Now()
		done := c.drain(0)
		waiting.expect(200, "")
		<-done
		if d := time.Since(began); d < drainTime/2 || d >= drainTime {
			t.Errorf("drained for %v of %v, half of which is the store's to come back", d, drainTime)
		}
	})
}

// Clients that do not answer do not hold up the end.
func TestDrainEndsInTime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1)
		for n := range 3 {
			k := c.negotiate()
			k.poll(0, fmt.Sprint(n)).expect(200, "")
			k.poll(0, fmt.Sprint(n+10)) // waits for its handshake
		}
		synctest.Wait()
		began := time.Now()
		<-c.drain(0)
		if d := time.Since(began); d != drainTime {
			t.Errorf("drained for %v, want %v", d, drainTime)
		}
	})
}

// Whoever stops a node waits for it, and a deployment for all of them, one after the other.
func TestDrainReturnsWhenAllAreGone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1)
		k := c.openPolling(handshakeJSON)
		waiting := k.poll(0, "10")
		s := c.negotiate().openSocket(0, handshakeJSON)
		synctest.Wait()
		began := time.Now()
		done := c.drain(0)
		waiting.expect(200, "")
		s.expect(`{"type":7,"allowReconnect":true}` + "\x1e")
		s.expectClose(ws.StatusNormalClosure)
		<-done
		if d := time.Since(began); d > drainTime/2 {
			t.Errorf("drained for %v, with nobody there any more", d)
		}
	})
}

// Who is just about to open when a node begins to stop is sent away as the others are, and not when the time is over.
func TestDrainSendsAwayWhoIsJustOpening(t *testing.T) {
	open := func(t *testing.T, dial func(k *connection)) {
		c := newCluster(t, 1)
		begun, goOn := make(chan struct{}), make(chan struct{})
		c.store.onceAfterOpen(func() { close(begun); <-goOn })
		go dial(c.negotiate())
		<-begun
		began := time.Now()
		done := c.drain(0)
		close(goOn)
		<-done
		if d := time.Since(began); d > time.Second {
			t.Errorf("drained for %v", d)
		}
	}
	bubbleRun(t, "socket", func(t *testing.T) {
		ended := make(chan struct{})
		open(t, func(k *connection) {
			defer close(ended)
			k.dialSocket(0).expectClose(ws.StatusNormalClosure)
		})
		<-ended
	})
	bubbleRun(t, "event stream", func(t *testing.T) {
		ended := make(chan struct{})
		open(t, func(k *connection) {
			defer close(ended)
			e := k.openEvents(0)
			e.expectEvents(`{"type":7,"allowReconnect":true}` + "\x1e")
			e.expectEnd()
		})
		<-ended
	})
}
