package transports_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"hubstream/streams"
)

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
