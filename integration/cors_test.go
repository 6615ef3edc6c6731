package integration_test

import (
	"net/http"
	"strings"
	"testing"

	"hubstream/integration/internal/rawclient"
)

const (
	localPage   = "http://localhost:3000" // allowed by default, for development
	foreignPage = "https://foreign.example"
)

// Browsers ask before they send what SignalR's clients send; any node answers, knowing no connection.
func TestPreflightIsAnsweredByAnyNode(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	name := newHub(t)
	for i := range c.nodes {
		for _, method := range []string{http.MethodPost, http.MethodGet, http.MethodDelete} {
			a := c.hub(t, name, i).Do(http.MethodOptions, "unknown", "", "Origin", localPage,
				"Access-Control-Request-Method", method, "Access-Control-Request-Headers", "x-requested-with,x-signalr-user-agent,content-type")
			if a.Status != http.StatusNoContent {
				t.Errorf("preflight: got %d %q, want 204", a.Status, a.Body)
			}
			wantCrossOrigin(t, a)
			if got := a.Header.Get("Access-Control-Allow-Methods"); !strings.Contains(got, method) {
				t.Errorf("allowed methods %q lack %s", got, method)
			}
			for _, header := range []string{"x-requested-with", "x-signalr-user-agent", "content-type"} {
				if got := a.Header.Get("Access-Control-Allow-Headers"); !strings.Contains(strings.ToLower(got), header) {
					t.Errorf("allowed headers %q lack %s", got, header)
				}
			}
		}
	}
}

func wantCrossOrigin(t *testing.T, a rawclient.Answer) {
	t.Helper()
	if got := a.Header.Get("Access-Control-Allow-Origin"); got != localPage {
		t.Errorf("%d: Access-Control-Allow-Origin %q, want %q", a.Status, got, localPage)
	}
	if got := a.Header.Get("Access-Control-Allow-Credentials"); got != "true" {
		t.Errorf("%d: Access-Control-Allow-Credentials %q, want true", a.Status, got)
	}
	if got := a.Header.Values("Vary"); !strings.Contains(strings.Join(got, ","), "Origin") {
		t.Errorf("%d: Vary %q lacks Origin", a.Status, got)
	}
}

// Without the headers a page sees a network error where a status was meant.
func TestAnswersOfEveryKindCarryCORSHeaders(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	hub := c.hub(t, newHub(t), 0)
	origin := []string{"Origin", localPage}
	n := hub.Connect()
	negotiate := rawclient.Hub(t, hub.URL+"/negotiate")
	for what, a := range map[string]rawclient.Answer{
		"negotiate":       negotiate.Do(http.MethodPost, "", "", origin...),
		"negotiate error": negotiate.Do(http.MethodGet, "", "", origin...),
		"first poll":      hub.Do(http.MethodGet, n.Token(), "", origin...),
		"POST":            hub.Do(http.MethodPost, n.Token(), rawclient.Handshake, origin...),
		"poll":            hub.Do(http.MethodGet, n.Token(), "", origin...),
		"not found":       hub.Do(http.MethodGet, "unknown", "", origin...),
		"no id":           hub.Do(http.MethodGet, "", "", origin...),
		"other method":    hub.Do(http.MethodPut, n.Token(), "", origin...),
		"DELETE":          hub.Do(http.MethodDelete, n.Token(), "", origin...),
		"event stream":    hub.Do(http.MethodGet, "unknown", "", append(origin, "Accept", "text/event-stream")...),
	} {
		t.Log(what)
		wantCrossOrigin(t, a)
	}
}

// A page that is not on the list learns nothing, and cannot open what browsers do not guard: a WebSocket.
func TestForeignPagesAreRefused(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	name := newHub(t)
	hub := c.hub(t, name, 0)
	a := rawclient.Hub(t, hub.URL+"/negotiate").Do(http.MethodPost, "", "", "Origin", foreignPage)
	if got := a.Header.Get("Access-Control-Allow-Origin"); got != "" {
		t.Errorf("negotiate: Access-Control-Allow-Origin %q, want none", got)
	}
	n := hub.Connect()
	if _, status, _ := hub.TryWebSocket(n.Token(), "Origin", foreignPage); status != http.StatusForbidden {
		t.Errorf("upgrade: got %d, want 403", status)
	}
	if _, status, _ := hub.TryWebSocket("", "Origin", foreignPage); status != http.StatusForbidden {
		t.Errorf("upgrade without negotiate: got %d, want 403", status)
	}
	b := c.backend(t, name)
	if a := b.call(http.MethodPost, "/send", `{"target":"m","arguments":[]}`, "Content-Type", "application/json", "Origin", foreignPage); a.Status != http.StatusForbidden {
		t.Errorf("send: got %d %q, want 403", a.Status, a.Body)
	}
	ws := hub.WebSocket(n.Token(), "Origin", localPage)
	ws.SendText(rawclient.Handshake)
	ws.ExpectText(rawclient.Accepted)
}
