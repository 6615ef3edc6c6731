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
