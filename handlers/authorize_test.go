package handlers_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"hubstream/handlers"
	"hubstream/negotiate"
	"hubstream/negotiate/access"
	"hubstream/streams"
)

const (
	keyOne   = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789ABCDEFGH"
	keyTwo   = "HGFEDCBA9876543210ZYXWVUTSRQPONMLKJIHGFEDCBA"
	adminKey = "an-admin-key-of-the-tests"
)

// guarded is a fixture that needs tokens, with a console and metrics.
type guarded struct {
	*fixture
	verifier *access.Verifier
}

func newGuarded(t testing.TB, cfg access.Config) *guarded {
	t.Helper()
	return newGuardedWith(t, cfg, handlers.Limits{})
}

func newGuardedWith(t testing.TB, cfg access.Config, limits handlers.Limits) *guarded {
	t.Helper()
	if cfg.Keys == nil {
		cfg.Keys = []access.Key{keyOne, keyTwo}
	}
	cfg.Leeway = access.DefaultLeeway
	verifier, admins := access.NewVerifier(cfg), access.NewAdmins([]access.Key{"another-admin-key", adminKey})
	return &guarded{verifier: verifier, fixture: newFixture(t, handlers.Config{
		Access: verifier, Admins: admins, Limits: limits,
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "figures") }),
		Console: guardedPage{admins},
	})}
}

// guardedPage is a console that only operators may see.
type guardedPage struct{ admins *access.Admins }

func (guardedPage) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	_, _ = io.WriteString(w, "page")
}
func (p guardedPage) Allowed(r *http.Request) bool { return p.admins.Has(handlers.Bearer(r.Header)) }
func (guardedPage) Payloads() bool                 { return false }

// claims makes a token; what is nil is left out.
func claims(t testing.TB, key string, all map[string]any) string {
	t.Helper()
	full := jwt.MapClaims{"exp": time.Now().Add(time.Hour).Unix(), "nameid": "ann"}
	for name, value := range all {
		full[name] = value
		if value == nil {
			delete(full, name)
		}
	}
	signed, err := jwt.NewWithClaims(jwt.SigningMethodHS256, full).SignedString([]byte(key))
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func unsigned(t testing.TB, aud string) string {
	t.Helper()
	signed, err := jwt.NewWithClaims(jwt.SigningMethodNone, jwt.MapClaims{"exp": time.Now().Add(time.Hour).Unix(), "aud": aud}).SignedString(jwt.UnsafeAllowNoneSignatureType)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// addressOf fills in a route's parameters.
func addressOf(route string) string {
	address := strings.NewReplacer(":hub", "chat", ":group", "red", ":user", "ann", ":connection", strings.Repeat("A", 22), `\:`, ":", "*", "x").Replace(route)
	if route == "/client" || strings.HasPrefix(route, "/client/") {
		address += "?hub=chat"
	}
	return address
}

// open are the routes that anybody may ask.
var open = map[string]bool{
	"/": true, "/console/*": true, "/healthz": true, "/readyz": true, "/api/health": true, "/api/v1/health": true, "/api/openapi.json": true,
}

// Whatever is asked for, by whatever route there is: without a good token it is refused, for the right reason, and nothing
// happens.
func TestEveryRouteRefusesBadTokens(t *testing.T) {
	t.Parallel()
	f := newGuarded(t, access.Config{})
	const client, backend, hub = "http://hub.example/client/?hub=chat", "", "http://hub.example/api/hubs/chat"
	now := time.Now()
	routes := f.Routes()
	if len(routes) < 40 {
		t.Fatalf("there are %d routes", len(routes))
	}
	for _, route := range routes {
		if route.Method == http.MethodConnect { // asks for no address
			continue
		}
		address := addressOf(route.Path)
		u, err := url.Parse("http://hub.example" + address)
		if err != nil {
			t.Fatal(err)
		}
		isClient := strings.HasPrefix(route.Path, "/hubs/") || strings.HasPrefix(route.Path, "/client")
		isBackend := strings.HasPrefix(route.Path, "/api/")
		good := "http://hub.example" + u.EscapedPath()
		if isClient {
			good = client
		}
		const missing, invalid = "unauthorized", "token_invalid"
		cases := []struct{ name, token, code string }{
			{"missing", "", missing},
			{"no JWT", "secret", invalid},
			{"wrong key", claims(t, strings.Repeat("k", 44), map[string]any{"aud": good}), invalid},
			{"alg none", unsigned(t, good), invalid},
			{"no expiry", claims(t, keyOne, map[string]any{"aud": good, "exp": nil}), invalid},
			{"expired", claims(t, keyOne, map[string]any{"aud": good, "exp": now.Add(-time.Hour).Unix()}), "token_expired"},
			{"not yet valid", claims(t, keyOne, map[string]any{"aud": good, "nbf": now.Add(time.Hour).Unix()}), "token_not_yet_valid"},
			{"for another host", claims(t, keyOne, map[string]any{"aud": strings.Replace(good, "hub.example", "elsewhere.example", 1)}), "token_audience"},
			{"for another hub", claims(t, keyOne, map[string]any{"aud": "http://hub.example/client/?hub=other"}), "token_audience"},
			{"for a server", claims(t, keyOne, map[string]any{"aud": "http://hub.example/server/?hub=chat"}), "token_audience"},
			{"for the whole address", claims(t, keyOne, map[string]any{"aud": "http://hub.example/"}), "token_audience"},
			{"without audience", claims(t, keyOne, nil), "token_audience"},
		}
		if isBackend && route.Path != "/api/hubs/:hub/events" {
			cases = append(cases, struct{ name, token, code string }{"a client's", claims(t, keyOne, map[string]any{"aud": client}), "token_audience"})
		}
		if isClient {
			cases = append(cases, struct{ name, token, code string }{"a backend's", claims(t, keyOne, map[string]any{"aud": hub}), "token_audience"})
		}
		for _, c := range cases {
			header := []string{"Content-Type", "application/json"}
			if c.token != "" {
				header = append(header, "Authorization", "Bearer "+c.token)
			}
			w := f.do(route.Method, address, `{"target":"m","arguments":[]}`, header...)
			what := fmt.Sprintf("%s %s, %s", route.Method, route.Path, c.name)
			if open[route.Path] {
				if w.Code == http.StatusUnauthorized {
					t.Errorf("%s: refused, and anybody may", what)
				}
				continue
			}
			code := c.code
			if !isClient && !isBackend {
				code = "unauthorized"
			}
			wantUnauthorized(t, what, w, route.Path, code)
		}
	}
	if reply, err := f.store.Range(t.Context(), "chat", streams.Position{}, 10); err != nil || len(reply.Entries) > 0 {
		t.Errorf("the log has %d entries (%v)", len(reply.Entries), err)
	}
}

func wantUnauthorized(t *testing.T, what string, w *httptest.ResponseRecorder, route, code string) {
	t.Helper()
	challenge := w.Header().Get("WWW-Authenticate")
	want := `Bearer error="invalid_token", error_description="`
	if code == "unauthorized" {
		want = "Bearer"
	}
	if w.Code != http.StatusUnauthorized || !strings.HasPrefix(challenge, want) || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%s: got %d, WWW-Authenticate %q", what, w.Code, challenge)
		return
	}
	if !strings.HasPrefix(route, "/api/") && !strings.HasPrefix(route, "/console/api/") {
		if w.Body.Len() == 0 || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain") {
			t.Errorf("%s: got %q", what, w.Body)
		}
		return
	}
	if got := refused(t, w, http.StatusUnauthorized); got.Code != code {
		t.Errorf("%s: got %+v, want %s", what, got, code)
	}
}

// With a good token every route does what it does.
func TestEveryRouteTakesGoodTokens(t *testing.T) {
	t.Parallel()
	f := newGuarded(t, access.Config{})
	for _, route := range f.Routes() {
		address := addressOf(route.Path)
		tokens := map[string]string{"an admin key": adminKey}
		switch {
		case strings.HasPrefix(route.Path, "/hubs/"), strings.HasPrefix(route.Path, "/client"):
			tokens = map[string]string{
				"Azure's audience": claims(t, keyOne, map[string]any{"aud": "http://hub.example/client/?hub=chat"}),
				"ours":             claims(t, keyTwo, map[string]any{"aud": []string{"x", "https://hub.example:444/hubs/CHAT"}}),
			}
		case strings.HasPrefix(route.Path, "/api/"):
			tokens["the path"] = claims(t, keyOne, map[string]any{"aud": "http://hub.example" + strings.TrimSuffix(address, "/") + "?api-version=1"})
			if strings.Contains(route.Path, ":hub") {
				tokens["the hub"] = claims(t, keyTwo, map[string]any{"aud": "http://hub.example/api/hubs/chat"})
			}
		}
		for name, token := range tokens {
			w := f.do(route.Method, address, `{"target":"m","arguments":[]}`, "Authorization", "bearer "+token)
			if w.Code == http.StatusUnauthorized || w.Code == http.StatusForbidden {
				t.Errorf("%s %s, %s: got %d %s", route.Method, route.Path, name, w.Code, w.Body)
			}
		}
	}
}

// A backend's token for a hub is for that hub alone, however the address names it.
func TestATokenForAHubIsForNoOther(t *testing.T) {
	t.Parallel()
	f := newGuarded(t, access.Config{})
	token := claims(t, keyOne, map[string]any{"aud": "http://hub.example/api/hubs/app_chat"})
	for path, want := range map[string]int{
		"/api/hubs/app_chat/send":                 http.StatusAccepted,
		"/api/hubs/chat/send?application=app":     http.StatusAccepted,
		"/api/hubs/chat:send?application=app":     http.StatusAccepted,
		"/api/hubs/app_chat:send":                 http.StatusAccepted,
		"/api/v1/hubs/APP_CHAT":                   http.StatusAccepted,
		"/api/v1/hubs/app_chat/groups/g":          http.StatusAccepted,
		"/api/hubs/chat/send":                     http.StatusUnauthorized,
		"/api/hubs/app_chat/send?application=app": http.StatusUnauthorized,
		"/api/hubs/chat/send?application=other":   http.StatusUnauthorized,
		"/api/hubs/chat/send?application=%2F":     http.StatusUnauthorized,
		"/api/hubs/chat:send":                     http.StatusUnauthorized,
	} {
		if w := f.do("POST", path, `{"target":"m"}`, "Authorization", "Bearer "+token); w.Code != want {
			t.Errorf("%s: got %d %s, want %d", path, w.Code, w.Body, want)
		}
	}
}

func TestKeysAreRotatedWithoutDowntime(t *testing.T) {
	t.Parallel()
	f := newGuarded(t, access.Config{Keys: []access.Key{keyOne}})
	send := func(key string) int {
		token := claims(t, key, map[string]any{"aud": "http://hub.example/api/hubs/chat"})
		return f.do("POST", "/api/hubs/chat/send", `{"target":"m"}`, "Authorization", "Bearer "+token).Code
	}
	want := func(when string, one, two int) {
		t.Helper()
		if got := [2]int{send(keyOne), send(keyTwo)}; got != [2]int{one, two} {
			t.Errorf("%s: got %v, want %d and %d", when, got, one, two)
		}
	}
	want("at first", http.StatusAccepted, http.StatusUnauthorized)
	f.verifier.Replace([]access.Key{keyOne, keyTwo}, nil)
	want("with both", http.StatusAccepted, http.StatusAccepted)
	f.verifier.Replace([]access.Key{keyTwo}, nil)
	want("with the new one", http.StatusUnauthorized, http.StatusAccepted)
}

// Where a browser cannot set headers the token is in the query, and nowhere else: addresses are logged by proxies.
func TestTokensInTheQuery(t *testing.T) {
	t.Parallel()
	f := newGuarded(t, access.Config{})
	token := claims(t, keyOne, map[string]any{"aud": "http://hub.example/client/?hub=chat"})
	const refused, served = http.StatusUnauthorized, http.StatusTeapot
	for _, c := range []struct {
		name, method, path, header, value string
		status                            int
	}{
		{"a WebSocket", "GET", "/hubs/chat", "Upgrade", "WebSocket", served},
		{"an event stream", "GET", "/hubs/chat", "Accept", "text/event-stream", served},
		{"a poll", "GET", "/hubs/chat", "", "", refused},
		{"a POST", "POST", "/hubs/chat", "", "", refused},
		{"a POST that calls itself a WebSocket", "POST", "/hubs/chat", "Upgrade", "websocket", refused},
		{"a DELETE", "DELETE", "/hubs/chat", "", "", refused},
		{"negotiate", "POST", "/hubs/chat/negotiate", "", "", refused},
		{"a WebSocket with another token in its header", "GET", "/hubs/chat", "Authorization", "Bearer x", refused},
		{"Azure's WebSocket", "GET", "/client/?hub=chat", "Upgrade", "websocket", served},
		{"Azure's poll", "GET", "/client/?hub=chat", "", "", served},
		{"Azure's POST", "POST", "/client?hub=chat", "", "", served},
		{"Azure's negotiate", "POST", "/client/negotiate?hub=chat", "", "", http.StatusOK},
		{"Azure's poll with another token in its header", "GET", "/client/?hub=chat", "Authorization", "Bearer x", refused},
		{"a plain event stream", "GET", "/api/hubs/chat/events", "", "", http.StatusOK},
		{"a plain event stream with something else in its header", "GET", "/api/hubs/chat/events", "Authorization", "Basic eDp5", refused},
		{"a send", "POST", "/api/hubs/chat/send", "", "", refused},
	} {
		join := "?"
		if strings.Contains(c.path, "?") {
			join = "&"
		}
		header := []string{c.header, c.value}
		if c.header == "" {
			header = nil
		}
		w := f.do(c.method, c.path+join+"access_token=wrong&access_token="+token, "", header...)
		if w.Code != c.status {
			t.Errorf("%s: got %d %s, want %d", c.name, w.Code, w.Body, c.status)
		}
	}
}

func TestTheUserIsTheTokens(t *testing.T) {
	t.Parallel()
	f := newGuarded(t, access.Config{})
	token := claims(t, keyOne, map[string]any{"aud": "http://hub.example/client/?hub=chat"})
	if w := f.do("GET", "/hubs/chat?user=eve", "", "Authorization", "Bearer "+token); w.Body.String() != "GET chat ann" {
		t.Errorf("got %s", w.Body)
	}
	if w := f.do("GET", "/api/hubs/chat/events?user=eve&access_token="+token, ""); w.Body.String() != "chat ann " {
		t.Errorf("a plain event stream: got %s", w.Body)
	}
}

// A client's stream follows the groups that its token allows; a backend's follows any, and anybody's messages.
func TestPlainStreamsFollowWhatTheTokenAllows(t *testing.T) {
	t.Parallel()
	f := newGuarded(t, access.Config{})
	client := claims(t, keyOne, map[string]any{"aud": "http://hub.example/hubs/chat", "hubstream.groups": []string{"red", "blue"}})
	backend := claims(t, keyOne, map[string]any{"aud": "http://hub.example/api/hubs/chat"})
	if w := f.do("GET", "/api/hubs/chat/events?groups=red", "", "Authorization", "Bearer "+client); w.Body.String() != "chat ann red" {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	w := f.do("GET", "/api/hubs/chat/events?groups=red,green", "", "Authorization", "Bearer "+client)
	if got := refused(t, w, http.StatusForbidden); got.Code != "forbidden" || got.Target != "groups" || !strings.Contains(got.Message, "green") {
		t.Errorf("got %+v", got)
	}
	for name, token := range map[string]string{"a backend": backend, "an operator": adminKey} {
		if w := f.do("GET", "/api/hubs/chat/events?groups=red,green&user=eve", "", "Authorization", "Bearer "+token); w.Body.String() != "chat eve red|green" {
			t.Errorf("%s: got %d %s", name, w.Code, w.Body)
		}
	}
}

func TestTransportsThatATokenDoesNotAllowAreNotOffered(t *testing.T) {
	t.Parallel()
	f := newGuarded(t, access.Config{})
	f.hubs = func(w http.ResponseWriter, _ *http.Request, _ string, who access.Identity) {
		_, _ = fmt.Fprint(w, who.Allows(negotiate.WebSockets), who.Allows(negotiate.LongPolling))
	}
	token := claims(t, keyOne, map[string]any{"aud": "http://hub.example/client/?hub=chat", "asrs.s.htt": "1"})
	w := f.do("POST", "/client/negotiate?hub=chat&negotiateVersion=1", "", "Authorization", "Bearer "+token)
	if body := w.Body.String(); w.Code != http.StatusOK || !strings.Contains(body, "WebSockets") || strings.Contains(body, "LongPolling") || strings.Contains(body, "ServerSentEvents") {
		t.Errorf("got %d %s", w.Code, body)
	}
	if w := f.do("GET", "/client/?hub=chat", "", "Authorization", "Bearer "+token); w.Body.String() != "true false" {
		t.Errorf("got %s", w.Body)
	}
	token = claims(t, keyOne, map[string]any{"aud": "http://hub.example/client/?hub=chat", "asrs.s.htt": "0"})
	if w := f.do("POST", "/client/negotiate?hub=chat&negotiateVersion=1", "", "Authorization", "Bearer "+token); !strings.Contains(w.Body.String(), `"error"`) {
		t.Errorf("without any: got %s", w.Body)
	}
}

// Azure's addresses of clients, with the hub in the query.
func TestAzuresClientAddresses(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	for _, path := range []string{"/client?hub=CHAT", "/client/?hub=chat&asrs.op=%2Fchat&foo=bar&id=1"} {
		if w := f.do("GET", path, ""); w.Body.String() != "GET chat " {
			t.Errorf("%s: got %d %s", path, w.Code, w.Body)
		}
	}
	if w := f.do("POST", "/client/negotiate?hub=chat&negotiateVersion=1&asrs_request_id=x", ""); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "connectionToken") {
		t.Errorf("negotiate: got %d %s", w.Code, w.Body)
	}
	if w := f.do("POST", "/client/negotiate?hub=chat", ""); w.Code != http.StatusOK || strings.Contains(w.Body.String(), "connectionToken") {
		t.Errorf("negotiate, version 0: got %d %s", w.Code, w.Body)
	}
	for _, query := range []string{"", "?hub=", "?hub=a&hub=b", "?hub=chat&hub=chat", "?hub=%2F", "?Hub=chat"} {
		for _, path := range []string{"/client", "/client/", "/client/negotiate"} {
			if w := f.do("POST", path+query, ""); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "hub") {
				t.Errorf("%s%s: got %d %s", path, query, w.Code, w.Body)
			}
		}
	}
	if w := f.do("GET", "/client/negotiate?hub=chat", ""); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("GET of negotiate: got %d", w.Code)
	}
}

// A page of another origin sees why it was refused.
func TestRefusalsAreReadableAcrossOrigins(t *testing.T) {
	t.Parallel()
	origins, err := handlers.ParseOrigins([]string{"https://app.example"})
	if err != nil {
		t.Fatal(err)
	}
	f := newFixture(t, handlers.Config{Access: access.NewVerifier(access.Config{Keys: []access.Key{keyOne}}), Origins: origins})
	w := f.do("POST", "/hubs/chat/negotiate", "", "Origin", "https://app.example")
	if w.Code != http.StatusUnauthorized || w.Header().Get("Access-Control-Allow-Origin") != "https://app.example" {
		t.Errorf("got %d %v", w.Code, w.Header())
	}
	w = f.do("OPTIONS", "/client/negotiate?hub=chat", "", "Origin", "https://app.example", "Access-Control-Request-Method", "POST",
		"Access-Control-Request-Headers", "authorization,x-requested-with,x-signalr-user-agent")
	if w.Code != http.StatusNoContent || !strings.Contains(w.Header().Get("Access-Control-Allow-Headers"), "authorization") {
		t.Errorf("the preflight: got %d %v", w.Code, w.Header())
	}
}

// The key that is handed out signs what the access key may, and is another.
func TestAHandedOutKeySigns(t *testing.T) {
	t.Parallel()
	f := newGuarded(t, access.Config{})
	var handed struct{ AccessKey, KeyID string }
	w := f.do("GET", "/api/auth/accessKey?api-version=2024-12-01", "", "Authorization", "Bearer "+claims(t, keyOne, map[string]any{"aud": "http://hub.example/api/auth/accessKey"}))
	if err := json.Unmarshal(w.Body.Bytes(), &handed); err != nil || w.Code != http.StatusOK || handed.AccessKey == keyOne {
		t.Fatalf("got %d %s", w.Code, w.Body)
	}
	by := func(audience string) string {
		token := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"aud": audience, "exp": time.Now().Add(time.Hour).Unix()})
		token.Header["kid"] = handed.KeyID
		signed, err := token.SignedString([]byte(handed.AccessKey))
		if err != nil {
			t.Fatal(err)
		}
		return "Bearer " + signed
	}
	if w := f.do("POST", "/api/hubs/chat/send", `{"target":"m"}`, "Authorization", by("http://hub.example/api/hubs/chat")); w.Code != http.StatusAccepted {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	for _, path := range []string{"/api/auth/accessKey", "/api/v1/auth/accessKey"} { // it would never pass
		if w := f.do("GET", path, "", "Authorization", by("http://hub.example"+path)); w.Code != http.StatusUnauthorized {
			t.Errorf("another key of %s: got %d %s", path, w.Code, w.Body)
		}
	}
}
