package transports_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestAStreamOfAnUpstreamComesItemByItem(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := &app{}
		c := newCluster(t, 2, a.with)
		k := c.openPolling(handshakeJSON)
		k.post(0, streamCall("Counter", "7"))
		k.pollNext(1).expect(200, item("7", 1))
		k.post(1, method("Add", "8", "[]")) // goes on beside it
		k.pollNext(0).expect(200, result("8", 42))
		k.pollNext(1).expect(200, item("7", 2))
		k.pollNext(0).expect(200, item("7", 3))
		k.pollNext(1).expect(200, void("7"))
	})
}

func TestAStreamIsCancelledFromAnyNode(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := &app{}
		c := newCluster(t, 2, a.with)
		k := c.openPolling(handshakeJSON)
		k.post(0, streamCall("Endless", "7"))
		k.pollNext(1).expect(200, item("7", 1))
		k.post(1, streamCall("Endless", "7"))
		k.pollNext(1).expect(200, failed("7", "Invocation ID '7' is already in use."))
		k.post(1, `{"type":5,"invocationId":"7"}`+"\x1e"+`{"type":5,"invocationId":"nothing"}`+"\x1e")
		k.pollNext(0).expect(200, void("7"))
		k.pollNext(1).expectNothing(5 * time.Second)
	})
}

func TestAStreamThatIsCutOffFails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := &app{}
		c := newCluster(t, 1, a.with)
		s := c.negotiate().openSocket(0, handshakeJSON)
		s.sendText(streamCall("Broken", "7"))
		s.expect(item("7", 1) + failed("7", "Invocation failed: the upstream cut off its answer."))
	})
}

// A stream is not made further ahead than its client is, wherever that is.
func TestAStreamWaitsForItsClient(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := &app{}
		c := newCluster(t, 1, a.with)
		k := c.openPolling(handshakeJSON)
		k.post(0, streamCall("Fast", "7"))
		given := strings.Count(k.pollNext(0).expectAny(), "\x1e")
		time.Sleep(20 * time.Second) // within its lease
		synctest.Wait()
		if n := int(a.made.Load()) - given; n > 4000 { // depends on how much is made at once
			t.Errorf("%d items were made for a client that does not come for them", n)
		}
		before := a.made.Load()
		for a.made.Load() == before { // it goes on when the client does
			k.pollNext(0).expectAny()
		}
	})
}

// The same for clients that do not read their event stream or socket, or do not acknowledge what they read; a cancelled stream is not made any further.
func TestAStreamWaitsForWhoDoesNotReadIt(t *testing.T) {
	for name, open := range map[string]func(c *cluster) (reading *pause, post func(string), take func() string){
		"event stream": func(c *cluster) (*pause, func(string), func() string) {
			e := c.negotiate().openEvents(0).shakesHands(1)
			return &e.pause, func(m string) { e.post(1, m) }, func() string { return <-e.in }
		},
		"socket": func(c *cluster) (*pause, func(string), func() string) {
			s := c.negotiate().openSocket(0, handshakeJSON)
			return &s.pause, func(m string) { s.sendText(m) }, func() string { return payload(s) }
		},
		"stateful socket": func(c *cluster) (*pause, func(string), func() string) {
			s := c.openStateful(0)
			taken := 0
			return &s.pause, func(m string) { s.sendText(m) }, func() string {
				m := payload(s)
				if n := strings.Count(m, `{"type":2`) + strings.Count(m, `{"type":3`); n > 0 {
					taken += n
					s.sendText(ack(taken))
				}
				return m
			}
		},
	} {
		bubbleRun(t, name, func(t *testing.T) {
			a := &app{}
			reading, post, take := open(newCluster(t, 2, a.with))
			release := reading.hold()
			post(streamCall("Fast", "7"))
			time.Sleep(20 * time.Second)
			synctest.Wait()
			if n := a.made.Load(); n == 0 || n > 4000 { // depends on how much is made at once
				t.Errorf("%d items were made for a client that does not take them", n)
			}
			release()
			for before := a.made.Load(); a.made.Load() == before; { // it goes on when the client does
				take()
			}
			post(`{"type":5,"invocationId":"7"}` + "\x1e")
			for !strings.Contains(take(), strings.TrimSuffix(void("7"), "\x1e")) {
			}
			synctest.Wait()
			before := a.made.Load()
			time.Sleep(time.Second)
			if made := a.made.Load() - before; made > 0 {
				t.Errorf("%d items were made after the end", made)
			}
		})
	}
}

func payload(s *socket) string {
	f, err := s.next()
	if err != nil {
		s.Fatal(err)
	}
	return string(f.Payload)
}

// What a client uploads reaches the upstream in one request, from whichever nodes it comes.
func TestAnUploadIsOneRequest(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := &app{}
		c := newCluster(t, 3, a.with)
		k := c.openPolling(handshakeJSON)
		k.post(0, item("never", 0)) // belongs to nothing
		k.post(0, `{"type":1,"invocationId":"1","target":"Sum","arguments":[],"streamIds":["0"]}`+"\x1e")
		for n := range 5 {
			k.post(n%3, item("0", n))
		}
		k.post(1, void("0"))
		k.pollNext(2).expect(200, result("1", 5))
		k.post(1, item("0", 9)) // too late, and nobody minds
		k.post(2, method("Add", "2", "[]"))
		k.pollNext(0).expect(200, result("2", 42))
	})
}

// A stream of a node that has died ends with an error; the rest of the connection's work goes on.
func TestAStreamOfADeadNodeFails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := &app{}
		c := newCluster(t, 2, a.with)
		time.Sleep(time.Minute)
		k := c.openPolling(handshakeJSON)
		synctest.Wait() // node 1 has executed "connected", and given the work up
		k.post(0, streamCall("Endless", "7"))
		k.pollNext(1).expect(200, item("7", 1))
		c.kill(0)
		time.Sleep(20 * time.Second) // what it says from now on does not count
		k.post(1, method("Add", "8", "[]"))
		var all string
		for !strings.Contains(all, `"8"`) {
			p := k.pollNext(1)
			all += p.expectAny()
		}
		if want := failed("7", "The node that ran the stream has stopped.") + result("8", 42); !strings.HasSuffix(all, want) {
			t.Errorf("got %q, want %q at its end", all, want)
		}
	})
}

// An answer over the limit is called that, also where it comes as a stream.
func TestAStreamsAnswerIsTooLarge(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := &app{}
		c := newCluster(t, 1, a.with)
		s := c.negotiate().openSocket(0, handshakeJSON)
		s.sendText(streamCall("Huge", "1"))
		s.expect(failed("1", "Invocation failed, response too large."))
		s.sendText(`{"type":1,"invocationId":"2","target":"Huge","arguments":[],"streamIds":["0"]}` + "\x1e")
		s.expect(failed("2", "Invocation failed, response too large."))
	})
}
