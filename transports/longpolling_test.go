package transports_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hubstream/streams"
	"hubstream/transports"
)

// pending is a poll that waits.
type pending struct {
	*connection
	answered chan answer
	cancel   context.CancelFunc
}

// poll starts a poll at a node; an empty mark is none.
func (k *connection) poll(by int, mark string, header ...string) *pending {
	ctx, cancel := context.WithCancel(k.ctx)
	p := &pending{k, make(chan answer, 1), cancel}
	query := "id=" + k.token
	if mark != "" {
		query += "&_=" + mark
	}
	go func() {
		defer cancel()
		p.answered <- k.cluster.do(ctx, by, http.MethodGet, query, "", header...)
	}()
	return p
}

// expect takes the answer.
func (p *pending) expect(status int, body string) answer {
	p.Helper()
	select {
	case a := <-p.answered:
		p.want("poll", a, status, body)
		return a
	case <-time.After(2 * time.Minute):
		p.Fatalf("the poll was not answered, want %d %q", status, body)
		return answer{}
	}
}

// expectCut waits until the connection is cut instead of an answer.
func (p *pending) expectCut() {
	p.Helper()
	select {
	case a := <-p.answered:
		if a.err == nil {
			p.Fatalf("the poll was answered with %d %q, want its connection cut", a.status, a.body)
		}
	case <-time.After(2 * time.Minute):
		p.Fatal("the poll's connection was not cut")
	}
}

// expectNothing lets time pass in which the poll must wait.
func (p *pending) expectNothing(d time.Duration) *pending {
	p.Helper()
	time.Sleep(d)
	synctest.Wait()
	select {
	case a := <-p.answered:
		p.Fatalf("the poll was answered within %v: %+v", d, a)
	default:
	}
	return p
}

// openPolling makes the first poll and the handshake, at one node each, and takes its answer.
func (c *cluster) openPolling(handshake string) *connection {
	c.Helper()
	k := c.negotiate()
	last := len(c.nodes) - 1
	k.poll(0, "1").expect(200, "")
	k.post(last, handshake)
	k.poll(last/2, "2").expect(200, accepted)
	return k
}

func within(t testing.TB, a answer, least, most time.Duration) {
	t.Helper()
	if a.after < least || a.after > most {
		t.Fatalf("answered after %v, want %v to %v", a.after, least, most)
	}
}

func TestPollsOfAnyNodeGetEverythingInOrder(t *testing.T) {
	for name, handshake := range map[string]string{"json": handshakeJSON, "messagepack": handshakeMessagePack} {
		bubbleRun(t, name, func(t *testing.T) {
			c := newCluster(t, 3)
			k := c.openPolling(handshake)
			const total = 3000
			go func() {
				for n := range total {
					c.publish(n%3, n)
					if n%17 == 0 {
						time.Sleep(time.Duration(n%23) * time.Millisecond)
					}
				}
			}()
			want := invocations(0, total-1)
			if name == "messagepack" {
				want = packed(want)
			}
			for i := 0; want != ""; i++ {
				a := <-k.poll(i%3, fmt.Sprint(100+i)).answered
				rest, ok := strings.CutPrefix(want, a.body)
				if a.status != 200 || a.body == "" || !ok {
					t.Fatalf("got %d %q, want %.100q", a.status, a.body, want)
				}
				want = rest
			}
		})
	}
}

// A message that was a poll's whole answer is every other client's, too: what that client is answered next is not written over it.
func TestAnswersAreNotWrittenOverWhatOthersAreSent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1)
		a, b := c.openPolling(handshakeJSON), c.openPolling(handshakeJSON)
		for n := range 50 {
			long := `{"type":1,"target":"m","arguments":["` + strings.Repeat(fmt.Sprint(n%10), 1000) + "\"]}\x1e"
			c.publishBody(0, long)
			synctest.Wait()
			a.poll(0, fmt.Sprint(100+2*n)).expect(200, long)
			c.publish(0, 1)
			c.publishSeen(0, 2)
			a.poll(0, fmt.Sprint(101+2*n)).expect(200, invocations(1, 2))
			b.poll(0, fmt.Sprint(100+n)).expect(200, long+invocations(1, 2))
		}
	})
}

// Consecutive polls of one client often carry the same millisecond.
func TestEqualMarksOfConsecutivePolls(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3)
		k := c.openPolling(handshakeJSON)
		c.publish(0, 0)
		for n := range 300 { // data is always waiting
			c.publish(n%3, n+1)
			a := <-k.poll(n%3, "77").answered
			if !strings.HasPrefix(a.body, invocation(n)) && a.body != invocation(n+1) {
				t.Fatalf("poll %d: got %d %q", n, a.status, a.body)
			}
			if a.body == invocation(n) {
				continue
			}
		}
	})
}

// The very same poll comes again a second later, from a proxy: its answer did not arrive.
func TestRepeatedPollIsAnsweredTheSame(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3)
		k := c.openPolling(handshakeJSON)
		c.publish(0, 1)
		k.poll(0, "10").expect(200, invocation(1))
		time.Sleep(time.Second)
		c.publish(0, 2)
		k.poll(1, "10").expect(200, invocation(1))
		k.poll(2, "11").expect(200, invocation(2))
		k.poll(1, "12").expectNothing(5 * time.Second)
	})
}

// Within that second the node that has written the answer tells; until it has, the poll
// waits for it, but not for long.
func TestEqualMarkBeforeTheWriteIsKnown(t *testing.T) {
	for _, written := range []bool{true, false} {
		bubbleRun(t, fmt.Sprint("written ", written), func(t *testing.T) {
			c := newCluster(t, 3)
			k := c.openPolling(handshakeJSON)
			var hold atomic.Bool
			hold.Store(true)
			t.Cleanup(func() { hold.Store(false); time.Sleep(time.Second) })
			c.store.onBefore(func(step string) error {
				for step == "wrote" && hold.Load() {
					time.Sleep(10 * time.Millisecond)
				}
				return nil
			})
			c.publish(0, 1)
			k.poll(0, "10").expect(200, invocation(1))
			second := k.poll(1, "10").expectNothing(100 * time.Millisecond)
			if written {
				hold.Store(false)
				second.expectNothing(time.Second)
				c.publish(2, 2)
				second.expect(200, invocation(2))
				return
			}
			within(t, second.expect(200, invocation(1)), 200*time.Millisecond, 250*time.Millisecond)
			hold.Store(false)
		})
	}
}

// A node commits an answer and is killed before its bytes are out, and what a proxy sends the poll to again has to stop as
// well, or has little time: an empty answer would have told the next poll that the lost one had arrived.
func TestUndecidedPollIsNotAnsweredWithNothing(t *testing.T) {
	undecided := func(t *testing.T, change ...func(*transports.Config)) (*cluster, *connection, *pending) {
		c := newCluster(t, 3, change...)
		k := c.openPolling(handshakeJSON)
		c.store.refuse("wrote", streams.ErrUnavailable)
		c.publish(0, 1)
		k.poll(0, "10").expect(200, invocation(1)) // did not arrive
		return c, k, k.poll(1, "10")
	}
	bubbleRun(t, "drain", func(t *testing.T) {
		c, k, again := undecided(t)
		again.expectNothing(100 * time.Millisecond)
		done := c.drain(1)
		again.expect(200, invocation(1))
		<-done
		c.publish(0, 2)
		k.poll(2, "11").expect(200, invocation(2))
	})
	bubbleRun(t, "short polls", func(t *testing.T) {
		_, _, again := undecided(t, func(cfg *transports.Config) { cfg.PollTimeout = 100 * time.Millisecond })
		again.expect(200, invocation(1))
	})
	bubbleRun(t, "store away", func(t *testing.T) {
		c, k, again := undecided(t)
		again.expectNothing(100 * time.Millisecond)
		c.store.goAway()
		again.expectNothing(10 * time.Second)
		c.drain(1)
		again.expectCut()
		c.store.comeBack()
		k.poll(2, "10").expect(200, invocation(1))
	})
	bubbleRun(t, "ended", func(t *testing.T) {
		c, k, again := undecided(t)
		again.expectNothing(100 * time.Millisecond)
		k.want("DELETE", k.do(0, http.MethodDelete, "", ""), 202, "")
		again.expect(404, "No Connection with that ID")
		c.publish(0, 2)
		k.poll(2, "11").expect(404, "No Connection with that ID")
	})
	bubbleRun(t, "drained", func(t *testing.T) {
		c, k, again := undecided(t)
		again.cancel()
		<-c.drain(2)
		k.poll(2, "10").expectCut()
		k.poll(1, "10").expect(200, invocation(1))
	})
}

func TestAnswerThatCouldNotBeWrittenIsSentAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3)
		k := c.openPolling(handshakeJSON)
		c.publish(0, 1)
		k.unread(0, "_=10")
		c.publish(0, 2)
		k.poll(1, "11").expect(200, invocations(1, 2))
		k.poll(2, "12").expectNothing(5 * time.Second)
	})
}

// Clients other than JavaScript's and Java's have no marks.
func TestAnswerToAnUnmarkedPollThatCouldNotBeWrittenIsSentAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		k := c.openPolling(handshakeJSON)
		c.publish(0, 1)
		k.unread(0, "")
		k.poll(1, "").expect(200, invocation(1))
	})
}

// A poll whose node cannot serve it, as it cannot read the hub's log, is answered when its time is over, or another of its client has come, or
// what it waits for is not kept any more.
func TestPollWhoseNodeCannotReadTheLog(t *testing.T) {
	for what, test := range map[string]func(k *connection, p *pending){
		"its time is over": func(k *connection, p *pending) {
			k.publish(0, 1)
			within(k, p.expect(200, ""), 20*time.Second, 30*time.Second)
			k.poll(1, "11").expect(200, invocation(1))
		},
		"another comes": func(k *connection, p *pending) {
			other := k.poll(1, "11")
			within(k, p.expect(200, ""), time.Second, 2*time.Second)
			k.publish(0, 1)
			other.expect(200, invocation(1))
		},
		"it fell behind": func(k *connection, p *pending) {
			last, err := k.nodes[0].Publish(k.ctx, hubName, messageTo("another", "{}"))
			if err != nil {
				k.Fatal(err)
			}
			if _, err := k.store.Trim(k.ctx, hubName, last.Position); err != nil {
				k.Fatal(err)
			}
			p.expect(404, "No Connection with that ID")
			k.wantRecord(false)
		},
	} {
		bubbleRun(t, what, func(t *testing.T) {
			c := newCluster(t, 4)
			k := c.openPolling(handshakeJSON)
			c.store.refuse("range", streams.ErrUnavailable)
			test(k, k.poll(2, "10").expectNothing(time.Second)) // at a node that has nothing of the hub
		})
	}
}

// A poll may wait for longer than other connections may be unheard of.
func TestPollThatMayWaitForLongIsNotExpired(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2, func(cfg *transports.Config) { cfg.PollTimeout = 80 * time.Second })
		time.Sleep(2 * time.Minute) // contact with the store long enough to end anybody
		k := c.openPolling(handshakeJSON)
		p := k.poll(0, "10").expectNothing(70 * time.Second)
		c.publish(1, 1)
		p.expect(200, invocation(1))
	})
}

func TestPollsLeaveNothingBehind(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		k := c.openPolling(handshakeJSON)
		k.poll(0, "10").expect(200, "") // for its time is over
		waiting := k.poll(0, "11").expectNothing(time.Second)
		c.publish(1, 1)
		waiting.expect(200, invocation(1))
		gone := k.poll(1, "12").expectNothing(time.Second)
		if n := c.nodes[1].Totals().Connections[streams.TransportLongPolling]; n != 1 {
			t.Errorf("%d polls are served while one waits", n)
		}
		gone.cancel()
		synctest.Wait()
		for i, n := range c.nodes {
			if n := n.Totals().Connections[streams.TransportLongPolling]; n != 0 {
				t.Errorf("%d polls are served at node %d when none is there", n, i)
			}
		}
	})
}

// An answer that goes beyond the log's end has what the log has lost: its client is told.
func TestPollWhoseAnswerIsBeyondTheLogsEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1)
		k := c.openPolling(handshakeJSON)
		c.store.refuse("answer", streams.ErrBeyond)
		p := k.poll(0, "10").expectNothing(time.Second)
		c.publish(0, 1)
		p.expect(200, closeMessage("Messages were lost on the server; the connection cannot be continued."))
		k.wantRecord(false)
	})
}

// Clients abort a poll at 100 s and poll again without having read its answer.
func TestPollAfterAnAbandonedOneGetsItsAnswerAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		k := c.openPolling(handshakeJSON)
		waiting := k.poll(0, "10").expectNothing(10 * time.Second)
		c.publish(0, 1)
		waiting.expect(200, invocation(1)) // let us say that it hangs in a proxy
		time.Sleep(20 * time.Second)
		k.poll(1, "10").expect(200, invocation(1))
	})
}

func TestPollThatWasAbandonedWhileTheStoreWasAway(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		k := c.openPolling(handshakeJSON)
		c.store.goAway()
		began := time.Now()
		waiting := k.poll(0, "10")
		time.AfterFunc(20*time.Second, c.store.comeBack)
		waiting.expectNothing(20 * time.Second)
		c.publish(1, 1)
		waiting.expect(200, invocation(1))
		c.nodes[0].stop()
		// What the record says of the poll's time is when it came.
		r, _ := k.record()
		if d := time.UnixMilli(r.PollAt).Sub(began); d.Abs() > 10*time.Millisecond {
			t.Errorf("the poll's time in the record is %v off", d)
		}
	})
}

func TestPollTimeout(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		k := c.openPolling(handshakeMessagePack)
		for n := range 5 {
			a := k.poll(n%2, fmt.Sprint(n+10)).expect(200, "")
			within(t, a, 23*time.Second, 27*time.Second)
		}
		c.publish(0, 1)
		k.poll(0, "20").expect(200, packed(invocation(1)))
	})
}

func TestNewerPollSupersedesTheOlder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		k := c.openPolling(handshakeJSON)
		older := k.poll(0, "10").expectNothing(5 * time.Second)
		newer := k.poll(1, "11")
		older.expect(200, "") // 204 would end the client, if it is the one that waits for this answer
		newer.expectNothing(5 * time.Second)
		c.publish(0, 1)
		newer.expect(200, invocation(1))
	})
}

// The older poll's time is over just when another is opened, of which it does not know yet: what ends it does not end the connection.
func TestSupersededPollEndsNoConnection(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		c.until(5 * time.Second)
		k := c.openPolling(handshakeJSON)
		older := k.poll(0, "10").expectNothing(4 * time.Second)
		var newer *pending
		c.store.onBefore(func(step string) error {
			if step == "end" && newer == nil {
				c.until(time.Hour)
				newer = k.poll(1, "11")
				newer.expectNothing(time.Millisecond)
			}
			return nil
		})
		older.expect(200, "")
		newer.expectNothing(time.Second)
		c.publish(0, 1)
		newer.expect(200, invocation(1))
	})
}

// An official client's poll whose connection has ended elsewhere is told so; cut off, it would take that for an error of the network.
func TestPollWhoseConnectionHasEndedIsToldSo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1)
		k := c.openPolling(handshakeJSON)
		p := k.poll(0, "10", script...).expectNothing(time.Second)
		c.store.refuse("answer", streams.ErrGone)
		c.publish(0, 1)
		p.expect(204, "")
	})
}

// Both polls find the same messages; only one of them may give them to the client.
func TestSupersededPollGetsNoMessages(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		k := c.openPolling(handshakeJSON)
		var overtaken atomic.Bool
		var newer *pending
		c.store.onBefore(func(step string) error {
			if step == "answer" && overtaken.CompareAndSwap(false, true) {
				newer = k.poll(1, "11")
				time.Sleep(time.Second)
			}
			return nil
		})
		older := k.poll(0, "10").expectNothing(time.Second)
		c.publish(0, 1)
		older.expect(200, "")
		newer.expect(200, invocation(1))
	})
}

func TestClientThatGoesAwayMayPollAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		k := c.openPolling(handshakeJSON)
		k.poll(0, "10").expectNothing(5 * time.Second).cancel()
		synctest.Wait() // the node has noticed
		c.publish(0, 1)
		k.poll(1, "11").expect(200, invocation(1))
	})
}

// Of an answer with messages that may have been committed its client must not be told by another, even by nothing: that would be lost. Its poll is
// cut when its time is over and the store still away.
func TestPollWhoseAnswerMayBeCommittedIsCutInTheEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		k := c.openPolling(handshakeJSON)
		p := k.poll(0, "10").expectNothing(time.Second)
		c.store.onAfter(func(step string) error {
			if step == "answer" {
				c.store.goAway()
				return streams.ErrUnavailable
			}
			return nil
		})
		c.publish(1, 1)
		p.expectNothing(80 * time.Second).expectCut()
		c.store.onAfter(func(string) error { return nil })
		c.store.comeBack()
		k.poll(1, "10").expect(200, invocation(1))
	})
}

func TestPollBodyHoldsWholeMessagesUpToItsLimit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		k := c.openPolling(handshakeJSON)
		message := func(size int) string {
			return `{"type":1,"target":"m","arguments":["` + strings.Repeat("x", size-40) + `"]}` + "\x1e"
		}
		small, large := message(100<<10), message(600<<10)
		for _, body := range []string{small, small, small, large, small} {
			c.publishBody(0, body)
		}
		k.poll(0, "10").expect(200, small+small)
		k.poll(1, "11").expect(200, small)
		k.poll(0, "12").expect(200, large) // alone
		a := k.poll(1, "13").expect(200, small)
		if got := a.header.Get("Content-Length"); got != fmt.Sprint(len(small)) {
			t.Errorf("Content-Length %q, want %d", got, len(small))
		}
	})
}

func TestPollsAreHeldWhileTheStoreIsAway(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		k := c.openPolling(handshakeJSON)
		waiting := k.poll(0, "10").expectNothing(time.Second)
		c.store.goAway()
		a := waiting.expect(200, "")
		within(t, a, 23*time.Second, 45*time.Second)
		for n := range 3 {
			a := k.poll(n%2, fmt.Sprint(n+11)).expect(200, "")
			within(t, a, 23*time.Second, 27*time.Second)
		}
		late := k.poll(1, "20").expectNothing(5 * time.Second)
		c.store.comeBack()
		c.publish(0, 1)
		late.expect(200, invocation(1))
	})
}

// Once an answer may have been committed, any other would pass for it.
func TestLostReplyOfAnAnswer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		k := c.openPolling(handshakeJSON)
		waiting := k.poll(0, "10").expectNothing(time.Second)
		var lost atomic.Bool
		lost.Store(true)
		c.store.onAfter(func(step string) error {
			if step == "answer" && lost.Load() {
				return streams.ErrUnavailable
			}
			return nil
		})
		c.publish(1, 1)
		waiting.expectNothing(50 * time.Second) // longer than polls wait
		lost.Store(false)
		waiting.expect(200, invocation(1))
		k.poll(1, "11").expectNothing(5 * time.Second)

		again := c.openPolling(handshakeJSON)
		lost.Store(true)
		c.publish(1, 2)
		// It may end openly meanwhile, but no answer may pass for the one that may be committed.
		if a := <-again.poll(1, "10").answered; a.err == nil && a.status == 200 {
			t.Errorf("got %d %q, want the connection cut or ended", a.status, a.body)
		}
	})
}
