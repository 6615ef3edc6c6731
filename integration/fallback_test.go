package integration_test

import (
	"testing"

	"hubstream/integration/internal/jsclient"
	"hubstream/integration/internal/proxytest"
)

// Behind a proxy that knows no WebSockets the client finds another transport by itself.
func TestClientFallsBackWithoutWebSockets(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	proxies := map[string]func(testing.TB, []string, ...proxytest.Option) *proxytest.Proxy{
		"haproxy": proxytest.HAProxy, "nginx": proxytest.Nginx,
	}
	habits := map[string]proxytest.Option{"refuses": proxytest.RefuseWebSockets(), "strips": proxytest.StripWebSockets()}
	for proxyName, start := range proxies {
		for habitName, habit := range habits {
			t.Run(proxyName+" "+habitName, func(t *testing.T) {
				t.Parallel()
				hub := newHub(t)
				proxy := start(t, c.addrs(), habit)
				conn := sharedJS(t).Open(t, jsclient.Options{URL: proxy.URL + "/hubs/" + hub + "?user=u"})
				if conn.Transport != jsclient.ServerSentEvents {
					t.Errorf("the client uses %s, want %s", conn.Transport, jsclient.ServerSentEvents)
				}
				b := c.backend(t, hub)
				b.join("g", conn.ConnectionID)
				b.toGroup("g", "to a group")
				b.toUser("u", "to a user")
				conn.Expect("message", "to a group")
				conn.Expect("message", "to a user")
				if _, err := conn.Invoke("NoSuchMethod"); err == nil {
					t.Error("a call without an upstream succeeded")
				}
				if len(conn.Requests("negotiate")) < 2 {
					t.Errorf("the client did not try WebSockets first: %v", conn.Requests())
				}
			})
		}
	}
}

// X-Accel-Buffering: no gets events through an nginx that buffers.
func TestServerSentEventsPassABufferingNginx(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	hub := newHub(t)
	proxy := c.nginx(t, proxytest.Buffer())
	conn := sharedJS(t).Open(t, jsclient.Options{URL: proxy + "/hubs/" + hub, Transport: jsclient.ServerSentEvents})
	for i := range 5 {
		c.backend(t, hub).toAll(i)
		conn.Expect("message", i)
	}
}

// Where nothing helps against buffering, long polling works.
func TestLongPollingPassesAnNginxThatAlwaysBuffers(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	for _, protocol := range []string{jsclient.JSON, jsclient.MessagePack} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			hub := newHub(t)
			proxy := c.nginx(t, proxytest.BufferAlways())
			conn := sharedJS(t).Open(t, jsclient.Options{URL: proxy + "/hubs/" + hub, Transport: jsclient.LongPolling, Protocol: protocol})
			for i := range 5 {
				c.backend(t, hub).toAll(i)
				conn.Expect("message", i)
			}
		})
	}
}

// WebSockets without negotiate: the upgrade itself makes the connection.
func TestSkippedNegotiation(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	hub := newHub(t)
	conn := sharedJS(t).Open(t, jsclient.Options{
		URL: c.haproxy(t) + "/hubs/" + hub + "?user=carol", Transport: jsclient.WebSockets, SkipNegotiation: true,
	})
	b := c.backend(t, hub)
	b.toUser("carol", "found by her user")
	conn.Expect("message", "found by her user")
	if n := conn.Requests("negotiate"); len(n) > 0 {
		t.Errorf("the client negotiated: %v", n)
	}
}

// MessagePack needs a binary transport, and the client knows it.
func TestClientRefusesMessagePackOverServerSentEvents(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	_, err := sharedJS(t).TryOpen(t, jsclient.Options{
		URL: c.haproxy(t) + "/hubs/" + newHub(t), Transport: jsclient.ServerSentEvents, Protocol: jsclient.MessagePack,
	})
	if err == nil {
		t.Error("start succeeded: negotiate must offer Text only for ServerSentEvents")
	}
}
