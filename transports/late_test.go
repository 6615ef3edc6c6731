package transports_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hubstream/streams"
)

// The polls of these tests have the time as their mark, as official clients' have.
const (
	mark1 = "1764163200010"
	mark2 = "1764163200020"
	mark3 = "1764163200030"
)

var script = []string{"User-Agent", nodeJS}

// answeredPolling is a connection whose poll with mark1 was answered invocation(1), at node 1.
func (c *cluster) answeredPolling(header []string) *connection {
	c.Helper()
	k := c.openPolling(handshakeJSON)
	c.publishSeen(0, 1)
	k.poll(1, mark1, header...).expect(200, invocation(1))
	return k
}

// A node that stood still goes on with a poll that a proxy has sent again meanwhile, and whose answer the client has. Whether the late one is
// answered before the client's next poll comes or not: the client misses nothing, and gets nothing twice.
func TestLatePollWhoseAnswerHasArrived(t *testing.T) {
	for _, what := range []string{"is waiting", "is answered", "is answered with what came since"} {
		bubbleRun(t, what, func(t *testing.T) {
			c := newCluster(t, 3)
			k := c.answeredPolling(script)
			synctest.Wait()

			var stalled atomic.Bool
			answered := make(chan struct{})
			defer close(answered)
			c.store.onBefore(func(step string) error {
				if step == "answer" && stalled.CompareAndSwap(true, false) {
					<-answered
				}
				return nil
			})
			if what == "is answered with what came since" {
				c.publishSeen(0, 2)
			}
			stalled.Store(what == "is waiting")
			late := k.poll(0, mark1, script...)
			time.Sleep(100 * time.Millisecond)
			late.cancel()
			synctest.Wait()
			if what != "is answered with what came since" {
				c.publishSeen(0, 2)
			}
			k.poll(2, mark2, script...).expect(200, invocation(2))
			c.publishSeen(0, 3)
			k.poll(1, mark3, script...).expect(200, invocation(3))
		})
	}
}

// The same when the client has polled on: its poll goes on waiting, and what it is answered is not taken from it.
func TestLatePollWhoseClientHasPolledOn(t *testing.T) {
	for _, what := range []string{"waits", "waits, in Java", "was answered"} {
		bubbleRun(t, what, func(t *testing.T) {
			c := newCluster(t, 3)
			script := script
			if what == "waits, in Java" {
				script = []string{"User-Agent", java}
			}
			k := c.answeredPolling(script)
			next := k.poll(2, mark2, script...).expectNothing(100 * time.Millisecond)
			if what == "was answered" {
				c.publishSeen(0, 2)
				next.expect(200, invocation(2))
			}
			late := k.poll(0, mark1, script...).expectNothing(100 * time.Millisecond)
			late.cancel() // its node finds its connection closed
			time.Sleep(2 * time.Second)
			c.publishSeen(0, 3)
			if what == "was answered" {
				k.poll(1, mark3, script...).expect(200, invocation(3))
			} else {
				next.expect(200, invocation(3))
			}
		})
	}
}

// A client whose clock is set back polls on nevertheless: after a second, once.
func TestPollsOfAClientWhoseClockIsSetBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		k := c.openPolling(handshakeJSON)
		c.publishSeen(0, 1)
		k.poll(0, mark3, script...).expect(200, invocation(1))
		for by := range 2 { // where it would continue, and where it is opened
			c.publishSeen(0, 2)
			within(t, k.poll(by, mark1, script...).expect(200, invocation(2)), time.Second, 1100*time.Millisecond)
			c.publishSeen(0, 3)
			within(t, k.poll(by, mark2, script...).expect(200, invocation(3)), 0, 20*time.Millisecond)
			c.publishSeen(0, 4)
			k.poll(0, mark3, script...).expect(200, invocation(4))
		}
	})
}

// A client may send as many polls with an old mark as it likes: each asks the store a few times.
func TestAPollWithAnOldMarkAsksTheStoreSeldom(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1)
		k := c.openPolling(handshakeJSON)
		c.publishSeen(0, 1)
		k.poll(0, mark3, script...).expect(200, invocation(1))
		c.publishSeen(0, 2)
		synctest.Wait()
		var steps atomic.Int64
		c.store.onBefore(func(string) error { steps.Add(1); return nil })
		k.poll(0, mark1, script...).expect(200, invocation(2))
		if n := steps.Load(); n > 12 {
			t.Errorf("the store was asked for %d steps", n)
		}
	})
}

// A poll is cut, not answered with nothing, if what it was answered before cannot be given again.
func TestLatePollThatCannotBeAnsweredAgain(t *testing.T) {
	for _, what := range []string{"the store goes away", "it is displaced"} {
		bubbleRun(t, what, func(t *testing.T) {
			c := newCluster(t, 3)
			k := c.answeredPolling(nil)
			time.Sleep(2 * time.Second) // it is that poll again, although its client is none of those whose marks are unique
			c.store.onceAfterOpen(func() {
				if what == "the store goes away" {
					c.store.goAway()
					return
				}
				k.poll(2, mark1).expect(200, invocation(1))
			})
			k.poll(0, mark1).expectCut()
			c.store.comeBack()
			c.publishSeen(0, 2)
			k.poll(2, mark2).expect(200, invocation(2))
		})
	}
}

// What it is answered again is the same when its node has to read the record once more.
func TestLatePollWhoseNodeHasToWaitForTheStore(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 4)
		k := c.answeredPolling(script)
		c.publishSeen(0, 2)
		c.store.onceAfterOpen(func() {
			c.store.goAway()
			time.AfterFunc(time.Second, c.store.comeBack)
		})
		last := 2 // which has nothing of the hub yet
		within(t, k.poll(last, mark1, script...).expect(200, invocation(1)), time.Second, 2*time.Second)
		k.poll(0, mark2, script...).expect(200, invocation(2))
	})
}

// Its bytes do not reach whoever has sent it first: that says nothing about the answer that the client has.
func TestLatePollWhoseAnswerDoesNotGoOut(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3)
		k := c.answeredPolling(script)
		synctest.Wait()
		var again atomic.Bool
		c.store.onAfter(func(step string) error {
			again.Store(again.Load() || step == "answer")
			return nil
		})
		k.unread(0, "_="+mark1) // as one of another client, so that it is told whether it went out
		if !again.Load() {
			t.Fatal("it was not answered again")
		}
		c.publishSeen(0, 2)
		k.poll(2, mark2, script...).expect(200, invocation(2))
	})
}

// answeredWithPages returns a connection whose poll with mark1 was answered, by the second node, with that many messages: more than a page.
func (c *cluster) answeredWithPages() (k *connection, messages int) {
	k, messages = c.openPolling(handshakeJSON), 1500
	for n := range messages {
		c.publish(0, n)
	}
	synctest.Wait()
	k.poll(1, mark1, script...).expect(200, invocations(0, messages-1))
	return k, messages
}

// It is answered all that it was, or it is cut: a client that has all of it would get what is missing twice.
func TestLatePollIsNotAnsweredAPart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 4)
		k, messages := c.answeredWithPages()
		var pages atomic.Int32
		c.store.onBefore(func(step string) error {
			if step == "range" && pages.Add(1) == 3 {
				return streams.ErrUnavailable
			}
			return nil
		})
		k.poll(2, mark1, script...).expect(200, invocations(0, messages-1)) // at a node that has nothing of the hub yet
		if pages.Load() < 4 {
			t.Fatalf("%d pages were read", pages.Load())
		}
		c.publish(0, messages)
		k.poll(0, mark2, script...).expect(200, invocation(messages))
	})
}

// The log is lost while it is to be given its answer again: it is told, and nothing of that is given.
func TestLatePollWhoseLogIsLost(t *testing.T) {
	for _, fails := range []string{"answer", "range"} {
		bubbleRun(t, fails, func(t *testing.T) {
			c := newCluster(t, 4)
			k, _ := c.answeredWithPages()
			var steps atomic.Int32
			var away atomic.Bool
			away.Store(true)
			c.store.onBefore(func(step string) error {
				if step == fails && away.Load() && (step == "answer" || steps.Add(1) >= 3) {
					return streams.ErrUnavailable
				}
				return nil
			})
			late := k.poll(2, mark1, script...).expectNothing(2 * time.Second)
			c.loseLog()
			late.expectNothing(time.Millisecond)
			away.Store(false)
			late.expect(200, closeMessage("Messages were lost on the server; the connection cannot be continued."))
			k.wantRecord(false)
		})
	}
}

// What it was answered is not kept any more. Its client has it, for all that is known, and misses nothing.
func TestLatePollWhoseAnswerIsTrimmed(t *testing.T) {
	for _, when := range []string{"before it is opened", "before it is read"} {
		bubbleRun(t, when, func(t *testing.T) {
			c := newCluster(t, 4)
			k := c.answeredPolling(script)
			c.publishSeen(0, 2)
			trim := func() {
				r, _ := k.record()
				if _, err := c.store.Trim(k.ctx, hubName, r.Sent); err != nil {
					t.Error(err)
				}
			}
			if when == "before it is opened" {
				trim()
			} else {
				c.store.onceAfterOpen(trim)
			}
			k.poll(2, mark1, script...).expect(404, "No Connection with that ID")
			k.poll(0, mark2, script...).expect(200, invocation(2))
		})
	}
}

// Nor is what another node is to answer it with, which has that in memory.
func TestLatePollWhoseBeginningIsTrimmed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3)
		k := c.openPolling(handshakeJSON)
		waiting := k.poll(0, mark1, script...).expectNothing(time.Second)
		r, err := c.nodes[0].Publish(k.ctx, hubName, messageTo("another", "{}"))
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if _, err := c.store.Trim(k.ctx, hubName, r.Position); err != nil {
			t.Fatal(err)
		}
		k.poll(2, mark1, script...).expect(404, "No Connection with that ID")
		c.publish(0, 1)
		waiting.expect(200, invocation(1))
		k.poll(2, mark2, script...).expectNothing(time.Second)
	})
}

// Before the handshake 204 would end the client, if the poll that is displaced is the one that it waits for.
func TestLatePollBeforeTheHandshake(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3)
		k := c.negotiate()
		k.poll(0, mark1, script...).expect(200, "")
		waiting := k.poll(1, mark2, script...).expectNothing(time.Second)
		k.poll(2, mark2, script...).expectNothing(time.Second) // its node has read it only now
		waiting.expectCut()
		k.post(0, handshakeMessagePack)
		k.poll(1, mark2, script...).expect(200, accepted)
	})
}

// The first poll is late, and what it is answered does not go out: the client has the same from another node, and a JavaScript client with
// MessagePack dies of an empty answer to its second poll.
func TestLateFirstPollWhoseAnswerDoesNotGoOut(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3)
		k := c.negotiate()
		k.poll(0, mark1, script...).expect(200, "")
		k.unread(1, "_="+mark1)
		second := k.poll(2, mark2, script...).expectNothing(time.Second)
		k.post(0, handshakeMessagePack)
		second.expect(200, accepted)
	})
}
