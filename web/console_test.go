package web_test

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"hubstream/streams"
	"hubstream/web"
)

func get(c http.Handler, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	c.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w
}

func noFeed() *web.Feed { return nil }

// Nothing that is not a file of the node's may run or be loaded, whatever finds its way into the page.
func TestEveryAnswerHasAStrictPolicy(t *testing.T) {
	c := web.New(web.Config{Node: "n1"}, noFeed)
	for _, path := range []string{"/", "/console/session", "/console/feed", "/console/nothing", "/console/assets/nothing.js"} {
		policy := get(c, path).Header().Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"} {
			if !strings.Contains(policy, want) {
				t.Errorf("%s: the policy %q lacks %s", path, policy, want)
			}
		}
		if strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") || strings.Contains(policy, "data:") {
			t.Errorf("%s: the policy %q is not strict", path, policy)
		}
	}
}

var inline = regexp.MustCompile(`(?i)<style|<script[^>]*>[^<\s]|\sstyle=|\son\w+=|https?://`)

// What the policy would refuse must not be there in the first place.
func TestPagesHaveNothingInline(t *testing.T) {
	pages := map[string]string{"/": get(web.New(web.Config{}, noFeed), "/").Body.String()}
	unbuilt, err := os.ReadFile("dist/unbuilt.html")
	if err != nil {
		t.Fatal(err)
	}
	pages["unbuilt.html"] = string(unbuilt)
	for name, page := range pages {
		if found := inline.FindString(page); found != "" || !strings.Contains(page, "Hubstream") {
			t.Errorf("%s has %q:\n%s", name, found, page)
		}
	}
	if !strings.Contains(pages["unbuilt.html"], "make build") {
		t.Error("the page of a binary without the console does not say how to build it")
	}
}

// Where npm was run, the page's files are served, and kept by browsers.
func TestAssetsAreServed(t *testing.T) {
	if !web.Built() {
		t.Fatal("the console is not built: run scripts/web")
	}
	files, err := fs.Glob(os.DirFS("dist/app"), "console/assets/*")
	if err != nil || len(files) < 3 {
		t.Fatalf("%d assets (%v)", len(files), err)
	}
	c := web.New(web.Config{}, noFeed)
	for _, file := range files {
		w := get(c, "/"+file)
		if w.Code != http.StatusOK || !strings.Contains(w.Header().Get("Cache-Control"), "immutable") || strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain") {
			t.Errorf("%s: %d, %v", file, w.Code, w.Header())
		}
	}
	for _, path := range []string{"/console/assets/../../unbuilt.html", "/console/assets/..%2f..%2findex.html", "/console/assets/", "/console/assets"} {
		if w := get(c, "http://x"+path); w.Code == http.StatusOK {
			t.Errorf("%s is served", path)
		}
	}
}

func TestDataIsOnlyForWhoIsAllowed(t *testing.T) {
	f, _ := feedOf(t, streams.NewMemory(streams.MemoryConfig{}), "n1")
	c := web.New(web.Config{Node: "n1", Keys: true, Allow: func(r *http.Request) bool {
		return r.Header.Get("Authorization") == "Bearer right"
	}}, func() *web.Feed { return f })
	for _, path := range []string{"/console/feed", "/console/history"} {
		if w := get(c, path); w.Code != http.StatusUnauthorized || w.Header().Get("WWW-Authenticate") != "Bearer" || strings.Contains(w.Body.String(), "n1") {
			t.Errorf("%s without a key: %d %v %s", path, w.Code, w.Header(), w.Body)
		}
	}
	if w := get(c, "/console/session"); !strings.Contains(w.Body.String(), `"keys":true,"allowed":false`) {
		t.Errorf("session without a key: %s", w.Body)
	}
	r := httptest.NewRequest(http.MethodGet, "/console/history", nil)
	r.Header.Set("Authorization", "Bearer right")
	w := httptest.NewRecorder()
	c.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		t.Errorf("history with a key: %d %s", w.Code, w.Body)
	}
}

func TestFeedBeforeTheStoreIsReached(t *testing.T) {
	w := get(web.New(web.Config{}, noFeed), "/console/feed")
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("got %d, %v", w.Code, w.Header())
	}
}
