package transports_test

import (
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"hubstream/streams"
)

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
