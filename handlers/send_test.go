package handlers_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"hubstream/handlers"
	"hubstream/negotiate"
	"hubstream/streams"
)

func TestSendBecomesOneEntry(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	token, err := f.keyring.Seal(negotiate.Token{ConnectionID: strings.Repeat("A", 22), Hub: "chat"})
	if err != nil {
		t.Fatal(err)
	}
	for body, want := range map[string]streams.Entry{
		`{"target":"m","arguments":["a",1,{"x":null}]}`: {
			Flags: streams.FlagAll, Body: []byte(`{"type":1,"target":"m","arguments":["a",1,{"x":null}]}` + "\x1e")},
		" {\n\t\"arguments\" : [ 1 , \"a b\" ] ,\r\n\"target\" : \"m\" } \n": {
			Flags: streams.FlagAll, Body: []byte(`{"type":1,"target":"m","arguments":[1,"a b"]}` + "\x1e")},
		`{"target":"m"}`: {Flags: streams.FlagAll, Body: []byte(`{"type":1,"target":"m","arguments":[]}` + "\x1e")},
		`{"target":"m","groups":["g","h"],"users":["u"],"connections":["c"],"excluded":["d"]}`: {
			Groups: []string{"g", "h"}, Users: []string{"u"}, Connections: []string{"c"}, Excluded: []string{"d"},
			Body: []byte(`{"type":1,"target":"m","arguments":[]}` + "\x1e")},
		`{"target":"m","groups":[],"users":["u"]}`:               {Users: []string{"u"}, Body: []byte(`{"type":1,"target":"m","arguments":[]}` + "\x1e")},
		`{"target":"m","excluded":["c"]}`:                        {Flags: streams.FlagAll, Excluded: []string{"c"}, Body: []byte(`{"type":1,"target":"m","arguments":[]}` + "\x1e")},
		`{"target":"m","excluded":[ ]}`:                          {Flags: streams.FlagAll, Body: []byte(`{"type":1,"target":"m","arguments":[]}` + "\x1e")},
		`{"\u0074arget":"m","users":["\ud83d\ude00\"\/\n ü"]}`:   {Users: []string{"😀\"/\n ü"}, Body: []byte(`{"type":1,"target":"m","arguments":[]}` + "\x1e")},
		`{"target":"m","connections":["` + token + `"]}`:         {Connections: []string{strings.Repeat("A", 22)}, Body: []byte(`{"type":1,"target":"m","arguments":[]}` + "\x1e")},
		`{"target":"m","arguments":["]}\\\"[{",{"a":["\\"]}]}`:   {Flags: streams.FlagAll, Body: []byte(`{"type":1,"target":"m","arguments":["]}\\\"[{",{"a":["\\"]}]}` + "\x1e")},
		`{"target":"` + strings.Repeat("t", 256) + `"}`:          {Flags: streams.FlagAll, Body: []byte(`{"type":1,"target":"` + strings.Repeat("t", 256) + `","arguments":[]}` + "\x1e")},
		`{"target":"m","users":[` + repeated(`"u"`, 1000) + `]}`: {Users: strings.Split(strings.Repeat("u", 1000), ""), Body: []byte(`{"type":1,"target":"m","arguments":[]}` + "\x1e")},
	} {
		w := f.send(body)
		if w.Code != http.StatusAccepted {
			t.Errorf("%s: got %d %s", body, w.Code, w.Body)
			continue
		}
		got := f.last()
		want.Kind = streams.KindMessage
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n got %+v\nwant %+v", body, got, want)
		}
		reply, err := f.store.Range(t.Context(), "chat", streams.Position{}, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if answer := fmt.Sprintf(`{"position":"%s.%s"}`, reply.Gen, reply.Last); w.Body.String() != answer || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("got %s, want %s", w.Body, answer)
		}
	}
}

func repeated(element string, n int) string {
	return strings.TrimSuffix(strings.Repeat(element+",", n), ",")
}

func TestHubNamesOfSendsAreOneHubInAnyCase(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	if w := f.do("POST", "/api/hubs/CHAT/send", `{"target":"m","arguments":[7]}`); w.Code != http.StatusAccepted {
		t.Fatalf("got %d %s", w.Code, w.Body)
	}
	if got := string(f.last().Body); !strings.Contains(got, "7") {
		t.Errorf("got %s", got)
	}
}

func TestBadSendsAreRefusedByName(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{MaxSendBytes: 400 << 10})
	for _, v := range []struct {
		what, body string
		status     int
		field      string
		word       string // of the message
	}{
		{"empty", "", 400, "", "JSON object"},
		{"white space", " \n", 400, "", "JSON object"},
		{"not an object", `[]`, 400, "", "JSON object"},
		{"null", `null`, 400, "", "JSON object"},
		{"not JSON", `{target:"m"}`, 400, "", "byte 1"},
		{"cut after the brace", `{`, 400, "", "too early"},
		{"cut in a name", `{"targ`, 400, "", "too early"},
		{"cut after a name", `{"target"`, 400, "", "too early"},
		{"cut after the colon", `{"target":`, 400, "target", "string"},
		{"cut in a string", `{"target":"m`, 400, "", "too early"},
		{"cut in an escape", `{"target":"\u00`, 400, "", "unexpected"},
		{"cut after a value", `{"target":"m"`, 400, "", "too early"},
		{"cut in a list", `{"target":"m","groups":["g"`, 400, "", "too early"},
		{"cut in the arguments", `{"target":"m","arguments":[{"a":"`, 400, "", "too early"},
		{"cut after a backslash", `{"target":"m","arguments":["\`, 400, "", "too early"},
		{"a comma too many", `{"target":"m",}`, 400, "", "byte 14"},
		{"a comma too few", `{"target":"m" "groups":["g"]}`, 400, "", "byte 14"},
		{"two values", `{"target":"m"}{"target":"m"}`, 400, "", "trailing data at byte 14"},
		{"control character", "{\"target\":\"a\nb\"}", 400, "", "byte 12"},
		{"unknown escape", `{"target":"\x"}`, 400, "", "byte 12"},
		{"no target", `{"arguments":[]}`, 400, "target", "missing"},
		{"nothing", `{}`, 400, "target", "missing"},
		{"empty target", `{"target":""}`, 400, "target", "empty"},
		{"target is a number", `{"target":1}`, 400, "target", "string"},
		{"target is null", `{"target":null}`, 400, "target", "string"},
		{"long target", `{"target":"` + strings.Repeat("t", 257) + `"}`, 400, "target", "257 bytes, the limit is 256"},
		{"target is not UTF-8", "{\"target\":\"\xff\"}", 400, "target", "UTF-8"},
		{"target twice", `{"target":"m","target":"n"}`, 400, "target", "twice"},
		{"arguments twice", `{"target":"m","arguments":[],"arguments":[]}`, 400, "arguments", "twice"},
		{"groups twice", `{"target":"m","groups":["g"],"groups":["h"]}`, 400, "groups", "twice"},
		{"unknown field", `{"target":"m","group":["g"]}`, 400, "group", `unknown field "group"`},
		{"field in capitals", `{"Target":"m"}`, 400, "Target", "unknown field"},
		{"long unknown field", `{"` + strings.Repeat("x", 100) + `":1}`, 400, strings.Repeat("x", 40) + "...", "unknown field"},
		{"arguments are an object", `{"target":"m","arguments":{}}`, 400, "arguments", "array"},
		{"arguments are null", `{"target":"m","arguments":null}`, 400, "arguments", "array"},
		{"arguments are not JSON", `{"target":"m","arguments":[nope]}`, 400, "arguments[0]", "unexpected"},
		{"arguments have mixed brackets", `{"target":"m","arguments":[1}}`, 400, "arguments", "unexpected"},
		{"arguments are not UTF-8", "{\"target\":\"m\",\"arguments\":[\"\xff\"]}", 400, "arguments[0]", "UTF-8"},
		{"a lone surrogate in an argument", `{"target":"m","arguments":[{"a":"\ud800"}]}`, 400, "arguments[0].a", "surrogate"},
		{"a key twice", `{"target":"m","arguments":[1,{"a":1,"a":2}]}`, 400, "arguments[1]", "duplicate"},
		{"too deep", `{"target":"m","arguments":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}`, 400, "arguments" + strings.Repeat("[0]", 63), "64"},
		{"groups are null", `{"target":"m","groups":null}`, 400, "groups", "array of strings"},
		{"groups are a string", `{"target":"m","groups":"g"}`, 400, "groups", "array of strings"},
		{"a group is a number", `{"target":"m","groups":["g",1]}`, 400, "groups[1]", "string"},
		{"a group is empty", `{"target":"m","groups":["g","h",""]}`, 400, "groups[2]", "empty"},
		{"a user is long", `{"target":"m","users":["` + strings.Repeat("ü", 1025) + `"]}`, 400, "users[0]", "1025 characters, the limit is 1024"},
		{"a user is not UTF-8", "{\"target\":\"m\",\"users\":[\"\xc3\"]}", 400, "users[0]", "UTF-8"},
		{"a user has a lone surrogate", `{"target":"m","users":["\ud83dx"]}`, 400, "", "unexpected"},
		{"a user has two high surrogates", `{"target":"m","users":["\ud83d\ud83d"]}`, 400, "", "unexpected"},
		{"a connection is long", `{"target":"m","connections":["` + strings.Repeat("c", 300) + `"]}`, 400, "connections[0]", "256"},
		{"a connection is very long", `{"target":"m","excluded":["` + strings.Repeat("c", 9000) + `"]}`, 400, "excluded[0]", "256"},
		{"no audience left", `{"target":"m","groups":[]}`, 400, "groups", "empty"},
		{"no audience left twice", `{"target":"m","users":[],"connections":[],"excluded":["c"]}`, 400, "users", "empty"},
		{"too many users", `{"target":"m","users":[` + repeated(`"u"`, 1001) + `]}`, 400, "users", "1000"},
		{"too large", `{"target":"m","arguments":["` + strings.Repeat("x", 400<<10) + `"]}`, 413, "", "409600"},
	} {
		r := refused(t, f.send(v.body), v.status)
		if r.Target != v.field || !strings.Contains(r.Message, v.word) || !strings.Contains(r.Message, r.Target) {
			t.Errorf("%s: got %+v, want field %q and a message with %q", v.what, r, v.field, v.word)
		}
	}
	if _, err := f.store.Range(t.Context(), "chat", streams.Position{}, 1); err != nil {
		t.Fatal(err)
	}
}

func TestEveryTruncatedSendIsRefused(t *testing.T) {
	t.Parallel()
	const body = `{"target":"m\u00e9","arguments":["a\"]",{"b":[1]}],"groups":["g"],"excluded":["c","d"]}`
	if _, err := handlers.ParseSend([]byte(body)); err != nil {
		t.Fatal(err)
	}
	for i := range len(body) {
		if _, err := handlers.ParseSend([]byte(body[:i])); err == nil {
			t.Errorf("the first %d bytes are accepted", i)
		}
	}
}

func TestSendTakesOnlyJSON(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	for contentType, want := range map[string]int{
		"application/json": 202, "application/json; charset=utf-8": 202, "Application/JSON": 202,
		"text/plain": 415, "text/html": 415, "application/x-www-form-urlencoded": 415, "application/jsonp": 415, "": 415, ";": 415,
	} {
		w := f.do("POST", "/api/hubs/chat/send", `{"target":"m"}`, "Content-Type", contentType)
		if w.Code != want {
			t.Errorf("%q: got %d %s, want %d", contentType, w.Code, w.Body, want)
		}
	}
	if w := f.do("POST", "/api/hubs/chat/send", `{"target":"m"}`); w.Code != http.StatusAccepted {
		t.Errorf("without a Content-Type: got %d %s", w.Code, w.Body)
	}
}

func TestSendTakesOnlyPOST(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	for _, method := range []string{"GET", "PUT", "DELETE", "PATCH"} {
		w := f.do(method, "/api/hubs/chat/send", "")
		if r := refused(t, w, http.StatusMethodNotAllowed); r.Code != "method_not_allowed" {
			t.Errorf("%s: got %+v", method, r)
		}
		if got := w.Header().Get("Allow"); !strings.Contains(got, "POST") {
			t.Errorf("%s: Allow is %q", method, got)
		}
	}
}

// A body whose length is not announced is limited all the same, and one that breaks off is not sent.
func TestSendOfUnknownLength(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{MaxSendBytes: 20000})
	post := func(body io.Reader) *httptest.ResponseRecorder {
		r := httptest.NewRequest("POST", "/api/hubs/chat/send", body)
		r.ContentLength = -1
		w := httptest.NewRecorder()
		f.ServeHTTP(w, r)
		return w
	}
	size := 20000 - len(`{"target":"m","arguments":[""]}`)
	if w := post(strings.NewReader(`{"target":"m","arguments":["` + strings.Repeat("x", size) + `"]}`)); w.Code != http.StatusAccepted {
		t.Errorf("at the limit: got %d %s", w.Code, w.Body)
	}
	w := post(strings.NewReader(`{"target":"m","arguments":["` + strings.Repeat("x", size+1) + `"]}`))
	refused(t, w, http.StatusRequestEntityTooLarge)
	if w.Header().Get("Connection") != "close" {
		t.Error("the connection stays open for a body that nobody reads")
	}
	refused(t, post(io.MultiReader(strings.NewReader(`{"target":"m"}`), errReader{})), http.StatusBadRequest)
}

// A backend writes the whole body before it looks for an answer, and must find it.
func TestBackendsSeeWhyALargeBodyIsRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{MaxSendBytes: 1 << 20})
	server := httptest.NewServer(f)
	defer server.Close()
	defer server.Client().CloseIdleConnections()
	for _, length := range []int64{5 << 20, -1} {
		r, err := http.NewRequest("POST", server.URL+"/api/hubs/chat/send", strings.NewReader(strings.Repeat("x", 5<<20)))
		if err != nil {
			t.Fatal(err)
		}
		r.ContentLength = length
		answer, err := server.Client().Do(r)
		if err != nil {
			t.Errorf("of length %d: %v", length, err)
			continue
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("of length %d: got %d, want 413", length, answer.StatusCode)
		}
	}
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// failing is a store whose appends fail.
type failing struct {
	streams.Store
	err error
}

func (s *failing) Append(context.Context, string, []byte) (streams.Position, error) {
	return streams.Position{}, s.err
}

func TestStoreFailuresSayWhetherToRepeat(t *testing.T) {
	t.Parallel()
	store := &failing{Store: streams.NewMemory(streams.MemoryConfig{})}
	f := newFixtureOn(t, store, handlers.Config{})
	limits := map[error]string{streams.ErrFull: "maxmemory", streams.ErrLogFull: "-retention-bytes"}
	for _, v := range []struct {
		err           error
		status        int
		code, outcome string
		retryAfter    string
	}{
		{streams.ErrUnavailable, 503, "unavailable", "", "1"},
		{streams.ErrOutcomeUnknown, 503, "unavailable", "unknown", ""},
		{fmt.Errorf("%w: %w", streams.ErrOutcomeUnknown, streams.ErrUnavailable), 503, "unavailable", "unknown", ""},
		{streams.ErrFull, 503, "full", "", ""},
		{streams.ErrLogFull, 503, "full", "", ""},
		{streams.ErrTooLarge, 413, "too_large", "", ""},
		{errors.New("password of the store"), 500, "internal", "", ""},
	} {
		store.err = v.err
		if !errors.Is(v.err, streams.ErrOutcomeUnknown) {
			store.err = fmt.Errorf("append entry: %w", v.err)
		}
		w := f.send(`{"target":"m"}`)
		r := refused(t, w, v.status)
		if r.Code != v.code || r.Outcome != v.outcome || w.Header().Get("Retry-After") != v.retryAfter {
			t.Errorf("%v: got %+v with Retry-After %q", v.err, r, w.Header().Get("Retry-After"))
		}
		if strings.Contains(r.Message, "password") {
			t.Errorf("the caller is told %q", r.Message)
		}
		if limit := limits[v.err]; !strings.Contains(r.Message, limit) {
			t.Errorf("%v: the message %q does not name the limit %s", v.err, r.Message, limit)
		}
	}
}

func FuzzSendBody(f *testing.F) {
	for _, seed := range []string{
		`{"target":"m","arguments":["a",1,{"x":null}]}`,
		`{"target":"m","groups":["g"],"users":["u","\ud83d\ude00"],"connections":["c"],"excluded":[]}`,
		`{"\u0074arget":"m", "arguments" : [ "\\\"]" ] }`,
		`{"target":"m","arguments":[[[]],{"a":"}"}]}`,
		`{"target":"m"`, `{"unknown":1}`, `[]`, "{\"target\":\"\xff\"}", `{"target":"\ud800"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(checkAgainstStandardLibrary)
}
