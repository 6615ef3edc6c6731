package integration_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
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
	"hubstream/negotiate/access"
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
	order map[string]string   // sequence number of an event -> which
	ended chan string         // methods whose request was ended by the client
	quiet chan string         // invocation IDs of streams that are left to others
	held  chan struct{}       // calls of Held wait until it is closed
}

func newApplication(t testing.TB) *application {
	a := &application{
		t: t, told: map[string][]string{}, keys: map[string]int{}, order: map[string]string{},
		ended: make(chan string, 100), quiet: make(chan string, 1), held: make(chan struct{}),
	}
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
	again := a.keys[h.Get("Idempotency-Key")] > 1
	if number := h.Get("X-Hubstream-Sequence"); number != "" {
		if which := id + " " + event; a.order[number] == "" {
			a.order[number] = which
		} else if a.order[number] != which {
			a.t.Errorf("events %s and %s have the number %s", a.order[number], which, number)
		}
	}
	a.mu.Unlock()
	c := &calling{w: w, r: r, binary: h.Get("Content-Type") == "application/x-msgpack"}
	if event == "Sum" {
		c.sum()
		return
	}
	body, _ := io.ReadAll(r.Body)
	c.read(body)
	switch event {
	case "connected":
		c.connect()
	case "disconnected":
	case "Hang": // until it is asked again
		if !again {
			<-r.Context().Done()
			return
		}
		c.result(7)
	case "Quiet":
		w.Header().Set("Content-Type", "application/x-ndjson")
		_ = http.NewResponseController(w).Flush()
		a.quiet <- c.invocationID
		<-r.Context().Done()
	case "Who":
		c.text(h.Get("X-ASRS-User-Id"))
	case "Add":
		c.result(c.number(0) + c.number(1))
	case "Slow":
		time.Sleep(300 * time.Millisecond)
		c.result(c.number(0))
	case "Held":
		<-a.held
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
	deadline := time.Now().Add(4 * time.Minute)
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

// connect says by the client's query whose connection it is, and what it may.
func (c *calling) connect() {
	query, _ := url.ParseQuery(strings.TrimPrefix(c.r.Header.Get("X-ASRS-Client-Query"), "?"))
	if login := query.Get("login"); login != "" {
		fmt.Fprintf(c.w, `{"user":%q,"groups":["logged-in"],"claims":[{"type":"hubstream.rights","value":"SendToGroup:logged-in"}]}`, login)
	}
}

// text answers with a text, in JSON.
func (c *calling) text(s string) {
	c.w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(c.w, `{"type":3,"invocationId":%q,"result":%q}`, c.invocationID, s)
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

// A stream that the upstream leaves open is made by a backend, through any node, item by item, to its end.
func TestABackendMakesAClientsStream(t *testing.T) {
	t.Parallel()
	c, a := behindUpstream(t, nodes.Start)
	js := jsclient.Start(t)
	proxy := c.haproxy(t)
	b := c.backend(t, "chat")
	for _, k := range kindsOf("10") {
		conn := js.Open(t, jsclient.Options{URL: proxy + "/hubs/chat", Transport: k.transport, Protocol: k.protocol})
		type outcome struct {
			items string
			err   error
		}
		for _, end := range []string{"", "no more"} {
			got := make(chan outcome, 1)
			go func() { items, err := conn.Stream("Quiet"); got <- outcome{items, err} }()
			path := "/connections/" + conn.ConnectionID + "/streams/" + <-a.quiet + "/"
			send := func(path, body string) {
				t.Helper()
				if answer := b.call(http.MethodPost, path, body); answer.Status != http.StatusAccepted {
					t.Fatalf("%v: got %d %s", k, answer.Status, answer.Body)
				}
			}
			send(path+":send", "1")
			send(path+":send", `{"b":[2,null]}`)
			if end == "" {
				send(path+":send?completed=true", `"3"`)
			} else {
				send(path+":complete?reason="+url.QueryEscape(end), "")
			}
			o := <-got
			switch {
			case end == "" && (o.err != nil || o.items != `[1,{"b":[2,null]},"3"]`):
				t.Errorf("%v: got %s %v", k, o.items, o.err)
			case end != "" && (o.err == nil || !strings.Contains(o.err.Error(), end)):
				t.Errorf("%v: got %s %v, want the error %s", k, o.items, o.err, end)
			}
		}
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

// A killed node's connections are told of as ended, each once, over every transport, with calls under way: their callers get an error, and
// other nodes make the calls again under their keys.
func TestConnectionsOfAKilledNodeAreDisconnectedOnce(t *testing.T) {
	t.Parallel()
	c, a := behindUpstream(t, nodes.StartProcess)
	js := jsclient.Start(t)
	var dead []*jsclient.Conn
	failed := make(chan error, 10)
	for _, transport := range []string{jsclient.WebSockets, jsclient.ServerSentEvents, jsclient.LongPolling} {
		conn := js.Open(t, jsclient.Options{URL: c.nodes[0].URL + "/hubs/chat", Transport: transport})
		if _, err := conn.Invoke("Add", 1, 2); err != nil {
			t.Fatal(err)
		}
		go func() { _, err := conn.Invoke("Hang"); failed <- err }()
		dead = append(dead, conn)
	}
	lives := js.Open(t, jsclient.Options{URL: c.nodes[1].URL + "/hubs/chat", Transport: jsclient.WebSockets})
	for _, conn := range dead {
		a.wantEvents(t, conn.ConnectionID, "connected", "Add", "Hang")
	}
	c.nodes[0].Kill()
	for _, conn := range dead {
		conn.Event("closed")
		if err := <-failed; err == nil {
			t.Error("a call under way was answered")
		}
	}
	for _, conn := range dead {
		a.wantEvents(t, conn.ConnectionID, "connected", "Add", "Hang", "Hang", "disconnected")
	}
	if got, err := lives.Invoke("Add", 2, 3); err != nil || got != "5" {
		t.Errorf("the other connection: %s %v", got, err)
	}
	time.Sleep(10 * time.Second) // two sweeps of both nodes
	for _, conn := range dead {
		a.wantEvents(t, conn.ConnectionID, "connected", "Add", "Hang", "Hang", "disconnected")
	}
	a.wantEvents(t, lives.ConnectionID, "connected", "Add")
}

// Valkey is killed, and comes back with what it had, while calls are under way and others wait: each is made, in order, and answered once; connections are
// begun and ended once.
func TestCallsAndEventsSurviveAKilledValkey(t *testing.T) {
	t.Parallel()
	a, c := newApplication(t), &cluster{}
	server := valkeytest.Start(t, valkeytest.AppendOnly())
	for _, name := range []string{"n1", "n2"} {
		c.nodes = append(c.nodes, nodes.Start(t, nodes.Options{Name: name, Valkey: server.Addr, Args: a.args()}))
	}
	js := jsclient.Start(t)
	proxy := c.haproxy(t)
	var conns []*jsclient.Conn
	for _, transport := range []string{jsclient.WebSockets, jsclient.ServerSentEvents} {
		conns = append(conns, js.Open(t, jsclient.Options{URL: proxy + "/hubs/chat", Transport: transport}))
	}
	var wait sync.WaitGroup
	for _, conn := range conns {
		for i := range 4 {
			wait.Go(func() {
				if got, err := conn.Invoke("Slow", i); err != nil || got != fmt.Sprint(i) {
					t.Errorf("over %s, call %d: %s %v", conn.Transport, i, got, err)
				}
			})
			time.Sleep(20 * time.Millisecond)
		}
	}
	for _, conn := range conns {
		for deadline := time.Now().Add(jsclient.Patience); !slices.Contains(a.events(conn.ConnectionID), "Slow"); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("nothing was asked")
			}
		}
	}
	server.Kill()
	server.Start()
	wait.Wait()
	for _, conn := range conns {
		if err := conn.Stop(); err != nil {
			t.Error(err)
		}
		a.wantEvents(t, conn.ConnectionID, "connected", "Slow", "Slow", "Slow", "Slow", "disconnected")
	}
}

// A replica takes over for Valkey while calls are under way and others wait: each is made and answered once, connections are begun and ended once.
func TestCallsAndEventsSurviveAFailover(t *testing.T) {
	t.Parallel()
	a, c := newApplication(t), &cluster{}
	group := valkeytest.StartSentinel(t, 3)
	for _, name := range []string{"n1", "n2"} {
		c.nodes = append(c.nodes, nodes.Start(t, nodes.Options{
			Name: name, Valkey: strings.Join(group.Sentinels, ","),
			Args: append(a.args(), "-valkey-mode", "sentinel", "-valkey-master", group.Name),
		}))
	}
	js := jsclient.Start(t)
	proxy := c.haproxy(t)
	var conns []*jsclient.Conn
	for _, k := range kindsOf("10") {
		conns = append(conns, js.Open(t, jsclient.Options{URL: proxy + "/hubs/chat", Transport: k.transport, Protocol: k.protocol}))
	}
	var wait sync.WaitGroup
	for _, conn := range conns {
		for i, method := range []string{"Held", "Add"} {
			wait.Go(func() {
				if got, err := conn.Invoke(method, 7*i, 7); err != nil || got != fmt.Sprint(14*i) {
					t.Errorf("over %s, %s: %s %v", conn.Transport, method, got, err)
				}
			})
			if i > 0 {
				continue
			}
			for deadline := time.Now().Add(jsclient.Patience); !slices.Contains(a.events(conn.ConnectionID), "Held"); time.Sleep(5 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("nothing was asked")
				}
			}
		}
	}
	time.Sleep(300 * time.Millisecond) // in which the second calls come; else they come later
	group.WaitReplicated(t)
	group.Primary.Kill()
	group.WaitPromoted(t)
	close(a.held)
	wait.Wait()
	for _, conn := range conns {
		if err := conn.Stop(); err != nil {
			t.Error(err)
		}
		a.wantEvents(t, conn.ConnectionID, "connected", "Held", "Add", "disconnected")
	}
}

// What decides on connect gives official clients, over every transport, their user, groups and rights.
func TestAnUpstreamDecidesWhoClientsAre(t *testing.T) {
	t.Parallel()
	c, _ := behindUpstream(t, nodes.Start, "-upstream-authorize")
	js := jsclient.Start(t)
	proxy := c.haproxy(t)
	b := c.backend(t, "chat")
	var conns []*jsclient.Conn
	for _, k := range kindsOf("10") {
		o := jsclient.Options{URL: proxy + "/hubs/chat?login=ann", Transport: k.transport, Protocol: k.protocol}
		o.Stateful = k.transport == jsclient.WebSockets
		conns = append(conns, js.Open(t, o))
	}
	b.toUser("ann", 1)
	for i, conn := range conns {
		conn.Expect("message", 1)
		if conn.Transport == jsclient.WebSockets { // it comes back to another node, as who it was
			if err := conn.Drop(); err != nil {
				t.Error(err)
			}
		}
		if got, err := conn.Invoke("Who"); err != nil || got != `"ann"` {
			t.Errorf("connection %d is of %s %v", i, got, err)
		}
		if _, err := conn.Invoke("SendToGroup", "logged-in", "message", "from", i); err != nil {
			t.Error(err)
		}
	}
	b.toUser("ann", 2)
	for _, conn := range conns {
		for i := range conns {
			conn.Expect("message", "from", i)
		}
		conn.Expect("message", 2)
	}
}

// Rights of real access tokens, and nothing beyond them.
func TestRightsOfAccessTokens(t *testing.T) {
	t.Parallel()
	g := newGuardedCluster(t)
	hub := newHub(t)
	open := func(transport string, rights ...string) *jsclient.Conn {
		return sharedJS(t).Open(t, jsclient.Options{URL: g.proxy + "/hubs/" + hub, Transport: transport, AccessToken: g.sign(oldKey, access.Token{
			Audience: access.ClientAudience(g.proxy, hub), User: "ann", Claims: map[string]any{"hubstream.rights": rights},
		})})
	}
	for _, transport := range []string{jsclient.WebSockets, jsclient.ServerSentEvents, jsclient.LongPolling} {
		group := "room-" + transport
		member, listener := open(transport, "JoinGroup:room-*", "LeaveGroup:room-*", "SendToGroup:"+group), open(transport, "JoinGroup:"+group)
		for _, conn := range []*jsclient.Conn{member, listener} {
			if _, err := conn.Invoke("JoinGroup", group); err != nil {
				t.Errorf("over %s: %v", transport, err)
			}
		}
		if _, err := member.Invoke("SendToGroup", group, "message", "hello"); err != nil {
			t.Errorf("over %s: %v", transport, err)
		}
		for _, conn := range []*jsclient.Conn{member, listener} {
			conn.Expect("message", "hello")
		}
		for _, refused := range [][]any{{"SendToAll", "message"}, {"JoinGroup", "other"}, {"SendToGroup", "room-", "message"}} {
			if _, err := member.Invoke(refused[0].(string), refused[1:]...); err == nil || !strings.Contains(err.Error(), "unauthorized") {
				t.Errorf("over %s, %v: %v", transport, refused, err)
			}
		}
		if _, err := listener.Invoke("SendToGroup", group, "message"); err == nil {
			t.Errorf("over %s: who may only join has sent", transport)
		}
	}
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
