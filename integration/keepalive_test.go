package integration_test

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"hubstream/integration/internal/jsclient"
	"hubstream/integration/internal/proxytest"
	"hubstream/integration/internal/rawclient"
)

// The defaults of both sides.
const (
	pingInterval  = 15 * time.Second
	clientTimeout = 30 * time.Second
	slack         = 4 * time.Second // for busy machines and timers that tick once a second
)

func TestIdleWebSocketIsPinged(t *testing.T) {
	t.Parallel()
	s := openSocket(t)
	m, err := s.Read(pingInterval + slack)
	if err != nil || m.Payload != rawclient.Ping {
		t.Errorf("got %q, %v; want a hub ping within %v", m.Payload, err, pingInterval)
	}
}

// Pings are events with data: clients do not count comments.
func TestIdleEventStreamIsPinged(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	name := newHub(t)
	n := c.hub(t, name, 0).Connect()
	raw := c.hub(t, name, 0).RawEvents(n.Token())
	raw.ExpectBytes(":\r\n")
	c.hub(t, name, 1).Post(n.Token(), rawclient.Handshake)
	raw.ExpectBytes("data: {}\x1e\r\n\r\n")
	start := time.Now()
	raw.ExpectBytes("data: {\"type\":6}\x1e\r\n\r\n")
	if took := time.Since(start); took > pingInterval+slack {
		t.Errorf("the ping took %v, want at most %v", took, pingInterval)
	}
}

// A client that pings promises to go on with it; one that never pinged promised nothing.
func TestOnlyAClientThatPingedCanTimeOut(t *testing.T) {
	t.Parallel()
	t.Run("pinged once", func(t *testing.T) {
		t.Parallel()
		s := openSocket(t)
		s.SendText(rawclient.Ping)
		start := time.Now()
		records, _ := s.ExpectClosed(clientTimeout + 3*slack)
		if took := time.Since(start); took < clientTimeout-slack {
			t.Errorf("closed after %v, want %v", took, clientTimeout)
		}
		wantErrorClose(t, records[len(records)-1])
	})
	t.Run("never pinged", func(t *testing.T) {
		t.Parallel()
		s := openSocket(t)
		for end := time.Now().Add(clientTimeout + 2*slack); ; {
			m, err := s.Read(time.Until(end))
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				return // still open
			}
			if err != nil || m.Payload != rawclient.Ping {
				t.Fatalf("got %q, %v; want nothing but pings", m.Payload, err)
			}
		}
	})
}

// Proxies cut what is silent, often after 60 s and some after 30 s: pings and short polls keep every transport under
// that.
func TestIdleClientsSurviveAProxyThatCutsAtThirtySeconds(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	name := newHub(t)
	proxies := map[string]string{
		"haproxy": c.haproxy(t, proxytest.CutIdle(30*time.Second)),
		"nginx":   c.nginx(t, proxytest.CutIdle(30*time.Second)),
	}
	conns := map[string]*jsclient.Conn{}
	for proxyName, proxy := range proxies {
		for _, k := range kindsOf("10") {
			conns[proxyName+" "+k.String()] = sharedJS(t).Open(t, jsclient.Options{
				URL: proxy + "/hubs/" + name, Transport: k.transport, Protocol: k.protocol, Reconnect: []time.Duration{},
			})
		}
	}
	idle := time.NewTimer(35 * time.Second) // nothing to await: that nothing happens is the promise
	<-idle.C
	c.backend(t, name).toAll("still here")
	for what, conn := range conns {
		conn.Expect("message", "still here")
		if events := conn.Events(); len(events) > 0 {
			t.Errorf("%s: %v", what, events)
		}
	}
}

// Close with allowReconnect brings clients back, with a new connection.
func TestJavaScriptClientReconnectsAfterAnErrorClose(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	for _, transport := range []string{jsclient.WebSockets, jsclient.ServerSentEvents, jsclient.LongPolling} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			name := newHub(t)
			conn := sharedJS(t).Open(t, jsclient.Options{
				URL: c.haproxy(t) + "/hubs/" + name + "?user=u", Transport: transport, Reconnect: []time.Duration{0, 100 * time.Millisecond, time.Second},
			})
			// Over the limit of a message: the server closes with allowReconnect.
			_ = conn.Send("Nope", strings.Repeat("x", 2*messageLimit))
			conn.Event("reconnecting")
			again := conn.Event("reconnected")
			if again.ConnectionID == conn.ConnectionID {
				t.Error("the connection ID is the old one")
			}
			b := c.backend(t, name)
			b.toConnection(again.ConnectionID, "welcome back")
			b.toUser("u", "still the same user")
			conn.Expect("message", "welcome back")
			conn.Expect("message", "still the same user")
		})
	}
}
