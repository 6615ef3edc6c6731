package jsclient_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"hubstream/integration/internal/jsclient"
)

// A server without hubs, for what can be seen of the driver without one.
func TestDriverReportsRequestsOfEveryVersion(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Hubstream-Node", "n7")
		http.NotFound(w, r)
	}))
	defer server.Close()
	js := jsclient.Start(t)
	for _, version := range []string{"10", "8", "7", "3", "1"} {
		for _, protocol := range []string{jsclient.JSON, jsclient.MessagePack} {
			conn, err := js.TryOpen(t, jsclient.Options{URL: server.URL + "/hubs/chat?user=u", Version: version, Protocol: protocol})
			if err == nil {
				t.Errorf("version %s with %s: start succeeded against a server without hubs", version, protocol)
			}
			want := []jsclient.Request{{Kind: "negotiate", Status: 404, Node: "n7"}}
			if got := conn.Requests(); !slices.Equal(got, want) {
				t.Errorf("version %s with %s: requests: got %v, want %v (start: %v)", version, protocol, got, want, err)
			}
		}
	}
}
