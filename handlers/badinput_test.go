package handlers_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"hubstream/handlers"
	"hubstream/streams"
)

// request is one of an operation, with everything in order until something is made wrong.
type request struct {
	operation    described
	method, path string
	parts        map[string]string // of the path, percent-encoded
	query        url.Values
	body         string
	headers      []string
}

func (r *request) address() string {
	path := r.path
	for name, part := range r.parts {
		path = strings.ReplaceAll(path, "{"+name+"}", part)
	}
	if len(r.query) > 0 {
		path += "?" + r.query.Encode()
	}
	return path
}

// takes tells whether the operation has a parameter.
func (d *document) takes(op *described, name string) bool {
	return slices.ContainsFunc(op.Parameters, func(p map[string]any) bool {
		return p["$ref"] == "#/components/parameters/"+name
	})
}

// bad is something wrong: what has the parameter refuses it with this status, and names the field.
type bad struct {
	what   string
	break_ func(*request)
	has    func(d *document, r *request) bool
	status int
	field  string
}

// anyField is for what is refused as a whole at some addresses, and by its place at others.
const anyField = "*"

func hasParameter(name string) func(*document, *request) bool {
	return func(d *document, r *request) bool { return d.takes(&r.operation, name) }
}

func badParts() (all []bad) {
	long := strings.Repeat("x", 1025)
	for name, values := range map[string][]string{
		"hub":   {"a%20b", strings.Repeat("h", 129), "%FF", "1%2F2"},
		"group": {long, "%20%09", "%FF"}, "user": {long, "%20", "a%FF"},
		"groups": {"a,,b", long, "%FF"}, "users": {"a,", long, "%FF"},
	} {
		for _, value := range values {
			field := name
			if value[0] != '%' && (name == "groups" || name == "users") {
				field = map[string]string{"a,,b": name + "[1]", "a,": name + "[1]", long: name + "[0]"}[value]
			}
			all = append(all, bad{name + "=" + value, func(r *request) { r.parts[name] = value }, hasParameter(name), 400, field})
		}
	}
	return all
}

func badQueries() (all []bad) {
	add := func(name, field string, extra url.Values, values ...string) {
		for _, value := range values {
			all = append(all, bad{"?" + name + "=" + value, func(r *request) {
				r.query.Set(name, value)
				for k, v := range extra {
					r.query[k] = v
				}
			}, hasParameter(name), 400, field})
		}
	}
	azure := url.Values{"api-version": {"2024-12-01"}}
	add("limit", "limit", nil, "0", "-1", "1001", "x", "1.5", "99999999999999999999")
	for _, cursor := range []string{"*", strings.Repeat("A", 6000)} {
		all = append(all, bad{"?cursor=" + cursor, func(r *request) { r.query.Set("cursor", cursor) }, func(d *document, r *request) bool {
			return d.takes(&r.operation, "cursor") && r.path != "/api/hubs/{hub}/connections" // there it is the store's own
		}, 400, "cursor"})
	}
	add("maxpagesize", "maxpagesize", azure, "0", "201", "x")
	add("top", "top", azure, "0", "x", "2147483648")
	add("continuationToken", "continuationToken", azure, "*")
	add("ttl", "ttl", nil, "-1", "x", "2147483648", "1.5")
	add("reason", "reason", nil, strings.Repeat("r", 1025), "\xff")
	add("userId", "userId", nil, strings.Repeat("u", 1025), "\xff")
	add("minutesToExpire", "minutesToExpire", nil, "0", "x", "1.5", "99999999")
	add("allowReconnect", "allowReconnect", nil, "maybe")
	add("application", "application", nil, "a b", strings.Repeat("a", 129))
	add("excluded", "excluded[0]", nil, "", "\xff", strings.Repeat("x", 9000))
	many := make([]string, 1001)
	for i := range many {
		many[i] = "c"
	}
	return append(all, bad{"1001 excluded", func(r *request) { r.query["excluded"] = many }, hasParameter("excluded"), 400, "excluded"})
}

func badBodies() (all []bad) {
	add := func(what string, status int, field, body string, headers ...string) {
		all = append(all, bad{what, func(r *request) { r.body, r.headers = body, headers }, hasParameter("Idempotency-Key"), status, field})
	}
	good := `{"target":"m"}`
	add("no body", 400, "", "")
	add("null", 400, "", "null")
	add("an array", 400, "", `[]`)
	add("half of it", 400, "", `{"target":"m"`)
	add("trailing data", 400, "", good+"x")
	add("invalid UTF-8 in it", 400, anyField, "{\"target\":\"m\",\"arguments\":[\"\xff\"]}")
	add("no target", 400, "target", `{"arguments":[]}`)
	add("an empty target", 400, "target", `{"target":""}`)
	add("a target that is a number", 400, "target", `{"target":1}`)
	add("a long target", 400, "target", `{"target":"`+strings.Repeat("x", 257)+`"}`)
	add("arguments that are no array", 400, "arguments", `{"target":"m","arguments":{}}`)
	add("a number beyond 64 bits", 400, "arguments[0]", `{"target":"m","arguments":[123456789012345678901234567890]}`)
	add("a name twice", 400, "arguments[0]", `{"target":"m","arguments":[{"a":1,"a":2}]}`)
	add("too large", 413, "", `{"target":"m","arguments":["`+strings.Repeat("x", 5000)+`"]}`)
	add("text", 415, "", good, "Content-Type", "text/plain")
	add("an unreadable type", 415, "", good, "Content-Type", ";;")
	add("an empty key", 400, "Idempotency-Key", good, "Idempotency-Key", "")
	add("a long key", 400, "Idempotency-Key", good, "Idempotency-Key", strings.Repeat("k", 257))
	return all
}

// Every operation at every address refuses everything wrong: with the right status, a code that the OpenAPI document has for it, and
// the name of what is wrong. Nothing is appended.
func TestEveryOperationRefusesBadInput(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{MaxSendBytes: 4000})
	f.send(`{"target":"m"}`)
	before := f.entries()
	d := f.document()
	tried := map[string]int{}
	for _, wrong := range slices.Concat(badParts(), badQueries(), badBodies()) {
		for path, item := range d.Paths {
			for method, op := range item {
				r := &request{
					operation: op, method: strings.ToUpper(method), path: path, query: url.Values{}, body: `{"target":"m"}`,
					parts: map[string]string{"hub": "chat", "group": "g", "user": "u", "connection": "c", "groups": "g", "users": "u"},
				}
				if !wrong.has(&d, r) {
					continue
				}
				wrong.break_(r)
				tried[wrong.what]++
				f.wantRefused(r, wrong)
			}
		}
		if tried[wrong.what] == 0 {
			t.Errorf("no operation was tried with %q", wrong.what)
		}
	}
	if after := f.entries(); after != before {
		t.Errorf("the log had %d entries, and has %d", before, after)
	}
}

func (f *fixture) wantRefused(r *request, wrong bad) {
	f.t.Helper()
	w := f.do(r.method, r.address(), r.body, r.headers...)
	what := fmt.Sprintf("%s %s, %s", r.method, r.path, short(wrong.what))
	if r.method == http.MethodHead {
		if w.Code != wrong.status {
			f.t.Errorf("%s: got %d, want %d", what, w.Code, wrong.status)
		}
		return
	}
	got := refusedAs(f.t, what, w, wrong.status)
	if wrong.field != anyField && got.Target != wrong.field && !strings.HasPrefix(got.Target, wrong.field+".") {
		f.t.Errorf("%s: names the field %q, want %q (%s)", what, got.Target, wrong.field, got.Message)
	}
	if !r.operation.allows(strconv.Itoa(wrong.status), got.Code) {
		f.t.Errorf("%s: the document does not have %d %s", what, wrong.status, got.Code)
	}
}

func short(s string) string { return s[:min(len(s), 40)] }

func refusedAs(t testing.TB, what string, w *httptest.ResponseRecorder, status int) refusal {
	t.Helper()
	if w.Code != status {
		t.Errorf("%s: got %d %s, want %d", what, w.Code, short(w.Body.String()), status)
		return refusal{}
	}
	return refused(t, w, status)
}

// entries counts what all logs hold.
func (f *fixture) entries() (n int) {
	f.t.Helper()
	names, err := f.node.HubNames(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	for _, hub := range names {
		reply, err := f.store.Range(f.t.Context(), hub, streams.Position{}, 100_000)
		if err != nil {
			f.t.Fatal(err)
		}
		n += len(reply.Entries)
	}
	return n
}

// numbered is what an ID of the document has at all addresses but the first.
var numbered = regexp.MustCompile(`\d+[a-z]+$`)

// What is not there is no bad input: sends and closes of many are accepted, questions are answered no, and changes of one connection are
// refused, each as the document says.
func TestWhatIsUnknownIsAnsweredAlikeEverywhere(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	d := f.document()
	unknown := map[string]int{
		"showConnection": 404, "closeConnection": 404, "showPending": 404, "joinGroup": 404, "leaveGroup": 404,
		"generateToken": 501, "showGroup": 404, "showUser": 404, "showUserInGroup": 404, "invoke": 404,
	}
	n := 0 // each has a hub of its own
	for path, item := range d.Paths {
		for method, op := range item {
			r := &request{method: strings.ToUpper(method), path: path, body: `{"target":"m"}`, parts: map[string]string{
				"hub": fmt.Sprint("nowhere", n), "group": "g", "user": "u", "connection": "c", "groups": "g", "users": "u",
			}}
			if !strings.Contains(path, "{hub}") || strings.HasSuffix(path, "/events") {
				continue
			}
			id := numbered.ReplaceAllString(op.OperationID, "")
			if n++; id == "batch" {
				r.body = "[" + r.body + "]"
			}
			w := f.do(r.method, r.address(), r.body, "Content-Type", "application/json")
			want := unknown[id]
			if id == "leaveGroup" && strings.HasPrefix(path, "/api/v1/") {
				want = 0 // it is not in the group, as was asked for
			}
			if want == 0 && w.Code >= 300 || want != 0 && w.Code != want {
				t.Errorf("%s %s (%s): got %d %s, want %d", r.method, path, op.OperationID, w.Code, w.Body, want)
			}
			if !op.allows(strconv.Itoa(w.Code), "") {
				t.Errorf("%s %s: the document has no %d", r.method, path, w.Code)
			}
		}
	}
}
