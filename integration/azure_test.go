package integration_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"hubstream/integration/internal/jsclient"
)

// Closing a group closes its members, wherever they are, with the reason, and nobody else.
func TestAzuresCloseOfAGroup(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	for _, k := range kindsOf("10") {
		t.Run(k.String(), func(t *testing.T) {
			t.Parallel()
			name := newHub(t)
			open := func() *jsclient.Conn {
				return sharedJS(t).Open(t, jsclient.Options{
					URL: c.haproxy(t) + "/hubs/" + name, Transport: k.transport, Protocol: k.protocol, Reconnect: []time.Duration{0},
				})
			}
			member, excluded, other := open(), open(), open()
			b := c.backend(t, name)
			for _, conn := range []*jsclient.Conn{member, excluded} {
				if a := b.call(http.MethodPut, "/groups/g/connections/"+conn.ConnectionID+"?api-version=2022-06-01", ""); a.Status != http.StatusOK {
					t.Fatalf("join: got %d %q", a.Status, a.Body)
				}
			}
			for range 3 { // each time another node
				if a := b.call(http.MethodGet, "/groups/g?api-version=2022-06-01", ""); a.Status != http.StatusOK || string(a.Body) != `{"connections":2}` {
					t.Errorf("count: got %d %q, want 2 members", a.Status, a.Body)
				}
			}
			call := func(path, body string, want int) {
				t.Helper()
				if a := b.call(http.MethodPost, path, body); a.Status != want {
					t.Fatalf("%s: got %d %q, want %d", path, a.Status, a.Body, want)
				}
			}
			call("/groups/g/:send?api-version=2022-06-01", `{"target":"message","arguments":["for the group"]}`, http.StatusAccepted)
			call("/groups/g/:closeConnections?api-version=2022-06-01&allowReconnect=false&reason=enough&excluded="+excluded.ConnectionID, "", http.StatusNoContent)
			call("/:send?api-version=2022-06-01", `{"target":"message","arguments":["after"]}`, http.StatusAccepted)
			member.Expect("message", "for the group")
			if e := member.Event("closed"); !strings.Contains(e.Error, "enough") {
				t.Errorf("closed with %q, want the reason", e.Error)
			}
			if unread := member.Unread(); len(unread) > 0 {
				t.Errorf("after the end came %v", unread)
			}
			excluded.Expect("message", "for the group")
			excluded.Expect("message", "after")
			other.Expect("message", "after")
		})
	}
}
