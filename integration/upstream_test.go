package integration_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tinylib/msgp/msgp"

	"hubstream/integration/internal/jsclient"
	"hubstream/integration/internal/nodes"
	"hubstream/integration/valkeytest"
	"hubstream/internal/upstream"
)

// upstreamKey signs what nodes ask the application.
const upstreamKey = "key-of-the-tests-long-enough-for-all"

// application is the code behind a hub: it answers as the method's name says, and notes what it is told, by connection.
type application struct {
	t   testing.TB
	url string

	mu    sync.Mutex
	told  map[string][]string // by connection
	keys  map[string]int      // how often each idempotency key came
	ended chan string         // methods whose request was ended by the client
}

func newApplication(t testing.TB) *application {
	a := &application{t: t, told: map[string][]string{}, keys: map[string]int{}, ended: make(chan string, 100)}
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	a.url = server.URL
	return a
}

// args are the flags of a node that asks the application.
func (a *application) args() []string {
	return []string{"-upstream", a.url + "/{hub}/{category}/{event}", "-upstream-keys", upstreamKey}
}

func (a *application) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := r.Header
	id, event := h.Get("X-ASRS-Connection-Id"), h.Get("X-ASRS-Event")
	if got, want := h.Get("X-ASRS-Signature"), upstream.Signature([]string{upstreamKey}, id); got != want {
		a.t.Errorf("signature %q, want %q", got, want)
	}
	if want := "/" + h.Get("X-ASRS-Hub") + "/" + h.Get("X-ASRS-Category") + "/" + event; r.URL.Path != want {
		a.t.Errorf("path %s, want %s", r.URL.Path, want)
	}
	a.mu.Lock()
	a.told[id] = append(a.told[id], event)
	a.keys[h.Get("Idempotency-Key")]++
	a.mu.Unlock()
	c := &calling{w: w, r: r, binary: h.Get("Content-Type") == "application/x-msgpack"}
	if event == "Sum" {
		c.sum()
		return
	}
	body, _ := io.ReadAll(r.Body)
	c.read(body)
	switch event {
	case "connected", "disconnected":
	case "Add":
		c.result(c.number(0) + c.number(1))
	case "Slow":
		time.Sleep(300 * time.Millisecond)
		c.result(c.number(0))
	case "Nothing":
		w.WriteHeader(http.StatusNoContent)
	case "Fails":
		c.error("not today")
	case "Crashes":
		w.WriteHeader(http.StatusInternalServerError)
	case "Counter":
		c.count(int(c.number(0)), 0)
	case "Endless":
		c.count(1<<30, 10*time.Millisecond)
		a.ended <- event
	}
}

func (a *application) events(id string) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.told[id])
}

func (a *application) wantEvents(t testing.TB, id string, want ...string) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for !slices.Equal(a.events(id), want) {
		if time.Now().After(deadline) || len(a.events(id)) > len(want) {
			t.Fatalf("connection %s: told %v, want %v", id, a.events(id), want)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// calling is one request.
type calling struct {
	w            http.ResponseWriter
	r            *http.Request
	binary       bool
	invocationID string
	arguments    []any
}

func (c *calling) read(body []byte) {
	if !c.binary {
		var m struct {
			InvocationID string
			Arguments    []any
		}
		_ = json.Unmarshal(body, &m)
		c.invocationID, c.arguments = m.InvocationID, m.Arguments
		return
	}
	v, _, _ := msgp.ReadIntfBytes(body)
	array, _ := v.([]any)
	if len(array) >= 5 {
		c.invocationID, _ = array[2].(string)
		c.arguments, _ = array[4].([]any)
	}
}

func (c *calling) number(i int) int64 {
	switch n := c.arguments[i].(type) {
	case float64:
		return int64(n)
	case int64:
		return n
	case uint64:
		return int64(n)
	}
	return -1
}

func (c *calling) result(n int64) {
	if !c.binary {
		c.w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(c.w, `{"type":3,"invocationId":%q,"result":%d}`+"\x1e", c.invocationID, n)
		return
	}
	c.w.Header().Set("Content-Type", "application/x-msgpack")
	b := msgp.AppendArrayHeader(nil, 5)
	b = append(b, 3, 0x80)
	b = msgp.AppendString(b, c.invocationID)
	b = append(b, 3)
	b = msgp.AppendInt64(b, n)
	_, _ = c.w.Write(append([]byte{byte(len(b))}, b...))
}

func (c *calling) error(text string) {
	c.w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(c.w, `{"type":3,"invocationId":%q,"error":%q}`, c.invocationID, text)
}

// count streams the numbers below n.
func (c *calling) count(n int, pause time.Duration) {
	c.w.Header().Set("Content-Type", "application/x-ndjson")
	if c.binary {
		c.w.Header().Set("Content-Type", "application/x-msgpack")
	}
	for i := range n {
		item := []byte(fmt.Sprintln(i))
		if c.binary {
			item = msgp.AppendInt(nil, i)
		}
		if _, err := c.w.Write(item); err != nil || http.NewResponseController(c.w).Flush() != nil || c.r.Context().Err() != nil {
			return
		}
		time.Sleep(pause)
	}
}

// sum adds what a client uploads.
func (c *calling) sum() {
	sum := int64(0)
	if !c.binary {
		lines := json.NewDecoder(c.r.Body)
		for {
			var m struct {
				Type         int
				InvocationID string
				Item         int64
			}
			if lines.Decode(&m) != nil {
				break
			}
			if m.Type == 1 {
				c.invocationID = m.InvocationID
			}
			sum += m.Item
		}
		c.result(sum)
		return
	}
	body, _ := io.ReadAll(c.r.Body)
	for first := true; len(body) > 0; first = false {
		size := int(body[0]) // nothing here is longer than 127 bytes
		if first {
			c.read(body[1 : 1+size])
		} else if v, _, err := msgp.ReadIntfBytes(body[1 : 1+size]); err == nil {
			array, _ := v.([]any)
			if kind, _ := array[0].(int64); kind == 2 {
				c.arguments = []any{array[3]}
				sum += c.number(0)
			}
		}
		body = body[1+size:]
	}
	c.result(sum)
}

// behindUpstream starts three nodes that ask one application.
func behindUpstream(t *testing.T, start func(testing.TB, nodes.Options) *nodes.Node, args ...string) (*cluster, *application) {
	t.Helper()
	a, server, c := newApplication(t), valkeytest.Start(t), &cluster{}
	for _, name := range []string{"n1", "n2", "n3"} {
		c.nodes = append(c.nodes, start(t, nodes.Options{Name: name, Valkey: server.Addr, Args: append(a.args(), args...)}))
	}
	return c, a
}

// Official clients over every transport and protocol invoke, send, stream, cancel, upload and are asked, behind a round-robin proxy.
func TestHubMethodsBehindWebhooks(t *testing.T) {
	t.Parallel()
	c, a := behindUpstream(t, nodes.Start)
	js := jsclient.Start(t)
	proxy := c.haproxy(t)
	for _, k := range kindsOf("10") {
		t.Run(k.String(), func(t *testing.T) {
			conn := js.Open(t, jsclient.Options{
				URL: proxy + "/hubs/chat?room=blue", Transport: k.transport, Protocol: k.protocol,
				Targets: []string{"ask", "message"}, Results: map[string]any{"ask": map[string]any{"n": 7}},
			})
			testHubMethods(t, c, a, conn)
		})
	}
}

func testHubMethods(t *testing.T, c *cluster, a *application, conn *jsclient.Conn) {
	wantResult := func(what, want string) func(string, error) {
		return func(got string, err error) {
			t.Helper()
			if err != nil || got != want {
				t.Errorf("%s: got %s %v, want %s", what, got, err, want)
			}
		}
	}
	wantFailure := func(what, want string) func(string, error) {
		return func(got string, err error) {
			t.Helper()
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %s %v, want error %q", what, got, err, want)
			}
		}
	}
	wantResult("Add", "42")(conn.Invoke("Add", 40, 2))
	wantResult("Nothing", "null")(conn.Invoke("Nothing"))
	wantFailure("Fails", "not today")(conn.Invoke("Fails"))
	wantFailure("Crashes", "status code 500")(conn.Invoke("Crashes"))
	if err := conn.Send("Add", 1, 2); err != nil {
		t.Error(err)
	}
	wantResult("Counter", "[0,1,2,3,4]")(conn.Stream("Counter", 5))
	wantResult("Endless", "[0,1,2]")(conn.StreamSome(3, "Endless"))
	select {
	case <-a.ended:
	case <-time.After(jsclient.Patience):
		t.Error("the cancelled stream's request was not ended")
	}
	wantResult("Sum", "15")(conn.Upload("Sum", 1, 2, 3, 4, 5))

	b := c.backend(t, "chat")
	path := "/connections/" + conn.ConnectionID + "/:invoke"
	for range 3 { // at each node
		if got := b.call(http.MethodPost, path, `{"target":"ask","arguments":["?"]}`); got.Status != 200 || got.Body != `{"result":{"n":7}}` {
			t.Errorf("asked: %d %s", got.Status, got.Body)
		}
		conn.Expect("ask", "?")
	}
	if got := b.call(http.MethodPost, path, `{"target":"message"}`); got.Status != 400 || !strings.Contains(got.Body, "Client didn't provide a result.") {
		t.Errorf("asked what it has no answer to: %d %s", got.Status, got.Body)
	}
	if err := conn.Stop(); err != nil {
		t.Error(err)
	}
	a.wantEvents(t, conn.ConnectionID, "connected", "Add", "Nothing", "Fails", "Crashes", "Add", "Counter", "Endless", "Sum", "disconnected")
	if got := b.call(http.MethodPost, path, `{"target":"ask"}`); got.Status != 404 {
		t.Errorf("asked when gone: %d %s", got.Status, got.Body)
	}
}

// A stateful client that is cut off in the middle of its calls gets each answer once, wherever it comes back to.
func TestStatefulCallsSurviveTheirSocket(t *testing.T) {
	t.Parallel()
	c, a := behindUpstream(t, nodes.Start)
	js := jsclient.Start(t)
	conn := js.Open(t, jsclient.Options{URL: c.haproxy(t) + "/hubs/chat", Transport: jsclient.WebSockets, Stateful: true})
	want := []string{"connected"}
	for round := range 5 {
		var wait sync.WaitGroup
		for i := range 3 {
			want = append(want, "Slow")
			wait.Go(func() {
				if got, err := conn.Invoke("Slow", 10*round+i); err != nil || got != fmt.Sprint(10*round+i) {
					t.Errorf("got %s %v", got, err)
				}
			})
			time.Sleep(20 * time.Millisecond)
		}
		if err := conn.Drop(); err != nil {
			t.Error(err)
		}
		wait.Wait()
	}
	a.wantEvents(t, conn.ConnectionID, want...)
	if events := conn.Events(); len(events) != 0 {
		t.Errorf("the client noticed: %v", events)
	}
}

// A killed node's connections are told of as ended, each once; calls under way are made again under their keys by the others.
func TestConnectionsOfAKilledNodeAreDisconnectedOnce(t *testing.T) {
	t.Parallel()
	c, a := behindUpstream(t, nodes.StartProcess)
	js := jsclient.Start(t)
	dead := js.Open(t, jsclient.Options{URL: c.nodes[0].URL + "/hubs/chat", Transport: jsclient.WebSockets})
	lives := js.Open(t, jsclient.Options{URL: c.nodes[1].URL + "/hubs/chat", Transport: jsclient.WebSockets})
	if _, err := dead.Invoke("Add", 1, 2); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	c.nodes[0].Kill()
	dead.Event("closed")
	a.wantEvents(t, dead.ConnectionID, "connected", "Add", "disconnected")
	if got, err := lives.Invoke("Add", 2, 3); err != nil || got != "5" {
		t.Errorf("the other connection: %s %v", got, err)
	}
	time.Sleep(10 * time.Second) // two sweeps of both nodes
	a.wantEvents(t, dead.ConnectionID, "connected", "Add", "disconnected")
	a.wantEvents(t, lives.ConnectionID, "connected", "Add")
}

// Without any backend: clients talk to each other by rights that development mode gives them.
func TestAChatWithoutABackend(t *testing.T) {
	t.Parallel()
	server, c := valkeytest.Start(t), &cluster{}
	for _, name := range []string{"n1", "n2"} {
		c.nodes = append(c.nodes, nodes.Start(t, nodes.Options{Name: name, Valkey: server.Addr, Args: []string{"-rights", "JoinGroup,LeaveGroup,SendToGroup:room*"}}))
	}
	js := jsclient.Start(t)
	proxy := c.haproxy(t)
	var all []*jsclient.Conn
	for _, k := range kindsOf("10") {
		conn := js.Open(t, jsclient.Options{URL: proxy + "/hubs/chat", Transport: k.transport, Protocol: k.protocol})
		if _, err := conn.Invoke("JoinGroup", "room1"); err != nil {
			t.Fatal(err)
		}
		all = append(all, conn)
	}
	for i, conn := range all {
		if _, err := conn.Invoke("SendToGroup", "room1", "message", i, "hello"); err != nil {
			t.Fatal(err)
		}
		for _, other := range all {
			other.Expect("message", i, "hello")
		}
		if _, err := conn.Invoke("SendToAll", "message"); err == nil || !strings.Contains(err.Error(), "unauthorized") {
			t.Errorf("SendToAll: %v", err)
		}
	}
}
