package transports_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hubstream/internal/upstream"
	"hubstream/streams"
	"hubstream/transports"
)

// backend is an application whose answers to calls in the background are a test's.
type backend struct {
	app
	answer func(ctx context.Context, r *upstream.Request) (*upstream.Stream, error)
}

func (b *backend) with(cfg *transports.Config) { cfg.Upstream = b }

func (b *backend) Stream(ctx context.Context, r *upstream.Request) (*upstream.Stream, error) {
	return b.answer(ctx, r)
}

// completes is an answer that is no stream.
func completes(body string) (*upstream.Stream, error) {
	return upstream.NewStream(http.StatusOK, "application/json", strings.NewReader(body), func() {}), nil
}

// flows is an answer whose items are what is written, until ctx ends.
func flows(ctx context.Context, write func(io.Writer)) (*upstream.Stream, error) {
	reader, writer := io.Pipe()
	context.AfterFunc(ctx, func() { writer.CloseWithError(ctx.Err()) })
	go write(writer)
	return upstream.NewStream(http.StatusOK, "application/x-ndjson", reader, func() { reader.Close() }), nil
}

// counts writes numbers from 1 on, one every second.
func counts(w io.Writer) {
	for n := 1; ; n++ {
		if _, err := fmt.Fprintln(w, n); err != nil {
			return
		}
		time.Sleep(time.Second)
	}
}

// silent writes nothing.
func silent(io.Writer) {}

// uploading is a call with one stream of the client's.
func uploading(id, stream string) string {
	return fmt.Sprintf(`{"type":1,"invocationId":"%s","target":"Up","arguments":[],"streamIds":["%s"]}`+"\x1e", id, stream)
}

// An upload is lines of JSON, wherever the client has line ends in its messages, or MessagePack as the client sends it; each is said to be that.
func TestAnUploadIsWrittenInTheClientsProtocol(t *testing.T) {
	type request struct{ contentType, body string }
	asked := make(chan request, 1)
	b := &backend{answer: func(_ context.Context, r *upstream.Request) (*upstream.Stream, error) {
		body, _ := io.ReadAll(r.Stream)
		asked <- request{r.ContentType, string(body)}
		return completes(result("1", 5))
	}}
	invoke, ended := uploading("1", "0"), void("0")
	bubbleRun(t, "JSON", func(t *testing.T) {
		s := newCluster(t, 1, b.with).negotiate().openSocket(0, handshakeJSON)
		s.sendText(invoke, "{\"type\":2,\r\n\"invocationId\":\"0\",\"item\":\"a\\nb\"}\x1e", ended)
		s.expect(result("1", 5))
		want := request{"application/x-ndjson", strings.ReplaceAll(invoke+`{"type":2,  "invocationId":"0","item":"a\nb"}`+"\x1e"+ended, "\x1e", "\n")}
		if got := <-asked; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
	bubbleRun(t, "MessagePack", func(t *testing.T) {
		s := newCluster(t, 1, b.with).negotiate().openSocket(0, handshakeMessagePack)
		sent := "\x0c\x96\x01\x80\xa11\xa2Up\x90\x91\xa10" + packed(item("0", `"a\nb"`)+ended)
		s.sendBinary(sent)
		s.expectBinary(packed(result("1", 5)))
		if got, want := <-asked, (request{"application/x-msgpack", sent}); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// Without uploads, what asks for a stream is a request like any other.
func TestAStreamInvocationIsARequestLikeAnyOther(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := &backend{answer: func(_ context.Context, r *upstream.Request) (*upstream.Stream, error) {
			return completes(failed("7", fmt.Sprintf("%s %d %v", r.ContentType, len(r.Body), r.Stream)))
		}}
		s := newCluster(t, 1, b.with).negotiate().openSocket(0, handshakeJSON)
		call := streamCall("Any", "7")
		s.sendText(call)
		s.expect(failed("7", fmt.Sprintf("application/json %d <nil>", len(call)-1)))
	})
}

// A client may upload without waiting for an answer. Such calls go on beside one another, nothing is said to the client, and the
// node is done with the connection's work when they are.
func TestUploadsThatNobodyWaitsFor(t *testing.T) {
	bubble(t, func(t *testing.T) {
		uploads := make(chan string, 2)
		b := &backend{answer: func(_ context.Context, r *upstream.Request) (*upstream.Stream, error) {
			body, _ := io.ReadAll(r.Stream)
			uploads <- string(body)
			return completes(result("", 1))
		}}
		c := newCluster(t, 1, b.with)
		s := c.negotiate().openSocket(0, handshakeJSON)
		up := func(stream string) string {
			return fmt.Sprintf(`{"type":1,"target":"Up","arguments":[],"streamIds":["%s"]}`+"\x1e", stream)
		}
		s.sendText(up("a"), up("b"), item("b", 1), item("a", 2), void("b"))
		synctest.Wait()
		s.sendText(item("a", 3), void("a"), method("Add", "8", "[]"))
		s.expect(result("8", 42))
		for _, want := range []string{up("b") + item("b", 1) + void("b"), up("a") + item("a", 2) + item("a", 3) + void("a")} {
			if got := <-uploads; got != strings.ReplaceAll(want, "\x1e", "\n") {
				t.Errorf("got %q, want %q", got, want)
			}
		}
		s.expectNothing(time.Second)
		var asked atomic.Int64
		c.store.onBefore(func(step string) error {
			if step == "next" {
				asked.Add(1)
			}
			return nil
		})
		time.Sleep(time.Minute)
		if n := asked.Load(); n > 0 {
			t.Errorf("the node still looks for work: %d times in a minute", n)
		}
	})
}

// The IDs of a call and of its streams are free when it is over, while others go on.
func TestIDsOfACallThatIsOverMayBeUsedAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := &backend{answer: func(ctx context.Context, r *upstream.Request) (*upstream.Stream, error) {
			if r.Stream == nil {
				return flows(ctx, silent)
			}
			_, _ = io.ReadAll(r.Stream)
			return completes(result("1", 5))
		}}
		s := newCluster(t, 1, b.with).negotiate().openSocket(0, handshakeJSON)
		s.sendText(streamCall("Any", "7"))
		for range 3 {
			s.sendText(uploading("1", "0"), void("0"))
			s.expect(result("1", 5))
			synctest.Wait()
		}
	})
}

// A node whose clients are elsewhere follows their hub's log while it has calls of theirs, so that it hears of what they send by
// others, and no longer.
func TestANodeFollowsALogForItsCalls(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := &backend{answer: func(ctx context.Context, _ *upstream.Request) (*upstream.Stream, error) { return flows(ctx, silent) }}
		c := newCluster(t, 3, b.with)
		time.Sleep(time.Hour) // node 2 does not know of the hub
		k := c.openPolling(handshakeJSON)
		p := k.pollNext(1)
		k.post(2, streamCall("Any", "7"))
		p.expectNothing(time.Second)
		k.post(1, `{"type":5,"invocationId":"7"}`+"\x1e")
		within(t, p.expect(200, void("7")), time.Second, 2*time.Second)
		time.Sleep(time.Hour)
		if n := c.nodes[2].Figures().Hubs; n != 0 {
			t.Errorf("an hour later the node uses %d hubs", n)
		}
	})
}

// An upstream may answer before it has read what the client uploads: the rest is of no interest, and holds up nothing.
func TestAnUpstreamThatAnswersInTheMiddleOfAnUpload(t *testing.T) {
	bubble(t, func(t *testing.T) {
		enough := make(chan struct{})
		b := &backend{answer: func(context.Context, *upstream.Request) (*upstream.Stream, error) {
			<-enough
			return completes(result("1", 5))
		}}
		s := newCluster(t, 1, b.with).negotiate().openSocket(0, handshakeJSON)
		s.sendText(uploading("1", "0"), item("0", 1), item("0", 2), method("Add", "2", "[]"))
		s.expectNothing(time.Second)
		close(enough)
		s.expect(result("1", 5) + result("2", 42))
	})
}

// A stream in which nothing comes for a while is ended, with a word to its client and its request; one that moves is not.
func TestAStreamInWhichNothingComesIsEnded(t *testing.T) {
	idle := func(cfg *transports.Config) { cfg.StreamIdle = 3 * time.Second }
	bubbleRun(t, "nothing", func(t *testing.T) {
		closed := make(chan struct{})
		b := &backend{answer: func(ctx context.Context, _ *upstream.Request) (*upstream.Stream, error) {
			context.AfterFunc(ctx, func() { close(closed) })
			return flows(ctx, silent)
		}}
		s := newCluster(t, 1, b.with, idle).negotiate().openSocket(0, handshakeJSON)
		s.sendText(streamCall("Any", "7"))
		s.expectNothing(2 * time.Second)
		s.expect(failed("7", "The stream was ended: nothing came for 3s."))
		<-closed
	})
	bubbleRun(t, "items", func(t *testing.T) {
		b := &backend{answer: func(ctx context.Context, _ *upstream.Request) (*upstream.Stream, error) { return flows(ctx, counts) }}
		s := newCluster(t, 1, b.with, idle).negotiate().openSocket(0, handshakeJSON)
		s.sendText(streamCall("Any", "7"))
		for n := 1; n <= 7; n++ {
			s.expect(item("7", n))
		}
	})
	bubbleRun(t, "uploaded items", func(t *testing.T) {
		b := &backend{answer: func(_ context.Context, r *upstream.Request) (*upstream.Stream, error) {
			_, _ = io.ReadAll(r.Stream)
			return completes(result("1", 5))
		}}
		s := newCluster(t, 1, b.with, idle).negotiate().openSocket(0, handshakeJSON)
		s.sendText(uploading("1", "0"))
		for n := range 7 {
			s.sendText(item("0", n))
			time.Sleep(time.Second)
		}
		s.sendText(void("0"))
		s.expect(result("1", 5))
	})
}

// A client that goes closes the requests of its streams, in which there may be nothing for long, and then is told of as gone.
func TestAClientThatGoesClosesItsStreams(t *testing.T) {
	bubble(t, func(t *testing.T) {
		closed := make(chan struct{})
		b := &backend{answer: func(ctx context.Context, _ *upstream.Request) (*upstream.Stream, error) {
			context.AfterFunc(ctx, func() { close(closed) })
			return flows(ctx, silent)
		}}
		s := newCluster(t, 1, b.with).negotiate().openSocket(0, handshakeJSON)
		s.sendText(streamCall("Any", "7"))
		synctest.Wait()
		s.cut()
		synctest.Wait()
		select {
		case <-closed:
		default:
			t.Error("the stream's request goes on")
		}
		b.wantTold(t, connected, `disconnected disconnected {"type":11}`)
	})
}

// What a stream has to say waits for a store that is away, and is said once though the store's answer is lost.
func TestAStreamGoesOnWhenTheStoreIsBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := &backend{answer: func(ctx context.Context, _ *upstream.Request) (*upstream.Stream, error) {
			return flows(ctx, func(w io.Writer) {
				for n := 1; n <= 9; n++ {
					_, _ = fmt.Fprintln(w, n)
					time.Sleep(time.Second)
				}
				w.(io.Closer).Close()
			})
		}}
		c := newCluster(t, 1, b.with)
		s := c.negotiate().openSocket(0, handshakeJSON)
		s.sendText(streamCall("Any", "7"))
		s.expect(item("7", 1))
		var replies atomic.Int64
		c.store.onAfter(func(step string) error {
			if step == "reply" && replies.Add(1)%2 == 1 {
				return streams.ErrUnavailable
			}
			return nil
		})
		s.expect(item("7", 2))
		c.store.goAway()
		time.Sleep(4 * time.Second)
		c.store.comeBack()
		var want strings.Builder
		for n := 3; n <= 9; n++ {
			want.WriteString(item("7", n))
		}
		s.expect(want.String() + void("7"))
	})
}

// A node that stops does not wait for a store that stays away to say a stream's last word.
func TestANodeStopsWhileAStreamHasSomethingToSay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := &backend{answer: func(ctx context.Context, _ *upstream.Request) (*upstream.Stream, error) { return flows(ctx, counts) }}
		c := newCluster(t, 1, b.with)
		s := c.negotiate().openSocket(0, handshakeJSON)
		s.sendText(streamCall("Any", "7"))
		s.expect(item("7", 1))
		c.store.goAway()
		time.Sleep(3 * time.Second)
		select {
		case <-c.drain(0):
		case <-time.After(time.Minute):
			t.Fatal("the node does not stop")
		}
	})
}

// Who does not read an upload does not hold up the connection's other messages for ever, for all that its own items come; nor a connection's end,
// which stands behind what is not read.
func TestAnUploadThatIsNotRead(t *testing.T) {
	deaf := &backend{answer: func(ctx context.Context, _ *upstream.Request) (*upstream.Stream, error) { return flows(ctx, counts) }}
	both := `{"type":4,"invocationId":"1","target":"Up","arguments":[],"streamIds":["0"]}` + "\x1e"
	bubbleRun(t, "while items come", func(t *testing.T) {
		s := newCluster(t, 1, deaf.with, func(cfg *transports.Config) { cfg.StreamIdle = 12 * time.Second }).negotiate().openSocket(0, handshakeJSON)
		s.sendText(both, item("0", 1), method("Add", "2", "[]"))
		var all string
		for !strings.Contains(all, result("2", 42)) || !strings.Contains(all, `{"type":3,"invocationId":"1"`) {
			all += payload(s)
		}
		if want := failed("1", "The stream was ended: the upstream did not read it for 12s."); !strings.Contains(all, want) {
			t.Errorf("got %q, want %q", all, want)
		}
	})
	bubbleRun(t, "when its client goes", func(t *testing.T) {
		quiet := &backend{answer: func(ctx context.Context, _ *upstream.Request) (*upstream.Stream, error) { return flows(ctx, silent) }}
		s := newCluster(t, 1, quiet.with).negotiate().openSocket(0, handshakeJSON)
		s.sendText(both, item("0", 1))
		synctest.Wait()
		s.cut()
		time.Sleep(10 * time.Second)
		quiet.wantTold(t, connected, `disconnected disconnected {"type":11}`)
	})
	bubbleRun(t, "for a while", func(t *testing.T) {
		slow := &backend{answer: func(_ context.Context, r *upstream.Request) (*upstream.Stream, error) {
			time.Sleep(10 * time.Second)
			_, _ = io.ReadAll(r.Stream)
			return completes(result("1", 5))
		}}
		s := newCluster(t, 1, slow.with, func(cfg *transports.Config) { cfg.StreamIdle = 12 * time.Second }).negotiate().openSocket(0, handshakeJSON)
		s.sendText(uploading("1", "0"), item("0", 1), void("0"))
		s.expect(result("1", 5))
	})
}

// numbers notes the numbers of events.
type numbers struct {
	app
	seen []uint64
}

func (n *numbers) with(cfg *transports.Config) { cfg.Upstream = n }

func (n *numbers) Call(ctx context.Context, r *upstream.Request) (*upstream.Answer, error) {
	if r.Category == upstream.CategoryConnections {
		n.mu.Lock()
		n.seen = append(n.seen, r.Sequence)
		n.mu.Unlock()
	}
	return n.app.Call(ctx, r)
}

// Events say in which order they were, for they may be told out of it.
func TestEventsAreNumbered(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := &numbers{}
		s := newCluster(t, 1, n.with).negotiate().openSocket(0, handshakeJSON)
		synctest.Wait()
		s.cut()
		n.wantTold(t, connected, `disconnected disconnected {"type":11}`)
		if len(n.seen) != 2 || n.seen[0] == 0 || n.seen[1] <= n.seen[0] {
			t.Errorf("numbers %v", n.seen)
		}
	})
}
