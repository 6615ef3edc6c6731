package handlers_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"hubstream/handlers"
	"hubstream/negotiate/access"
)

func TestNegotiateSealsHubAndUser(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	w := f.do("POST", "/hubs/Chat/negotiate?user=alice%20b&negotiateVersion=1", "")
	var answer struct{ ConnectionID, ConnectionToken string }
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != http.StatusOK {
		t.Fatalf("got %d %s (%v)", w.Code, w.Body, err)
	}
	token, err := f.keyring.Open(answer.ConnectionToken)
	if err != nil || token.Hub != "chat" || token.User != "alice b" || token.ConnectionID != answer.ConnectionID {
		t.Errorf("the token says %+v (%v)", token, err)
	}
	if h := w.Header(); h.Get("Content-Type") != "application/json" || h.Get("Cache-Control") != "no-store" {
		t.Errorf("headers: %v", h)
	}
}

func TestNegotiateTakesOnlyPOST(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	for _, method := range []string{"GET", "PUT", "DELETE", "PATCH"} {
		w := f.do(method, "/hubs/chat/negotiate", "")
		if w.Code != http.StatusMethodNotAllowed || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain") || !strings.Contains(w.Header().Get("Allow"), "POST") {
			t.Errorf("%s: got %d %v", method, w.Code, w.Header())
		}
	}
}

func TestHubRequestsReachTheirServer(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	for path, want := range map[string]string{
		"/hubs/chat": "chat ", "/hubs/chat/": "chat ", "/hubs/CHAT?id=x&user=bob": "chat bob", "/hubs/a.b-c_1": "a.b-c_1 ", "/hubs/ch%61t": "chat ",
	} {
		for _, method := range []string{"GET", "POST", "DELETE", "PUT", "PATCH"} {
			w := f.do(method, path, "")
			if w.Code != http.StatusTeapot || w.Body.String() != method+" "+want {
				t.Errorf("%s %s: got %d %q", method, path, w.Code, w.Body)
			}
		}
	}
}

func TestBadHubNamesAreRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	for _, name := range []string{"a%20b", "a%2Fb", "a:b", "a%7Bb", "%C3%BC", "a%0Ab", "*", "%FF", "a%252F", strings.Repeat("a", 129)} {
		for _, path := range []string{"/hubs/" + name, "/hubs/" + name + "/negotiate"} {
			if w := f.do("POST", path, ""); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "hub") {
				t.Errorf("%s: got %d %q", path, w.Code, w.Body)
			}
		}
		if r := refused(t, f.do("POST", "/api/hubs/"+name+"/send", `{"target":"m"}`), http.StatusBadRequest); r.Target != "hub" {
			t.Errorf("%s: got %+v", name, r)
		}
	}
}

func TestBadUsersAreRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	if w := f.do("POST", "/hubs/chat/negotiate?user=%FF", ""); w.Code != http.StatusBadRequest {
		t.Errorf("not UTF-8: got %d %s", w.Code, w.Body)
	}
	w := f.do("POST", "/hubs/chat/negotiate?user="+strings.Repeat("u", 1025), "")
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"error":`) || !strings.Contains(w.Body.String(), "1024") {
		t.Errorf("too long: got %d %s, want an error that the client shows", w.Code, w.Body)
	}
}

func TestUnknownAddresses(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	for _, path := range []string{"/", "/hubs", "/hubs/", "/hubs/chat/nothing", "/favicon.ico"} {
		if w := f.do("GET", path, ""); w.Code != http.StatusNotFound || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain") {
			t.Errorf("%s: got %d %v", path, w.Code, w.Header())
		}
	}
	for _, path := range []string{"/api/", "/api/hubs", "/api/hubs/chat/nothing", "/api/hubs/chat/groups/g"} {
		refused(t, f.do("GET", path, ""), http.StatusNotFound)
	}
}

// Headers that are set before reach the connection's server, which copies them into its answer to an upgrade.
func TestHubServerSeesNodeHeader(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	f.hubs = func(w http.ResponseWriter, r *http.Request, hub string, who access.Identity) {
		if got := w.Header().Get("X-Hubstream-Node"); got != "n1" {
			t.Errorf("got %q", got)
		}
	}
	f.do("GET", "/hubs/chat", "")
}

func TestPanicIsOneRequestsMisfortune(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	f := newFixture(t, handlers.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	f.hubs = func(http.ResponseWriter, *http.Request, string, access.Identity) { panic("the reason") }
	if w := f.do("GET", "/hubs/chat?id=secret", ""); w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "reason") {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	if !strings.Contains(log.String(), "the reason") || strings.Contains(log.String(), "secret") {
		t.Errorf("log: %s", &log)
	}
}

// An answer that was begun before the panic is cut off, or the client would take it for whole.
func TestPanicInTheMiddleCutsTheAnswer(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	f.hubs = func(w http.ResponseWriter, _ *http.Request, _ string, _ access.Identity) {
		_, _ = w.Write([]byte("half"))
		panic("the reason")
	}
	defer func() {
		if v := recover(); v != http.ErrAbortHandler {
			t.Errorf("got %v, want http.ErrAbortHandler", v)
		}
	}()
	f.do("GET", "/hubs/chat", "")
}

func TestRequestLogHasNoSecrets(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	f := newFixture(t, handlers.Config{Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	f.do("GET", "/hubs/chat?id=secret", "")
	f.do("POST", "/api/hubs/chat/send", `{"target":"secret"}`)
	f.do("GET", "/api/hubs/chat/connections/secret", "")
	for _, word := range []string{"status=418", "status=202", "status=404", "route=/api/hubs/:hub/send", "hub=chat"} {
		if !strings.Contains(log.String(), word) {
			t.Errorf("the log lacks %s", word)
		}
	}
	if strings.Contains(log.String(), "secret") {
		t.Errorf("log: %s", &log)
	}
}

// As ASP.NET Core's has, whatever the length: not every HTTP client takes chunks.
func TestAnswerToNegotiateHasItsLength(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	server := httptest.NewServer(f)
	defer server.Close()
	for _, user := range []string{"ann", strings.Repeat("u", 1024), strings.Repeat("%C3%A9", 1024)} {
		r, err := server.Client().Post(server.URL+"/hubs/chat/negotiate?negotiateVersion=1&user="+user, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r.Body)
		_ = r.Body.Close()
		if err != nil || r.StatusCode != http.StatusOK || r.ContentLength != int64(len(body)) {
			t.Errorf("got %d, Content-Length %d for %d bytes (%v)", r.StatusCode, r.ContentLength, len(body), err)
		}
	}
}

// An EventSource of Node's that gets a 5xx asks again every second for ever, with an ID that its client has given up.
func TestEventStreamsOfConnectionsAreNeverRefusedWith5xx(t *testing.T) {
	t.Parallel()
	synctest.Test(t, testEventStreamsOfConnections)
}

func testEventStreamsOfConnections(t *testing.T) {
	h := handlers.New(handlers.Config{Node: "n1"}) // not started
	broken := newFixture(t, handlers.Config{})
	broken.hubs = func(http.ResponseWriter, *http.Request, string, access.Identity) { panic("broken") }
	for what, v := range map[string]struct {
		node         http.Handler
		path, accept string
		want         int
	}{
		"a node that starts":                  {h, "/hubs/chat?id=x", "text/event-stream", http.StatusNotFound},
		"a node that starts, Azure's address": {h, "/client/?hub=chat&id=x", "text/event-stream", http.StatusNotFound},
		"a node that starts, a poll":          {h, "/hubs/chat?id=x&_=1", "*/*", http.StatusServiceUnavailable},
		"a node that starts, a plain stream":  {h, "/api/hubs/chat/events", "text/event-stream", http.StatusServiceUnavailable},
		"a panic":                             {broken, "/hubs/chat?id=x", "text/event-stream", http.StatusNotFound},
	} {
		r := httptest.NewRequest("GET", v.path, nil)
		r.Header.Set("Accept", v.accept)
		w := httptest.NewRecorder()
		v.node.ServeHTTP(w, r)
		if w.Code != v.want {
			t.Errorf("%s: got %d %s, want %d", what, w.Code, w.Body, v.want)
		}
	}
}

func TestNodeLivesBeforeItServes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, testNodeBeforeItServes)
}

func testNodeBeforeItServes(t *testing.T) {
	h := handlers.New(handlers.Config{Node: "n1"})
	get := func(method, path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
		return w
	}
	if w := get("GET", "/healthz"); w.Code != http.StatusOK || w.Body.String() != "ok\n" {
		t.Errorf("healthz: got %d %s", w.Code, w.Body)
	}
	if w := get("GET", "/readyz"); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "starting") {
		t.Errorf("readyz: got %d %s", w.Code, w.Body)
	}
	if w := get("POST", "/api/hubs/chat/send"); w.Header().Get("Retry-After") != "1" || refused(t, w, http.StatusServiceUnavailable).Code != "unavailable" {
		t.Errorf("send: got %v", w.Header())
	}
	if w := get("POST", "/hubs/chat/negotiate"); w.Code != http.StatusServiceUnavailable {
		t.Errorf("negotiate: got %d %s", w.Code, w.Body)
	}
}

// A balancer that does not ask for readiness sends a node requests as soon as it listens, and a client whose poll, or POST, is refused
// with 503 has lost its connection.
func TestRequestsWaitForTheStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, handlers.Config{})
		h := handlers.New(handlers.Config{Node: "n2"})
		var done sync.WaitGroup
		for _, v := range []struct {
			method, path string
			want         int
		}{
			{"GET", "/hubs/chat?id=x&_=1", http.StatusTeapot}, // as the fixture answers
			{"POST", "/hubs/chat?id=x", http.StatusTeapot},
			{"POST", "/hubs/chat/negotiate", http.StatusOK},
			{"GET", "/api/hubs/chat/connections", http.StatusOK},
		} {
			done.Go(func() {
				w := httptest.NewRecorder()
				h.ServeHTTP(w, httptest.NewRequest(v.method, v.path, nil))
				if w.Code != v.want {
					t.Errorf("%s %s: got %d %s, want %d", v.method, v.path, w.Code, w.Body, v.want)
				}
			})
		}
		ctx, cancel := context.WithCancel(t.Context())
		gone := httptest.NewRecorder()
		done.Go(func() { h.ServeHTTP(gone, httptest.NewRequestWithContext(ctx, "GET", "/hubs/chat?id=x", nil)) })
		synctest.Wait()
		cancel() // its client, or the node, has ended
		synctest.Wait()
		if gone.Code != http.StatusServiceUnavailable {
			t.Errorf("a request that is over: got %d", gone.Code)
		}
		time.Sleep(9 * time.Second)
		h.Start(f.services)
		done.Wait()
	})
}

// Whoever reaches a node may ask whether it is ready, and is not told where the store is.
func TestReadinessDoesNotSayWhereTheStoreIs(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	tcp := &net.TCPAddr{IP: net.IPv4(10, 0, 0, 7), Port: 6379}
	for _, err := range []error{
		&net.OpError{Op: "dial", Net: "tcp", Addr: tcp, Err: syscall.ECONNREFUSED},
		&net.OpError{Op: "read", Net: "tcp", Source: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 8), Port: 40000}, Addr: tcp, Err: syscall.ECONNREFUSED},
		&net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Name: "store-10", Server: "10.0.0.7:53", Err: "connection refused"}},
	} {
		f.Unready("Valkey takes no writes: " + err.Error())
		w := f.do("GET", "/readyz", "")
		if text := w.Body.String(); strings.Contains(text, "10") || !strings.HasPrefix(text, "Valkey takes no writes: ") || !strings.HasSuffix(text, "connection refused\n") {
			t.Errorf("%v: got %q", err, text)
		}
	}
}

func TestReadinessIsTheStoresUnlessStopping(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	if w := f.do("GET", "/readyz", ""); w.Code != http.StatusOK {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	f.Unready("stopping")
	if w := f.do("GET", "/readyz", ""); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "stopping") {
		t.Errorf("stopping: got %d %s", w.Code, w.Body)
	}
	if w := f.send(`{"target":"m"}`); w.Code != http.StatusAccepted {
		t.Errorf("a send while stopping: got %d %s", w.Code, w.Body)
	}
	f = newFixture(t, handlers.Config{})
	_ = f.store.Close()
	if w := f.do("GET", "/readyz", ""); w.Code != http.StatusServiceUnavailable || w.Body.Len() == 0 {
		t.Errorf("without a store: got %d %s", w.Code, w.Body)
	}
	if w := f.do("HEAD", "/api/health", ""); w.Code != http.StatusOK {
		t.Errorf("Azure's health without a store: got %d", w.Code)
	}
	if w := f.do("HEAD", "/healthz", ""); w.Code != http.StatusOK {
		t.Errorf("healthz without a store: got %d", w.Code)
	}
}
