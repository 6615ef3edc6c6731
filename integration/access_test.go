package integration_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hubstream/integration/internal/jsclient"
	"hubstream/integration/internal/nodes"
	"hubstream/integration/internal/rawclient"
	"hubstream/integration/valkeytest"
	"hubstream/negotiate/access"
)

const (
	oldKey = "the-old-access-key-of-the-tests"
	newKey = "the-new-access-key-of-the-tests"
)

// guardedCluster is three nodes on one Valkey that need tokens, with access keys in a file of all.
type guardedCluster struct {
	*cluster
	t     *testing.T
	keys  string
	proxy string
}

func newGuardedCluster(t *testing.T, args ...string) *guardedCluster {
	t.Helper()
	g := &guardedCluster{cluster: &cluster{}, t: t, keys: filepath.Join(t.TempDir(), "keys")}
	g.setKeys(oldKey)
	server := valkeytest.Start(t)
	for _, name := range []string{"n1", "n2", "n3"} {
		g.nodes = append(g.nodes, nodes.Start(t, nodes.Options{
			Name: name, Valkey: server.Addr, Args: append([]string{"-access-keys-file", g.keys}, args...),
		}))
	}
	g.proxy = g.haproxy(t)
	return g
}

func (g *guardedCluster) setKeys(keys ...string) {
	g.t.Helper()
	if err := os.WriteFile(g.keys+"~", []byte(strings.Join(keys, "\n")), 0o600); err != nil {
		g.t.Fatal(err)
	}
	if err := os.Rename(g.keys+"~", g.keys); err != nil {
		g.t.Fatal(err)
	}
}

// awaitKey waits until every node judges a key's tokens so.
func (g *guardedCluster) awaitKey(hub string, key access.Key, status int) {
	g.t.Helper()
	for _, n := range g.nodes {
		token := g.sign(key, access.Token{Audience: access.HubAudience(n.URL, hub)})
		for deadline := time.Now().Add(jsclient.Patience); ; time.Sleep(50 * time.Millisecond) {
			a, err := rawclient.Do(g.t.Context(), http.MethodGet, n.URL+"/api/hubs/"+hub+"/connections", "", "Authorization", "Bearer "+token)
			if err == nil && a.Status == status {
				break
			}
			if time.Now().After(deadline) {
				g.t.Fatalf("%s answers %d (%v), want %d", n.Name, a.Status, err, status)
			}
		}
	}
}

func (g *guardedCluster) sign(key access.Key, token access.Token) string {
	g.t.Helper()
	signed, err := access.Sign(key, token, time.Now())
	if err != nil {
		g.t.Fatal(err)
	}
	return signed
}

// client is a client's token for a hub, by the proxy's address.
func (g *guardedCluster) client(key access.Key, hub, user string) string {
	g.t.Helper()
	return g.sign(key, access.Token{Audience: access.ClientAudience(g.proxy, hub), User: user})
}

// guardedBackend calls the API by the proxy, each time another node.
func (g *guardedCluster) guardedBackend(key access.Key, hub string) *backend {
	g.t.Helper()
	return &backend{t: g.t, hub: hub, bases: []string{g.proxy}, token: g.sign(key, access.Token{Audience: access.HubAudience(g.proxy, hub)})}
}

// Official clients with an access token, over every transport, each request at another node, at our address and at Azure's.
func TestClientsWithAccessTokens(t *testing.T) {
	t.Parallel()
	g := newGuardedCluster(t)
	hub := newHub(t)
	b := g.guardedBackend(oldKey, hub)
	var conns []*jsclient.Conn
	for _, address := range []string{"/hubs/" + hub, "/client/?hub=" + hub + "&asrs.op=%2Fchat"} {
		for _, o := range []jsclient.Options{
			{Transport: jsclient.WebSockets}, {Transport: jsclient.WebSockets, Stateful: true, Protocol: jsclient.MessagePack},
			{Transport: jsclient.ServerSentEvents}, {Transport: jsclient.LongPolling}, {Transport: jsclient.WebSockets, Version: "3"},
		} {
			o.URL, o.AccessToken = g.proxy+address, g.client(oldKey, hub, "ann")
			conns = append(conns, sharedJS(t).Open(t, o))
		}
	}
	eve := sharedJS(t).Open(t, jsclient.Options{URL: g.proxy + "/hubs/" + hub, Transport: jsclient.LongPolling, AccessToken: g.client(oldKey, hub, "eve")})
	for i := range 5 {
		b.toUser("ann", i)
		b.toAll(i, "all")
	}
	for _, conn := range conns {
		for i := range 5 {
			conn.Expect("message", i)
			conn.Expect("message", i, "all")
		}
	}
	for i := range 5 {
		eve.Expect("message", i, "all")
	}
}

func TestClientsWithoutGoodTokensDoNotStart(t *testing.T) {
	t.Parallel()
	g := newGuardedCluster(t)
	hub := newHub(t)
	for name, token := range map[string]string{
		"of another key": g.client(newKey, hub, "ann"), "for another hub": g.client(oldKey, "other", "ann"),
		"a backend's": g.sign(oldKey, access.Token{Audience: access.HubAudience(g.proxy, hub)}), "none": "",
	} {
		for _, transport := range []string{jsclient.WebSockets, jsclient.ServerSentEvents, jsclient.LongPolling} {
			o := jsclient.Options{URL: g.proxy + "/hubs/" + hub, Transport: transport, AccessToken: token}
			if _, err := sharedJS(t).TryOpen(t, o); err == nil || !strings.Contains(err.Error(), "401") {
				t.Errorf("%s over %s: got %v, want an error with 401", name, transport, err)
			}
		}
		o := jsclient.Options{URL: g.proxy + "/hubs/" + hub, Transport: jsclient.WebSockets, SkipNegotiation: true, AccessToken: token}
		if _, err := sharedJS(t).TryOpen(t, o); err == nil {
			t.Errorf("%s without negotiating: it was let in", name)
		}
	}
}

// Access keys are rotated while clients are connected and backends send: nobody is refused until the old key goes. Then JavaScript
// clients that poll, which keep the token that they negotiated with, start anew with one of their factory; open sockets notice nothing, and streams only when
// their client calls something.
func TestAccessKeysAreRotatedUnderClients(t *testing.T) {
	t.Parallel()
	g := newGuardedCluster(t)
	hub := newHub(t)
	open := func(transport string, key access.Key) *jsclient.Conn {
		return sharedJS(t).Open(t, jsclient.Options{
			URL: g.proxy + "/hubs/" + hub, AccessToken: g.client(key, hub, "ann"), Transport: transport,
			Stateful: transport == jsclient.WebSockets, Reconnect: []time.Duration{0, time.Second, time.Second},
		})
	}
	sent := 0
	next := map[*jsclient.Conn]int{} // the message that each expects
	add := func(conn *jsclient.Conn) *jsclient.Conn {
		next[conn] = sent
		return conn
	}
	send := func(key access.Key) {
		for range 6 {
			g.guardedBackend(key, hub).toAll(sent)
			sent++
		}
	}
	anew := map[*jsclient.Conn]bool{} // those that started anew, and got some of what was sent meanwhile
	expect := func() {
		for conn := range next {
			for ; next[conn] < sent; next[conn]++ {
				m := conn.Next()
				for anew[conn] && number(t, m) < next[conn] {
					m = conn.Next()
				}
				if n := number(t, m); n != next[conn] {
					t.Fatalf("over %s: got message %d, want %d", conn.Transport, n, next[conn])
				}
			}
		}
	}
	socket, stream, polling := add(open(jsclient.WebSockets, oldKey)), add(open(jsclient.ServerSentEvents, oldKey)), add(open(jsclient.LongPolling, oldKey))
	send(oldKey)
	g.setKeys(oldKey, newKey)
	g.awaitKey(hub, newKey, http.StatusOK)
	send(oldKey)
	send(newKey)
	late := add(open(jsclient.LongPolling, newKey))
	for _, conn := range []*jsclient.Conn{socket, stream, polling} {
		if err := conn.SetAccessToken(g.client(newKey, hub, "ann")); err != nil {
			t.Fatal(err)
		}
	}
	send(newKey)
	expect()
	for conn := range next {
		if events := conn.Events(); len(events) > 0 {
			t.Errorf("with both keys: %v", events)
		}
	}

	g.setKeys(newKey)
	g.awaitKey(hub, oldKey, http.StatusUnauthorized)
	delete(next, polling)
	send(newKey) // answers the poll that waits; the next one is refused
	polling.Event("reconnecting")
	polling.Event("reconnected")
	next[polling], anew[polling] = sent, true
	if err := socket.Drop(); err != nil { // its client comes back to the connection, with the new token
		t.Fatal(err)
	}
	send(newKey)
	expect()
	for _, conn := range []*jsclient.Conn{socket, stream, late} {
		if events := conn.Events(); len(events) > 0 {
			t.Errorf("without the old key: %v", events)
		}
	}
	_ = stream.Send("something") // is refused, and so would be all that it sends
	stream.Event("reconnecting")
	stream.Event("reconnected")
	if _, err := sharedJS(t).TryOpen(t, jsclient.Options{URL: g.proxy + "/hubs/" + hub, AccessToken: g.client(oldKey, hub, "ann")}); err == nil {
		t.Error("a client with the old key started")
	}
}

// A connection closes when its token expires, unless a newer one was shown to any node; a client that may reconnect does so
// with a token of its factory.
func TestConnectionsCloseWhenTheirTokensExpire(t *testing.T) {
	t.Parallel()
	g := newGuardedCluster(t, "-close-at-expiry", "-token-leeway", "0s")
	hub := newHub(t)
	short := func() string {
		return g.sign(oldKey, access.Token{Audience: access.ClientAudience(g.proxy, hub), User: "ann", Lifetime: 4 * time.Second})
	}
	for _, transport := range []string{jsclient.WebSockets, jsclient.ServerSentEvents, jsclient.LongPolling} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			open := func() *jsclient.Conn {
				return sharedJS(t).Open(t, jsclient.Options{
					URL: g.proxy + "/hubs/" + hub, Transport: transport, AccessToken: short(), Reconnect: []time.Duration{0, time.Second, time.Second},
				})
			}
			expiring, renewed := open(), open()
			long := g.client(oldKey, hub, "ann")
			for _, conn := range []*jsclient.Conn{expiring, renewed} {
				if err := conn.SetAccessToken(long); err != nil {
					t.Fatal(err)
				}
			}
			a, err := rawclient.Do(t.Context(), http.MethodPost, g.proxy+"/hubs/"+hub+"/refresh?id="+renewed.Token, "", "Authorization", "Bearer "+long)
			if err != nil || a.Status != http.StatusOK || !strings.Contains(a.Body, "tokenLifetimeSeconds") {
				t.Fatalf("refresh: got %d %s %v", a.Status, a.Body, err)
			}
			expiring.Event("reconnecting")
			expiring.Event("reconnected")
			if transport == jsclient.LongPolling { // each poll shows the token that it was negotiated with: the renewed one ends with its poll
				stopped := sharedJS(t).Open(t, jsclient.Options{URL: g.proxy + "/hubs/" + hub, Transport: transport, AccessToken: short()})
				if e := stopped.Event("closed"); !strings.Contains(e.Error, "401") && !strings.Contains(e.Error, "expired") {
					t.Errorf("closed with %q", e.Error)
				}
				return
			}
			(&backend{t: t, hub: hub, bases: []string{g.proxy}, token: g.guardedBackend(oldKey, hub).token}).toConnection(renewed.ConnectionID, "still here")
			renewed.Expect("message", "still here")
			if events := renewed.Events(); len(events) > 0 {
				t.Errorf("the renewed one: %v", events)
			}
		})
	}
}
