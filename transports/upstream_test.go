package transports_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"hubstream/internal/upstream"
	"hubstream/streams"
	"hubstream/transports"
)

// app is an application behind an upstream: it notes what it is told, and answers as the method's name says.
type app struct {
	refuses bool // every event is for another

	mu    sync.Mutex
	told  []string // "<event> <key> <body>"
	gates map[string]chan struct{}
	under int // calls under way, of one connection at a time
	most  int
	made  atomic.Int64 // items of Fast
}

// with makes nodes whose clients' calls go to the application.
func (a *app) with(cfg *transports.Config) { cfg.Upstream = a }

func (a *app) Matches(_, _, event string) bool {
	return !a.refuses && event != "Unmatched"
}

func (a *app) note(r *upstream.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	key := r.Key[strings.LastIndexByte(r.Key, ':')+1:]
	a.told = append(a.told, fmt.Sprint(r.Event, " ", key, " ", string(r.Body)))
	a.under++
	a.most = max(a.most, a.under)
}

// gate makes calls of a method wait until the returned function is called.
func (a *app) gate(method string) (open func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.gates == nil {
		a.gates = map[string]chan struct{}{}
	}
	ch := make(chan struct{})
	a.gates[method] = ch
	return func() { close(ch) }
}

func (a *app) Call(ctx context.Context, r *upstream.Request) (*upstream.Answer, error) {
	a.note(r)
	a.mu.Lock()
	gate := a.gates[r.Event]
	a.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
		}
	}
	a.mu.Lock()
	a.under--
	a.mu.Unlock()
	if ctx.Err() != nil {
		return nil, &upstream.Error{Outcome: upstream.Cancelled}
	}
	if r.Event == "connected" {
		return a.connect(r)
	}
	id := between(string(r.Body), `"invocationId":"`, `"`)
	switch r.Event {
	case "Nothing":
		return &upstream.Answer{Status: http.StatusNoContent}, nil
	case "Fails":
		return &upstream.Answer{Status: http.StatusInternalServerError}, nil
	case "Garbage":
		return &upstream.Answer{Status: http.StatusOK, ContentType: "application/json", Body: []byte("<html>")}, nil
	case "Other":
		return &upstream.Answer{Status: http.StatusOK, ContentType: "application/json", Body: []byte(`{"type":3,"invocationId":"999","result":1}`)}, nil
	case "Two":
		return &upstream.Answer{Status: http.StatusOK, ContentType: "application/json", Body: []byte(result(id, 1) + result(id, 2))}, nil
	case "Message":
		return &upstream.Answer{Status: http.StatusOK, ContentType: "application/json", Body: []byte(invocation(1))}, nil
	case "Picture":
		return &upstream.Answer{Status: http.StatusOK, ContentType: "image/png", Body: []byte("png")}, nil
	case "Who":
		return &upstream.Answer{Status: http.StatusOK, ContentType: "application/json", Body: []byte(result(id, strconv.Quote(r.User)))}, nil
	case "Hub":
		return &upstream.Answer{Status: http.StatusOK, Body: []byte(`{"type":3,"invocationId":"` + id + `","error":"not today"}`)}, nil
	}
	return &upstream.Answer{Status: http.StatusOK, ContentType: "application/json; charset=utf-8", Body: []byte(result(id, 42))}, nil
}

// connect answers who may connect by the client's query.
func (a *app) connect(r *upstream.Request) (*upstream.Answer, error) {
	if r.User == "ann@mail" {
		return &upstream.Answer{Status: http.StatusOK, ContentType: "application/json", Body: []byte(`{"user":"ann"}`)}, nil
	}
	if r.User == "eve" {
		return &upstream.Answer{Status: http.StatusUnauthorized}, nil
	}
	switch r.Query {
	case "as=long":
		return &upstream.Answer{Status: http.StatusOK, Body: []byte(`{"user":"` + strings.Repeat("u", 1025) + `"}`)}, nil
	case "as=eve":
		return &upstream.Answer{Status: http.StatusForbidden}, nil
	case "as=crash":
		return &upstream.Answer{Status: http.StatusInternalServerError}, nil
	case "as=rubbish":
		return &upstream.Answer{Status: http.StatusOK, Body: []byte("<html>")}, nil
	case "as=ann":
		body := `{"claims":[{"type":"hubstream.rights","value":"SendToGroup:team"}],"groups":["team"]}`
		return &upstream.Answer{Status: http.StatusOK, ContentType: "application/json", Body: []byte(body)}, nil
	}
	return &upstream.Answer{Status: http.StatusOK}, nil
}

func between(s, begin, end string) string {
	_, s, _ = strings.Cut(s, begin)
	s, _, _ = strings.Cut(s, end)
	return s
}

// Stream answers numbers from 1 on, one every second until Counter's argument; Endless does not stop; Sum adds what is uploaded.
func (a *app) Stream(ctx context.Context, r *upstream.Request) (*upstream.Stream, error) {
	a.note(r)
	a.mu.Lock()
	a.under--
	a.mu.Unlock()
	reader, writer := io.Pipe()
	stop := context.AfterFunc(ctx, func() { writer.CloseWithError(ctx.Err()) })
	s := upstream.NewStream(http.StatusOK, "application/x-ndjson", reader, func() { stop(); reader.Close() })
	switch r.Event {
	case "Sum":
		s = upstream.NewStream(http.StatusOK, "application/json", reader, func() { stop(); reader.Close() })
		go func() {
			text, _ := io.ReadAll(r.Stream)
			id := between(string(text), `"invocationId":"`, `"`)
			_, _ = io.WriteString(writer, result(id, strings.Count(string(text), `"item"`)))
			writer.Close()
		}()
	case "Huge":
		s = upstream.NewStream(http.StatusOK, "application/json", reader, func() { stop(); reader.Close() })
		go func() {
			_, _ = io.WriteString(writer, result("1", strconv.Quote(strings.Repeat("x", 2<<20))))
			writer.Close()
		}()
	case "Broken":
		go func() {
			_, _ = io.WriteString(writer, "1\n")
			writer.CloseWithError(io.ErrUnexpectedEOF)
		}()
	case "Fast":
		go func() {
			for {
				if _, err := fmt.Fprintln(writer, a.made.Add(1)); err != nil {
					return
				}
			}
		}()
	default:
		go func() {
			for n := 1; r.Event == "Endless" || n <= 3; n++ {
				if _, err := fmt.Fprintln(writer, n); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
			writer.Close()
		}()
	}
	return s, nil
}

func (a *app) wantTold(t testing.TB, want ...string) {
	t.Helper()
	synctest.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	if !slices.Equal(a.told, want) {
		t.Errorf("told:\n%s\nwant:\n%s", strings.Join(a.told, "\n"), strings.Join(want, "\n"))
	}
}

func method(name, id string, arguments string) string {
	return fmt.Sprintf(`{"type":1,"invocationId":"%s","target":"%s","arguments":%s}`+"\x1e", id, name, arguments)
}

func send(name string) string {
	return fmt.Sprintf(`{"type":1,"target":"%s","arguments":[]}`+"\x1e", name)
}

func streamCall(name, id string) string {
	return fmt.Sprintf(`{"type":4,"invocationId":"%s","target":"%s","arguments":[]}`+"\x1e", id, name)
}

func result(id string, value any) string {
	return fmt.Sprintf(`{"type":3,"invocationId":"%s","result":%v}`+"\x1e", id, value)
}

func void(id string) string { return fmt.Sprintf(`{"type":3,"invocationId":"%s"}`+"\x1e", id) }

func failed(id, text string) string {
	return fmt.Sprintf(`{"type":3,"invocationId":"%s","error":"%s"}`+"\x1e", id, text)
}

func item(id string, value any) string {
	return fmt.Sprintf(`{"type":2,"invocationId":"%s","item":%v}`+"\x1e", id, value)
}

const connected = `connected connected {"type":10}`

func told(name, number, id, arguments string) string {
	return name + " " + number + " " + strings.TrimSuffix(method(name, id, arguments), "\x1e")
}

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

// The upstream decides who may connect, and may say what groups and claims a client has.
func TestAnUpstreamDecidesWhoConnects(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := &app{}
		c := newCluster(t, 2, a.with, func(cfg *transports.Config) { cfg.Authorize = true })
		for query, want := range map[string]string{
			"&as=eve": "The application refused the connection.", "&as=crash": "The application could not be asked whether the connection may begin.",
			"&as=rubbish": "The application could not be asked whether the connection may begin.",
			"&as=long":    "The application could not be asked whether the connection may begin.",
		} {
			k := c.negotiate()
			first := c.do(k.ctx, 0, http.MethodGet, "id="+k.token+query+"&_=1", "")
			k.want("first poll", first, 200, "")
			k.want("handshake", k.do(1, http.MethodPost, query, handshakeJSON), 200, "")
			got := c.do(k.ctx, 0, http.MethodGet, "id="+k.token+query+"&_=2", "")
			k.want("its answer", got, 200, `{"error":"`+want+`"}`+"\x1e")
			k.wantRecord(false)
		}
		a.wantTold(t, connected, connected, connected, connected) // and of no end of what did not begin
		a.mu.Lock()
		a.told = nil
		a.mu.Unlock()
		k := c.negotiate()
		k.want("first poll", c.do(k.ctx, 0, http.MethodGet, "id="+k.token+"&as=ann&_=1", ""), 200, "")
		k.want("handshake", k.do(1, http.MethodPost, "&as=ann", handshakeJSON), 200, "")
		if got := c.do(k.ctx, 0, http.MethodGet, "id="+k.token+"&_=2", ""); !strings.HasPrefix(got.body, accepted) {
			t.Fatalf("handshake: %+v", got)
		}
		k.post(0, method("SendToGroup", "1", `["team","say"]`))
		k.pollNext(1).expect(200, `{"type":1,"target":"say","arguments":[]}`+"\x1e"+void("1"))
		a.wantTold(t, connected) // once
	})
}

// What the upstream says of the user holds at every node, for sends, groups and calls; the client's requests go on to come with the token
// that it has.
func TestAnUpstreamGivesAConnectionItsUser(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := &app{}
		c := newCluster(t, 3, a.with, func(cfg *transports.Config) { cfg.Authorize = true })
		for user, group := range map[string]string{"ann": "anns", "ann@mail": "mails"} {
			if _, err := c.nodes[0].JoinUser(c.ctx, hubName, user, group, 0); err != nil {
				t.Fatal(err)
			}
		}
		c.as("ann@mail")
		s := c.negotiate(userOf("ann@mail"), stateful).openSocket(0, handshakeStateful)
		s.sendText(ping)
		e := c.negotiate(userOf("ann@mail")).openEvents(1).shakesHands(2)
		polls := func() *connection {
			k := c.negotiate(userOf("ann@mail"))
			k.poll(0, "1").expect(200, "")
			waiting := k.poll(1, "2")
			synctest.Wait()
			k.post(2, handshakeJSON)
			waiting.expect(200, accepted)
			return k
		}
		k, same := polls(), polls()

		n := 0
		send := func(audience streams.Entry) {
			n++
			audience.Kind, audience.Body = streams.KindMessage, []byte(invocation(n))
			c.publishEntry(n%3, &audience)
		}
		send(streams.Entry{Users: []string{"ann"}})
		n = 9
		send(streams.Entry{Users: []string{"ann@mail"}})
		send(streams.Entry{Groups: []string{"mails"}})
		n = 1
		send(streams.Entry{Groups: []string{"anns"}})
		if _, err := c.nodes[1].JoinUser(c.ctx, hubName, "ann", "more", 0); err != nil {
			t.Fatal(err)
		}
		send(streams.Entry{Groups: []string{"more"}})
		s.expect(invocations(1, 3))
		e.expectEvents(invocations(1, 3))
		k.pollNext(2).expect(200, invocations(1, 3))
		same.pollNext(1).expect(200, invocations(1, 3))

		s.cut()
		synctest.Wait()
		send(streams.Entry{Users: []string{"ann"}})
		back := s.returns(2, 1, method("Who", "1", "[]"))
		back.expect(sequence(1) + invocations(1, 4) + result("1", `"ann"`))
		same.pollNext(1).expect(200, invocation(4))
		for _, id := range []string{s.id, e.id, k.id, same.id} {
			if r, err := c.nodes[0].Lookup(c.ctx, hubName, id); err != nil || r.Record.User != "ann" {
				t.Errorf("the record's user is %q, %v", r.Record.User, err)
			}
		}
		for user, want := range map[string]int64{"ann": 4, "ann@mail": 0} {
			if got, err := c.nodes[0].Count(c.ctx, hubName, streams.HolderUser, user); err != nil || got != want {
				t.Errorf("%s has %d connections, %v, want %d", user, got, err, want)
			}
		}
		c.as("ann") // the token decides who may go on
		k.want("a poll of another's", k.do(0, http.MethodGet, "", ""), 404, "No Connection with that ID")
		send(streams.Entry{Users: []string{"ann"}})
		same.want("a poll of another's, of a connection that goes on", same.do(1, http.MethodGet, "", ""), 404, "No Connection with that ID")
	})
}

// Whose connection ends while the upstream is asked, which lets it in, has not begun: the upstream is told so.
func TestAnUpstreamIsToldOfWhatDidNotBegin(t *testing.T) {
	for name, shakesHands := range map[string]func(k *connection) (over func()){
		"socket": func(k *connection) func() {
			s := k.dialSocket(0)
			s.sendText(handshakeJSON)
			return s.expectEnd
		},
		"posted": func(k *connection) func() {
			k.poll(0, "1").expect(200, "")
			waiting := make(chan answer, 1)
			go func() { waiting <- k.do(1, http.MethodPost, "", handshakeJSON) }()
			return func() { k.want("handshake", <-waiting, 404, "No Connection with that ID") }
		},
	} {
		bubbleRun(t, name, func(t *testing.T) {
			a := &app{}
			c := newCluster(t, 2, a.with, func(cfg *transports.Config) { cfg.Authorize = true })
			open := a.gate("connected")
			k := c.negotiate()
			over := shakesHands(k)
			synctest.Wait()
			if _, err := c.nodes[1].End(c.ctx, hubName, k.id, ""); err != nil {
				t.Fatal(err)
			}
			open()
			over()
			a.wantTold(t, connected, `disconnected disconnected {"type":11,"error":"The connection did not begin."}`)
		})
	}
}

func TestAnUpstreamDecidesWhichSocketsOpen(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := &app{}
		c := newCluster(t, 1, a.with, func(cfg *transports.Config) { cfg.Authorize = true })
		const refusal = `{"error":"The application refused the connection."}` + "\x1e"
		for _, along := range []string{"", ping, `{"ty`} { // what a client sends along with its handshake must not bring the node down
			refused := c.negotiate(userOf("eve")).dialSocket(0)
			refused.sendText(handshakeJSON, along)
			refused.expectFrame(refusal, ws.OpText)
			refused.expectClose(ws.StatusNormalClosure)
		}
		e := c.negotiate(userOf("eve")).openEvents(0)
		e.post(0, handshakeJSON)
		e.expectEvents(refusal)
		e.expectEnd()
		a.mu.Lock()
		a.told = nil
		a.mu.Unlock()
		open := a.gate("connected")
		k := c.negotiate()
		s := k.dialSocket(0)
		s.sendText(handshakeJSON)
		s.expectNothing(5 * time.Second) // it waits for the answer
		open()
		s.expect(accepted)
		s.sendText(method("Add", "1", "[]"))
		s.expect(result("1", 42))
		a.wantTold(t, connected, told("Add", "2", "1", "[]"))
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
