package handlers_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"hubstream/handlers"
	"hubstream/negotiate"
	"hubstream/negotiate/access"
	"hubstream/streams"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is a Handler over a store, with hubs that are served by a function.
type fixture struct {
	*handlers.Handler
	t        testing.TB
	store    streams.Store
	node     *streams.Node
	keyring  *negotiate.Keyring
	hubs     hubFunc
	services handlers.Services
}

type hubFunc func(w http.ResponseWriter, r *http.Request, hub string, who access.Identity)

func (f *fixture) ServeHub(w http.ResponseWriter, r *http.Request, hub string, who access.Identity) {
	f.hubs(w, r, hub, who)
}

// ServePlain says what it was asked for.
func (f *fixture) ServePlain(w http.ResponseWriter, _ *http.Request, hub string, audience streams.Audience, _ access.Identity, refuse func(int, string)) {
	if hub == "full" {
		w.Header().Set("Retry-After", "5")
		refuse(http.StatusTooManyRequests, "too many")
		return
	}
	_, _ = io.WriteString(w, hub+" "+audience.User+" "+strings.Join(audience.Groups, "|"))
}

func newFixture(t testing.TB, cfg handlers.Config) *fixture {
	return newFixtureOn(t, streams.NewMemory(streams.MemoryConfig{}), cfg)
}

func newFixtureOn(t testing.TB, store streams.Store, cfg handlers.Config) *fixture {
	t.Helper()
	cfg.Node = "n1"
	ctx, cancel := context.WithCancel(t.Context())
	f := &fixture{Handler: handlers.New(cfg), t: t, store: store, node: streams.NewNode(store, streams.Config{Name: "n1"})}
	if err := f.node.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		f.node.Wait()
		_ = store.Close()
	})
	f.hubs = func(w http.ResponseWriter, r *http.Request, hub string, who access.Identity) {
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, r.Method+" "+hub+" "+who.User)
	}
	var err error
	if f.keyring, err = negotiate.NewKeyring(negotiate.Secret(strings.Repeat("s", 32))); err != nil {
		t.Fatal(err)
	}
	negotiator, err := negotiate.New(negotiate.Config{Keyring: f.keyring, Now: f.node.Now})
	if err != nil {
		t.Fatal(err)
	}
	f.services = handlers.Services{Streams: f.node, Hubs: f, Negotiator: negotiator, Keyring: f.keyring}
	f.Start(f.services)
	return f
}

// statefulAt sets the address for stateful reconnect.
func (f *fixture) statefulAt(address string) {
	services := f.services
	services.StatefulAddress = address
	f.Start(services)
}

// do makes a request; headers are name, value, name, value.
func (f *fixture) do(method, path, body string, headers ...string) *httptest.ResponseRecorder {
	f.t.Helper()
	r := httptest.NewRequest(method, "http://hub.example"+path, strings.NewReader(body))
	if body == "" {
		r.Body, r.ContentLength = http.NoBody, 0
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	if got := w.Header()["X-Hubstream-Node"]; len(got) != 1 || got[0] != "n1" {
		f.t.Errorf("%s %s: X-Hubstream-Node is %q", method, path, got)
	}
	return w
}

func (f *fixture) send(body string) *httptest.ResponseRecorder {
	f.t.Helper()
	return f.do("POST", "/api/hubs/chat/send", body, "Content-Type", "application/json")
}

// last returns the newest entry of hub chat.
func (f *fixture) last() streams.Entry {
	f.t.Helper()
	reply, err := f.store.Range(f.t.Context(), "chat", streams.Position{}, 100000)
	if err != nil || len(reply.Entries) == 0 {
		f.t.Fatalf("the log has %d entries (%v)", len(reply.Entries), err)
	}
	entry, err := streams.DecodeEntry(reply.Entries[len(reply.Entries)-1].Data)
	if err != nil {
		f.t.Fatal(err)
	}
	return entry
}

// connect makes a connection in hub chat, with its handshake done.
func (f *fixture) connect(id string, mode streams.OpenMode, version uint8) {
	f.t.Helper()
	f.connectUser(id, "alice", mode, version)
}

// connectAs makes a WebSocket connection of a user.
func (f *fixture) connectAs(id, user string) {
	f.t.Helper()
	f.connectUser(id, user, streams.OpenWebSocket, 1)
}

func (f *fixture) connectUser(id, user string, mode streams.OpenMode, version uint8) {
	f.t.Helper()
	reply, err := f.node.Open(f.t.Context(), "chat", streams.OpenRequest{
		Mode: mode, ID: id, User: user, Owner: f.node.NewOwner(), CreateUntil: f.node.Now() + 60000,
		Lease: time.Minute, NewLease: time.Minute,
	})
	if err != nil {
		f.t.Fatal(err)
	}
	request := streams.HandshakeRequest{ID: id, Owner: reply.Record.Owner, Protocol: 1, Version: version, Lease: time.Minute}
	if mode == streams.OpenPoll {
		request.Owner = ""
		request.Reply = streams.AppendEntry(nil, &streams.Entry{
			Kind: streams.KindReply, Flags: streams.FlagHandshake, Connections: []string{id}, Protocol: 1, Version: version, Body: []byte("{}\x1e"),
		})
	}
	if _, err := f.node.Handshake(f.t.Context(), "chat", request); err != nil {
		f.t.Fatal(err)
	}
}

type refusal struct{ Code, Message, Target, Outcome string }

// refused reads the API's error, and fails unless the answer is one with this status.
func refused(t testing.TB, w *httptest.ResponseRecorder, status int) refusal {
	t.Helper()
	var answer refusal
	decoder := json.NewDecoder(w.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&answer); err != nil {
		t.Errorf("the answer %q is no error: %v", w.Body, err)
	}
	if got := w.Header().Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type is %q", got)
	}
	if got := w.Header().Get("x-ms-error-code"); got != answer.Code && !strings.Contains(got, ".") { // those with a dot are Azure's
		t.Errorf("x-ms-error-code is %q, want %q", got, answer.Code)
	}
	if w.Code != status || answer.Code == "" || answer.Message == "" {
		t.Errorf("got %d %+v, want %d with code and message", w.Code, answer, status)
	}
	return answer
}
