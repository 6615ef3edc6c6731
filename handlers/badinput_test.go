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
	what string
	// parameter is the one that is wrong; empty: the body.
	parameter string
	break_    func(*request)
	has       func(d *document, r *request) bool
	status    int
	field     string
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
		"connection": {"%FF"}, "stream": {"%20", "%FF", strings.Repeat("s", 101)},
	} {
		for _, value := range values {
			field := name
			if value[0] != '%' && (name == "groups" || name == "users") {
				field = map[string]string{"a,,b": name + "[1]", "a,": name + "[1]", long: name + "[0]"}[value]
			}
			all = append(all, bad{name + "=" + value, name, func(r *request) { r.parts[name] = value }, hasParameter(name), 400, field})
		}
	}
	return all
}

func badQueries() (all []bad) {
	add := func(name, field string, extra url.Values, values ...string) {
		for _, value := range values {
			all = append(all, bad{"?" + name + "=" + value, name, func(r *request) {
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
		all = append(all, bad{"?cursor=" + cursor, "cursor", func(r *request) { r.query.Set("cursor", cursor) }, func(d *document, r *request) bool {
			return d.takes(&r.operation, "cursor") && (cursor != "*" || r.path != "/api/hubs/{hub}/connections") // there it is the store's own
		}, 400, "cursor"})
	}
	add("maxpagesize", "maxpagesize", azure, "0", "201", "x")
	add("top", "top", azure, "0", "x", "2147483648")
	add("continuationToken", "continuationToken", azure, "*")
	add("ttl", "ttl", nil, "-1", "x", "2147483648", "1.5")
	add("reason", "reason", nil, strings.Repeat("r", 1025), "\xff")
	add("userId", "userId", nil, strings.Repeat("u", 1025), "\xff")
	add("error", "reason", nil, strings.Repeat("r", 1025), "\xff")
	add("completed", "completed", nil, "maybe")
	add("timeout", "timeout", nil, "x", "0s", "2m")
	add("filter", "filter", nil, "(", "nobody eq 'a'", "userId eq 'a", strings.Repeat("(", 60), strings.Repeat(" ", 5000), "\xff")
	add("minutesToExpire", "minutesToExpire", nil, "0", "x", "1.5", "99999999")
	add("allowReconnect", "allowReconnect", nil, "maybe")
	add("application", "application", nil, "a b", strings.Repeat("a", 129))
	add("excluded", "excluded[0]", nil, "", "\xff", strings.Repeat("x", 9000))
	for value, field := range map[string]string{"a,,b": "groups[1]", strings.Repeat("g", 1025): "groups[0]", strings.Repeat("g,", 200): "groups"} {
		all = append(all, bad{"?groups=" + value, "followed", func(r *request) { r.query.Set("groups", value) }, hasParameter("followed"), 400, field})
	}
	for _, user := range []string{strings.Repeat("u", 1025), "\xff"} {
		all = append(all, bad{"?user=" + user, "followedUser", func(r *request) { r.query.Set("user", user) }, hasParameter("followedUser"), 400, "user"})
	}
	many := make([]string, 1001)
	for i := range many {
		many[i] = "c"
	}
	return append(all, bad{"1001 excluded", "excluded", func(r *request) { r.query["excluded"] = many }, hasParameter("excluded"), 400, "excluded"})
}

// hasBody tells whether an operation's body is one of these, as the document names what is in it.
func hasBody(schemas ...string) func(*document, *request) bool {
	return func(_ *document, r *request) bool {
		body, ok := r.operation.RequestBody.Content["application/json"]
		name := strings.TrimPrefix(body.Schema.Ref, "#/components/schemas/")
		if name == "" && ok {
			name = body.Schema.Type + " of " + numbered.ReplaceAllString(r.operation.OperationID, "")
		}
		return ok && slices.Contains(schemas, name)
	}
}

const (
	batchBody   = "array of batch"
	executeBody = "array of execute"
	itemBody    = " of sendItem"
)

// badOthers are bodies that are no messages.
func badOthers() (all []bad) {
	add := func(in []string, what string, status int, field, body string, headers ...string) {
		all = append(all, bad{what + " for " + fmt.Sprint(in), "", func(r *request) { r.body, r.headers = body, headers }, hasBody(in...), status, field})
	}
	lists, every := []string{batchBody, executeBody}, []string{batchBody, executeBody, itemBody}
	add(every, "no body", 400, anyField, "")
	add(every, "half of it", 400, anyField, `[{"target":"m"}`)
	add(every, "trailing data", 400, anyField, `[{"target":"m"}]x`)
	add(every, "text", 415, "", `[]`, "Content-Type", "text/plain")
	add(every, "an unreadable type", 415, "", `[]`, "Content-Type", ";;")
	add(every, "a compressed body", 415, "Content-Encoding", "\x1f\x8b", "Content-Encoding", "gzip")
	add([]string{batchBody}, "compressed lines", 415, "Content-Encoding", "\x1f\x8b", "Content-Type", "application/x-ndjson", "Content-Encoding", "gzip")
	add(lists, "an object", 400, "", `{"target":"m"}`)
	add(lists, "null", 400, "", "null")
	add(lists, "invalid UTF-8 in it", 400, "", "[\"\xff\"]")
	add([]string{executeBody}, "nothing to do", 400, "", "[]")
	add([]string{executeBody}, "too much to do", 400, "", "["+strings.Repeat(`{},`, 100)+"{}]")
	add([]string{executeBody}, "no command", 400, "[0]", "[1]")
	add([]string{executeBody}, "an unknown command", 400, "[1].type", `[{"type":"JoinGroup","group":"g"},{"type":"x"}]`)
	add([]string{executeBody}, "a type that is a number", 400, "[0]", `[{"type":1}]`)
	add([]string{executeBody}, "no message", 400, "[0]", `[{"type":"SendMessage"}]`)
	add([]string{executeBody}, "no target", 400, "[0].target", `[{"type":"SendMessage","message":{}}]`)
	add([]string{executeBody}, "no group", 400, "[0].group", `[{"type":"JoinGroup"}]`)
	add([]string{executeBody}, "a long group", 400, "[0].group", `[{"type":"LeaveGroup","group":"`+strings.Repeat("g", 1025)+`"}]`)
	add([]string{executeBody}, "a long reason", 400, "[0].reason", `[{"type":"CloseConnection","reason":"`+strings.Repeat("r", 1025)+`"}]`)
	add([]string{executeBody, itemBody}, "too large", 413, "", `["`+strings.Repeat("x", 5000)+`"]`)
	add([]string{itemBody}, "a number beyond 64 bits", 400, "item", "123456789012345678901234567890")
	add([]string{itemBody}, "invalid UTF-8 in it", 400, "item", "\"\xff\"")
	for what, body := range map[string]string{
		"a map without a protocol": "\x81\xa1x\xc4\x00", "no map": "\x01", "text in place of bytes": "\x81\xa4json\xa1x",
		"no message": "\x81\xa4json\xc4\x01x", "an invocation": "\x81\xa4json\xc4\x19{\"type\":1,\"target\":\"m\"}\x1e",
		"another stream's item": "\x81\xa4json\xc4\x26" + `{"type":2,"invocationId":"y","item":1}` + "\x1e",
	} {
		add([]string{itemBody}, what, 400, anyField, body, "Content-Type", "application/octet-stream")
	}
	return all
}

func badBodies() (all []bad) {
	add := func(what string, status int, field, body string, headers ...string) {
		parameter := ""
		if len(headers) > 0 && headers[0] == "Idempotency-Key" {
			parameter = headers[0]
		}
		all = append(all, bad{what, parameter, func(r *request) { r.body, r.headers = body, headers }, hasBody("send", "message"), status, field})
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
	add("a compressed body", 415, "Content-Encoding", "\x1f\x8b", "Content-Encoding", "gzip")
	for _, key := range []string{"", strings.Repeat("k", 257)} {
		all = append(all, bad{"the key " + key, "Idempotency-Key", func(r *request) { r.headers = []string{"Idempotency-Key", key} },
			hasParameter("Idempotency-Key"), 400, "Idempotency-Key"})
	}
	return all
}

// free are parameters of which nothing is wrong: unknown connections are TestWhatIsUnknownIsAnsweredAlikeEverywhere's, tokens
// TestEveryRouteRefusesBadTokens'; what is no position is told in the stream.
var free = []string{"api-version", "access_token", "Last-Event-ID"}

// Every operation at every address refuses everything wrong: with the right status, a code that the OpenAPI document has for it, and
// the name of what is wrong. Nothing is appended.
func TestEveryOperationRefusesBadInput(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{MaxSendBytes: 4000})
	f.send(`{"target":"m"}`)
	before := f.entries()
	d := f.document()
	tried, covered := map[string]int{}, map[string]bool{}
	for _, wrong := range slices.Concat(badParts(), badQueries(), badBodies(), badOthers()) {
		for path, item := range d.Paths {
			for method, op := range item {
				r := &request{
					operation: op, method: strings.ToUpper(method), path: path, query: url.Values{}, body: `{"target":"m"}`,
					parts: map[string]string{"hub": "chat", "group": "g", "user": "u", "connection": "c", "groups": "g", "users": "u", "stream": "x"},
				}
				if !wrong.has(&d, r) {
					continue
				}
				wrong.break_(r)
				tried[wrong.what]++
				covered[method+path+"#/components/parameters/"+wrong.parameter] = true
				covered[method+path] = covered[method+path] || wrong.parameter == ""
				f.wantRefused(r, wrong)
			}
		}
		if tried[wrong.what] == 0 {
			t.Errorf("no operation was tried with %q", wrong.what)
		}
	}
	for path, item := range d.Paths {
		for method, op := range item {
			for _, p := range op.Parameters {
				ref := p["$ref"].(string)
				if name := ref[strings.LastIndexByte(ref, '/')+1:]; !covered[method+path+ref] && !slices.Contains(free, name) {
					t.Errorf("%s %s: nothing wrong was tried as %s", method, path, name)
				}
			}
			if len(op.RequestBody.Content) > 0 && !covered[method+path] {
				t.Errorf("%s %s: no wrong body was tried", method, path)
			}
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
		"generateToken": 501, "accessKey": 501, "showGroup": 404, "showUser": 404, "showUserInGroup": 404, "invoke": 404,
	}
	n := 0 // each has a hub of its own
	for path, item := range d.Paths {
		for method, op := range item {
			r := &request{method: strings.ToUpper(method), path: path, body: `{"target":"m"}`, parts: map[string]string{
				"hub": fmt.Sprint("nowhere", n), "group": "g", "user": "u", "connection": "c", "groups": "g", "users": "u", "stream": "x",
			}}
			if !strings.Contains(path, "{hub}") || strings.HasSuffix(path, "/events") {
				continue
			}
			id := numbered.ReplaceAllString(op.OperationID, "")
			switch n++; id {
			case "batch":
				r.body = "[" + r.body + "]"
			case "execute":
				r.body = `[{"type":"SendMessage","message":` + r.body + `},{"type":"JoinGroup","group":"g"},{"type":"CloseConnection"}]`
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
