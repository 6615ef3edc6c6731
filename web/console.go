package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed all:dist
var dist embed.FS

// policy allows what the page needs, from the node that served it, and nothing else: no script or style that is not
// a file of the node's, no frame around it, no form.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Config is what a Console needs.
type Config struct {
	Node, Version string
	// Keys: the data is shown only to requests that Allow allows, and the page asks for a key.
	Keys bool
	// Allow decides who is shown data; nil allows all, as in development mode.
	Allow func(*http.Request) bool
	// Payloads: who is shown data may see messages' bodies.
	Payloads bool
}

// Console serves the page and its data. The page itself is no secret, and asks for a key where one is needed.
type Console struct {
	cfg   Config
	feed  func() *Feed
	files fs.FS
	page  []byte
	etag  string
}

// New returns a Console. feed returns the feed, or nil as long as there is none.
func New(cfg Config, feed func() *Feed) *Console {
	files, _ := fs.Sub(dist, "dist") // a constant, valid name
	return newConsole(cfg, feed, files)
}

func newConsole(cfg Config, feed func() *Feed, files fs.FS) *Console {
	c := &Console{cfg: cfg, feed: feed, files: files}
	var err error
	if c.page, err = fs.ReadFile(files, "app/index.html"); err != nil {
		c.page, _ = fs.ReadFile(files, "unbuilt.html")
	}
	sum := sha256.Sum256(c.page)
	c.etag = `"` + hex.EncodeToString(sum[:8]) + `"`
	return c
}

// Built tells whether the binary has the page, and not only the one that says how to build it.
func Built() bool {
	_, err := fs.Stat(dist, "dist/app/index.html")
	return err == nil
}

// ServeHTTP answers GET and HEAD of / and of what is below /console/.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	switch name := r.URL.Path; {
	case name == "/":
		c.servePage(w, r)
	case strings.HasPrefix(name, "/console/assets/"):
		c.serveAsset(w, r)
	case name == "/console/session":
		c.serveSession(w, r)
	case name == "/console/feed" || name == "/console/history":
		c.serveData(w, r)
	default:
		http.Error(w, "there is nothing at this address", http.StatusNotFound)
	}
}

func (c *Console) servePage(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-cache") // a new version is seen at once
	h.Set("ETag", c.etag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(c.page))
}

// serveAsset serves a file whose name holds its sum, so that it never changes.
func (c *Console) serveAsset(w http.ResponseWriter, r *http.Request) {
	name := path.Clean(r.URL.Path)
	body, err := fs.ReadFile(c.files, "app"+name)
	if err != nil || !strings.HasPrefix(name, "/console/assets/") {
		http.Error(w, "there is nothing at this address", http.StatusNotFound)
		return
	}
	if kind := contentTypes[path.Ext(name)]; kind != "" {
		w.Header().Set("Content-Type", kind)
	}
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}

// contentTypes are set by hand: what the machine's own list says of scripts is not always right.
var contentTypes = map[string]string{
	".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml",
}

// session tells the page where it is.
type session struct {
	Node     string `json:"node"`
	Version  string `json:"version"`
	Keys     bool   `json:"keys"`
	Allowed  bool   `json:"allowed"`
	Payloads bool   `json:"payloads"`
}

func (c *Console) serveSession(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(session{ // to nobody, if the viewer has gone
		Node: c.cfg.Node, Version: c.cfg.Version, Keys: c.cfg.Keys, Allowed: c.Allowed(r), Payloads: c.cfg.Payloads,
	})
}

// Allowed tells whether a request may see the console's data.
func (c *Console) Allowed(r *http.Request) bool { return c.cfg.Allow == nil || c.cfg.Allow(r) }

// Payloads tells whether who is shown data may see messages' bodies.
func (c *Console) Payloads() bool { return c.cfg.Payloads }

func (c *Console) serveData(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if !c.Allowed(r) {
		w.Header().Set("WWW-Authenticate", "Bearer")
		http.Error(w, "the console needs an admin key", http.StatusUnauthorized)
		return
	}
	feed := c.feed()
	if feed == nil {
		w.Header().Set("Retry-After", "1")
		http.Error(w, "the node is starting", http.StatusServiceUnavailable)
		return
	}
	if strings.HasSuffix(r.URL.Path, "/history") {
		feed.serveHistory(w)
		return
	}
	feed.ServeHTTP(w, r)
}
