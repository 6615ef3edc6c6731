package handlers_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hubstream/handlers"
	"hubstream/negotiate/access"
)

// from makes a request from an address; headers are name, value.
func (f *fixture) from(address, method, path string, headers ...string) *httptest.ResponseRecorder {
	f.t.Helper()
	r := httptest.NewRequest(method, "http://hub.example"+path, nil)
	r.RemoteAddr = address
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	return w
}

// wantLimited takes an answer of 429 that says when to come again.
func wantLimited(t *testing.T, what string, w *httptest.ResponseRecorder) {
	t.Helper()
	if seconds, err := strconv.Atoi(w.Header().Get("Retry-After")); w.Code != http.StatusTooManyRequests || err != nil || seconds < 1 {
		t.Errorf("%s: got %d, Retry-After %q", what, w.Code, w.Header().Get("Retry-After"))
	}
}

func TestAnAddressBeginsNoMoreConnectionsThanAllowed(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{Limits: handlers.Limits{ConnectRate: 1}})
	const negotiate = "/hubs/chat/negotiate?negotiateVersion=1"
	begin := func(address string) *httptest.ResponseRecorder { return f.from(address, "POST", negotiate) }
	for _, w := range []*httptest.ResponseRecorder{
		begin("10.0.0.1:1"), f.from("10.0.0.1:2", "GET", "/hubs/chat", "Upgrade", "websocket"),
	} {
		if w.Code == http.StatusTooManyRequests {
			t.Fatalf("within the limit: got %d", w.Code)
		}
	}
	wantLimited(t, "one more", begin("10.0.0.1:3"))
	wantLimited(t, "one more, at Azure's address", f.from("10.0.0.1:3", "POST", "/client/negotiate?hub=chat"))
	wantLimited(t, "a WebSocket without negotiating", f.from("10.0.0.1:4", "GET", "/hubs/chat", "Upgrade", "websocket"))
	// which is what an empty ID means, too; else it would be the way around the limit
	wantLimited(t, "a WebSocket with an empty ID", f.from("10.0.0.1:4", "GET", "/hubs/chat?id=", "Upgrade", "websocket"))
	for what, w := range map[string]*httptest.ResponseRecorder{
		"another address":                  begin("10.0.0.2:1"),
		"a WebSocket that has negotiated":  f.from("10.0.0.1:4", "GET", "/hubs/chat?id=x", "Upgrade", "websocket"),
		"a poll":                           f.from("10.0.0.1:4", "GET", "/hubs/chat?id=x"),
		"a send":                           f.from("10.0.0.1:4", "POST", "/api/hubs/chat/send"),
		"an address of IPv6":               begin("[2001:db8::1]:1"),
		"another of the same network":      begin("[2001:db8::2]:1"),
		"of another network":               begin("[2001:db8:0:1::2]:1"),
		"an address of IPv4 as one of 6":   begin("[::ffff:10.0.0.4]:1"),
		"another such":                     begin("[::ffff:10.0.0.5]:1"),
		"one more such":                    begin("[::ffff:10.0.0.6]:1"),
		"X-Forwarded-For of who knows who": f.from("10.0.0.3:1", "POST", negotiate, "X-Forwarded-For", "10.0.0.1"),
	} {
		if w.Code == http.StatusTooManyRequests {
			t.Errorf("%s: got %d", what, w.Code)
		}
	}
	wantLimited(t, "a third of the same network", begin("[2001:db8::3]:1"))
	if n := f.Refusals()["rate_limited"]; n != 5 {
		t.Errorf("%d refusals are counted", n)
	}
}

func TestTheAddressBehindATrustedProxyCounts(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{Limits: handlers.Limits{ConnectRate: 1, Proxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}})
	begin := func(peer, forwarded string) *httptest.ResponseRecorder {
		return f.from(peer, "POST", "/hubs/chat/negotiate?negotiateVersion=1", "X-Forwarded-For", forwarded)
	}
	for range 2 {
		begin("10.0.0.1:1", "192.0.2.1")
	}
	wantLimited(t, "the same client", begin("10.0.0.1:1", "192.0.2.1"))
	wantLimited(t, "the same client, who says he is somebody else", begin("10.0.0.1:1", "192.0.2.7, 192.0.2.1"))
	wantLimited(t, "the same client, by two proxies", begin("10.0.0.1:1", "192.0.2.1, 10.9.9.9"))
	wantLimited(t, "the same client, whose port the proxy names", begin("10.0.0.1:1", "192.0.2.1:4711"))
	for i, another := range []string{"192.0.2.2", "192.0.2.4:1", "192.0.2.5:2, 10.9.9.9:80", "[2001:db8::1]:3", "2001:db8:0:1::1"} {
		if w := begin("10.0.0.1:1", another); w.Code != http.StatusOK {
			t.Errorf("another client, %d: got %d", i, w.Code)
		}
	}
	if w := begin("192.0.2.3:1", "192.0.2.1"); w.Code != http.StatusOK {
		t.Errorf("who is no proxy: got %d", w.Code)
	}
}

func TestAKeySendsNoMoreThanAllowed(t *testing.T) {
	t.Parallel()
	f := newGuardedWith(t, access.Config{}, handlers.Limits{SendRate: 1})
	token := func(key, user string) string {
		return claims(t, key, map[string]any{"aud": "http://hub.example/api/hubs/chat", "nameid": user})
	}
	send := func(token string) *httptest.ResponseRecorder {
		return f.do("POST", "/api/hubs/chat/send", `{"target":"m"}`, "Authorization", "Bearer "+token)
	}
	for _, user := range []string{"a", "b"} { // of one key, whatever the token
		if w := send(token(keyOne, user)); w.Code != http.StatusAccepted {
			t.Fatalf("got %d %s", w.Code, w.Body)
		}
	}
	w := send(token(keyOne, "c"))
	wantLimited(t, "one more", w)
	if got := refused(t, w, http.StatusTooManyRequests); got.Code != "rate_limited" {
		t.Errorf("got %+v", got)
	}
	wantLimited(t, "a close", f.do("POST", "/api/hubs/chat/:closeConnections", "", "Authorization", "Bearer "+token(keyOne, "a")))
	if w := f.do("GET", "/api/hubs/chat/connections", "", "Authorization", "Bearer "+token(keyOne, "a")); w.Code != http.StatusOK {
		t.Errorf("a look: got %d", w.Code)
	}
	if w := send(token(keyTwo, "a")); w.Code != http.StatusAccepted {
		t.Errorf("another key: got %d", w.Code)
	}
	if w := send(adminKey); w.Code != http.StatusAccepted {
		t.Errorf("an operator: got %d", w.Code)
	}
	wantUnauthorized(t, "a bad token", send("x"), "/api/", "token_invalid")
}

func TestSendsAreLimitedInDevelopmentModeToo(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{Limits: handlers.Limits{SendRate: 1}})
	for range 2 {
		if w := f.send(`{"target":"m"}`); w.Code != http.StatusAccepted {
			t.Fatalf("got %d", w.Code)
		}
	}
	before := f.last()
	wantLimited(t, "one more", f.send(`{"target":"other"}`))
	if string(f.last().Body) != string(before.Body) {
		t.Error("it was sent all the same")
	}
}

// A batch is as many changes as it has operations, however it comes.
func TestTheOperationsOfABatchAreCounted(t *testing.T) {
	t.Parallel()
	const one, other = `{"target":"m"}`, `{"op":"closeAll"}`
	for contentType, body := range map[string]string{
		"application/json":     "[" + strings.Join([]string{one, other, one, other}, ",") + "]",
		"application/x-ndjson": strings.Join([]string{one, other, one, other}, "\n"),
	} {
		f := newFixture(t, handlers.Config{Limits: handlers.Limits{SendRate: 1}})
		w := f.do("POST", "/api/hubs/chat/batch", body, "Content-Type", contentType)
		if n := strings.Count(w.Body.String(), `"code":"rate_limited"`); w.Code != http.StatusOK || n != 2 || !strings.Contains(w.Body.String(), `"status":429`) {
			t.Errorf("%s: got %d %s, want the last two refused", contentType, w.Code, w.Body)
		}
		if n := f.entries(); n != 3 { // with the log's first
			t.Errorf("%s: the log has %d entries, want 3", contentType, n)
		}
		wantLimited(t, "another request", f.send(one))
	}
}

// slowBody is a body whose first byte comes late.
type slowBody struct {
	io.Reader
	first func()
}

func (b *slowBody) Read(p []byte) (int, error) {
	if b.first != nil {
		b.first()
		b.first = nil
	}
	return b.Reader.Read(p)
}

// A token that passes while the body comes changes nothing about whose operations they are.
func TestTheOperationsOfASlowBatchAreCountedForItsKey(t *testing.T) {
	t.Parallel()
	const send, command = `{"target":"m"}`, `{"type":"CloseConnection"}`
	for what, test := range map[string]struct{ path, contentType, body string }{
		"an array":  {"/api/hubs/chat/batch", "application/json", "[" + send + "," + send + "]"},
		"lines":     {"/api/hubs/chat/batch", "application/x-ndjson", send + "\n" + send},
		"execution": {"/api/hubs/chat/:execute", "application/json", "[" + command + "," + command + "]"},
	} {
		var late atomic.Int64
		now := func() time.Time { return time.Now().Add(time.Duration(late.Load())) }
		f := newGuardedWith(t, access.Config{Now: now}, handlers.Limits{SendRate: 1})
		token := func(lasts time.Duration) string {
			return "Bearer " + claims(t, keyOne, map[string]any{"aud": "http://hub.example/api/hubs/chat", "exp": time.Now().Add(lasts).Unix()})
		}
		r := httptest.NewRequest("POST", "http://hub.example"+test.path, &slowBody{strings.NewReader(test.body), func() { late.Store(int64(time.Hour)) }})
		r.Header.Set("Content-Type", test.contentType)
		r.Header.Set("Authorization", token(time.Minute))
		w := httptest.NewRecorder()
		f.ServeHTTP(w, r)
		if w.Code != http.StatusOK && w.Code != http.StatusAccepted || strings.Contains(w.Body.String(), `"error"`) {
			t.Errorf("%s: got %d %s", what, w.Code, w.Body)
		}
		wantLimited(t, "after "+what, f.do("POST", "/api/hubs/chat/send", send, "Authorization", token(2*time.Hour)))
	}
}

// Over all nodes: the store knows the connections of all.
func TestAUserNegotiatesNoMoreConnectionsThanAllowed(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{Limits: handlers.Limits{UserConnections: 2}})
	negotiate := func(hub, user string) *httptest.ResponseRecorder {
		return f.do("POST", "/hubs/"+hub+"/negotiate?negotiateVersion=1&user="+user, "")
	}
	f.connectAs(strings.Repeat("A", 22), "ann")
	if w := negotiate("chat", "ann"); w.Code != http.StatusOK {
		t.Fatalf("got %d %s", w.Code, w.Body)
	}
	f.connectAs("other-connection", "ann")
	w := negotiate("chat", "ann")
	wantLimited(t, "one more", w)
	if !strings.Contains(w.Body.String(), "2 connections") {
		t.Errorf("got %s", w.Body)
	}
	for what, w := range map[string]*httptest.ResponseRecorder{"another user": negotiate("chat", "eve"), "nobody": negotiate("chat", ""), "another hub": negotiate("other", "ann")} {
		if w.Code != http.StatusOK {
			t.Errorf("%s: got %d", what, w.Code)
		}
	}
	_ = f.store.Close()
	if w := negotiate("chat", "ann"); w.Code != http.StatusServiceUnavailable {
		t.Errorf("without a store: got %d", w.Code)
	}
}

// What Retry-After promises holds.
func TestRetryAfterHolds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := handlers.New(handlers.Config{Node: "n1", Limits: handlers.Limits{ConnectRate: 1}})
		begin := func() *httptest.ResponseRecorder {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest("POST", "/hubs/chat/negotiate", nil))
			return w
		}
		begin()
		begin()
		seconds, _ := strconv.Atoi(begin().Header().Get("Retry-After"))
		time.Sleep(time.Duration(seconds) * time.Second)
		if w := begin(); w.Code == http.StatusTooManyRequests {
			t.Errorf("after %d s: got %d", seconds, w.Code)
		}
	})
}
