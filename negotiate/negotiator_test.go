package negotiate_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"reflect"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"hubstream/negotiate"
)

const now = int64(1_760_000_000_000)

const allTransports = `[{"transport":"WebSockets","transferFormats":["Text","Binary"]},` +
	`{"transport":"ServerSentEvents","transferFormats":["Text"]},` +
	`{"transport":"LongPolling","transferFormats":["Text","Binary"]}]`

var connectionID = regexp.MustCompile(`^[A-Za-z0-9_-]{22}$`)

// newNegotiator returns one with the defaults and what change does to them, and its keyring.
func newNegotiator(t testing.TB, change func(*negotiate.Config)) (*negotiate.Negotiator, *negotiate.Keyring) {
	t.Helper()
	keyring := newKeyring(t, secretA)
	config := negotiate.Config{Keyring: keyring, Now: func() int64 { return now }}
	if change != nil {
		change(&config)
	}
	n, err := negotiate.New(config)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	return n, keyring
}

func stateful(c *negotiate.Config) { c.StatefulReconnect = true }

func parseQuery(t testing.TB, query string) url.Values {
	t.Helper()
	values, err := url.ParseQuery(query)
	if err != nil {
		t.Fatal(err)
	}
	return values
}

func wantJSON(t *testing.T, r negotiate.Response, want string) {
	t.Helper()
	got, err := json.Marshal(r)
	if err != nil {
		t.Fatalf("Marshal: %v", err)
	}
	if string(got) != want {
		t.Errorf("body\n got %s\nwant %s", got, want)
	}
	if got, err = r.AppendJSON([]byte("x")); err != nil || string(got) != "x"+want {
		t.Errorf("appended\n got %s %v\nwant x%s", got, err, want)
	}
}

func TestAnswerIsEscapedWhereItMustBe(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"plain", "", `"`, `\`, "\n", "\x1e", "\x7f", "ü", "\xff"} {
		r := negotiate.Response{ConnectionID: id}
		body, _ := r.AppendJSON(nil)
		var got negotiate.Response
		if err := json.Unmarshal(body, &got); err != nil || got.ConnectionID != strings.ToValidUTF8(id, "\ufffd") {
			t.Errorf("%q: got %q %v in %s", id, got.ConnectionID, err, body)
		}
	}
}

func TestAnswerIsAppendedWithoutAllocating(t *testing.T) {
	n, _ := newNegotiator(t, stateful)
	r := n.Negotiate("chat", negotiate.Client{User: "ada"}, parseQuery(t, "negotiateVersion=1&useStatefulReconnect=true"))
	b := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() { _, _ = r.AppendJSON(b) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func TestVersion1Answer(t *testing.T) {
	t.Parallel()
	n, keyring := newNegotiator(t, stateful)
	r := n.Negotiate("chat", negotiate.Client{User: "ada"}, parseQuery(t, "negotiateVersion=1"))
	wantJSON(t, r, fmt.Sprintf(`{"negotiateVersion":1,"connectionId":"%s","connectionToken":"%s","availableTransports":%s}`,
		r.ConnectionID, r.ConnectionToken, allTransports))
	if !connectionID.MatchString(r.ConnectionID) {
		t.Errorf("connection ID %q", r.ConnectionID)
	}
	wantOpen(t, keyring, r.ConnectionToken, negotiate.Token{
		ConnectionID: r.ConnectionID, Hub: "chat", User: "ada", Deadline: now + 60_000, NegotiateVersion: 1,
	})
}

func TestVersion0AnswerUsesTheTokenAsConnectionID(t *testing.T) {
	t.Parallel()
	n, keyring := newNegotiator(t, nil)
	r := n.Negotiate("chat", negotiate.Client{User: "ada"}, nil)
	wantJSON(t, r, fmt.Sprintf(`{"negotiateVersion":0,"connectionId":"%s","availableTransports":%s}`, r.ConnectionID, allTransports))
	inner := keyring.ConnectionID(r.ConnectionID)
	if !connectionID.MatchString(inner) {
		t.Errorf("connection ID for a backend %q", inner)
	}
	wantOpen(t, keyring, r.ConnectionID, negotiate.Token{ConnectionID: inner, Hub: "chat", User: "ada", Deadline: now + 60_000})
}

func TestStatefulAnswer(t *testing.T) {
	t.Parallel()
	n, keyring := newNegotiator(t, stateful)
	r := n.Negotiate("chat", negotiate.Client{User: ""}, parseQuery(t, "negotiateVersion=1&useStatefulReconnect=true"))
	wantJSON(t, r, fmt.Sprintf(`{"negotiateVersion":1,"connectionId":"%s","connectionToken":"%s","useStatefulReconnect":true,"availableTransports":%s}`,
		r.ConnectionID, r.ConnectionToken, allTransports))
	wantOpen(t, keyring, r.ConnectionToken, negotiate.Token{
		ConnectionID: r.ConnectionID, Hub: "chat", Deadline: now + 60_000, NegotiateVersion: 1, StatefulReconnect: true,
	})
}

// The three forms, without what a random ID or key changes.
func TestGoldenAnswers(t *testing.T) {
	t.Parallel()
	transports := []negotiate.AvailableTransport{
		{Transport: negotiate.WebSockets, TransferFormats: []negotiate.TransferFormat{negotiate.Text, negotiate.Binary}},
		{Transport: negotiate.ServerSentEvents, TransferFormats: []negotiate.TransferFormat{negotiate.Text}},
		{Transport: negotiate.LongPolling, TransferFormats: []negotiate.TransferFormat{negotiate.Text, negotiate.Binary}},
	}
	for want, r := range map[string]negotiate.Response{
		`{"negotiateVersion":1,"connectionId":"807809a5","connectionToken":"05265228aBcD_-xyz","availableTransports":` + allTransports + `}`: {
			NegotiateVersion: 1, ConnectionID: "807809a5", ConnectionToken: "05265228aBcD_-xyz", AvailableTransports: transports,
		},
		`{"negotiateVersion":0,"connectionId":"807809a5","availableTransports":[]}`: {ConnectionID: "807809a5"},
		`{"url":"https://b.example/hub?x=1","accessToken":"abc"}`:                   negotiate.RedirectResponse("https://b.example/hub?x=1", "abc"),
		`{"url":"https://b.example/hub?x=1"}`:                                       negotiate.RedirectResponse("https://b.example/hub?x=1", ""),
		`{"error":"no"}`:                                                            negotiate.ErrorResponse("no"),
		`{"error":"wins"}`:                                                          {Error: "wins", URL: "https://b.example", ConnectionID: "x", AvailableTransports: transports},
	} {
		wantJSON(t, r, want)
	}
}

func TestVersions(t *testing.T) {
	t.Parallel()
	const (
		notInteger = "The client requested a non-integer protocol version."
		tooLow     = "The client requested version '-1', but the server does not support this version."
	)
	n, _ := newNegotiator(t, nil)
	for _, test := range []struct {
		query   string
		version int
		err     string
	}{
		{query: "", version: 0},
		{query: "negotiateVersion=0", version: 0},
		{query: "negotiateVersion=1", version: 1},
		{query: "NEGOTIATEVERSION=1", version: 1},
		{query: "NegotiateVersion=1", version: 1},
		{query: "room=7&negotiateVersion=1&x=%2F", version: 1},
		{query: "negotiateVersion=+1+", version: 1},
		{query: "negotiateVersion=%2B1", version: 1},
		{query: "negotiateVersion=2", version: 1},
		{query: "negotiateVersion=7", version: 1},
		{query: "negotiateVersion=2147483647", version: 1},
		{query: "negotiateVersion=1&negotiateVersion=1", version: 1},
		{query: "NegotiateVersion=1&negotiateVersion=1", version: 1},
		{query: "version=1", version: 0},
		{query: "negotiateVersion=-1", err: tooLow},
		{query: "negotiateVersion=", err: notInteger},
		{query: "negotiateVersion", err: notInteger},
		{query: "negotiateVersion=x", err: notInteger},
		{query: "negotiateVersion=1.0", err: notInteger},
		{query: "negotiateVersion=1_0", err: notInteger},
		{query: "negotiateVersion=0x1", err: notInteger},
		{query: "negotiateVersion=2147483648", err: notInteger},
		{query: "negotiateVersion=0&negotiateVersion=1", err: notInteger},
		{query: "NegotiateVersion=0&negotiateVersion=1", err: notInteger},
	} {
		r := n.Negotiate("chat", negotiate.Client{User: "ada"}, parseQuery(t, test.query))
		if test.err != "" {
			wantJSON(t, r, `{"error":`+quote(t, test.err)+`}`)
			continue
		}
		if r.Error != "" || r.NegotiateVersion != test.version {
			t.Errorf("%q: version %d, error %q; want version %d", test.query, r.NegotiateVersion, r.Error, test.version)
		}
		if (r.ConnectionToken != "") != (test.version == 1) || r.ConnectionToken == r.ConnectionID {
			t.Errorf("%q: connection ID %q, token %q", test.query, r.ConnectionID, r.ConnectionToken)
		}
	}
}

func quote(t *testing.T, s string) string {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The JS client rejects the whole start if it is told of a stateful reconnect that it has not asked for.
func TestStatefulReconnectOnlyIfAskedForAndAllowed(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		query         string
		allowed, want bool
	}{
		{"useStatefulReconnect=true", true, true},
		{"useStatefulReconnect=true", false, false},
		{"useStatefulReconnect=True", true, true},
		{"USESTATEFULRECONNECT=TRUE", true, true},
		{"useStatefulReconnect=true&useStatefulReconnect=true", true, true},
		{"useStatefulReconnect=true&useStatefulReconnect=false", true, false},
		{"useStatefulReconnect=false", true, false},
		{"useStatefulReconnect=", true, false},
		{"useStatefulReconnect=1", true, false},
		{"", true, false},
	} {
		for _, version := range []string{"", "&negotiateVersion=1"} {
			n, keyring := newNegotiator(t, func(c *negotiate.Config) { c.StatefulReconnect = test.allowed })
			r := n.Negotiate("chat", negotiate.Client{User: ""}, parseQuery(t, test.query+version))
			if r.UseStatefulReconnect != test.want {
				t.Errorf("%q, allowed %v: %v, want %v", test.query+version, test.allowed, r.UseStatefulReconnect, test.want)
			}
			body, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(body), "useStatefulReconnect") != test.want {
				t.Errorf("%q, allowed %v: body %s", test.query+version, test.allowed, body)
			}
			sealed := r.ConnectionToken
			if sealed == "" {
				sealed = r.ConnectionID
			}
			if token, err := keyring.Open(sealed); err != nil || token.StatefulReconnect != test.want {
				t.Errorf("%q, allowed %v: token %+v, %v", test.query+version, test.allowed, token, err)
			}
		}
	}
}

func TestTransportsAsConfigured(t *testing.T) {
	t.Parallel()
	n, _ := newNegotiator(t, func(c *negotiate.Config) {
		c.Transports = []negotiate.Transport{negotiate.LongPolling, negotiate.ServerSentEvents}
	})
	r := n.Negotiate("chat", negotiate.Client{User: ""}, parseQuery(t, "negotiateVersion=1"))
	wantJSON(t, r, fmt.Sprintf(`{"negotiateVersion":1,"connectionId":"%s","connectionToken":"%s","availableTransports":`+
		`[{"transport":"LongPolling","transferFormats":["Text","Binary"]},{"transport":"ServerSentEvents","transferFormats":["Text"]}]}`,
		r.ConnectionID, r.ConnectionToken))
}

func TestAnswerCanBeReadBack(t *testing.T) {
	t.Parallel()
	n, _ := newNegotiator(t, stateful)
	for _, r := range []negotiate.Response{
		n.Negotiate("chat", negotiate.Client{User: "ada"}, parseQuery(t, "negotiateVersion=1&useStatefulReconnect=true")),
		n.Negotiate("chat", negotiate.Client{User: "ada"}, nil),
		negotiate.RedirectResponse("https://b.example/hub?x=1&y=2", "abc"),
		negotiate.ErrorResponse("no"),
	} {
		body, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		var got negotiate.Response
		if err := json.Unmarshal(body, &got); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, r) {
			t.Errorf("%s is read as %+v", body, got)
		}
	}
}

func TestConnectDeadline(t *testing.T) {
	t.Parallel()
	n, keyring := newNegotiator(t, func(c *negotiate.Config) { c.ConnectDeadline = 1500 * time.Millisecond })
	r := n.Negotiate("chat", negotiate.Client{User: ""}, parseQuery(t, "negotiateVersion=1"))
	token, err := keyring.Open(r.ConnectionToken)
	if err != nil {
		t.Fatal(err)
	}
	if want := now + 1500; token.Deadline != want {
		t.Errorf("deadline %d, want %d", token.Deadline, want)
	}
}

func TestUserOverTheLimitIsToldTheLimit(t *testing.T) {
	t.Parallel()
	n, _ := newNegotiator(t, nil)
	r := n.Negotiate("chat", negotiate.Client{User: strings.Repeat("u", negotiate.MaxUserLength+1)}, parseQuery(t, "negotiateVersion=1"))
	wantJSON(t, r, `{"error":"user ID has 1025 characters, the limit is 1024"}`)
}

func TestBadConfigIsRefused(t *testing.T) {
	t.Parallel()
	good := negotiate.Config{Keyring: newKeyring(t, secretA), Now: func() int64 { return now }}
	if _, err := negotiate.New(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*negotiate.Config){
		"no keyring":           func(c *negotiate.Config) { c.Keyring = nil },
		"no clock":             func(c *negotiate.Config) { c.Now = nil },
		"negative deadline":    func(c *negotiate.Config) { c.ConnectDeadline = -1 },
		"transport in no case": func(c *negotiate.Config) { c.Transports = []negotiate.Transport{"websockets"} },
		"transport twice": func(c *negotiate.Config) {
			c.Transports = []negotiate.Transport{negotiate.LongPolling, negotiate.LongPolling}
		},
	} {
		config := good
		change(&config)
		if _, err := negotiate.New(config); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// Clients negotiate once for each transport that they try, and may never connect. Not parallel: it watches the heap.
func TestNegotiatingWithoutConnectingStoresNothing(t *testing.T) {
	const negotiations = 10_000
	n, _ := newNegotiator(t, nil)
	query := parseQuery(t, "negotiateVersion=1")
	before := heap()
	for range negotiations {
		if r := n.Negotiate("chat", negotiate.Client{User: "ada"}, query); r.Error != "" {
			t.Fatal(r.Error)
		}
	}
	// One ID alone would be 22 bytes for each.
	if after := heap(); after > before+negotiations*10 {
		t.Errorf("the heap grew from %d to %d bytes", before, after)
	}
	runtime.KeepAlive(n)
}

func heap() uint64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.GC() // the second one frees what the first has finalized
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

func TestConnectionIDsAndTokensDiffer(t *testing.T) {
	t.Parallel()
	n, _ := newNegotiator(t, nil)
	seen := make(map[string]bool)
	for range 10_000 {
		r := n.Negotiate("chat", negotiate.Client{User: "ada"}, url.Values{"negotiateVersion": {"1"}})
		if seen[r.ConnectionID] || seen[r.ConnectionToken] {
			t.Fatalf("repeated: %q or %q", r.ConnectionID, r.ConnectionToken)
		}
		seen[r.ConnectionID], seen[r.ConnectionToken] = true, true
	}
}

func FuzzNegotiate(f *testing.F) {
	for _, query := range []string{
		"", "negotiateVersion=1", "negotiateVersion=0", "negotiateVersion=x", "NegotiateVersion=7&useStatefulReconnect=true",
		"negotiateVersion=-1", "negotiateVersion=1&negotiateVersion=0", "%", "a=%zz;b",
	} {
		f.Add("chat", "ada", query)
	}
	n, keyring := newNegotiator(f, stateful)
	f.Fuzz(func(t *testing.T, hub, user, query string) {
		hub, err := negotiate.HubName(hub)
		if err != nil {
			return
		}
		values, _ := url.ParseQuery(query) // what could be parsed, as net/http does
		r := n.Negotiate(hub, negotiate.Client{User: user}, values)
		body, err := json.Marshal(r)
		if err != nil {
			t.Fatalf("Marshal: %v", err)
		}
		if strings.Contains(string(body), ":null") && r.Error == "" {
			t.Fatalf("null in %s", body)
		}
		if r.Error != "" {
			if r.ConnectionID != "" || r.ConnectionToken != "" || r.AvailableTransports != nil {
				t.Fatalf("an error with more: %s", body)
			}
			return
		}
		sealed := r.ConnectionToken
		if r.NegotiateVersion == 0 {
			sealed = r.ConnectionID
		}
		token, err := keyring.Open(sealed)
		if err != nil {
			t.Fatalf("Open: %v", err)
		}
		if token.Hub != hub || token.User != user || token.StatefulReconnect != r.UseStatefulReconnect {
			t.Fatalf("the token says %+v, asked for hub %q, user %q, query %q", token, hub, user, query)
		}
	})
}

func BenchmarkNegotiate(b *testing.B) {
	n, _ := newNegotiator(b, nil)
	query := url.Values{"negotiateVersion": {"1"}}
	body := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := n.Negotiate("chat", negotiate.Client{User: "ada"}, query).AppendJSON(body); err != nil {
			b.Fatal(err)
		}
	}
}
