package integration_test

import (
	"net/http"
	"strings"
	"testing"

	"hubstream/integration/internal/rawclient"
)

// connectAs makes each of the four requests that name a connection, and returns the status of each.
func requestsOf(t *testing.T, hub *rawclient.HubClient, token string) map[string]rawclient.Answer {
	t.Helper()
	answers := map[string]rawclient.Answer{
		"poll":   hub.Do(http.MethodGet, token, ""),
		"events": hub.Do(http.MethodGet, token, "", "Accept", "text/event-stream"),
		"POST":   hub.Post(token, rawclient.Ping),
		"DELETE": hub.Delete(token),
	}
	if token != "" { // without one an upgrade makes a new connection
		ws, status, err := hub.TryWebSocket(token)
		if err == nil {
			ws.Abort()
			status = http.StatusSwitchingProtocols
		}
		answers["upgrade"] = rawclient.Answer{Status: status, Body: "No Connection with that ID"}
	}
	return answers
}

func TestRequestsWithoutAnIDAreRefused(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	for name, a := range requestsOf(t, c.hub(t, newHub(t), 0), "") {
		if a.Status != http.StatusBadRequest || !strings.Contains(a.Body, "Connection ID required") {
			t.Errorf("%s: got %d %q, want 400 \"Connection ID required\"", name, a.Status, a.Body)
		}
	}
}

func TestUnusableTokensAreNotFoundAnywhere(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	name := newHub(t)
	good := c.hub(t, name, 0).Connect().Token()
	foreign := c.hub(t, newHub(t), 0).Connect().Token()
	last := "A"
	if strings.HasSuffix(good, last) {
		last = "B"
	}
	ended := openPolling(t, c, name)
	if a := ended.at(1).Delete(ended.token); a.Status != http.StatusAccepted {
		t.Fatalf("DELETE: got %d", a.Status)
	}
	for what, token := range map[string]string{
		"unknown": "abcdefghijklmnopqrstuv", "forged": good[:len(good)-1] + last, "cut": good[:len(good)/2], "of another hub": foreign,
		"ended": ended.token, "long": strings.Repeat("A", 6000), "not base64url": "%25%00%2F..",
	} {
		for i := range c.nodes {
			for request, a := range requestsOf(t, c.hub(t, name, i), token) {
				if a.Status != http.StatusNotFound || !strings.Contains(a.Body, "No Connection with that ID") {
					t.Errorf("%s at %s with a token that is %s: got %d %q, want 404 \"No Connection with that ID\"", request, c.nodes[i].Name, what, a.Status, a.Body)
				}
			}
		}
	}
	// None of that harmed the token that was imitated.
	ws := c.hub(t, name, 2).WebSocket(good)
	ws.SendText(rawclient.Handshake)
	ws.ExpectText(rawclient.Accepted)
}

func TestOtherMethodsAreRefused(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	hub := c.hub(t, newHub(t), 0)
	token := hub.Connect().Token()
	for _, method := range []string{http.MethodPut, http.MethodPatch} {
		if a := hub.Do(method, token, ""); a.Status != http.StatusMethodNotAllowed {
			t.Errorf("%s: got %d, want 405", method, a.Status)
		}
	}
}

// A connection keeps the transport of its first GET, and whoever tries another harms nobody.
func TestTransportsDoNotMix(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	name := newHub(t)
	const mixed = "Cannot change transports mid-connection"

	t.Run("on a WebSocket", func(t *testing.T) {
		ws, n := c.hub(t, name, 0).OpenWebSocket()
		for i := range c.nodes {
			hub := c.hub(t, name, i)
			wantAnswer(t, hub.Poll(n.Token()), 400, mixed)
			wantAnswer(t, hub.Do(http.MethodGet, n.Token(), "", "Accept", "text/event-stream"), 400, mixed)
			wantAnswer(t, hub.Post(n.Token(), rawclient.Ping), 405, "POST requests are not allowed for WebSocket connections.")
			wantAnswer(t, hub.Delete(n.Token()), 400, "Cannot terminate this connection using the DELETE endpoint.")
			if _, status, _ := hub.TryWebSocket(n.Token()); status != http.StatusConflict {
				t.Errorf("second upgrade at %s: got %d, want 409", c.nodes[i].Name, status)
			}
		}
		c.backend(t, name).toConnection(n.ConnectionID, "still here")
		ws.ExpectText(`{"type":1,"target":"message","arguments":["still here"]}` + rawclient.Separator)
	})
	t.Run("on an event stream", func(t *testing.T) {
		events, n := c.hub(t, name, 1).OpenEvents()
		for i := range c.nodes {
			hub := c.hub(t, name, i)
			wantAnswer(t, hub.Poll(n.Token()), 400, mixed)
			wantAnswer(t, hub.Delete(n.Token()), 400, "Cannot terminate this connection using the DELETE endpoint.")
			if a := hub.Do(http.MethodGet, n.Token(), "", "Accept", "text/event-stream"); a.Status != http.StatusConflict {
				t.Errorf("second stream at %s: got %d %q, want 409", c.nodes[i].Name, a.Status, a.Body)
			}
			if _, status, _ := hub.TryWebSocket(n.Token()); status != http.StatusBadRequest {
				t.Errorf("upgrade at %s: got %d, want 400", c.nodes[i].Name, status)
			}
		}
		c.backend(t, name).toConnection(n.ConnectionID, "still here")
		events.Expect(`{"type":1,"target":"message","arguments":["still here"]}`)
	})
	t.Run("on long polling", func(t *testing.T) {
		lp := openPolling(t, c, name)
		for i := range c.nodes {
			hub := c.hub(t, name, i)
			wantAnswer(t, hub.Do(http.MethodGet, lp.token, "", "Accept", "text/event-stream"), 400, mixed)
			if _, status, _ := hub.TryWebSocket(lp.token); status != http.StatusBadRequest {
				t.Errorf("upgrade at %s: got %d, want 400", c.nodes[i].Name, status)
			}
		}
		c.backend(t, name).toConnection(lp.id, "still here")
		lp.expect(`{"type":1,"target":"message","arguments":["still here"]}`)
	})
}

func wantAnswer(t *testing.T, a rawclient.Answer, status int, text string) {
	t.Helper()
	if a.Status != status || !strings.Contains(a.Body, text) {
		t.Errorf("at %s: got %d %q, want %d %q", a.Node(), a.Status, a.Body, status, text)
	}
}

// Every answer says who gave it, errors too.
func TestEveryAnswerNamesItsNode(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	node := c.nodes[0]
	for _, path := range []string{"/healthz", "/readyz", "/nothing/here", "/hubs/x", "/hubs/x/negotiate", "/api/hubs/x/send", "/hubs/%20bad%20"} {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodOptions} {
			a, err := rawclient.Do(t.Context(), method, node.URL+path, "")
			if err != nil {
				t.Fatal(err)
			}
			if a.Node() != node.Name {
				t.Errorf("%s %s: %d names node %q, want %q", method, path, a.Status, a.Node(), node.Name)
			}
		}
	}
}

func TestHealthAndReadiness(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	for _, n := range c.nodes {
		for _, path := range []string{"/healthz", "/readyz"} {
			a, err := rawclient.Do(t.Context(), http.MethodGet, n.URL+path, "")
			if err != nil {
				t.Fatal(err)
			}
			if a.Status != http.StatusOK {
				t.Errorf("%s at %s: got %d %s, want 200", path, n.Name, a.Status, a.Body)
			}
		}
	}
}

// Clients behind odd middle boxes send a Host without its port.
func TestHostHeaderIsNotChecked(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	hub := rawclient.Hub(t, c.nodes[0].URL+"/hubs/"+newHub(t)+"/negotiate")
	if a := hub.Do(http.MethodPost, "", "", "Host", "127.0.0.1"); a.Status != http.StatusOK {
		t.Errorf("got %d %s", a.Status, a.Body)
	}
}
