package transports_test

import (
	"net/http"
	"testing"
	"testing/synctest"

	"hubstream/negotiate"
	"hubstream/transports"
)

const (
	noConnection   = "No Connection with that ID"
	otherTransport = "Cannot change transports mid-connection"
)

// opened is a connection with the transport of each kind.
func (c *cluster) opened(transport negotiate.Transport) *connection {
	c.Helper()
	k := c.negotiate()
	switch transport {
	case negotiate.WebSockets:
		k.openSocket(0, handshakeJSON)
	case negotiate.ServerSentEvents:
		k.openEvents(0).shakesHands(0)
	default:
		k = c.openPolling(handshakeJSON)
	}
	synctest.Wait()
	return k
}

func TestTransportOfAConnectionIsFixed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		websocket := c.opened(negotiate.WebSockets)
		events := c.opened(negotiate.ServerSentEvents)
		polling := c.opened(negotiate.LongPolling)

		websocket.wantNoEvents(1, 400, otherTransport)
		websocket.poll(1, "1").expect(400, otherTransport)
		websocket.want("POST", websocket.do(1, http.MethodPost, "", ping), 405, "POST requests are not allowed for WebSocket connections.")
		websocket.want("DELETE", websocket.do(1, http.MethodDelete, "", ""), 400, "Cannot terminate this connection using the DELETE endpoint.")

		events.wantRefused(1, 400, otherTransport)
		events.poll(1, "1").expect(400, otherTransport)
		events.want("DELETE", events.do(1, http.MethodDelete, "", ""), 400, "Cannot terminate this connection using the DELETE endpoint.")

		polling.wantRefused(1, 400, otherTransport)
		polling.wantNoEvents(1, 400, otherTransport)

		for _, k := range []*connection{websocket, events, polling} {
			k.wantRecord(true)
		}
	})
}

func TestRequestsWithoutAnID(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1)
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
			a := c.do(c.ctx, 0, method, "", "")
			c.want(method, a, 400, "Connection ID required")
			if got := a.header.Get("Content-Type"); got != "text/plain" {
				t.Errorf("%s: Content-Type %q, want text/plain", method, got)
			}
		}
		c.want("event stream", c.do(c.ctx, 0, http.MethodGet, "", "", "Accept", "text/event-stream"), 400, "Connection ID required")
	})
}

func TestOtherMethods(t *testing.T) {
	bubble(t, func(t *testing.T) {
		k := newCluster(t, 1).negotiate()
		for _, method := range []string{http.MethodPut, http.MethodPatch, "BREW"} {
			k.want(method, k.do(0, method, "", ""), 405, "")
		}
		k.wantRecord(false)
	})
}

func TestRequestsOfAnEndedConnection(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3)
		for _, transport := range negotiate.DefaultTransports() {
			k := c.opened(transport)
			if _, err := c.nodes[0].End(c.ctx, hubName, k.id, ""); err != nil {
				t.Fatal(err)
			}
			for by := range c.nodes {
				k.wantRefused(by, 404, noConnection)
				k.wantNoEvents(by, 404, noConnection)
				k.poll(by, "9").expect(404, noConnection)
				k.want("POST", k.do(by, http.MethodPost, "", ping), 404, noConnection)
				k.want("DELETE", k.do(by, http.MethodDelete, "", ""), 404, noConnection)
			}
		}
	})
}

func TestTransportThatIsNotServed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		only := func(t negotiate.Transport) func(*transports.Config) {
			return func(c *transports.Config) { c.Transports = []negotiate.Transport{t} }
		}
		k := newCluster(t, 1, only(negotiate.LongPolling)).negotiate()
		k.wantRefused(0, 404, "WebSockets transport not supported by this end point type")
		k.wantNoEvents(0, 404, "ServerSentEvents transport not supported by this end point type")
		k.poll(0, "1").expect(200, "")
		k = newCluster(t, 1, only(negotiate.WebSockets)).negotiate()
		k.poll(0, "1").expect(404, "LongPolling transport not supported by this end point type")
		k.wantRecord(false)
	})
}

// A POST may come before the first GET.
func TestPostBeforeTheTransportIsKnown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		k := c.negotiate()
		k.post(0, "")
		k.post(1, handshakeJSON+call(0))
		k.want("DELETE", k.do(0, http.MethodDelete, "", ""), 400, "Cannot terminate this connection using the DELETE endpoint.")
		k.poll(1, "1").expect(200, "")
		k.poll(0, "2").expect(200, accepted+failure(0))
	})
}
