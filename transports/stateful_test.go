package transports_test

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"hubstream/streams"
	"hubstream/transports"
)

// openStateful opens a stateful connection whose client has spoken after the handshake.
func (c *cluster) openStateful(by int) *socket {
	c.Helper()
	s := c.negotiate(stateful).openSocket(by, handshakeStateful)
	s.sendText(ping)
	return s
}

// openAndCut is openStateful, and the socket cut off as soon as it was heard.
func (c *cluster) openAndCut(by int) *socket {
	c.Helper()
	s := c.openStateful(by)
	synctest.Wait()
	s.cut()
	synctest.Wait()
	return s
}

// returns opens another socket for a stateful connection, as a client does that was cut off.
func (s *socket) returns(by, sequenceID int, messages ...string) *socket {
	s.Helper()
	back := s.dialSocket(by)
	back.sendText(sequence(sequenceID), strings.Join(messages, ""))
	return back
}

// The worked example: both sides replay what the other has not acknowledged, and drop what they have.
func TestReattachAtAnotherNode(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3)
		a := c.openStateful(0)
		for n := 1; n <= 7; n++ {
			c.publish(n%3, n)
		}
		a.expect(invocations(1, 7))
		a.sendText(ack(5), call(1), call(2)) // C1 and C2; C3 is lost on the way
		a.expect(failure(1) + failure(2))    // the numbers 8 and 9
		a.cut()
		synctest.Wait()

		b := a.returns(1, 2, call(2), call(3))
		// C2 is not executed twice, C3 is.
		b.expect(sequence(6) + invocations(6, 7) + failure(1) + failure(2) + failure(3))
		c.publish(2, 8)
		b.expect(invocation(8))
		b.sendText(ack(11))
		b.expect(ack(3))
		b.cut()
		synctest.Wait()

		again := b.returns(2, 4)
		again.expect(sequence(12))
		again.expectNothing(5 * time.Second)
	})
}

func TestReattachInMessagePack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		a := c.negotiate(stateful).dialSocket(0)
		a.sendText(`{"protocol":"messagepack","version":2}` + "\x1e")
		a.expectFrame(accepted, ws.OpText, ws.OpBinary)
		a.sendBinary("\x02\x91\x06")
		c.publish(1, 1)
		c.publish(1, 2)
		a.expectBinary(packed(invocations(1, 2)))
		a.sendBinary("\x03\x92\x08\x01") // Ack 1
		synctest.Wait()
		a.cut()
		synctest.Wait()
		b := a.dialSocket(1)
		b.sendBinary("\x03\x92\x09\x01") // Sequence 1
		b.expectBinary("\x03\x92\x09\x02" + packed(invocation(2)))
		b.sendBinary("\x0c\x95\x01\x80\xa1\x30\xa3\x41\x64\x64\x92\x01\x02") // Add(1, 2)
		f, err := b.next()
		if err != nil || !strings.Contains(string(f.Payload), "\x95\x03\x80\xa1\x30\x01") {
			t.Errorf("got %q %v, want the Completion of invocation 0", f.Payload, err)
		}
		b.expectBinary("\x03\x92\x08\x01") // Ack 1
	})
}

// A client that was cut off before it saw the handshake's answer starts anew. What comes back is a socket that the
// JavaScript client opens beside its new connection, and whose messages it would take for that one's.
func TestClientThatMayNotHaveSeenTheHandshakeCannotReturn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		a := c.negotiate(stateful).openSocket(0, handshakeStateful)
		a.cut()
		a.wantRecord(false)
		a.wantRefused(1, http.StatusNotFound, "No Connection with that ID")
	})
}

// A script may have said nothing because it speaks on another socket. Refused, it takes the connection for ended and begins another, but
// does not close the socket that it has of it.
func TestConnectionOfWhoIsRefusedIsNotServedOn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		a := c.negotiate(stateful).openSocket(0, handshakeStateful)
		a.wantRefused(1, http.StatusNotFound, "No Connection with that ID")
		c.publish(1, 1)
		a.expectEnd()
		a.wantRecord(false)
	})
}

// The same when its node was killed, and cannot say any more that it has not heard the client.
func TestClientThatMayNotHaveSeenTheHandshakeOfAKilledNodeCannotReturn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		a := c.negotiate(stateful).openSocket(0, handshakeStateful)
		time.Sleep(500 * time.Millisecond)
		c.store.onBefore(func(step string) error { // its last words do not arrive
			if step == "touch" || step == "end" {
				return streams.ErrUnavailable
			}
			return nil
		})
		c.nodes[0].stop()
		a.expectEnd()
		c.store.onBefore(func(string) error { return nil })
		a.wantRefused(1, http.StatusNotFound, "No Connection with that ID")
	})
}

// A connection whose client has spoken, and waits for our answer, is not one that it has abandoned: it is told that it cannot be
// continued, and refused when it asks again.
func TestClientThatHasSpokenAndWaitsHasAbandonedNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		a := c.openStateful(0)
		time.Sleep(2 * time.Second)
		a.cut()
		synctest.Wait()
		waiting := a.dialSocket(1)
		hold := make(chan struct{})
		c.store.onBefore(func(step string) error {
			if step == "open" {
				<-hold
			}
			return nil
		})
		waiting.sendText(sequence(1))
		time.Sleep(5 * time.Second)
		close(hold)
		waiting.skipWebSocketPings()
		waiting.expect(sequence(1))
		waiting.cut()
		synctest.Wait()
		a.returns(0, 1).expect(sequence(1))
	})
}

// A JavaScript client may have two sockets of its connection at once, and counts what comes on either: the new one says nothing
// before the old one is cut off.
func TestNewSocketWaitsForTheOldOnesEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		a := c.openStateful(0)
		time.Sleep(2 * time.Second)
		began := time.Now()
		b := a.dialSocket(1)
		b.sendText(sequence(1))
		a.expectEnd()
		if d := time.Since(began); d > 100*time.Millisecond {
			t.Errorf("the old socket was cut off after %v", d)
		}
		b.expect(sequence(1))
		if d := time.Since(began); d < 150*time.Millisecond {
			t.Errorf("the new socket was told after %v", d)
		}
		// Nobody is waited for who has left.
		b.cut()
		synctest.Wait()
		began = time.Now()
		a.returns(0, 1).expect(sequence(1))
		if d := time.Since(began); d > 100*time.Millisecond {
			t.Errorf("the third socket was told after %v", d)
		}
	})
}

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

// Nothing was sent, nothing is to be replayed.
func TestReattachWithNothingSent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		a := c.openAndCut(0)
		b := a.returns(1, 1)
		b.expect(sequence(1))
		c.publish(0, 1)
		b.expect(invocation(1))
	})
}

// A connection that is quiet for long keeps its place in the log, which is trimmed meanwhile.
func TestQuietConnectionCanReturnAfterTheLogWasTrimmed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		a := c.openStateful(0)
		for range 100 { // for others, more than five minutes
			c.publishEntry(1, &streams.Entry{Kind: streams.KindMessage, Connections: []string{"another"}, Body: []byte(invocation(0))})
			time.Sleep(4 * time.Second)
			a.sendText(ping)
		}
		a.skipPings()
		a.cut()
		synctest.Wait()
		b := a.returns(1, 1)
		b.expect(sequence(1))
	})
}

// The old node never writes again once another has the connection.
func TestTakeOverCutsTheOldSocket(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		a := c.openStateful(0)
		c.publish(0, 1)
		a.expect(invocation(1))
		b := a.returns(1, 1)
		b.expect(sequence(1) + invocation(1))
		a.expectEnd() // without a close frame
		c.publish(0, 2)
		b.expect(invocation(2))
		b.wantRecord(true)
	})
}

// peer is a stateful client's bookkeeping: what it has sent and not seen acknowledged, and
// which of what it receives is new.
type peer struct {
	*socket
	sent, acked  int      // messages sent; of these acknowledged
	expect, done int      // number of the next message; of the last that was new
	got          []string // in order, once each
	t            *testing.T
}

// receive takes everything that has come.
func (p *peer) receive() {
	synctest.Wait()
	for len(p.in) > 0 {
		f, ok := <-p.in
		if !ok {
			return
		}
		for m := range strings.SplitAfterSeq(string(f.Payload), "\x1e") {
			p.message(m)
		}
	}
}

func (p *peer) message(m string) {
	var n int
	switch {
	case m == "" || m == ping:
	case scan(m, `{"type":8,"sequenceId":%d}`, &n):
		if n > p.sent {
			p.t.Fatalf("Ack %d of %d messages", n, p.sent)
		}
		p.acked = max(p.acked, n)
	case scan(m, `{"type":9,"sequenceId":%d}`, &n):
		if n > p.expect {
			p.t.Fatalf("Sequence %d, want at most %d", n, p.expect)
		}
		p.expect = n
	default:
		if p.expect > p.done {
			p.done = p.expect
			p.got = append(p.got, m)
		}
		p.expect++
	}
}

func scan(m, format string, n *int) bool {
	_, err := fmt.Sscanf(m, format, n)
	return err == nil
}

// call sends the next invocation.
func (p *peer) call() {
	p.sent++
	p.sendText(call(p.sent))
}

// moves goes on at another node, as a client does whose socket was cut.
func (p *peer) moves(to int) {
	p.cut()
	p.socket = p.dialSocket(to)
	p.sendText(sequence(p.acked + 1))
	for n := p.acked + 1; n <= p.sent; n++ {
		p.sendText(call(n))
	}
}

func TestBothDirectionsBusyAcrossReattaches(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3)
		p := &peer{socket: c.openStateful(0), expect: 1, t: t}
		const rounds = 400
		for n := range rounds {
			c.publish(n%3, n)
			p.call()
			if n%3 == 0 {
				p.receive()
			}
			if n%7 == 0 {
				p.sendText(ack(p.done))
			}
			if n%11 == 10 {
				p.moves(n % 3)
			}
			time.Sleep(time.Duration(n%5) * 50 * time.Millisecond)
		}
		time.Sleep(3 * time.Second)
		p.receive()
		pushed, answered := 0, 1
		for _, m := range p.got {
			switch m {
			case invocation(pushed):
				pushed++
			case failure(answered):
				answered++
			default:
				t.Fatalf("got %q, want message %d or answer %d", m, pushed, answered)
			}
		}
		if pushed != rounds || answered != rounds+1 || p.acked != rounds {
			t.Errorf("got %d messages, %d answers, Ack %d; want %d of each", pushed, answered-1, p.acked, rounds)
		}
	})
}

// JavaScript opens sockets that it abandons: told anything, or closed, they would do harm to its new connection.
func TestGhostSocketIsToldNothingAndDoesNoHarm(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3)
		a := c.openStateful(0)
		var ghosts []*socket
		for by := range 3 {
			ghosts = append(ghosts, a.dialSocket(by))
		}
		ghosts[1].sendText(ping + call(0)) // not what a client that means it sends first
		c.publish(1, 1)
		a.expect(invocation(1))
		for range 8 {
			time.Sleep(20 * time.Second)
			a.sendText(ping)
		}
		for _, ghost := range ghosts {
			ghost.expectSilence(0)
		}
		a.skipPings()
		a.sendText(call(1))
		a.expectBoth(failure(1), ack(1))
		// The end of the connection does not reach them either.
		a.sendText(clientClose)
		a.wantRecord(false)
		for _, ghost := range ghosts {
			ghost.expectSilence(time.Minute)
			ghost.cut()
		}
		// The script opens it again, and would take a refusal for the end of the connection that it has now.
		again := a.dialSocket(2)
		again.expectSilence(time.Hour)
		// Its client speaks, as if this were a socket of its new connection, and is cut off to go there. One that did mean this
		// connection is refused when it tries again.
		again.sendText(sequence(1))
		again.expectEnd()
		a.wantRefused(0, http.StatusNotFound, "No Connection with that ID")
	})
}

// Sockets of a connection that none was abandoned of are refused once it is over.
func TestNobodyReturnsAfterTheEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		a := c.openAndCut(0)
		b := a.returns(1, 1)
		b.expect(sequence(1))
		b.sendText(clientClose)
		b.expectClose(ws.StatusNormalClosure)
		a.wantRefused(0, http.StatusNotFound, "No Connection with that ID")
	})
}

// A JavaScript client that has an abandoned socket has left the connection, although that is still waited for: when the socket ends,
// it opens it again and speaks as if it were for its new connection. It gets nothing of the old one.
func TestConnectionWithAnAbandonedSocketIsNotTakenOver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3)
		a := c.openAndCut(0)
		ghost := a.dialSocket(1)
		time.Sleep(3 * time.Second)
		c.publish(0, 1)
		ghost.cut()
		again := a.dialSocket(2)
		again.sendText(sequence(1))
		again.expectEnd()
		a.wantRecord(false)
		a.wantRefused(0, http.StatusNotFound, "No Connection with that ID")
	})
}

// That it has one is noted again when the store was away.
func TestAbandonedSocketIsNotedWhenTheStoreIsBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3)
		a := c.openAndCut(0)
		tries := 0
		c.store.onBefore(func(step string) error {
			if step == "abandon" {
				if tries++; tries < 3 {
					return streams.ErrUnavailable
				}
			}
			return nil
		})
		ghost := a.dialSocket(1)
		time.Sleep(6 * time.Second)
		ghost.cut()
		again := a.dialSocket(2)
		again.sendText(sequence(1))
		again.expectEnd()
		a.wantRecord(false)
	})
}

// A network that is slow, and then cuts the client off, leaves no abandoned socket: not one that has ended before it spoke,
// and not one that speaks late.
func TestSlowClientMayReturn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3)
		a := c.openAndCut(0)
		early := a.dialSocket(1)
		time.Sleep(time.Second)
		early.cut()
		late := a.dialSocket(2)
		time.Sleep(20 * time.Second)
		late.sendText(sequence(1))
		c.publish(0, 1)
		late.skipWebSocketPings()
		late.expect(sequence(1) + invocation(1))
		late.cut()
		synctest.Wait()
		b := a.returns(0, 1)
		b.expect(sequence(1) + invocation(1))
	})
}

// A client that waits for our Sequence drops everything until it comes.
func TestSequenceOnALiveSocketMakesItsClientReturn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		a := c.openStateful(0)
		c.publish(1, 1)
		c.publish(1, 2)
		a.expect(invocations(1, 2))
		a.sendText(ack(1), call(1))
		a.expect(failure(1))
		a.sendText(sequence(1), call(1)) // it has no Ack of ours yet
		c.publish(1, 3)
		for { // what was on its way; the client drops it
			f, err := a.next()
			if err != nil {
				break
			}
			if f.Header.OpCode == ws.OpClose {
				t.Fatal("the socket was closed, not cut")
			}
		}
		b := a.returns(1, 1, call(1))
		b.expect(sequence(2) + invocation(2) + failure(1) + invocation(3))
		b.expectNothing(500 * time.Millisecond)
	})
}

// A client that closes the socket in order leaves. JavaScript clients do so by their own time-out, and at once open the
// connection again, only to abandon that socket: refused, they do not.
func TestCloseFrameOfAStatefulClientEndsTheConnection(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		a := c.openStateful(0)
		synctest.Wait()
		time.Sleep(10 * time.Second)
		a.sendText(ping)
		a.sendRaw(frameOf(ws.OpClose, true, ""))
		a.expectFrame(string(ws.NewCloseFrameBody(ws.StatusNormalClosure, "")), ws.OpClose)
		a.wantRefused(1, http.StatusNotFound, "No Connection with that ID")
		a.wantRecord(false)
		// A page that is left says so at any time.
		b := c.openStateful(0)
		synctest.Wait() // its answer to the node's ping, too, has gone out: nothing is read after a close frame
		b.sendRaw(frameOf(ws.OpClose, true, string(ws.NewCloseFrameBody(ws.StatusGoingAway, ""))))
		b.expectFrame(string(ws.NewCloseFrameBody(ws.StatusNormalClosure, "")), ws.OpClose)
		b.wantRecord(false)
	})
}

// When an older socket ends JavaScript's code closes the newest in its place, and comes back.
func TestCloseOfANewSocketDoesNotEndTheConnection(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		a := c.openStateful(0)
		synctest.Wait()
		time.Sleep(10 * time.Second)
		b := a.returns(1, 1)
		b.expect(sequence(1))
		b.sendRaw(frameOf(ws.OpClose, true, ""))
		b.expectFrame(string(ws.NewCloseFrameBody(ws.StatusNormalClosure, "")), ws.OpClose)
		c.publish(0, 1)
		again := a.returns(0, 1)
		again.expect(sequence(1) + invocation(1))
	})
}

// A stateful client that was silent for too long may come back: it is cut off, without a Close.
func TestSilentStatefulClientMayReturn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		a := c.openStateful(0)
		time.Sleep(29 * time.Second)
		a.skipPings()
		time.Sleep(4 * time.Second)
		for range 2 { // the last pings
			if f, err := a.next(); err != nil {
				break
			} else if string(f.Payload) != ping {
				t.Fatalf("got %q, want the end", f.Payload)
			}
		}
		a.expectEnd()
		c.publish(0, 1)
		b := a.returns(1, 1)
		b.expect(sequence(1) + invocation(1))
	})
}

func TestNewerTicketWins(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3)
		a := c.openAndCut(0)
		older, newer := a.dialSocket(1), a.dialSocket(2)
		newer.sendText(sequence(1))
		newer.expect(sequence(1))
		older.sendText(sequence(1))
		older.expectEnd()
		c.publish(0, 1)
		newer.expect(invocation(1))
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

// Whose connection is another's now, which this node has not read yet, has nothing executed here, and is cut off: there is no end of asking.
func TestCallOfWhoWasTakenOverIsTriedOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		a := c.openStateful(0)
		time.Sleep(time.Second) // it is noted as heard
		tries := 0
		c.store.onBefore(func(step string) error {
			if step == "finish" {
				tries++
				return streams.ErrOwner
			}
			return nil
		})
		a.sendText(call(1))
		a.expectEnd()
		time.Sleep(5 * time.Second)
		if tries != 1 {
			t.Errorf("it was tried %d times", tries)
		}
		c.store.onBefore(func(string) error { return nil })
		a.returns(1, 1, call(1)).expect(sequence(1) + failure(1))
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

func TestVersion1HandshakeSwitchesStatefulReconnectOff(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		s := c.negotiate(stateful).openSocket(0, handshakeJSON)
		c.publish(0, 1)
		s.expect(invocation(1)) // is not held
		s.sendText(ping, call(1))
		s.expect(failure(1))
		s.sendText(ack(1), sequence(7)) // mean nothing
		for range 3 {
			s.expect(ping) // and no Ack
			s.sendText(ping)
		}
		s.wantRefused(1, 409, "")
		s.cut()
		s.wantRecord(false)
		s.wantRefused(1, 404, "No Connection with that ID")
	})
}

func TestVersion2WithoutTheTokenForItIsVersion1(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2, func(cfg *transports.Config) { cfg.StatefulReconnect = false })
		s := c.negotiate(stateful).openSocket(0, handshakeStateful)
		c.publish(0, 1)
		s.expect(invocation(1))
		s.sendText(call(1))
		s.expect(failure(1))
		s.expectFrame(ping, ws.OpText)
		s.cut()
		s.wantRecord(false)
	})
}

// JavaScript opens another socket the moment it reads the Close: it must be refused by then.
func TestCloseOfAStatefulConnectionIsFinal(t *testing.T) {
	ends := map[string]func(a *socket){
		"by a backend": func(a *socket) {
			_, _ = a.nodes[1].CloseConnection(a.ctx, hubName, a.id, "over", false)
			a.expect(`{"type":7,"error":"over"}` + "\x1e")
		},
		"by the client": func(a *socket) { a.sendText(clientClose); synctest.Wait() },
		"by an error": func(a *socket) {
			a.sendText("{}\x1e")
			a.expect(closeMessage("Connection closed with an error. Missing required property 'type'."))
		},
		"by a sequence beyond": func(a *socket) {
			a.sendText(sequence(9))
			a.expect(closeMessage("Connection closed with an error. Sequence ID greater than amount of messages we've received."))
		},
		"by a sequence beyond when it comes back": func(a *socket) {
			a.cut()
			synctest.Wait()
			*a = *a.returns(1, 2)
			a.expect(sequence(1) + closeMessage("Connection closed with an error. Sequence ID greater than amount of messages we've received."))
		},
		"by a sequence before the first": func(a *socket) {
			a.sendText(sequence(0))
			a.expect(closeMessage("Connection closed with an error. Sequence ID greater than amount of messages we've received."))
		},
	}
	for name, end := range ends {
		bubbleRun(t, name, func(t *testing.T) {
			c := newCluster(t, 2)
			a := c.openStateful(0)
			synctest.Wait()
			end(a)
			for by := range 2 {
				a.wantRefused(by, 404, "No Connection with that ID")
			}
			a.expectClose(ws.StatusNormalClosure)
		})
	}
}

// An Ack of what was never sent proves that the log has lost what the client has.
func TestAckBeyondTheLogsEndEndsTheConnection(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		a := c.openStateful(0)
		c.publish(0, 1)
		a.expect(invocation(1))
		a.sendText(ack(2))
		a.expect(closeMessage("Messages were lost on the server; the connection cannot be continued."))
		a.wantRefused(1, 404, "No Connection with that ID")
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

func TestStatefulClientThatNeverComesBackIsExpired(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		time.Sleep(2 * time.Minute) // contact with the store long enough to end anybody
		a := c.openStateful(0)
		synctest.Wait()
		a.cut()
		time.Sleep(55 * time.Second)
		a.wantRecord(true)
		time.Sleep(15 * time.Second)
		a.wantRecord(false)
		a.wantRefused(1, 404, "No Connection with that ID")
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

func TestReattachWaitsForAStoreThatIsAway(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		a := c.openStateful(0)
		c.publish(0, 1)
		a.expect(invocation(1))
		a.cut()
		synctest.Wait()
		b := a.dialSocket(1)
		c.store.goAway()
		time.AfterFunc(3*time.Second, c.store.comeBack)
		b.sendText(sequence(1))
		b.expect(sequence(1) + invocation(1))
	})
}

// Where it stays away the client is cut off, and has lost nothing.
func TestReattachWhileTheStoreStaysAway(t *testing.T) {
	for _, first := range []string{"open", "range"} {
		bubbleRun(t, first, func(t *testing.T) {
			c := newCluster(t, 2)
			a := c.openStateful(0)
			c.publish(0, 1)
			a.expect(invocation(1))
			a.cut()
			synctest.Wait()
			b := a.dialSocket(1) // whose node has nothing of the hub
			c.store.onBefore(func(step string) error {
				if step == first {
					return streams.ErrUnavailable
				}
				return nil
			})
			b.sendText(sequence(1))
			b.expectEnd()
			c.store.onBefore(func(string) error { return nil })
			a.returns(1, 1).expect(sequence(1) + invocation(1))
		})
	}
}

// A client that is gone before it is told anything has the connection all the same: that is detached, and expires.
func TestReattachOfAClientThatIsGoneBeforeItIsTold(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		time.Sleep(2 * time.Minute) // contact with the store long enough to end anybody
		a := c.openAndCut(0)
		b := a.dialSocket(1)
		c.store.onceAfterOpen(b.cut)
		b.sendText(sequence(1))
		synctest.Wait()
		if r, _ := b.record(); r.Ticket != 1 || r.Detached != r.Owner {
			t.Errorf("got ticket %d, owner %q, detached %q", r.Ticket, r.Owner, r.Detached)
		}
		time.Sleep(80 * time.Second)
		b.wantRecord(false)
	})
}

// What it has not received is not kept any more: it is told so.
func TestReattachBelowTheFloor(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		a := c.openStateful(0)
		c.publish(0, 1)
		a.expect(invocation(1))
		a.cut()
		synctest.Wait()
		b := a.dialSocket(1)
		last, err := c.nodes[0].Publish(c.ctx, hubName, messageTo("another", "{}"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.store.Trim(c.ctx, hubName, last.Position); err != nil {
			t.Fatal(err)
		}
		b.sendText(sequence(1))
		b.expect(sequence(1) + closeMessage("The connection fell too far behind: messages that it had not received are no longer kept."))
		b.expectClose(ws.StatusNormalClosure)
		a.wantRefused(0, http.StatusNotFound, "No Connection with that ID")
	})
}

func TestReattachOfAConnectionThatEndedMeanwhile(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		a := c.openAndCut(0)
		b := a.dialSocket(1)
		if _, err := c.nodes[0].End(c.ctx, hubName, a.id, ""); err != nil {
			t.Fatal(err)
		}
		b.sendText(sequence(1))
		// JavaScript drops a Close before our Sequence.
		b.expect(sequence(1) + closeMessage(fmt.Sprintf("The connection cannot be continued: %v.", streams.ErrGone)))
		b.expectClose(ws.StatusNormalClosure)
	})
}

// A client that is told that its connection cannot be continued opens it again, beside its next one; refused it leaves it at that.
func TestWhoIsToldThatItsConnectionIsOverIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		a := c.openAndCut(0)
		b := a.dialSocket(1)
		c.store.onBefore(func(step string) error { // nobody carries its record over
			if step == "open" {
				return streams.ErrGeneration
			}
			return nil
		})
		b.sendText(sequence(1))
		b.expect(sequence(1) + closeMessage(fmt.Sprintf("The connection cannot be continued: %v: %v.", streams.ErrGone, streams.ErrGeneration)))
		c.store.onBefore(func(string) error { return nil }) // now they do
		a.wantRefused(1, http.StatusNotFound, "No Connection with that ID")
		b.expectClose(ws.StatusNormalClosure)
	})
}

// Where a connection cannot be ended its client is not told that it was: it would be let in when it opens that again.
func TestAConnectionThatCannotBeEndedIsCut(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		a := c.openStateful(0)
		time.Sleep(time.Second) // it is noted as heard
		c.store.refuse("end", streams.ErrUnavailable)
		a.sendText("no hub message\x1e")
		a.expectEnd()
		c.store.onBefore(func(string) error { return nil })
		a.returns(1, 1).expect(sequence(1))
	})
}

// The same when it cannot be continued, either.
func TestAConnectionThatCannotBeContinuedNorEndedIsCut(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		a := c.openAndCut(0)
		b := a.dialSocket(1)
		c.store.onBefore(func(step string) error {
			switch step {
			case "open":
				return streams.ErrGeneration
			case "end":
				return streams.ErrUnavailable
			}
			return nil
		})
		b.sendText(sequence(1))
		b.expectEnd()
		c.store.onBefore(func(string) error { return nil })
		a.returns(1, 1).expect(sequence(1))
	})
}

// What is wrong on a socket whose client is served on another, of which its node has not read yet, ends the socket alone. A Close would reach
// a JavaScript client as if it were for the other.
func TestErrorOnASocketThatWasLeftEndsNotTheConnection(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		a := c.openStateful(0)
		synctest.Wait()
		r, _ := a.record()
		_, err := c.store.Store.Open(c.ctx, hubName, streams.OpenRequest{
			Mode: streams.OpenReattach, ID: a.id, Owner: "another's", Lease: time.Minute, Ticket: r.Tickets + 1, // and nobody is told of it
		})
		if err != nil {
			t.Fatal(err)
		}
		a.sendText("no hub message\x1e")
		a.expectEnd()
		a.wantRecord(true)
	})
}

// A node that dies takes nothing with it.
func TestOwnerNodeIsKilled(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3)
		a := c.openStateful(0)
		c.publish(1, 1)
		a.expect(invocation(1))
		a.sendText(call(1))
		a.expect(failure(1))
		time.Sleep(2 * time.Second) // its node has noted that the client was heard
		a.skipAcks()
		c.store.onBefore(func(step string) error { // its last words do not arrive
			if step == "touch" {
				return streams.ErrUnavailable
			}
			return nil
		})
		c.nodes[0].stop()
		a.expectEnd()
		c.store.onBefore(func(string) error { return nil })
		c.publish(2, 2)
		b := a.returns(1, 1, call(1), call(2))
		b.expect(sequence(1) + invocation(1) + failure(1) + invocation(2) + failure(2))
	})
}

// For people who ask why a client came back.
func TestWhyAStatefulSocketWasLeftIsKept(t *testing.T) {
	for why, leave := range map[streams.Leaving]func(c *cluster, s *socket){
		streams.LeavingSocket:  func(_ *cluster, s *socket) { s.cut() },
		streams.LeavingTimeout: func(*cluster, *socket) { time.Sleep(time.Minute) },
		streams.LeavingDrain:   func(c *cluster, _ *socket) { c.drain(0) },
		streams.LeavingDropped: func(_ *cluster, s *socket) { s.sendText(sequence(1)) },
		streams.LeavingNone:    func(*cluster, *socket) {},
	} {
		t.Run("for "+string(why), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c := newCluster(t, 2)
				s := c.openStateful(0)
				synctest.Wait()
				leave(c, s)
				synctest.Wait()
				s.returns(1, 1).expect(sequence(1))
				s.wantReturn("n0", why)
			})
		})
	}
	t.Run("for "+string(streams.LeavingWrite), func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			c := newCluster(t, 2)
			k := c.negotiate(stateful)
			conn := c.nodes[0].dial()
			defer conn.Close()
			fmt.Fprintf(conn, "GET /%s?id=%s HTTP/1.1\r\nHost: node\r\n%s\r\n%s", hubName, k.token, upgradeHeader, frameOf(ws.OpText, true, handshakeStateful))
			in := bufio.NewReader(conn)
			for line := ""; line != "\r\n"; {
				line, _ = in.ReadString('\n')
			}
			if f, err := readFrame(in); err != nil || string(f.Payload) != accepted {
				t.Fatalf("got %q %v, want the handshake's answer", f.Payload, err)
			}
			fmt.Fprint(conn, frameOf(ws.OpText, true, ping))
			c.publish(1, 1)
			time.Sleep(20 * time.Second)
			fmt.Fprint(conn, frameOf(ws.OpText, true, ping)) // the client speaks, and does not read
			time.Sleep(20 * time.Second)
			back := k.dialSocket(1)
			back.sendText(sequence(1))
			back.expect(sequence(1) + invocation(1))
			k.wantReturn("n0", streams.LeavingWrite)
		})
	})
}

func (k *connection) wantReturn(from string, why streams.Leaving) {
	k.Helper()
	synctest.Wait()
	r, _ := k.record()
	if got := r.Return; got.From != from || got.Why != why {
		k.Errorf("it came back from %q, which had left it for %q, want %q and %q", got.From, got.Why, from, why)
	}
}
