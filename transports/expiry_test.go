package transports_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"hubstream/negotiate/access"
)

const expiredMessage = `{"type":7,"error":"The access token of the connection has expired.","allowReconnect":true}` + "\x1e"

// until makes the cluster's requests come with an access token that wants connections closed after a time.
func (c *cluster) until(d time.Duration) {
	c.who.Store(&access.Identity{Authenticated: true, CloseAt: time.Now().Add(d)})
}

// renew shows a newer token of the connection to a node; 0 is one that closes nothing.
func (k *connection) renew(by int, d time.Duration) {
	k.Helper()
	var until time.Time
	if d != 0 {
		until = time.Now().Add(d)
	}
	if err := k.nodes[by].Renew(k.ctx, hubName, k.id, until); err != nil {
		k.Fatal(err)
	}
}

func TestSocketIsClosedWhenItsTokenExpires(t *testing.T) {
	for name, handshake := range map[string]string{"plain": handshakeJSON, "stateful": handshakeStateful} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c := newCluster(t, 1)
				c.until(20 * time.Second)
				k := c.negotiate(stateful)
				s := k.openSocket(0, handshake)
				s.sendText("{\"type\":6}\x1e")
				time.Sleep(19 * time.Second)
				s.skipPings()
				s.expectNothing(0)
				began := time.Now()
				s.expect(expiredMessage)
				if took := time.Since(began); took > 2*time.Second+time.Second {
					t.Errorf("it was closed %v late", took)
				}
				s.expectClose(ws.StatusNormalClosure)
				k.wantRecord(false)
				if n := c.nodes[0].server.Counts().Closed["expired"]; n != 1 {
					t.Errorf("%d are counted", n)
				}
			})
		})
	}
}

// A token that is renewed at another node lets the connection stay, and no longer than it says.
func TestRenewedSocketStays(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		c.until(20 * time.Second)
		k := c.negotiate()
		s := k.openSocket(0, handshakeJSON)
		time.Sleep(10 * time.Second)
		k.renew(1, 30*time.Second)
		k.renew(1, time.Second) // an older token, late: nothing is taken back
		time.Sleep(25 * time.Second)
		synctest.Wait()
		s.skipPings()
		c.publish(1, 1)
		s.expect(invocation(1))
		time.Sleep(4 * time.Second)
		s.skipPings()
		s.expect(expiredMessage)
		s.expectClose(ws.StatusNormalClosure)
	})
}

func TestSocketRenewedForEverStays(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		c.until(20 * time.Second)
		k := c.negotiate()
		s := k.openSocket(0, handshakeJSON)
		k.renew(1, 0)
		time.Sleep(time.Hour)
		s.skipPings()
		k.wantRecord(true)
	})
}

func TestEventStreamIsClosedWhenItsTokenExpires(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		c.until(10 * time.Second)
		k := c.negotiate()
		e := k.openEvents(0).shakesHands(1)
		time.Sleep(5 * time.Second)
		k.renew(1, 9*time.Second) // 14 s in all
		e.expectNothing(8 * time.Second)
		began := time.Now()
		e.expectEvents(expiredMessage)
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("it was closed %v late", took)
		}
		e.expectEnd()
		k.wantRecord(false)
	})
}

func TestPollIsClosedWhenItsTokenExpires(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		k := c.openPolling(handshakeJSON)
		c.until(10 * time.Second)
		p := k.poll(0, "3")
		time.Sleep(5 * time.Second)
		k.renew(1, 7*time.Second) // 12 s in all
		within(t, p.expect(200, expiredMessage), 12*time.Second, 13*time.Second)
		k.wantRecord(false)
	})
}

// A poll that comes with the time over is closed at once; one whose token asks for nothing is not.
func TestPollOfATokenThatHasExpired(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		k := c.openPolling(handshakeJSON)
		c.who.Store(&access.Identity{Authenticated: true, Expires: time.Now().Add(-time.Second)})
		k.poll(0, "3").expectNothing(20 * time.Second).cancel()
		synctest.Wait()
		c.until(-time.Second)
		within(t, k.poll(1, "4").expect(200, expiredMessage), 0, time.Second)
	})
}

// What comes first is the handshake's answer, whatever the time.
func TestHandshakeOfAPollWhoseTokenHasExpired(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		c.until(time.Second)
		k := c.negotiate()
		k.poll(0, "1").expect(200, "")
		k.post(1, handshakeJSON)
		c.publishSeen(0, 1)
		time.Sleep(2 * time.Second)
		k.poll(0, "2").expect(200, accepted+invocation(1))
		c.publishSeen(0, 2)
		k.poll(1, "3").expect(200, expiredMessage)
	})
}

// A client for which there is something whenever it polls is closed as others are.
func TestPollOfATokenThatHasExpiredInABusyHub(t *testing.T) {
	for _, nodes := range []int{1, 2} {
		bubbleRun(t, fmt.Sprint(nodes, " nodes"), func(t *testing.T) {
			c := newCluster(t, nodes)
			k := c.openPolling(handshakeJSON)
			c.until(time.Second)
			for n := range 4 {
				c.publishSeen(0, n)
				k.poll(n%nodes, fmt.Sprint(3+n)).expect(200, invocation(n))
				time.Sleep(200 * time.Millisecond)
			}
			time.Sleep(200 * time.Millisecond)
			c.publishSeen(0, 4)
			k.poll(0, "7").expect(200, expiredMessage)
			k.wantRecord(false)
		})
	}
}

// asrs.s.cht: the token says how long the handshake may take.
func TestTokenGivesTheHandshakesTime(t *testing.T) {
	const canceled = `{"error":"Handshake was canceled."}` + "\x1e"
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1)
		c.who.Store(&access.Identity{Authenticated: true, HandshakeTimeout: 2 * time.Second})
		s := c.negotiate().dialSocket(0)
		began := time.Now()
		s.expectFrame(canceled, ws.OpText)
		if took := time.Since(began); took < 2*time.Second || took > 4*time.Second {
			t.Errorf("it took %v", took)
		}
		e := c.negotiate().openEvents(0)
		began = time.Now()
		e.expectEvents(canceled)
		if took := time.Since(began); took < time.Second || took > 3*time.Second {
			t.Errorf("the event stream: it took %v", took)
		}
		c.who.Store(&access.Identity{Authenticated: true, HandshakeTimeout: 25 * time.Second})
		slow := c.negotiate().dialSocket(0)
		time.Sleep(22 * time.Second)
		slow.sendText(handshakeJSON)
		slow.expectFrame(accepted, ws.OpText)
	})
}

func TestPlainStreamEndsWhenItsTokenExpires(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1)
		c.until(10 * time.Second)
		p := c.openPlain(0, "")
		time.Sleep(9 * time.Second)
		c.publish(0, 1)
		p.expectMessages(1, 1)
		began := time.Now()
		p.expectEnd()
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("it ended %v late", took)
		}
	})
}
