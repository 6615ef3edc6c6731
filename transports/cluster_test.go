package transports_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hubstream/negotiate"
	"hubstream/negotiate/access"
	"hubstream/streams"
	"hubstream/transports"
	"hubstream/transports/hubprotocol"
)

// The tests are conversations with nodes that share one store, most of them in a
// bubble of fake time: clients and servers speak HTTP over pipes.

const (
	hubName = "chat"
	// soon is longer than anything takes that waits for no timer.
	soon = 20 * time.Second

	handshakeJSON        = `{"protocol":"json","version":1}` + "\x1e"
	handshakeMessagePack = `{"protocol":"messagepack","version":1}` + "\x1e"
	handshakeStateful    = `{"protocol":"json","version":2}` + "\x1e"
	accepted             = "{}\x1e"
	ping                 = `{"type":6}` + "\x1e"
)

// bubble runs a test in fake time.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Parallel()
	synctest.Test(t, f)
}

// cluster is some nodes over one store.
type cluster struct {
	testing.TB
	store *store
	keys  *negotiate.Keyring
	nodes []*node
	ctx   context.Context
	who   atomic.Pointer[access.Identity] // what requests' tokens say; nil: development mode
	// lossSpread is that of the nodes which are started from now on.
	lossSpread time.Duration
}

type node struct {
	*streams.Node
	server *transports.Server
	http   *http.Server
	dial   func() net.Conn
	client *http.Client
	crash  func()
}

// newCluster starts nodes whose clients reach them over pipes.
func newCluster(t testing.TB, nodes int, change ...func(*transports.Config)) *cluster {
	return startCluster(t, nodes, newPipes, change...)
}

func startCluster(t testing.TB, nodes int, network func(testing.TB) (net.Listener, func() net.Conn), change ...func(*transports.Config)) *cluster {
	t.Helper()
	keys, err := negotiate.NewKeyring(negotiate.Secret(bytes.Repeat([]byte("k"), 32)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &cluster{TB: t, store: newStore(), keys: keys, ctx: ctx}
	cfg := transports.Config{StatefulReconnect: true}
	for _, f := range change {
		f(&cfg)
	}
	for i := range nodes {
		listener, dial := network(t)
		c.start(fmt.Sprint("n", i), cfg, listener, dial)
	}
	t.Cleanup(func() {
		for _, n := range c.nodes {
			n.stop()
		}
		cancel()
		for _, n := range c.nodes {
			n.Wait()
		}
		_ = c.store.Close()
		time.Sleep(time.Second) // net/http ends some connections that late
	})
	return c
}

func (c *cluster) start(name string, cfg transports.Config, listener net.Listener, dial func() net.Conn) {
	c.Helper()
	config := streams.Config{Name: name, LossSpread: c.lossSpread}
	if cfg.Tracer != nil {
		config.Traced = func(*streams.Item) {}
	}
	n := &node{Node: streams.NewNode(c.store, config), dial: dial}
	ctx, crash := context.WithCancel(c.ctx)
	n.crash = crash
	if err := n.Start(ctx); err != nil {
		c.Fatal(err)
	}
	n.server = transports.NewServer(n.Node, c.keys, cfg)
	n.http = &http.Server{ConnContext: transports.ConnContext, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who := c.who.Load()
		if who == nil {
			who = new(access.Identity)
		}
		if plain, ok := r.URL.Query()["plain"]; ok && len(plain) > 0 {
			n.server.ServePlain(w, r, hubName, streams.Audience{}, *who, func(status int, text string) { http.Error(w, "refused: "+text, status) })
			return
		}
		n.server.ServeHub(w, r, hubName, *who)
	})}
	go n.http.Serve(listener)
	n.client = &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, DisableCompression: true,
		DialContext: func(context.Context, string, string) (net.Conn, error) { return dial(), nil },
	}}
	c.nodes = append(c.nodes, n)
}

// stop ends a node at once, as a crash would: nothing is told to anybody.
func (n *node) stop() {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	_ = n.http.Close()
	n.server.Drain(ended)
}

// pipes is a listener whose connections are pipes.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes(testing.TB) (net.Listener, func() net.Conn) {
	p := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	return p, p.dial
}

func (p *pipes) dial() net.Conn {
	ours, theirs := net.Pipe()
	select {
	case p.conns <- theirs:
	case <-p.closed:
		_ = theirs.Close()
	}
	return ours
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// newLoopback is a network of real sockets.
func newLoopback(t testing.TB) (net.Listener, func() net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l, func() net.Conn {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
}

// invocation is a hub message with one number.
func invocation(n int) string {
	return fmt.Sprintf(`{"type":1,"target":"m","arguments":[%d]}`+"\x1e", n)
}

func invocations(from, to int) string {
	var b strings.Builder
	for n := from; n <= to; n++ {
		b.WriteString(invocation(n))
	}
	return b.String()
}

// packed is the MessagePack form of messages.
func packed(messages string) string {
	var b []byte
	for m := range strings.SplitAfterSeq(messages, "\x1e") {
		if m != "" {
			b, _ = hubprotocol.AppendMessagePack(b, []byte(m))
		}
	}
	return string(b)
}

// publish sends invocation(n) to everybody, by a node.
func (c *cluster) publish(by, n int) {
	c.Helper()
	c.publishBody(by, invocation(n))
}

// publishSeen is publish, and all nodes have it in their windows: a poll that comes now may continue with it.
func (c *cluster) publishSeen(by, n int) {
	c.Helper()
	c.publish(by, n)
	synctest.Wait()
}

func (c *cluster) publishBody(by int, body string) {
	c.Helper()
	c.publishEntry(by, &streams.Entry{Kind: streams.KindMessage, Flags: streams.FlagAll, Body: []byte(body)})
}

func (c *cluster) publishEntry(by int, e *streams.Entry) {
	c.Helper()
	if _, err := c.nodes[by].Publish(c.ctx, hubName, e); err != nil {
		c.Fatalf("publish: %v", err)
	}
}

// connection is a negotiated connection.
type connection struct {
	*cluster
	id, token string
}

func (c *cluster) negotiate(change ...func(*negotiate.Token)) *connection {
	c.Helper()
	token := negotiate.Token{
		ConnectionID: negotiate.NewConnectionID(), Hub: hubName,
		Deadline: time.Now().Add(time.Minute).UnixMilli(), NegotiateVersion: 1,
	}
	for _, f := range change {
		f(&token)
	}
	sealed, err := c.keys.Seal(token)
	if err != nil {
		c.Fatal(err)
	}
	return &connection{c, token.ConnectionID, sealed}
}

func stateful(t *negotiate.Token) { t.StatefulReconnect = true }

// answer is what a request was answered with.
type answer struct {
	status int
	header http.Header
	body   string
	err    error
	after  time.Duration
}

// do makes a request of the connection to a node.
func (k *connection) do(by int, method, query, body string, header ...string) answer {
	return k.cluster.do(k.ctx, by, method, "id="+k.token+query, body, header...)
}

func (c *cluster) do(ctx context.Context, by int, method, query, body string, header ...string) answer {
	began := time.Now()
	r, err := http.NewRequestWithContext(ctx, method, "http://node/"+hubName+"?"+query, strings.NewReader(body))
	if err != nil {
		return answer{err: err}
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response, err := c.nodes[by].client.Do(r)
	if err != nil {
		return answer{err: err, after: time.Since(began)}
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, response.Header, string(b), err, time.Since(began)}
}

func (c *cluster) want(what string, got answer, status int, body string) {
	c.Helper()
	if got.err != nil || got.status != status || got.body != body {
		c.Fatalf("%s: got %d %q %v, want %d %q", what, got.status, got.body, got.err, status, body)
	}
}

// post sends messages, which must be accepted.
func (k *connection) post(by int, body string) {
	k.Helper()
	k.want("POST", k.do(by, http.MethodPost, "", body), 200, "")
}

// state is the record's state, or "" without a record.
func (k *connection) record() (streams.Record, bool) {
	reply, err := k.store.Store.Lookup(k.ctx, hubName, k.id)
	if err != nil && !errors.Is(err, streams.ErrGone) {
		k.Fatal(err)
	}
	return reply.Record, err == nil
}

func (k *connection) wantRecord(exists bool) {
	k.Helper()
	synctest.Wait()
	if r, ok := k.record(); ok != exists {
		k.Fatalf("record: got %v (state %q), want %v", ok, r.State, exists)
	}
}

func messageTo(id, body string) *streams.Entry {
	return &streams.Entry{Kind: streams.KindMessage, Connections: []string{id}, Body: []byte(body)}
}
