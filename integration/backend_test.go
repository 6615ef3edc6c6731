package integration_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"testing"

	"hubstream/integration/internal/rawclient"
)

// backend is an application's server: it calls the nodes one after the other.
type backend struct {
	t     *testing.T
	hub   string
	bases []string // URLs of the nodes, or of one proxy
	turn  int
	token string // access token; empty: it has none
}

// audience says who gets a message; the zero value is all.
type audience struct {
	Groups      []string `json:"groups,omitempty"`
	Users       []string `json:"users,omitempty"`
	Connections []string `json:"connections,omitempty"`
	Excluded    []string `json:"excluded,omitempty"`
}

// call makes one request to the next node. Path is below the hub's.
func (b *backend) call(method, path, body string, headers ...string) rawclient.Answer {
	b.t.Helper()
	base := b.bases[b.turn%len(b.bases)]
	b.turn++
	if body != "" && len(headers) == 0 {
		headers = []string{"Content-Type", "application/json"}
	}
	if b.token != "" {
		headers = append(headers, "Authorization", "Bearer "+b.token)
	}
	a, err := rawclient.Do(b.t.Context(), method, base+"/api/hubs/"+b.hub+path, body, headers...)
	if err != nil {
		b.t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

// send sends to an audience and returns the position.
func (b *backend) send(to audience, target string, args ...any) string {
	b.t.Helper()
	if args == nil {
		args = []any{}
	}
	body, err := json.Marshal(struct {
		Target    string `json:"target"`
		Arguments []any  `json:"arguments"`
		audience
	}{target, args, to})
	if err != nil {
		b.t.Fatal(err)
	}
	a := b.call(http.MethodPost, "/send", string(body))
	var accepted struct{ Position string }
	if a.Status != http.StatusAccepted {
		b.t.Fatalf("send: got %d %s, want 202", a.Status, a.Body)
	}
	if err := json.Unmarshal([]byte(a.Body), &accepted); err != nil || accepted.Position == "" {
		b.t.Fatalf("send: the answer has no position: %s (%v)", a.Body, err)
	}
	return accepted.Position
}

func (b *backend) toAll(args ...any) { b.t.Helper(); b.send(audience{}, "message", args...) }

func (b *backend) toGroup(group string, args ...any) {
	b.t.Helper()
	b.send(audience{Groups: []string{group}}, "message", args...)
}

func (b *backend) toUser(user string, args ...any) {
	b.t.Helper()
	b.send(audience{Users: []string{user}}, "message", args...)
}

func (b *backend) toConnection(id string, args ...any) {
	b.t.Helper()
	b.send(audience{Connections: []string{id}}, "message", args...)
}

func (b *backend) join(group, id string) { b.t.Helper(); b.member(http.MethodPut, group, id) }

func (b *backend) leave(group, id string) { b.t.Helper(); b.member(http.MethodDelete, group, id) }

func (b *backend) member(method, group, id string) {
	b.t.Helper()
	a := b.call(method, "/groups/"+url.PathEscape(group)+"/connections/"+url.PathEscape(id), "")
	if a.Status < 200 || a.Status > 299 {
		b.t.Fatalf("%s of %s in group %s: got %d %s", method, id, group, a.Status, a.Body)
	}
}

// pending is the answer about what is buffered for a connection.
func (b *backend) pending(id string) rawclient.Answer {
	b.t.Helper()
	return b.call(http.MethodGet, "/connections/"+url.PathEscape(id)+"/pending", "")
}
