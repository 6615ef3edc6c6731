package transports_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"hubstream/streams"
)

// A client that has missed our Ack sends again what we have. It is acknowledged although nothing new came, or the client would keep it.
func TestWhatIsSentAgainIsAcknowledgedAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		a := c.openStateful(0)
		a.sendText(call(1))
		a.expect(failure(1))
		a.cut()
		synctest.Wait()
		b := a.returns(1, 1, call(1))
		b.expect(sequence(1) + failure(1))
		b.expect(ack(1))
	})
}

func TestAcksComeOnceASecondAndAfterTheEffectIsDurable(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1)
		a := c.openStateful(0)
		time.Sleep(3 * time.Second)
		for n := range 50 {
			a.sendText(call(n))
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		last := 0
		count := 0
		for len(a.in) > 0 {
			f, _ := a.next()
			for m := range strings.SplitAfterSeq(string(f.Payload), "\x1e") {
				var n int
				if _, err := fmt.Sscanf(m, `{"type":8,"sequenceId":%d}`, &n); err == nil {
					if n <= last {
						t.Errorf("Ack %d after Ack %d", n, last)
					}
					last = n
					count++
				}
			}
		}
		if last != 50 || count < 4 || count > 8 {
			t.Errorf("got %d Acks, the last %d; want about one a second and 50", count, last)
		}
		// Nothing is acknowledged that is not durable.
		c.store.refuse("finish", streams.ErrUnavailable)
		a.sendText(call(50))
		time.Sleep(10 * time.Second)
		a.skipPings()
		c.store.onBefore(func(string) error { return nil })
		time.Sleep(2 * time.Second)
		synctest.Wait()
		got := a.waiting()
		if !strings.Contains(got, ack(51)) || !strings.Contains(got, failure(50)) {
			t.Errorf("got %q, want Ack 51 and the answer", got)
		}
	})
}

// Right after a re-attach an Ack would disturb the JavaScript client's replay.
func TestNoAckInTheFirstSecondAfterAReattach(t *testing.T) {
	for _, pause := range []time.Duration{0, 100, 300, 500, 700, 900, 999} {
		bubbleRun(t, fmt.Sprint(int(pause)), func(t *testing.T) {
			c := newCluster(t, 2)
			a := c.openStateful(0)
			synctest.Wait()
			a.cut()
			time.Sleep(5*time.Second + pause*time.Millisecond)
			b := a.returns(1, 1, call(1))
			b.expect(sequence(1) + failure(1))
			began := time.Now()
			b.expect(ack(1))
			if d := time.Since(began); d < time.Second || d > 2*time.Second {
				t.Errorf("Ack after %v, want 1 to 2 s", d)
			}
		})
	}
}

// A client whose message cannot be taken for want of room waits: cut off it would come back at once, for a full store still serves who is
// there, send the same again and be cut off again, dozens of times a second.
func TestFullStoreCutsNoStatefulClientOff(t *testing.T) {
	for step, message := range map[string]string{"finish": call(1), "append": `{"type":3,"invocationId":"s-1","result":1}` + "\x1e"} {
		bubbleRun(t, step, func(t *testing.T) {
			c := newCluster(t, 1)
			a := c.openStateful(0)
			synctest.Wait()
			c.store.onBefore(func(s string) error {
				if s == step {
					return streams.ErrFull
				}
				return nil
			})
			a.sendText(message)
			a.expectNothing(5 * time.Second)
			c.store.onBefore(func(string) error { return nil })
			a.sendText(call(2))
			time.Sleep(2 * time.Second)
			synctest.Wait()
			got := a.waiting()
			if !strings.Contains(got, failure(2)) || !strings.Contains(got, ack(2)) {
				t.Errorf("got %q, want the answer to the second, and both acknowledged", got)
			}
		})
	}
}

// A reply of Finish that was lost does not make the call happen twice.
func TestLostReplyOfFinish(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1)
		a := c.openStateful(0)
		lost := 0
		c.store.onAfter(func(step string) error {
			if step == "finish" && lost < 3 {
				lost++
				return streams.ErrUnavailable
			}
			return nil
		})
		a.sendText(call(1))
		a.expectBoth(failure(1), ack(1))
		a.sendText(call(2))
		a.expectBoth(failure(2), ack(2))
	})
}

// Clients begin to count when they have handled the handshake's answer.
func TestNothingThatCountsComesBeforeTheClientHasHandledTheHandshake(t *testing.T) {
	held := func(c *cluster) *socket {
		s := c.negotiate(stateful).dialSocket(0)
		s.deaf.Store(true)
		// What came along with the handshake proves nothing.
		s.sendText(handshakeStateful + ping)
		s.expectFrame(accepted, ws.OpText)
		c.publish(0, 1)
		s.expectNothing(8 * time.Second)
		return s
	}
	for name, answer := range map[string]string{
		"a pong":    frameOf(ws.OpPong, true, "handled"),
		"a message": frameOf(ws.OpText, true, ping),
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := held(newCluster(t, 1))
				s.sendRaw(frameOf(ws.OpPong, true, "")) // .NET's, for one, keep a connection alive with these
				s.expectNothing(time.Second)
				s.sendRaw(answer)
				s.expect(invocation(1))
			})
		})
	}
	t.Run("the ping that it is sent", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			c := newCluster(t, 1)
			s := c.negotiate(stateful).openSocket(0, handshakeStateful)
			began := time.Now()
			c.publish(0, 1)
			s.expect(invocation(1))
			if d := time.Since(began); d > 100*time.Millisecond {
				t.Errorf("held for %v", d)
			}
		})
	})
	t.Run("nothing", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			s := held(newCluster(t, 1))
			began := time.Now()
			s.expect(invocation(1))
			if d := time.Since(began); d < time.Second || d > 4*time.Second {
				t.Errorf("held for %v more, want 2 to 3 s", d)
			}
		})
	})
}

// After a re-attach the client acknowledges what it had before, ahead of what this
// socket was sent. That counts once the replay has had the time to arrive: a Sequence
// beyond what the client has counted since would end the connection.
func TestAckAheadOfTheReplayIsTaken(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		a := c.openStateful(0)
		for n := 1; n <= 5; n++ {
			c.publish(0, n)
		}
		a.expect(invocations(1, 5))
		a.cut()
		synctest.Wait()
		b := a.returns(1, 1, ack(5))
		f, err := b.next()
		if err != nil || string(f.Payload) != sequence(1) {
			t.Fatalf("got %q %v, want Sequence 1", f.Payload, err)
		}
		b.cut()
		synctest.Wait()
		again := b.returns(0, 1, ack(5))
		again.expect(sequence(1))
		again.expect(invocations(1, 5))
		time.Sleep(6 * time.Second)
		again.sendText(ping)
		synctest.Wait()
		again.cut()
		synctest.Wait()
		last := again.returns(1, 1)
		last.expect(sequence(6))
	})
}

// A client that does not acknowledge is sent so much and no more; nobody else waits.
func TestInFlightLimit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		a := c.openStateful(0)
		other := c.negotiate().openSocket(0, handshakeJSON)
		const limit, total = 8192, 9000
		for n := 1; n <= total; n++ {
			c.publish(n%2, n)
		}
		other.expect(invocations(1, total))
		a.expect(invocations(1, limit))
		a.expectNothing(time.Second)
		a.sendText(ack(limit))
		a.expect(invocations(limit+1, total))
		a.sendText(ack(total))
		synctest.Wait()
		a.cut()
		synctest.Wait()
		a.returns(1, 1).expect(sequence(total + 1))
	})
}
