package handlers_test

import (
	"net/http"
	"strings"
	"testing"

	"hubstream/handlers"
)

func origins(t *testing.T, list ...string) handlers.Origins {
	t.Helper()
	o, err := handlers.ParseOrigins(list)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestOriginLists(t *testing.T) {
	t.Parallel()
	for _, v := range []struct {
		origins handlers.Origins
		origin  string
		want    bool
	}{
		{handlers.Origins{}, "https://a.example", false},
		{handlers.Origins{}, "null", false},
		{origins(t, "https://a.example", "http://B.example:81"), "https://a.example", true},
		{origins(t, "https://a.example", "http://B.example:81"), "http://b.example:81", true},
		{origins(t, "https://a.example"), "http://a.example", false},
		{origins(t, "https://a.example"), "https://a.example:444", false},
		{origins(t, "https://a.example"), "https://a.example.evil.example", false},
		{origins(t, "https://a.example"), "https://evil.example/https://a.example", false},
		{origins(t, "https://a.example"), "", false},
		{origins(t, "*"), "https://any.example", true},
		{origins(t, "*"), "null", true},
		{handlers.LoopbackOrigins(), "http://localhost", true},
		{handlers.LoopbackOrigins(), "http://localhost:5173", true},
		{handlers.LoopbackOrigins(), "https://127.0.0.1:3000", true},
		{handlers.LoopbackOrigins(), "http://127.1.2.3", true},
		{handlers.LoopbackOrigins(), "http://[::1]:3000", true},
		{handlers.LoopbackOrigins(), "http://localhost.evil.example", false},
		{handlers.LoopbackOrigins(), "http://127.0.0.1.evil.example", false},
		{handlers.LoopbackOrigins(), "http://localhost@evil.example", false},
		{handlers.LoopbackOrigins(), "ftp://localhost", false},
		{handlers.LoopbackOrigins(), "null", false},
		{handlers.LoopbackOrigins(), "http://192.168.1.2", false},
	} {
		if got := v.origins.Allow(v.origin); got != v.want {
			t.Errorf("%+v: %q is allowed: %v", v.origins, v.origin, got)
		}
	}
	for _, bad := range []string{"", "a.example", "https://", "https://a.example/", "https://a.example/x", "https://u@a.example/", "https://*.example/", "null", "//a.example",
		"https://*.example", "https://a.example:443", "http://a.example:80", "https://ä.example"} { // what browsers never send
		if _, err := handlers.ParseOrigins([]string{bad}); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

const page = "https://page.example"

func TestPreflightNeedsNoConnection(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{Origins: origins(t, page)})
	_ = f.store.Close() // nothing is looked up
	f.hubs = nil
	for _, path := range []string{"/hubs/chat?id=unknown&_=1", "/hubs/chat/negotiate?negotiateVersion=1", "/api/hubs/chat/send", "/api/hubs/chat/groups/g/connections/c"} {
		w := f.do("OPTIONS", path, "", "Origin", page, "Access-Control-Request-Method", "DELETE", "Access-Control-Request-Headers", "x-requested-with,x-mine")
		for name, want := range map[string]string{
			"Access-Control-Allow-Origin": page, "Access-Control-Allow-Credentials": "true", "Vary": "Origin",
			"Access-Control-Allow-Headers": "x-requested-with,x-mine", "Access-Control-Max-Age": "7200",
		} {
			if got := w.Header().Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", path, name, got, want)
			}
		}
		for _, method := range []string{"GET", "POST", "PUT", "DELETE"} {
			if got := w.Header().Get("Access-Control-Allow-Methods"); !strings.Contains(got, method) {
				t.Errorf("%s: methods are %q", path, got)
			}
		}
		if w.Code != http.StatusNoContent || w.Body.Len() != 0 {
			t.Errorf("%s: got %d %s", path, w.Code, w.Body)
		}
	}
	w := f.do("OPTIONS", "/hubs/chat", "", "Origin", page, "Access-Control-Request-Method", "POST")
	if got := w.Header().Get("Access-Control-Allow-Headers"); !strings.Contains(got, "x-signalr-user-agent") || !strings.Contains(got, "content-type") {
		t.Errorf("headers are %q", got)
	}
}

// Without the headers a page would see a network error instead of the status.
func TestErrorsCarryCORSHeadersToo(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{Origins: origins(t, page)})
	for path, want := range map[string]int{"/hubs/chat": 418, "/hubs/a%20b": 400, "/nothing": 404, "/api/hubs/chat/send": 405, "/api/hubs/chat/connections/c": 404} {
		w := f.do("GET", path, "", "Origin", page)
		if h := w.Header(); w.Code != want || h.Get("Access-Control-Allow-Origin") != page || h.Get("Access-Control-Allow-Credentials") != "true" || h.Get("Vary") != "Origin" {
			t.Errorf("%s: got %d %v", path, w.Code, h)
		}
	}
}

func TestForeignPages(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{Origins: handlers.LoopbackOrigins()})
	for _, v := range []struct {
		method, path string
		headers      []string
		status       int
		harm         string
	}{
		{"GET", "/hubs/chat?id=x", nil, 418, ""},
		{"POST", "/hubs/chat/negotiate", nil, 200, "its answer cannot be read"},
		{"GET", "/hubs/chat?id=x", []string{"Connection", "Upgrade", "Upgrade", "websocket"}, 403, "browsers do not apply CORS to upgrades"},
		{"POST", "/api/hubs/chat/send", nil, 403, "any page could send through the browser of a developer"},
		{"DELETE", "/api/hubs/chat/connections/c", nil, 403, ""},
		{"GET", "/api/hubs/chat/connections/c", nil, 404, ""},
		{"OPTIONS", "/api/hubs/chat/send", []string{"Access-Control-Request-Method", "POST"}, 204, ""},
		{"GET", "/readyz", nil, 200, ""},
	} {
		for _, origin := range []string{page, "null", "http://hub.example.evil.example"} {
			w := f.do(v.method, v.path, "", append([]string{"Origin", origin}, v.headers...)...)
			if w.Code != v.status {
				t.Errorf("%s %s from %s: got %d, want %d: %s", v.method, v.path, origin, w.Code, v.status, v.harm)
			}
			for name := range w.Header() {
				if strings.HasPrefix(name, "Access-Control-") {
					t.Errorf("%s %s from %s: the answer has %s", v.method, v.path, origin, name)
				}
			}
			if w.Header().Get("Vary") != "Origin" {
				t.Errorf("%s %s from %s: caches would give this answer to other origins", v.method, v.path, origin)
			}
		}
	}
	if n := f.Refusals()["origin_not_allowed"]; n != 9 {
		t.Errorf("%d refusals are counted", n)
	}
}

// Pages from the node's own address, as it is seen from outside, need no setting.
func TestOwnPagesAreAllowed(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	for _, origin := range []string{"http://hub.example", "https://hub.example"} {
		if w := f.do("GET", "/hubs/chat", "", "Origin", origin, "Connection", "Upgrade", "Upgrade", "websocket"); w.Code != http.StatusTeapot {
			t.Errorf("upgrade from %s: got %d %s", origin, w.Code, w.Body)
		}
		if w := f.do("POST", "/api/hubs/chat/send", `{"target":"m"}`, "Origin", origin); w.Code != http.StatusAccepted {
			t.Errorf("send from %s: got %d %s", origin, w.Code, w.Body)
		}
	}
}
