package transports_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hubstream/transports"
)

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

// What comes between the handshake and the poll that gets its answer is in the same answer, in the protocol that it asked for.
func TestMessagesThatComeWithTheHandshakesAnswer(t *testing.T) {
	for handshake, form := range map[string]func(string) string{
		handshakeJSON: func(messages string) string { return messages }, handshakeMessagePack: packed,
	} {
		bubbleRun(t, handshake, func(t *testing.T) {
			c := newCluster(t, 2)
			k := c.negotiate()
			k.poll(0, "1").expect(200, "")
			k.post(1, handshake)
			c.publishSeen(1, 1)
			k.poll(0, "2").expect(200, accepted+form(invocation(1)))
			c.publishSeen(1, 2)
			k.poll(0, "3").expect(200, form(invocation(2)))
		})
		bubbleRun(t, "the poll is there, "+handshake, func(t *testing.T) {
			c := newCluster(t, 2)
			k := c.negotiate()
			k.poll(0, "1").expect(200, "")
			p := k.poll(0, "2", script...).expectNothing(time.Millisecond) // it is held for another
			k.post(1, handshake)
			c.publishSeen(1, 1)
			p.expect(200, accepted+form(invocation(1)))
		})
	}
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
