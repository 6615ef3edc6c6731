package transports_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
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

func TestFirstPollIsAnsweredAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3)
		k := c.negotiate()
		a := k.poll(0, "1").expect(200, "")
		within(t, a, 0, 0)
		for name, want := range map[string]string{
			"Content-Length": "0", "Cache-Control": "no-cache, no-store", "Pragma": "no-cache",
			"Expires": "Thu, 01 Jan 1970 00:00:00 GMT", "Content-Type": "application/octet-stream",
		} {
			if got := a.header.Get(name); got != want {
				t.Errorf("%s: got %q, want %q", name, got, want)
			}
		}
		// A proxy repeats it at another node, because the answer did not arrive: the client
		// would wait a whole poll for an answer that comes at once.
		time.Sleep(1200 * time.Millisecond)
		within(t, k.poll(1, "1").expect(200, ""), 0, 0)
		time.Sleep(1200 * time.Millisecond)
		within(t, k.poll(2, "1").expect(200, ""), 0, 0)
		k.poll(1, "2").expectNothing(10 * time.Second)
	})
}

// A record is kept for as long as its client likes, and must not hold as much as a header can.
func TestMarkThatIsNoClientsIsNotKept(t *testing.T) {
	bubble(t, func(t *testing.T) {
		k := newCluster(t, 1).negotiate()
		k.poll(0, strings.Repeat("1", 32<<10)).expect(200, "")
		if r, _ := k.record(); r.Mark != "" {
			t.Errorf("a mark of %d bytes is kept", len(r.Mark))
		}
	})
}

// The first poll's client went away before the answer.
func TestFirstPollWhoseAnswerWasNotWritten(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		k := c.negotiate()
		k.unread(0, "_=1")
		within(t, k.poll(1, "1").expect(200, ""), 0, time.Millisecond)
		k.poll(0, "2").expectNothing(5 * time.Second)
	})
}

// unread makes a poll at a node whose answer is not read, until its write has failed.
func (k *connection) unread(by int, query string) {
	k.Helper()
	conn := k.nodes[by].dial()
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /"+hubName+"?id="+k.token+"&"+query+" HTTP/1.1\r\nHost: node\r\n\r\n"); err != nil {
		k.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond)
	_ = conn.Close()
	synctest.Wait()
}

func TestHandshakeBeforeWithAndAfterThePolls(t *testing.T) {
	for name, handshake := range map[string]string{"json": handshakeJSON, "messagepack": handshakeMessagePack} {
		encode := func(s string) string { return s }
		if name == "messagepack" {
			encode = packed
		}
		bubbleRun(t, name+" before", func(t *testing.T) {
			c := newCluster(t, 3)
			k := c.negotiate()
			k.post(0, handshake)
			c.publish(2, 1)
			k.poll(1, "1").expect(200, "")
			k.poll(2, "2").expect(200, accepted+encode(invocation(1)))
		})
		bubbleRun(t, name+" with", func(t *testing.T) {
			c := newCluster(t, 3)
			k := c.negotiate()
			first := k.poll(0, "1")
			go k.post(1, handshake)
			first.expect(200, "")
			k.poll(2, "2").expect(200, accepted)
			c.publish(1, 1)
			k.poll(0, "3").expect(200, encode(invocation(1)))
		})
		bubbleRun(t, name+" after", func(t *testing.T) {
			c := newCluster(t, 3)
			k := c.negotiate()
			k.poll(0, "1").expect(200, "")
			second := k.poll(1, "2").expectNothing(12 * time.Second)
			c.publish(0, 1) // is before the handshake's answer
			second.expectNothing(time.Second)
			k.post(2, handshake+"")
			second.expect(200, accepted)
			third := k.poll(2, "3").expectNothing(time.Second)
			c.publish(0, 2)
			third.expect(200, encode(invocation(2)))
		})
		bubbleRun(t, name+" after, at one node", func(t *testing.T) {
			c := newCluster(t, 1)
			k := c.negotiate()
			k.poll(0, "1").expect(200, "")
			second := k.poll(0, "2").expectNothing(time.Second)
			k.post(0, handshake)
			second.expect(200, accepted)
			c.publishSeen(0, 1)
			k.poll(0, "3").expect(200, encode(invocation(1))) // follows on that, and is not opened
		})
	}
}

// A JavaScript client with MessagePack dies of an empty answer before that of the handshake.
func TestNoEmptyAnswerBeforeTheHandshakesAnswer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2, func(cfg *transports.Config) { cfg.PollTimeout = 5 * time.Second })
		k := c.negotiate()
		k.poll(0, "1").expect(200, "")
		second := k.poll(1, "2").expectNothing(14 * time.Second) // longer than polls wait
		k.post(0, handshakeMessagePack)
		second.expect(200, accepted)
		k.poll(0, "3").expect(200, "")
	})
}

func TestHandshakeThatDoesNotCome(t *testing.T) {
	for _, mark := range []string{"", "2"} {
		bubbleRun(t, "mark "+mark, func(t *testing.T) {
			c := newCluster(t, 2)
			k := c.negotiate()
			k.poll(0, mark).expect(200, "")
			began := time.Now()
			for polls := 0; ; polls++ {
				if polls > 20 {
					t.Fatal("polls are answered without a pause")
				}
				a := <-k.poll(polls%2, fmt.Sprint(mark, mark)).answered
				if mark == "" && a.status == 200 && a.body == "" {
					within(t, a, 900*time.Millisecond, time.Second)
					continue
				}
				k.want("poll", a, 200, `{"error":"Handshake was canceled."}`+"\x1e")
				break
			}
			if d := time.Since(began); d < 14*time.Second || d > 16*time.Second {
				t.Errorf("refused after %v, want 15 s", d)
			}
			k.wantRecord(false)
			k.poll(0, "3").expect(404, "No Connection with that ID")
		})
	}
}

// .NET sends no mark: a poll of it may be the first one again, of which it was not answered.
func TestUnmarkedPollBeforeTheHandshakeWaitsASecond(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		k := c.negotiate()
		k.poll(0, "").expect(200, "")
		within(t, k.poll(1, "").expect(200, ""), time.Second, time.Second)
		k.post(0, handshakeJSON)
		k.poll(0, "").expect(200, accepted)
		k.poll(1, "").expectNothing(20 * time.Second)
	})
}

func TestHandshakeErrorsOverPolls(t *testing.T) {
	for handshake, want := range map[string]string{
		`{"protocol":"bson","version":1}` + "\x1e":             `{"error":"The protocol 'bson' is not supported."}` + "\x1e",
		`{"protocol":"json","version":7}` + "\x1e":             `{"error":"The server does not support version 7 of the 'json' protocol."}` + "\x1e",
		`{"protocol":"json"}` + "\x1e":                         `{"error":"An unexpected error occurred during connection handshake. Missing required property 'version'."}` + "\x1e",
		`{"protocol":"json","version":1}`:                      `{"error":"Handshake was canceled."}` + "\x1e",
		strings.Repeat(" ", 40<<10) + handshakeJSON:            `{"error":"Handshake was canceled."}` + "\x1e",
		`{"protocol":"json","version":9}` + "\x1e" + ping + "": `{"error":"The server does not support version 9 of the 'json' protocol."}` + "\x1e",
	} {
		bubbleRun(t, handshake[:min(30, len(handshake))], func(t *testing.T) {
			c := newCluster(t, 2)
			k := c.negotiate()
			k.poll(0, "1").expect(200, "")
			k.post(1, handshake)
			k.want("POST after", k.do(0, http.MethodPost, "", ping), 404, "No Connection with that ID")
			k.poll(0, "2").expect(200, want)
			k.poll(1, "3").expect(404, "No Connection with that ID")
		})
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

// Nothing can be said before it is known in which protocol.
func TestPollOfAConnectionThatIsClosedBeforeItsHandshake(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		k := c.negotiate()
		k.poll(0, "1").expect(200, "")
		waiting := k.poll(1, "2").expectNothing(time.Second)
		if _, err := c.nodes[0].CloseConnection(c.ctx, hubName, k.id, "enough", true); err != nil {
			t.Fatal(err)
		}
		waiting.expect(204, "")
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

// Java sends DELETE while its poll is in flight, and waits for that to end.
func TestDeleteEndsThePendingPollAtAnotherNode(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3)
		k := c.openPolling(handshakeJSON)
		waiting := k.poll(0, "10").expectNothing(5 * time.Second)
		k.want("DELETE", k.do(1, http.MethodDelete, "", ""), 202, "")
		within(t, waiting.expect(204, ""), 5*time.Second, 5*time.Second)
		k.want("DELETE again", k.do(2, http.MethodDelete, "", ""), 404, "No Connection with that ID")
		k.want("POST", k.do(0, http.MethodPost, "", ping), 404, "No Connection with that ID")
		k.poll(2, "11").expect(404, "No Connection with that ID")
	})
}

func TestCloseOverPolls(t *testing.T) {
	ends := map[string]func(k *connection){
		"of the connection": func(k *connection) {
			if _, err := k.nodes[1].CloseConnection(k.ctx, hubName, k.id, "enough", true); err != nil {
				k.Fatal(err)
			}
		},
		"of the hub": func(k *connection) {
			k.publishEntry(1, &streams.Entry{Kind: streams.KindClose, Flags: streams.FlagAll | streams.FlagReconnect, Body: []byte("enough")})
		},
	}
	for name, end := range ends {
		bubbleRun(t, name+" between polls", func(t *testing.T) {
			c := newCluster(t, 3)
			k := c.openPolling(handshakeJSON)
			c.publish(0, 1)
			c.publish(0, 2)
			end(k)
			c.publish(0, 3)
			k.poll(2, "10").expect(200, invocations(1, 2))
			k.poll(0, "11").expect(200, closeMessage("enough"))
			k.poll(1, "12").expect(404, "No Connection with that ID")
		})
		bubbleRun(t, name+" while one waits", func(t *testing.T) {
			c := newCluster(t, 3)
			k := c.openPolling(handshakeMessagePack)
			waiting := k.poll(0, "10").expectNothing(time.Second)
			end(k)
			waiting.expect(200, packed(closeMessage("enough")))
			k.wantRecord(false)
		})
	}
}

// The poll that finds the close has been sent again meanwhile, to another node: its client is told there.
func TestCloseIsToldWhereTheClientWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		k := c.openPolling(handshakeJSON)
		older := k.poll(0, mark1, script...).expectNothing(time.Second)
		var newer *pending
		var closed atomic.Bool
		c.store.onBefore(func(step string) error {
			if step == "end" && closed.CompareAndSwap(false, true) {
				opened := make(chan struct{})
				c.store.onceAfterOpen(func() { close(opened) })
				newer = k.poll(1, mark1, script...)
				<-opened
			}
			return nil
		})
		if _, err := c.nodes[1].CloseConnection(c.ctx, hubName, k.id, "enough", true); err != nil {
			t.Fatal(err)
		}
		older.expectCut()
		newer.expect(200, closeMessage("enough"))
		k.wantRecord(false)
	})
}

// After the close of a connection, before its client knows.
func TestPostToAConnectionThatIsClosing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		k := c.openPolling(handshakeJSON)
		_, _ = c.nodes[0].CloseConnection(c.ctx, hubName, k.id, "", false)
		k.want("POST", k.do(1, http.MethodPost, "", ping), 404, "No Connection with that ID")
		k.poll(1, "10").expect(200, `{"type":7}`+"\x1e")
	})
}

// Between the look at its record and what a request does to it the connection ends.
func TestRequestOfAConnectionThatEndsMeanwhileIsRefused(t *testing.T) {
	for name, request := range map[string]struct {
		step string // before which the connection ends
		make func(k *connection)
	}{
		"DELETE": {"end", func(k *connection) {
			k.want("DELETE", k.do(0, http.MethodDelete, "", ""), 404, "No Connection with that ID")
		}},
		"poll that answers": {"answer", func(k *connection) {
			p := k.poll(0, "10").expectNothing(time.Second)
			k.publish(0, 1)
			p.expect(204, "")
		}},
		"poll that continues": {"continue", func(k *connection) {
			k.publishSeen(0, 1)
			k.poll(1, "10").expect(404, "No Connection with that ID") // the last was at node 1
		}},
		"POST that calls": {"append", func(k *connection) {
			k.want("POST", k.do(0, http.MethodPost, "", call(1)), 200, "") // nobody is there to be answered
		}},
		"POST that cannot be read": {"close", func(k *connection) {
			k.want("POST", k.do(0, http.MethodPost, "", "{"), 400, "the body ends inside a message")
		}},
	} {
		bubbleRun(t, name, func(t *testing.T) {
			c := newCluster(t, 3)
			k := c.openPolling(handshakeJSON)
			var over atomic.Bool
			c.store.onBefore(func(step string) error {
				if step == request.step && over.CompareAndSwap(false, true) {
					_, err := c.nodes[0].End(c.ctx, hubName, k.id, "")
					return err
				}
				return nil
			})
			request.make(k)
			if !over.Load() {
				t.Errorf("there was no step %q", request.step)
			}
			k.wantRecord(false)
		})
	}
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

func TestPollingClientThatGoesForGoodIsExpired(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		time.Sleep(2 * time.Minute)
		k := c.openPolling(handshakeJSON)
		time.Sleep(25 * time.Second)
		k.wantRecord(true)
		time.Sleep(15 * time.Second)
		k.wantRecord(false)
		k.poll(1, "10").expect(404, "No Connection with that ID")
	})
}

func TestPostsToAnyNodeAreTakenInOrder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3)
		k := c.openPolling(handshakeJSON)
		want := ""
		for n := range 30 {
			k.post(n%3, call(n)+ping)
			want += failure(n)
		}
		k.poll(0, "10").expect(200, want)
	})
}

func TestPipelinedMessagesAfterAPostedHandshake(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		k := c.negotiate()
		k.poll(0, "1").expect(200, "")
		k.post(1, handshakeJSON+call(0)+call(1))
		k.poll(0, "2").expect(200, accepted+failure(0)+failure(1))
	})
}

func TestBadPosts(t *testing.T) {
	for name, post := range map[string]struct {
		body, answer, text string
	}{
		"inside a message": {`{"type":6}` + "\x1e" + `{"type"`, "the body ends inside a message", ""},
		"no type":          {"{}\x1e", "Missing required property 'type'.", ""},
		"over the limit":   {strings.Repeat(" ", 33<<10) + ping, "the maximum message size of 32768 bytes was exceeded", ""},
	} {
		bubbleRun(t, name, func(t *testing.T) {
			c := newCluster(t, 2)
			other := c.openPolling(handshakeJSON)
			k := c.openPolling(handshakeJSON)
			waiting := k.poll(0, "10").expectNothing(time.Second)
			k.want("POST", k.do(1, http.MethodPost, "", post.body), 400, post.answer)
			waiting.expect(200, closeMessage("Connection closed with an error. "+post.answer))
			k.poll(1, "11").expect(404, "No Connection with that ID")
			c.publish(0, 1)
			other.poll(1, "10").expect(200, invocation(1))
		})
	}
	bubbleRun(t, "body over the limit", func(t *testing.T) {
		c := newCluster(t, 1)
		k := c.openPolling(handshakeJSON)
		a := k.do(0, http.MethodPost, "", strings.Repeat(ping, 1<<20/len(ping)+1))
		k.want("POST", a, 413, "the body is over the limit of 1048576 bytes")
		k.wantRecord(true)
	})
	bubbleRun(t, "body that does not come", func(t *testing.T) {
		c := newCluster(t, 1)
		k := c.openPolling(handshakeJSON)
		conn := c.nodes[0].dial()
		defer conn.Close()
		_, _ = io.WriteString(conn, "POST /"+hubName+"?id="+k.token+" HTTP/1.1\r\nHost: node\r\nContent-Length: 100\r\n\r\n{")
		var b [64]byte
		n, err := conn.Read(b[:])
		if got := string(b[:n]); err != nil || !strings.HasPrefix(got, "HTTP/1.1 400") {
			t.Errorf("got %q %v, want 400", got, err)
		}
		k.wantRecord(true)
	})
}

func TestClientsCloseMessageEndsThePoll(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		k := c.openPolling(handshakeJSON)
		waiting := k.poll(0, "10").expectNothing(time.Second)
		k.post(1, clientClose)
		waiting.expect(204, "")
		k.wantRecord(false)
	})
}

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
