package handlers_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"hubstream/handlers"
	"hubstream/negotiate"
	"hubstream/streams"
)

type membership struct {
	Position string
	Changed  bool
}

func (f *fixture) member(method, group, id string) membership {
	f.t.Helper()
	w := f.do(method, "/api/hubs/chat/groups/"+url.PathEscape(group)+"/connections/"+id, "")
	var m membership
	if err := json.Unmarshal(w.Body.Bytes(), &m); err != nil || w.Code != http.StatusOK {
		f.t.Errorf("%s of %q: got %d %s", method, group, w.Code, w.Body)
	}
	return m
}

func TestJoinAndLeaveAreEntries(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	f.connect("c", streams.OpenWebSocket, 1)
	for _, group := range []string{"g", "a/b", "a b", "ü", "%2F", "%25", "100%", "a+b", "a?b#c", "..", ".", "*", "{x}", "a:b;c", strings.Repeat("g", 1024), strings.Repeat("字", 1024)} {
		joined := f.member("PUT", group, "c")
		if e := f.last(); e.Kind != streams.KindControl || e.Verb != streams.VerbJoin || len(e.Named) != 1 || e.Named[0] != group {
			t.Errorf("join of %q: the entry is %+v", group, e)
		}
		again := f.member("PUT", group, "c")
		if !joined.Changed || again.Changed || again.Position != joined.Position || strings.Count(joined.Position, ".") != 1 {
			t.Errorf("join of %q: got %+v, then %+v", group, joined, again)
		}
		left := f.member("DELETE", group, "c")
		if e := f.last(); e.Verb != streams.VerbLeave || e.Named[0] != group {
			t.Errorf("leave of %q: the entry is %+v", group, e)
		}
		if again := f.member("DELETE", group, "c"); !left.Changed || again.Changed || left.Position == joined.Position {
			t.Errorf("leave of %q: got %+v, then %+v", group, left, again)
		}
	}
}

func TestPositionsOfSendsAndJoinsLookAlike(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	f.connect("c", streams.OpenWebSocket, 1)
	var sent struct{ Position string }
	if err := json.Unmarshal(f.send(`{"target":"m"}`).Body.Bytes(), &sent); err != nil {
		t.Fatal(err)
	}
	gen, _, _ := strings.Cut(sent.Position, ".")
	if joined := f.member("PUT", "g", "c").Position; !strings.HasPrefix(joined, gen+".") {
		t.Errorf("a send is at %s, a join at %s", sent.Position, joined)
	}
}

func TestBadMembershipsAreRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	f.connect("c", streams.OpenWebSocket, 1)
	for path, want := range map[string]int{
		"g/connections/nobody":                       404,
		"g/connections/" + strings.Repeat("x", 3000): 404,
		"g/connections/a/b":                          404,
		strings.Repeat("g", 1025) + "/connections/c": 400,
		"%FF/connections/c":                          400,
		"%FF%2F/connections/c":                       400,
		"g/connections/%FF":                          400,
	} {
		refused(t, f.do("PUT", "/api/hubs/chat/groups/"+path, ""), want)
	}
	for _, method := range []string{"GET", "POST", "PATCH"} {
		refused(t, f.do(method, "/api/hubs/chat/groups/g/connections/c", ""), http.StatusMethodNotAllowed)
	}
	for i := range streams.MaxGroups {
		f.member("PUT", fmt.Sprint(i), "c")
	}
	if r := refused(t, f.do("PUT", "/api/hubs/chat/groups/more/connections/c", ""), http.StatusConflict); !strings.Contains(r.Message, "1000") {
		t.Errorf("got %+v, want it to name the limit", r)
	}
}

func TestConnectionsAreShown(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	f.connect("c", streams.OpenWebSocket, 1)
	w := f.do("GET", "/api/hubs/chat/connections/c", "")
	if want := `{"connectionId":"c","user":"alice","transport":"WebSockets","state":"open","node":"n1","groups":[],"stateful":false,"since":"`; w.Code != http.StatusOK || !strings.HasPrefix(w.Body.String(), want) {
		t.Errorf("got %d %s, want it to begin with %s", w.Code, w.Body, want)
	}
	if w := f.do("HEAD", "/api/hubs/chat/connections/c", ""); w.Code != http.StatusOK {
		t.Errorf("HEAD: got %d", w.Code)
	}
	for _, path := range []string{"/api/hubs/chat/connections/nobody", "/api/hubs/other/connections/c"} {
		refused(t, f.do("GET", path, ""), http.StatusNotFound)
		if w := f.do("HEAD", path, ""); w.Code != http.StatusNotFound {
			t.Errorf("HEAD: got %d", w.Code)
		}
	}
}

// Clients of negotiate version 0 know their token as their connection ID.
func TestTokensNameConnectionsToo(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	id := negotiate.NewConnectionID()
	f.connect(id, streams.OpenWebSocket, 1)
	token, err := f.keyring.Seal(negotiate.Token{ConnectionID: id, Hub: "chat"})
	if err != nil {
		t.Fatal(err)
	}
	if w := f.do("GET", "/api/hubs/chat/connections/"+token, ""); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"`+id+`"`) || strings.Contains(w.Body.String(), token) {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

func TestCloseIsAnEntry(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	for query, want := range map[string]streams.Entry{
		"":                                       {},
		"?reason=so%20long":                      {Body: []byte("so long")},
		"?reason=x&allowReconnect=true":          {Body: []byte("x"), Flags: streams.FlagReconnect},
		"?allowReconnect=false&reason=%C3%BC%22": {Body: []byte(`ü"`)},
	} {
		id := negotiate.NewConnectionID()
		f.connect(id, streams.OpenWebSocket, 1)
		if w := f.do("DELETE", "/api/hubs/chat/connections/"+id+query, ""); w.Code != http.StatusAccepted {
			t.Errorf("%s: got %d %s", query, w.Code, w.Body)
		}
		if e := f.last(); e.Kind != streams.KindClose || e.Flags != want.Flags || string(e.Body) != string(want.Body) || e.Connections[0] != id {
			t.Errorf("%s: the entry is %+v", query, e)
		}
		refused(t, f.do("DELETE", "/api/hubs/chat/connections/"+id, ""), http.StatusNotFound)
	}
	f.connect("c", streams.OpenWebSocket, 1)
	for query, field := range map[string]string{"reason=" + strings.Repeat("r", 1025): "reason", "reason=%FF": "reason", "allowReconnect=maybe": "allowReconnect"} {
		if r := refused(t, f.do("DELETE", "/api/hubs/chat/connections/c?"+query, ""), http.StatusBadRequest); r.Target != field {
			t.Errorf("%s: got %+v", query, r)
		}
	}
}

type pending struct {
	ConnectionID, Transport, State string
	Buffered, Truncated            bool
	Pending                        []struct {
		Position string
		Message  json.RawMessage
	}
}

func (f *fixture) pending(id, query string) pending {
	f.t.Helper()
	w := f.do("GET", "/api/hubs/chat/connections/"+id+"/pending"+query, "")
	var p pending
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != http.StatusOK || p.Pending == nil {
		f.t.Fatalf("got %d %s (%v)", w.Code, w.Body, err)
	}
	return p
}

func TestPendingShowsWhatIsBuffered(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	f.connect("poller", streams.OpenPoll, 1)
	f.connect("socket", streams.OpenWebSocket, 1)
	f.member("PUT", "g", "poller")
	var sent struct{ Position string }
	for _, body := range []string{`{"target":"m","arguments":["<1>"],"groups":["g"]}`, `{"target":"m","groups":["other"]}`, `{"target":"m","arguments":[2]}`} {
		if err := json.Unmarshal(f.send(body).Body.Bytes(), &sent); err != nil {
			t.Fatal(err)
		}
	}
	p := f.pending("poller", "")
	want := []string{`{}`, `{"type":1,"target":"m","arguments":["<1>"]}`, `{"type":1,"target":"m","arguments":[2]}`}
	if p.ConnectionID != "poller" || p.Transport != "LongPolling" || p.State != "open" || !p.Buffered || p.Truncated || len(p.Pending) != len(want) {
		t.Fatalf("got %+v", p)
	}
	for i := range want {
		if string(p.Pending[i].Message) != want[i] {
			t.Errorf("message %d is %s, want %s", i, p.Pending[i].Message, want[i])
		}
	}
	if p.Pending[2].Position != sent.Position {
		t.Errorf("position %s, sent at %s", p.Pending[2].Position, sent.Position)
	}
	if p := f.pending("poller", "?limit=2"); len(p.Pending) != 2 || !p.Truncated {
		t.Errorf("limit 2: got %+v", p)
	}
	if p := f.pending("poller", "?limit=3"); len(p.Pending) != 3 || p.Truncated {
		t.Errorf("limit 3: got %+v", p)
	}
	if p := f.pending("socket", ""); p.Buffered || len(p.Pending) != 0 || p.Transport != "WebSockets" {
		t.Errorf("socket: got %+v", p)
	}
	for _, limit := range []string{"0", "-1", "1001", "x", "1.5"} {
		if r := refused(t, f.do("GET", "/api/hubs/chat/connections/poller/pending?limit="+limit, ""), http.StatusBadRequest); r.Target != "limit" || !strings.Contains(r.Message, "1000") {
			t.Errorf("%s: got %+v", limit, r)
		}
	}
	refused(t, f.do("GET", "/api/hubs/chat/connections/nobody/pending", ""), http.StatusNotFound)
}

// Large messages may be all that the log holds: a look at them takes no such memory.
func TestPendingShowsNoMoreThanSomeMegabytes(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	f.connect("poller", streams.OpenPoll, 1)
	large := `{"target":"m","arguments":["` + strings.Repeat("x", 1_000_000) + `"]}`
	for range 10 {
		f.send(large)
	}
	if p := f.pending("poller", "?limit=1000"); len(p.Pending) != 1+4 || !p.Truncated { // the handshake's answer, and what fits
		t.Errorf("%d are shown, truncated: %v", len(p.Pending), p.Truncated)
	}
	if p := f.pending("poller", "?limit=3"); len(p.Pending) != 3 || !p.Truncated {
		t.Errorf("limit 3: %d are shown, truncated: %v", len(p.Pending), p.Truncated)
	}
}

func TestPendingBeyondRetentionIsGone(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	f.connect("poller", streams.OpenPoll, 1)
	f.send(`{"target":"m"}`)
	reply, err := f.store.Range(context.Background(), "chat", streams.Position{}, 1)
	if err != nil {
		t.Fatal(err)
	}
	f.send(`{"target":"m"}`)
	if _, err := f.store.Trim(context.Background(), "chat", reply.Last); err != nil {
		t.Fatal(err)
	}
	if r := refused(t, f.do("GET", "/api/hubs/chat/connections/poller/pending", ""), http.StatusGone); r.Code != "gap" {
		t.Errorf("got %+v", r)
	}
}
