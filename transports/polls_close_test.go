package transports_test

import (
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"hubstream/streams"
)

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
