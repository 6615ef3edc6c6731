package transports_test

import (
	"net/http"
	"testing"

	"hubstream/negotiate"
	"hubstream/negotiate/access"
)

func userOf(name string) func(*negotiate.Token) {
	return func(t *negotiate.Token) { t.User = name }
}

// as makes the cluster's requests come with an access token of a user.
func (c *cluster) as(user string) { c.who.Store(&access.Identity{Authenticated: true, User: user}) }

// A connection token alone lets nobody in: the access token must be of the same user, on every request.
func TestConnectionTokenOfAnotherUserIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		polling := c.negotiate(userOf("ann"))
		for _, user := range []string{"eve", ""} {
			c.as(user)
			polling.want("a poll", polling.do(0, http.MethodGet, "", ""), 404, "No Connection with that ID")
			polling.wantRefused(1, 404, "No Connection with that ID")
			polling.want("an event stream", polling.do(1, http.MethodGet, "", "", "Accept", "text/event-stream"), 404, "No Connection with that ID")
		}
		polling.wantRecord(false)
		c.as("ann")
		polling.want("ann's first poll", polling.do(1, http.MethodGet, "", ""), 200, "")
		polling.post(0, handshakeJSON)
		polling.want("ann's poll", polling.do(1, http.MethodGet, "", ""), 200, accepted)
		for _, user := range []string{"eve", ""} {
			c.as(user)
			polling.want("a poll", polling.do(1, http.MethodGet, "", ""), 404, "No Connection with that ID")
			polling.want("a POST", polling.do(0, http.MethodPost, "", "{\"type\":7}\x1e"), 404, "No Connection with that ID")
			polling.want("a DELETE", polling.do(0, http.MethodDelete, "", ""), 404, "No Connection with that ID")
		}
		polling.wantRecord(true)
		c.as("ann")
		polling.want("ann's DELETE", polling.do(0, http.MethodDelete, "", ""), 202, "")

		nobodys := c.negotiate()
		nobodys.want("of a client without a user", nobodys.do(0, http.MethodGet, "", ""), 404, "No Connection with that ID")
	})
}

// A stateful connection that somebody else's token comes back to stays where it is.
func TestReattachByAnotherUserIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		c.as("ann")
		k := c.negotiate(userOf("ann"), stateful)
		s := k.openSocket(0, handshakeStateful)
		c.as("eve")
		k.wantRefused(1, 404, "No Connection with that ID")
		c.publish(1, 1)
		s.sendText("{\"type\":6}\x1e")
		s.expect(invocation(1))
	})
}

func TestTransportsThatTheTokenDoesNotAllowAreRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1)
		c.who.Store(&access.Identity{Authenticated: true, Transports: []negotiate.Transport{negotiate.LongPolling}})
		k := c.negotiate()
		k.wantRefused(0, 404, "WebSockets transport not supported by this end point type")
		k.want("an event stream", k.do(0, http.MethodGet, "", "", "Accept", "text/event-stream"), 404, "ServerSentEvents transport not supported by this end point type")
		k.want("a poll", k.do(0, http.MethodGet, "", ""), 200, "")
	})
}
