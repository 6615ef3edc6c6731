package transports_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"hubstream/streams"
	"hubstream/transports"
)

// The answer of the upstream is the caller's, whatever the transport and whichever nodes its requests reach.
func TestAnUpstreamAnswersTheCaller(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := &app{}
		c := newCluster(t, 3, a.with)
		s := c.negotiate().openSocket(0, handshakeJSON)
		s.sendText(method("Add", "0", "[1,2]"), send("Add"), method("Nothing", "1", "[]"))
		s.expect(result("0", 42) + void("1"))
		s.sendText(`{"type":7}` + "\x1e")
		s.expectClose(1000)
		a.wantTold(t, connected, told("Add", "2", "0", "[1,2]"), "Add 3 "+strings.TrimSuffix(send("Add"), "\x1e"),
			told("Nothing", "4", "1", "[]"), `disconnected disconnected {"type":11}`)
		if a.most != 1 {
			t.Errorf("%d calls of one connection at once", a.most)
		}
	})
}

func TestAnUpstreamAnswersAPollingCallerOnAnyNode(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := &app{}
		c := newCluster(t, 3, a.with)
		k := c.openPolling(handshakeJSON)
		open := a.gate("Slow")
		k.post(0, method("Slow", "0", "[]"))
		k.post(1, method("B", "1", "[]")) // waits for its turn, at the node that has the first
		k.post(2, method("C", "2", "[]"))
		p := k.pollNext(1)
		p.expectNothing(time.Second)
		open()
		got, want := p.expectAny(), result("0", 42)+result("1", 42)+result("2", 42)
		for len(got) < len(want) { // the first may go alone
			got += k.pollNext(1).expectAny()
		}
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		a.wantTold(t, connected, told("Slow", "2", "0", "[]"), told("B", "3", "1", "[]"), told("C", "4", "2", "[]"))
		if a.most != 1 {
			t.Errorf("%d calls of one connection at once", a.most)
		}
	})
}

// What an upstream answers and is no Completion of that very invocation is an error of the call, and of nothing else.
func TestAnUpstreamsRubbishIsAnErrorOfTheCall(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := &app{}
		c := newCluster(t, 1, a.with)
		s := c.negotiate().openSocket(0, handshakeJSON)
		for i, call := range []struct{ name, want string }{
			{"Fails", "Invocation failed, status code 500"},
			{"Garbage", "Invocation failed: the upstream's answer is not a Completion: "},
			{"Other", "Invocation failed: the upstream's answer is for another invocation."},
			{"Two", "Invocation failed: the upstream's answer is not a Completion: "},
			{"Message", "Invocation failed: the upstream's answer is not a Completion: it is of type 1, not a Completion."},
			{"Picture", `Invocation failed: the upstream answered with the content type \"image/png\".`},
			{"Hub", "not today"},
			{"Unmatched", "Unknown hub method 'Unmatched': no upstream takes it."},
			{strings.Repeat("x", 300), "The method's name has 300 bytes, the limit is 256."},
		} {
			id := fmt.Sprint(i)
			s.sendText(method(call.name, id, "[]"))
			f, err := s.next()
			if err != nil || !strings.HasPrefix(string(f.Payload), `{"type":3,"invocationId":"`+id+`","error":"`+call.want) {
				t.Fatalf("%s: got %s %v", call.name, f.Payload, err)
			}
		}
		s.sendText(method("Add", "x", "[]"))
		s.expect(result("x", 42))
	})
}

// Why a polling client's connection was closed is told as of any other.
func TestDisconnectedSaysWhyAPollWasClosed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := &app{}
		c := newCluster(t, 2, a.with)
		k := c.openPolling(handshakeJSON)
		if _, err := c.nodes[1].CloseConnection(c.ctx, hubName, k.id, "enough", true); err != nil {
			t.Fatal(err)
		}
		k.poll(0, mark1).expect(200, closeMessage("enough"))
		synctest.Wait()
		a.wantTold(t, connected, `disconnected disconnected {"type":11,"error":"enough"}`)
	})
}

// A node that dies in the middle of a call: another one makes it again, under the same key, and goes on.
func TestACallOfADeadNodeIsMadeAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := &app{}
		c := newCluster(t, 2, a.with)
		time.Sleep(time.Minute) // long enough in contact to take over
		k := c.openPolling(handshakeJSON)
		synctest.Wait() // node 1 has executed "connected", and given the work up
		a.gate("Slow")
		k.post(0, method("Slow", "0", "[]"))
		k.post(1, method("B", "1", "[]"))
		synctest.Wait()
		c.kill(0)
		a.gate("Slow")() // the next one answers at once
		want, got := result("0", 42)+result("1", 42), ""
		for len(got) < len(want) { // in one answer or two
			got += k.pollNext(1).expectAny()
		}
		if got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
		a.wantTold(t, connected, told("Slow", "2", "0", "[]"), told("Slow", "2", "0", "[]"), told("B", "3", "1", "[]"))
	})
}

// kill ends a node as its death would, as far as others see: it says nothing more, and its leases run out.
func (c *cluster) kill(i int) {
	c.nodes[i].crash()
	_ = c.nodes[i].http.Close()
}

var marks atomic.Int64

// pollNext polls as a client does that has had the answer before.
func (k *connection) pollNext(by int) *pending { return k.poll(by, fmt.Sprint("m", marks.Add(1))) }

// expectAny takes an answer with messages.
func (p *pending) expectAny() string {
	p.Helper()
	select {
	case a := <-p.answered:
		if a.err != nil || a.status != 200 {
			p.Fatalf("poll: got %d %q %v", a.status, a.body, a.err)
		}
		return a.body
	case <-time.After(2 * time.Minute):
		p.Fatal("the poll was not answered")
		return ""
	}
}

// A connection whose node dies is told of as ended once, by another.
func TestADeadNodesConnectionIsDisconnectedOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := &app{}
		c := newCluster(t, 2, a.with)
		time.Sleep(time.Minute)
		c.negotiate().openSocket(0, handshakeJSON)
		other := c.negotiate().openSocket(1, handshakeJSON) // the other node uses the hub
		synctest.Wait()
		c.kill(0)
		time.Sleep(2 * time.Minute)
		other.skipPings()
		a.wantTold(t, connected, connected, `disconnected disconnected {"type":11,"error":"The client was not heard of in time."}`)
	})
}

// A stateful client that comes back to another node in the middle of a call gets its answer there, once.
func TestAStatefulCallGoesOnAtAnotherNode(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := &app{}
		c := newCluster(t, 2, a.with)
		s := c.openStateful(0)
		open := a.gate("Slow")
		s.sendText(method("Slow", "0", "[]"), method("B", "1", "[]"))
		synctest.Wait()
		s.cut()
		synctest.Wait()
		back := s.returns(1, 1, method("Slow", "0", "[]"), method("B", "1", "[]"), method("C", "2", "[]"))
		back.expect(sequence(1))
		open()
		back.expect(result("0", 42) + result("1", 42) + result("2", 42))
		a.wantTold(t, connected, told("Slow", "2", "0", "[]"), told("B", "3", "1", "[]"), told("C", "4", "2", "[]"))
	})
}

// What a client sends is executed, whichever of the store's answers about its work are lost.
func TestWorkGoesOnWhenTheStoresAnswersAreLost(t *testing.T) {
	loseOnce := func(c *cluster, name string) {
		var lost atomic.Bool
		c.store.onAfter(func(step string) error {
			if step == name && lost.CompareAndSwap(false, true) {
				return streams.ErrUnavailable
			}
			return nil
		})
	}
	t.Run("finished", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			c := newCluster(t, 1, (&app{}).with)
			s := c.negotiate().openSocket(0, handshakeJSON)
			synctest.Wait() // connected is told
			refused, step1, step2 := make(chan struct{}), true, true
			c.store.onAfter(func(step string) error {
				switch {
				case step == "next finishing" && step1: // the list is nobody's now
					step1 = false
					return streams.ErrUnavailable
				case step == "next refused" && step2: // and more comes before the session has learned of that
					step2 = false
					close(refused)
					time.Sleep(time.Second)
				}
				return nil
			})
			s.sendText(method("A", "0", "[]"))
			s.expect(result("0", 42))
			<-refused
			s.sendText(method("B", "1", "[]"))
			s.expect(result("1", 42))
		})
	})
	t.Run("accepted", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			c := newCluster(t, 1, (&app{}).with)
			k := c.openPolling(handshakeJSON)
			synctest.Wait()
			loseOnce(c, "accept")
			if got := k.do(0, http.MethodPost, "", method("A", "0", "[]")); got.status != 503 {
				t.Errorf("POST: got %d %s, want 503", got.status, got.body)
			}
			k.pollNext(0).expect(200, result("0", 42))
		})
	})
	t.Run("accepted from a socket", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			a := &app{}
			c := newCluster(t, 1, a.with)
			s := c.negotiate().openSocket(0, handshakeJSON)
			synctest.Wait()
			open := a.gate("Slow")
			loseOnce(c, "accept")
			s.sendText(method("Slow", "0", "[]")) // is there still when it is accepted again
			time.Sleep(time.Second)
			open()
			s.expect(result("0", 42))
			synctest.Wait()
			a.wantTold(t, connected, told("Slow", "2", "0", "[]"))
		})
	})
	t.Run("adopted", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			a := &app{}
			c := newCluster(t, 2, a.with)
			time.Sleep(time.Minute)
			k := c.openPolling(handshakeJSON)
			synctest.Wait() // node 1 has executed "connected", and given the work up
			a.gate("Slow")
			k.post(0, method("Slow", "0", "[]"))
			synctest.Wait()
			k.pollNext(1).expectNothing(time.Second) // the other node uses the hub
			c.kill(0)
			a.gate("Slow")()
			loseOnce(c, "adopted")
			k.pollNext(1).expect(200, result("0", 42))
		})
	})
}

// What comes along with a posted handshake is executed.
func TestACallAlongWithAPostedHandshake(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := &app{}
		c := newCluster(t, 2, a.with)
		k := c.negotiate()
		k.poll(0, "1").expect(200, "")
		k.post(1, handshakeJSON+method("Add", "1", "[]"))
		got := k.pollNext(0).expectAny()
		if !strings.HasPrefix(got, accepted) {
			t.Errorf("got %q, want the handshake's answer", got)
		}
		if got == accepted {
			k.pollNext(0).expect(200, result("1", 42))
		}
		a.wantTold(t, connected, told("Add", "2", "1", "[]"))
	})
}

// A node that stops in order hands its connections' work on.
func TestADrainedNodeHandsItsWorkOn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := &app{}
		c := newCluster(t, 2, a.with)
		k := c.openPolling(handshakeJSON)
		synctest.Wait() // node 1 has executed "connected", and given the work up
		a.gate("Slow")
		k.post(0, method("Slow", "0", "[]"))
		synctest.Wait()
		<-c.drain(0)
		a.gate("Slow")()
		got := ""
		for got == "" {
			got = k.pollNext(1).expectAny()
		}
		if got != result("0", 42) {
			t.Errorf("got %q", got)
		}
		a.wantTold(t, connected, told("Slow", "2", "0", "[]"), told("Slow", "2", "0", "[]"))
	})
}

// A node that stops does not take up again what it gives up, though it may be the first to be told.
func TestADrainedNodeTakesNoWork(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := &app{}
		c := newCluster(t, 2, a.with)
		k := c.openPolling(handshakeJSON) // the polls at node 0: the other does not follow the hub's log
		synctest.Wait()                   // node 1 has executed "connected", and given the work up
		open := a.gate("Slow")
		k.post(0, method("Slow", "0", "[]"))
		synctest.Wait()
		<-c.drain(0)
		open()
		start, got := time.Now(), ""
		for got == "" {
			got = k.pollNext(1).expectAny()
		}
		if wait := time.Since(start); got != result("0", 42) || wait > 30*time.Second {
			t.Errorf("got %q after %v", got, wait)
		}
	})
}

func TestBuiltInMethodsNeedARight(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2, func(cfg *transports.Config) {
			cfg.Rights = []string{"JoinGroup", "SendToGroup:room*", "LeaveGroup:rooms"}
		})
		s := c.negotiate().openSocket(0, handshakeJSON)
		k := c.openPolling(handshakeJSON)
		k.post(1, method("JoinGroup", "1", `["rooms"]`))
		k.pollNext(0).expect(200, void("1"))
		s.sendText(method("SendToGroup", "1", `["rooms","say",1,{"a":2}]`))
		k.pollNext(1).expect(200, `{"type":1,"target":"say","arguments":[1,{"a":2}]}`+"\x1e")
		s.expect(void("1"))
		for i, refused := range []struct{ method, arguments, want string }{
			{"SendToGroup", `["other","say"]`, "Failed to invoke 'SendToGroup' because user is unauthorized"},
			{"SendToAll", `["say"]`, "Failed to invoke 'SendToAll' because user is unauthorized"},
			{"LeaveGroup", `["room"]`, "Failed to invoke 'LeaveGroup' because user is unauthorized"},
			{"JoinGroup", `[]`, "Failed to invoke 'JoinGroup': the group must be a string of 1 to 1024 characters."},
			{"JoinGroup", `["a","b"]`, "Failed to invoke 'JoinGroup': it has one argument, the group."},
			{"SendToGroup", `["rooms",1]`, "Failed to invoke 'SendToGroup': the target must be a string of 1 to 256 bytes."},
			{"Chat", `[]`, "Unknown hub method 'Chat': no upstream takes it."},
		} {
			s.sendText(method(refused.method, fmt.Sprint("r", i), refused.arguments))
			s.expect(failed(fmt.Sprint("r", i), refused.want))
		}
		k.post(0, method("LeaveGroup", "2", `["rooms"]`))
		k.pollNext(1).expect(200, void("2"))
		if r, _ := k.record(); len(r.OpenGroups()) != 0 {
			t.Errorf("groups: %v", r.OpenGroups())
		}
	})
}

// A node that stops just as a call begins, while the store is away, does stop: the call is not waited for before it runs.
func TestANodeStopsWhileACallBegins(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := &app{}
		c := newCluster(t, 1, a.with)
		s := c.negotiate().openSocket(0, handshakeJSON)
		s.sendText(method("Add", "1", "[]"))
		s.expect(result("1", 42))
		c.store.onBefore(func(step string) error {
			if step == "next finishing" {
				c.store.goAway()
				return streams.ErrUnavailable
			}
			return nil
		})
		s.sendText(streamCall("Endless", "2"))
		synctest.Wait()
		drained := make(chan struct{})
		go func() {
			ctx, cancel := context.WithTimeout(c.ctx, time.Second)
			defer cancel()
			c.nodes[0].server.Drain(ctx)
			close(drained)
		}()
		select {
		case <-drained:
		case <-time.After(time.Minute):
			t.Fatal("the node does not stop")
		}
	})
}

// Nobody has a right that was not given.
func TestBuiltInMethodsAreOffUnlessGranted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := &app{}
		c := newCluster(t, 1, a.with)
		s := c.negotiate().openSocket(0, handshakeJSON)
		s.sendText(method("SendToAll", "1", `["say"]`)) // a method like any other
		s.expect(result("1", 42))
		a = &app{refuses: true}
		s = newCluster(t, 1, a.with).negotiate().openSocket(0, handshakeJSON)
		s.sendText(method("SendToAll", "2", `["say"]`))
		s.expect(failed("2", "Failed to invoke 'SendToAll' because user is unauthorized"))
	})
}

// A client's answer reaches the node that has asked, from whichever node it comes to, once.
func TestAClientIsAsked(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3)
		k := c.openPolling(handshakeJSON)
		answers := make(chan string, 1)
		ask := func(ctx context.Context, id string) {
			e, err := c.nodes[0].Call(ctx, hubName, id, func(callID string) (*streams.Entry, error) {
				return messageTo(id, `{"type":1,"invocationId":"`+callID+`","target":"ask","arguments":[]}`+"\x1e"), nil
			})
			if err != nil {
				answers <- err.Error()
				return
			}
			answers <- string(e.Body)
		}
		go ask(c.ctx, k.id)
		call := k.pollNext(1).expectAny()
		id := between(call, `"invocationId":"`, `"`)
		k.post(2, result("s-forged", 1))
		k.post(2, result(id, 7)+result(id, 8))
		if got := <-answers; got != result(id, 7) {
			t.Errorf("got %q", got)
		}
		k.post(1, result(id, 9)) // nobody waits any more

		limited, cancel := context.WithTimeout(c.ctx, time.Second)
		defer cancel()
		go ask(limited, k.id)
		if got := <-answers; got != context.DeadlineExceeded.Error() {
			t.Errorf("got %q of a client that does not answer", got)
		}
		go ask(c.ctx, k.id)
		synctest.Wait()
		k.want("DELETE", k.do(2, http.MethodDelete, "", ""), 202, "")
		if got := <-answers; got != streams.ErrGone.Error() {
			t.Errorf("got %q of a client that has gone", got)
		}
		go ask(c.ctx, "nobody")
		if got := <-answers; got != streams.ErrGone.Error() {
			t.Errorf("got %q of nobody", got)
		}
	})
}

// A client's answer is passed on, and its connection stays, though the store goes away just then and nobody knows what became of it.
func TestAClientsAnswerSurvivesTheStore(t *testing.T) {
	for name, open := range map[string]func(c *cluster) (asked func() string, answer func(string), id string){
		"socket": func(c *cluster) (func() string, func(string), string) {
			s := c.negotiate().openSocket(0, handshakeJSON)
			return func() string { return payload(s) }, func(m string) { s.sendText(m) }, s.id
		},
		"long polling": func(c *cluster) (func() string, func(string), string) {
			k := c.openPolling(handshakeJSON)
			return func() string { return k.pollNext(1).expectAny() }, func(m string) { k.post(0, m) }, k.id
		},
	} {
		bubbleRun(t, name, func(t *testing.T) {
			c := newCluster(t, 2)
			asked, answer, id := open(c)
			answers := make(chan string, 1)
			ask := func() {
				e, err := c.nodes[1].Call(c.ctx, hubName, id, func(callID string) (*streams.Entry, error) {
					return messageTo(id, `{"type":1,"invocationId":"`+callID+`","target":"ask","arguments":[]}`+"\x1e"), nil
				})
				if err != nil {
					answers <- err.Error()
					return
				}
				answers <- string(e.Body)
			}
			for _, lose := range []func(func(string) error){c.store.onBefore, c.store.onAfter} {
				go ask()
				call := between(asked(), `"invocationId":"`, `"`)
				var lost atomic.Bool
				lose(func(step string) error {
					if step == "append" && lost.CompareAndSwap(false, true) {
						return streams.ErrOutcomeUnknown
					}
					return nil
				})
				answer(result(call, 7))
				if got := <-answers; got != result(call, 7) {
					t.Errorf("got %q", got)
				}
				if !lost.Load() {
					t.Error("nothing was lost")
				}
			}
		})
	}
}

// Clients are told that the store is away or full, and nothing of where it is and what it said.
func TestClientsAreNotToldOfTheStore(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1, func(cfg *transports.Config) { cfg.Rights = []string{"JoinGroup"} })
		k := c.openPolling(handshakeJSON)
		say := func(at string, err error) {
			c.store.onBefore(func(step string) error {
				if step == at {
					return fmt.Errorf("%w: dial tcp 10.1.2.3:6379", err)
				}
				return nil
			})
		}
		for _, err := range []error{streams.ErrUnavailable, streams.ErrFull} {
			say("accept", err)
			k.want("POST", k.do(0, http.MethodPost, "", method("JoinGroup", "1", `["a"]`)), 503, "the connection's store is not reachable")
		}
		say("join", streams.ErrFull)
		k.post(0, method("JoinGroup", "2", `["a"]`))
		k.pollNext(0).expect(200, failed("2", "Failed to invoke 'JoinGroup': the store is full."))
	})
}

// What a client floods waits, and nothing else does.
func TestAFloodWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := &app{}
		c := newCluster(t, 1, a.with)
		flood, calm := c.negotiate().openSocket(0, handshakeJSON), c.negotiate().openSocket(0, handshakeJSON)
		open := a.gate("Slow")
		flood.sendText(send("Slow"))
		sent := make(chan struct{})
		go func() {
			for range 1000 {
				flood.sendText(send("Add"))
			}
			flood.sendText(method("Add", "last", "[]"))
			close(sent)
		}()
		time.Sleep(5 * time.Second)
		select {
		case <-sent:
			t.Error("nothing held the flood back")
		default:
		}
		calm.sendText(method("Add", "1", "[]"))
		calm.expect(result("1", 42))
		open()
		<-sent
		flood.expect(result("last", 42))
	})
}

// A client whose messages wait goes away: that is noticed by what is written to it, as nothing is read from it. It is not kept in service until its
// messages have been executed.
func TestAFloodOfWhoIsGoneDoesNotKeepTheConnection(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := &app{}
		c := newCluster(t, 1, a.with)
		flood := c.negotiate().openSocket(0, handshakeJSON)
		open := a.gate("Slow")
		defer open()
		flood.sendText(send("Slow"))
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			_, _ = flood.conn.Write([]byte(strings.Repeat(frameOf(ws.OpText, true, send("Add")), 1000)))
		}()
		time.Sleep(5 * time.Second)
		flood.cut()
		<-sent
		time.Sleep(30 * time.Second) // two pings
		if _, err := c.nodes[0].Lookup(c.ctx, hubName, flood.id); !errors.Is(err, streams.ErrGone) {
			t.Errorf("its connection is looked up with %v, want %v", err, streams.ErrGone)
		}
	})
}
