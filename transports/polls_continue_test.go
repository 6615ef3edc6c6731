package transports_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hubstream/streams"
)

// A poll costs the store two steps, or one if it follows on an answer of the same node and there is something for it already. That
// its answer went out is told besides only where the next poll may ask: where it has a mark, and it is not unique: an equal one says then
// that it did not arrive. That it did not go out is always told.
func TestPollCostsTwoStepsOrOne(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		for _, q := range []struct {
			by          int
			mark, agent string
			publishes   bool // before the poll
			want        string
		}{
			{0, "", "", true, "continue "},
			{0, "3", "", true, "continue wrote "},
			{0, "3", nodeJS, true, "continue "},
			{0, "", "", false, "open answer "},
			{0, "3", "", false, "open answer wrote "},
			{0, "3", nodeJS, false, "open answer "},
			{1, "", "", true, "open answer "},
			{0, "2", "", true, "open answer wrote "}, // it may be the poll before again
		} {
			k := c.openPolling(handshakeJSON) // the last at node 0
			synctest.Wait()
			var mu sync.Mutex
			steps := ""
			c.store.onBefore(func(step string) error {
				mu.Lock()
				defer mu.Unlock()
				if step != "append" && step != "range" && step != "trim" { // which are not the poll's
					steps += step + " "
				}
				return nil
			})
			if q.publishes {
				c.publishSeen(0, 1)
			}
			p := k.poll(q.by, q.mark, "User-Agent", q.agent)
			if !q.publishes {
				p.expectNothing(time.Second / 2)
				c.publish(0, 1)
			}
			p.expect(200, invocation(1))
			synctest.Wait()
			mu.Lock()
			if steps != q.want {
				t.Errorf("%+v: the store did %q", q, steps)
			}
			mu.Unlock()
			c.store.onBefore(func(string) error { return nil })
		}
	})
}

// Where polls go to one node after the other, a node does not go on trying to continue from its own last answer.
func TestPollsThatGoAroundAreOpened(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		k := c.openPolling(handshakeJSON) // the last at node 0
		var tried atomic.Int32
		c.store.onBefore(func(step string) error {
			if step == "continue" {
				tried.Add(1)
			}
			return nil
		})
		for n := range 10 {
			c.publishSeen(0, n)
			k.poll((n+1)%2, fmt.Sprint(10+n)).expect(200, invocation(n))
		}
		if n := tried.Load(); n != 2 {
			t.Errorf("%d attempts, want one of each node", n)
		}
	})
}

// A client that polls again at once is given together what comes in 10 ms, or in 20 ms if that is much, wherever it polls, and nothing is
// held back from one that had to wait.
func TestBusyPollerIsPaced(t *testing.T) {
	for _, test := range []struct {
		name     string
		nodes    int
		interval time.Duration
		size     int
		held     time.Duration
		together int // messages of an answer, at least
	}{
		{"a few", 1, 4 * time.Millisecond, 0, 10 * time.Millisecond, 2},
		{"many", 1, time.Millisecond, 0, 20 * time.Millisecond, 20},
		{"many, at several nodes", 3, time.Millisecond, 0, 20 * time.Millisecond, 20},
		{"much", 1, time.Millisecond, 16 << 10, 10 * time.Millisecond, 10},
	} {
		bubbleRun(t, test.name, func(t *testing.T) {
			c := newCluster(t, test.nodes)
			k := c.openPolling(handshakeJSON)
			time.Sleep(time.Second)
			c.publish(0, 1000)
			within(t, k.poll(0, "").expect(200, invocation(1000)), 0, 0)
			const messages = 100
			filler := strings.Repeat("x", test.size)
			message := func(n int) string { return strings.Replace(invocation(n), "[", `["`+filler+`",`, 1) }
			go func() {
				for n := range messages {
					c.publishBody(0, message(n))
					time.Sleep(test.interval)
				}
			}()
			var want strings.Builder
			for n := range messages {
				want.WriteString(message(n))
			}
			got, polls := "", 0
			for ; len(got) < want.Len(); polls++ {
				a := <-k.poll(polls%test.nodes, "").answered
				got += a.body
				if polls > 0 && a.after > test.held {
					t.Errorf("answered after %v", a.after)
				}
				if !strings.HasPrefix(want.String(), got) {
					t.Fatalf("got %.200q", got)
				}
			}
			if polls > messages/test.together+3 {
				t.Errorf("%d polls for %d messages in %v", polls, messages, messages*test.interval)
			}
		})
	}
}

// What comes while a poll is held goes with what there was, up to what fits into an answer. Nothing is committed if the client goes away.
func TestPollThatIsHeldForMuch(t *testing.T) {
	const busy = 4 // messages for which a poll is held longer
	for nodes := 1; nodes <= 2; nodes++ {
		bubbleRun(t, fmt.Sprint(nodes, " nodes"), func(t *testing.T) {
			c := newCluster(t, nodes)
			k := c.openPolling(handshakeJSON)
			publish := func(from, to int) {
				for n := from; n <= to; n++ {
					c.publish(0, n)
				}
			}
			publish(1, busy)
			p := k.poll(nodes-1, "10").expectNothing(15 * time.Millisecond)
			c.publish(0, busy+1)
			within(t, p.expect(200, invocations(1, busy+1)), 20*time.Millisecond, 20*time.Millisecond)

			publish(1, busy)
			p = k.poll(0, "11").expectNothing(15 * time.Millisecond)
			large := strings.Repeat("x", 256<<10-10) + "\x1e" // which would fit alone
			c.publishBody(0, large)
			within(t, p.expect(200, invocations(1, busy)), 20*time.Millisecond, 20*time.Millisecond)
			k.poll(nodes-1, "12").expect(200, large)

			publish(1, busy)
			c.store.onBefore(func(step string) error {
				if step == "continue" || step == "answer" {
					t.Errorf("%s for a client that is gone", step)
				}
				return nil
			})
			given := k.poll(0, "13")
			given.expectNothing(15 * time.Millisecond)
			given.cancel()
			synctest.Wait()
			time.Sleep(time.Second)
			c.store.onBefore(func(string) error { return nil })
			k.poll(nodes-1, "14").expect(200, invocations(1, busy))
		})
	}
}

func TestPollThatContinuesTakesWhatComesWhileItIsHeld(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1)
		k := c.openPolling(handshakeJSON)
		c.publish(0, 1)
		p := k.poll(0, "10").expectNothing(5 * time.Millisecond)
		c.publish(0, 2)
		within(t, p.expect(200, invocations(1, 2)), 10*time.Millisecond, 10*time.Millisecond)
		c.publish(0, 3)
		k.poll(0, "11").expect(200, invocation(3))
	})
}

// Whether or not an answer was committed whose commit's reply is lost: it was not written, and is given by the same poll.
func TestLostReplyOfAContinuation(t *testing.T) {
	for _, made := range []bool{true, false} {
		bubbleRun(t, fmt.Sprint("made ", made), func(t *testing.T) {
			c := newCluster(t, 3)
			var lost atomic.Int32
			lose := func(step string) error {
				if step == "continue" && lost.Add(-1) >= 0 {
					return streams.ErrOutcomeUnknown
				}
				return nil
			}
			if made {
				c.store.onAfter(lose)
			} else {
				c.store.onBefore(lose)
			}
			k := c.openPolling(handshakeJSON) // the last at node 1
			for n := range 3 {
				lost.Store(int32(n + 1)) // how often in a row
				c.publishSeen(0, n)
				k.poll(1, fmt.Sprint(10+n)).expect(200, invocation(n))
				synctest.Wait()
			}
			c.publish(0, 3)
			k.poll(2, "20").expect(200, invocation(3))
			k.poll(1, "21").expectNothing(5 * time.Second) // what it would have continued from was not the last any more
		})
	}
}

// goesAwayAfterContinue loses, while away, what a Continue that was made returns, and lets no poll be opened. made is called after the
// Continue.
func (s *store) goesAwayAfterContinue(away *atomic.Bool, made func()) {
	s.onAfter(func(step string) error {
		if step == "continue" && away.Load() {
			made()
			return streams.ErrOutcomeUnknown
		}
		return nil
	})
	s.onBefore(func(step string) error {
		if step == "open" && away.Load() {
			return streams.ErrUnavailable
		}
		return nil
	})
}

// Whoever polls next decides that the answer has arrived, if another is given in its place.
func TestContinuationThatMayBeCommittedIsNotAnsweredWithNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3)
		var away atomic.Bool
		overtake := func() {}
		c.store.goesAwayAfterContinue(&away, func() { overtake() })
		k := c.openPolling(handshakeJSON) // the last at node 1
		away.Store(true)
		c.publishSeen(0, 1)
		k.poll(1, "10").expectCut()

		away.Store(false)
		k = c.openPolling(handshakeJSON)
		overtake = func() {
			away.Store(false)
			time.Sleep(2 * time.Second)
			k.poll(2, "10").expect(200, invocation(2)) // a proxy sends it again
		}
		away.Store(true)
		c.publishSeen(0, 2)
		k.poll(1, "10").expectCut()
		k.poll(0, "11").expectNothing(5 * time.Second)
	})
}

// A poll's opening is late on its way to the store: a proxy has sent the poll again, and its client has polled on. The late one is taken
// for the next poll after an answer that was committed, and whose commit's reply was lost: that must be found all the same.
func TestLateOpeningAfterTheLostReplyOfAContinuation(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3)
		var late, lost atomic.Bool
		released := make(chan struct{})
		release := sync.OnceFunc(func() { close(released) })
		defer release()
		c.store.onBefore(func(step string) error {
			if step == "open" && late.CompareAndSwap(true, false) {
				<-released
			}
			return nil
		})
		c.store.onAfter(func(step string) error {
			if step == "continue" && lost.CompareAndSwap(true, false) {
				release()
				time.Sleep(10 * time.Millisecond)
				return streams.ErrOutcomeUnknown
			}
			return nil
		})
		k := c.openPolling(handshakeJSON)
		late.Store(true)
		k.poll(0, "10", script...).expectNothing(100 * time.Millisecond) // whose connection is gone, which its node does not know
		c.publish(0, 1)
		k.poll(2, "10", script...).expect(200, invocation(1)) // sent again
		synctest.Wait()
		time.Sleep(time.Second)
		lost.Store(true)
		c.publishSeen(0, 2)
		k.poll(2, "11", script...).expect(200, invocation(2))
	})
}

// A node that is drained waits to learn whether a poll was answered: a client without marks would take the answer, which was not
// written, for one that has arrived when its proxy sends the poll again.
func TestDrainWaitsForAContinuationThatMayBeCommitted(t *testing.T) {
	for _, mark := range []string{"", "10"} {
		bubbleRun(t, fmt.Sprintf("mark %q", mark), func(t *testing.T) {
			c := newCluster(t, 2)
			var away atomic.Bool
			c.store.goesAwayAfterContinue(&away, func() {})
			k := c.openPolling(handshakeJSON) // the last at node 0
			away.Store(true)
			c.publishSeen(0, 1)
			p := k.poll(0, mark)
			time.Sleep(time.Second)
			done := c.drain(0)
			time.AfterFunc(5*time.Second, func() { away.Store(false) })
			select {
			case a := <-p.answered:
				switch {
				case a.err != nil:
					t.Errorf("the poll is cut: %v", a.err)
				case a.body == "": // nothing is committed, and the next node has it
					k.poll(1, mark+"1").expect(200, invocation(1))
				case a.body != invocation(1):
					t.Errorf("got %q", a.body)
				}
			case <-time.After(time.Minute):
				t.Error("the poll is not answered")
			}
			<-done
		})
	}
}

// A proxy sends a poll again, at once, when the store has answered it already and its node does not know that.
func TestPollSentAgainWhileItContinues(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3)
		var again *pending
		k := c.openPolling(handshakeJSON) // the last at node 1
		c.store.onAfter(func(step string) error {
			if step != "continue" {
				return nil
			}
			again = k.poll(2, "10", "User-Agent", nodeJS)
			again.expect(200, invocation(1))
			return streams.ErrOutcomeUnknown
		})
		c.publishSeen(0, 1)
		k.poll(1, "10", "User-Agent", nodeJS).expectCut()
		if again == nil {
			t.Fatal("the poll did not continue")
		}
		c.publish(0, 2)
		k.poll(0, "11", "User-Agent", nodeJS).expect(200, invocation(2))
	})
}

// Nothing is committed for a client that goes away while its poll is held.
func TestClientThatGoesAwayFromAPollThatContinues(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1)
		k := c.openPolling(handshakeJSON)
		c.publish(0, 1)
		c.store.onBefore(func(step string) error {
			if step == "continue" {
				t.Error("an answer is committed")
			}
			return nil
		})
		given := k.poll(0, "10")
		time.Sleep(5 * time.Millisecond) // of pollPace
		given.cancel()
		synctest.Wait()
		time.Sleep(time.Second)
		c.store.onBefore(func(string) error { return nil })
		c.publish(0, 2)
		k.poll(0, "11").expect(200, invocations(1, 2))
	})
}

// What a node knew of a log that was lost does not keep it from knowing the next.
func TestPollContinuesAfterALoss(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1)
		c.openPolling(handshakeJSON)
		c.loseLog()
		k := c.openPolling(handshakeJSON)
		var continued atomic.Bool
		c.store.onBefore(func(step string) error {
			continued.Store(continued.Load() || step == "continue")
			return nil
		})
		c.publishSeen(0, 1)
		k.poll(0, "10").expect(200, invocation(1))
		if !continued.Load() {
			t.Error("the poll was opened")
		}
	})
}

// An answer that could not be written is no answer to go on from, nor is one that another node has gone on from.
func TestPollContinuesOnlyWhatWentOut(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		k := c.openPolling(handshakeJSON) // the last at node 0
		c.publish(0, 1)
		k.poll(1, "10").expect(200, invocation(1))
		c.publish(0, 2)
		k.poll(0, "11").expect(200, invocation(2)) // not 1 and 2

		for by := range 2 { // where it continues, and where it is opened
			k = c.openPolling(handshakeJSON)
			c.publishSeen(0, 3)
			k.unread(by, "_=20")
			c.store.onBefore(func(step string) error {
				if step == "continue" {
					t.Errorf("node %d goes on from an answer that failed", by)
				}
				return nil
			})
			c.publish(0, 4)
			k.poll(by, "21").expect(200, invocations(3, 4))
			c.store.onBefore(func(string) error { return nil })
		}
	})
}
