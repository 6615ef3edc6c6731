package jsclient_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"
	"time"

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

// What becomes of a start that was given up is told to nobody, and no connection is left of it.
func TestGivenUpStartIsNotObserved(t *testing.T) {
	t.Parallel()
	givenUp, begun, left := make(chan struct{}), make(chan struct{}, 10), make(chan struct{}, 10)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /slow/negotiate", func(http.ResponseWriter, *http.Request) { <-givenUp })
	mux.HandleFunc("POST /silent/negotiate", func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte(`{"negotiateVersion":1,"connectionId":"c","connectionToken":"t","availableTransports":` +
			`[{"transport":"ServerSentEvents","transferFormats":["Text"]}]}`))
	})
	mux.HandleFunc("POST /silent", func(http.ResponseWriter, *http.Request) {}) // and never answers the handshake
	mux.HandleFunc("GET /silent", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.(http.Flusher).Flush()
		begun <- struct{}{}
		<-r.Context().Done()
		left <- struct{}{}
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	js := jsclient.Start(t)
	giveUp := func(path string, patience time.Duration) {
		js.SetPatience(patience)
		var returned atomic.Bool
		tell := func(what any) {
			if returned.Load() {
				t.Errorf("after a Dial of %s has failed its observer is told %v", path, what)
			}
		}
		_, err := js.Dial(jsclient.Options{URL: server.URL + path, Transport: jsclient.ServerSentEvents, Observer: &jsclient.Observer{
			Message: func(m jsclient.Message) { tell(m) },
			Event:   func(e jsclient.Event) { tell(e) },
			Request: func(r jsclient.Request) { tell(r) },
		}})
		returned.Store(true)
		if err == nil {
			t.Fatalf("the start of %s succeeded without an answer", path)
		}
	}
	giveUp("/slow", time.Second)
	close(givenUp)
	time.Sleep(100 * time.Millisecond)                            // until its client knows the answer
	for patience := time.Second; len(begun) == 0; patience *= 2 { // on a busy machine the client may not have come as far
		if patience > jsclient.Patience {
			t.Fatal("the client does not connect")
		}
		giveUp("/silent", patience)
	}
	select {
	case <-left:
	case <-time.After(jsclient.Patience):
		t.Error("the client that was given up stays connected")
	}
}
