package integration_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"hubstream/integration/internal/jsclient"
)

// A backend ends a connection: the client gets what was sent before, learns that it is over, and stays away.
func TestClosedByTheBackend(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	for _, k := range kindsOf("10") {
		t.Run(k.String(), func(t *testing.T) {
			t.Parallel()
			name := newHub(t)
			conn := sharedJS(t).Open(t, jsclient.Options{
				URL: c.haproxy(t) + "/hubs/" + name, Transport: k.transport, Protocol: k.protocol, Reconnect: []time.Duration{0},
			})
			b := c.backend(t, name)
			b.toAll("before the end")
			if a := b.call(http.MethodDelete, "/connections/"+conn.ConnectionID+"?reason=enough", ""); a.Status != http.StatusAccepted {
				t.Fatalf("close: got %d %q, want 202", a.Status, a.Body)
			}
			b.toAll("after the end")
			conn.Expect("message", "before the end")
			if e := conn.Event("closed"); !strings.Contains(e.Error, "enough") {
				t.Errorf("closed with %q, want the reason", e.Error)
			}
			for _, e := range conn.Events() {
				if e.Name != "closed" {
					t.Errorf("the client does not stay away: %v", conn.Events())
				}
			}
			if unread := conn.Unread(); len(unread) > 0 {
				t.Errorf("after the end came %v", unread)
			}
			if a := b.call(http.MethodPut, "/groups/g/connections/"+conn.ConnectionID, ""); a.Status != http.StatusNotFound {
				t.Errorf("join after the end: got %d %q, want 404", a.Status, a.Body)
			}
		})
	}
}

// With allowReconnect it comes back as somebody new.
func TestClosedByTheBackendWithReconnect(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	for _, k := range kindsOf("10") {
		t.Run(k.String(), func(t *testing.T) {
			t.Parallel()
			name := newHub(t)
			conn := sharedJS(t).Open(t, jsclient.Options{
				URL: c.haproxy(t) + "/hubs/" + name, Transport: k.transport, Protocol: k.protocol, Reconnect: []time.Duration{0, time.Second},
			})
			b := c.backend(t, name)
			if a := b.call(http.MethodDelete, "/connections/"+conn.ConnectionID+"?allowReconnect=true", ""); a.Status != http.StatusAccepted {
				t.Fatalf("close: got %d %q, want 202", a.Status, a.Body)
			}
			again := conn.Event("reconnected")
			if again.ConnectionID == conn.ConnectionID || again.ConnectionID == "" {
				t.Errorf("reconnected as %q, was %q: want a new connection", again.ConnectionID, conn.ConnectionID)
			}
			b.toConnection(again.ConnectionID, "welcome back")
			conn.Expect("message", "welcome back")
		})
	}
}
