package integration_test

import (
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"hubstream/integration/internal/rawclient"
)

var tokenAlphabet = regexp.MustCompile(`^[A-Za-z0-9_.~-]+$`)

const offeredTransports = `[{"transport":"WebSockets","transferFormats":["Text","Binary"]},` +
	`{"transport":"ServerSentEvents","transferFormats":["Text"]},` +
	`{"transport":"LongPolling","transferFormats":["Text","Binary"]}]`

func TestNegotiateVersions(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	hub := c.hub(t, newHub(t), 0)
	for _, v := range []struct {
		query   string
		version int
	}{
		{"negotiateVersion=1", 1}, {"negotiateVersion=0", 0}, {"", 0}, {"negotiateVersion=7", 1}, {"NegotiateVersion=1", 1},
		{"negotiateVersion=1&user=u&anything=%20x", 1},
	} {
		n := hub.Negotiate(v.query)
		if n.Status != http.StatusOK || !strings.HasPrefix(n.Header.Get("Content-Type"), "application/json") {
			t.Fatalf("%q: got %d %s", v.query, n.Status, n.Header.Get("Content-Type"))
		}
		if n.NegotiateVersion != v.version || !strings.Contains(n.Body, `"negotiateVersion":`) {
			t.Errorf("%q: got version %d in %s, want %d", v.query, n.NegotiateVersion, n.Body, v.version)
		}
		if n.ConnectionID == "" || !tokenAlphabet.MatchString(n.Token()) {
			t.Errorf("%q: connectionId %q, token %q", v.query, n.ConnectionID, n.Token())
		}
		if (n.ConnectionToken != nil) != (v.version == 1) || v.version == 1 && *n.ConnectionToken == n.ConnectionID {
			t.Errorf("%q: a connection token belongs to version 1, and is not the ID: %s", v.query, n.Body)
		}
		transports, err := json.Marshal(n.AvailableTransports)
		if err != nil || !equalJSON(t, string(transports), offeredTransports) {
			t.Errorf("%q: transports %s, want %s", v.query, transports, offeredTransports)
		}
		for _, never := range []string{"null", "ProtocolVersion", "useStatefulReconnect"} {
			if strings.Contains(n.Body, never) {
				t.Errorf("%q: the answer has %s: %s", v.query, never, n.Body)
			}
		}
		if n.Node() != c.nodes[0].Name {
			t.Errorf("%q: X-Hubstream-Node is %q, want %q", v.query, n.Node(), c.nodes[0].Name)
		}
	}
}

// equalJSON ignores the order and case of names: Go's decoder took the names in any case.
func equalJSON(t *testing.T, got, want string) bool {
	t.Helper()
	canonical := func(text string) string {
		var v any
		if err := json.Unmarshal([]byte(strings.ToLower(text)), &v); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		b, _ := json.Marshal(v)
		return string(b)
	}
	return canonical(got) == canonical(want)
}

func TestNegotiateVersionThatIsNoNumberIsAnErrorForTheClient(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	n := c.hub(t, newHub(t), 0).Negotiate("negotiateVersion=abc")
	if n.Status != http.StatusOK || n.Error == nil || *n.Error == "" || n.ConnectionID != "" {
		t.Errorf("got %d %s, want 200 with nothing but an error", n.Status, n.Body)
	}
}

func TestStatefulReconnectIsAnsweredOnlyWhenAskedFor(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	n := c.hub(t, newHub(t), 0).Negotiate("negotiateVersion=1&useStatefulReconnect=true")
	if n.UseStatefulReconnect != nil && !*n.UseStatefulReconnect {
		t.Errorf("useStatefulReconnect is there and false: %s", n.Body)
	}
}

func TestNegotiateIsPostOnly(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	hub := rawclient.Hub(t, c.nodes[0].URL+"/hubs/"+newHub(t)+"/negotiate")
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
		if a := hub.Do(method, "", ""); a.Status != http.StatusMethodNotAllowed {
			t.Errorf("%s: got %d, want 405", method, a.Status)
		}
	}
}

// Clients of a URL that ends in a slash add "negotiate", and connect to the URL as it is.
func TestHubURLMayEndInASlash(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	hub := c.hub(t, newHub(t)+"/", 0)
	n := hub.Connect()
	ws := hub.WebSocket(n.Token())
	ws.SendText(rawclient.Handshake)
	ws.ExpectText(rawclient.Accepted)
}

// What one node sealed another opens; a negotiate asks nobody.
func TestEveryNodeTakesEveryToken(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	name := newHub(t)
	for i := range c.nodes {
		for j := range c.nodes {
			n := c.hub(t, name, i).Connect()
			ws := c.hub(t, name, j).WebSocket(n.Token())
			ws.SendText(rawclient.Handshake)
			ws.ExpectText(rawclient.Accepted)
		}
	}
}

func TestConnectionIDsAreUnique(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	name := newHub(t)
	var ids []string
	for i := range 30 {
		n := c.hub(t, name, i).Connect()
		ids = append(ids, n.ConnectionID, n.Token())
	}
	slices.Sort(ids)
	if got := len(slices.Compact(slices.Clone(ids))); got != len(ids) {
		t.Errorf("%d different of %d", got, len(ids))
	}
}
