package handlers_test

import (
	"net/http"
	"reflect"
	"strings"
	"testing"

	"hubstream/handlers"
	"hubstream/streams"
)

const apiVersion = "?api-version=2022-06-01"

func TestAzuresSendsNameTheirAudienceInTheAddress(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	audiences := map[string]streams.Entry{
		"":                      {Flags: streams.FlagAll, Excluded: []string{"a,b", "c"}},
		"/groups/g%2F%3A1":      {Groups: []string{"g/:1"}, Excluded: []string{"a,b", "c"}},
		"/users/%C3%BC%20x":     {Users: []string{"ü x"}, Excluded: []string{"a,b", "c"}},
		"/connections/nobodyIs": {Connections: []string{"nobodyIs"}, Excluded: []string{"a,b", "c"}},
	}
	for at, want := range audiences {
		for _, path := range []string{
			"/api/hubs/Chat" + at + "/:send" + apiVersion + "&excluded=a,b&excluded=c",
			"/api/v1/hubs/Chat" + at + "?excluded=a,b&excluded=c",
		} {
			w := f.do("POST", path, `{"Target":"m","ARGUMENTS":[1.50,{"b":null,"a":1}],"more":{}}`, "Content-Type", "application/json; charset=utf-8")
			if w.Code != http.StatusAccepted || !strings.HasPrefix(w.Body.String(), `{"position":"`) {
				t.Errorf("%s: got %d %s", path, w.Code, w.Body)
				continue
			}
			want.Kind, want.Body = streams.KindMessage, []byte(`{"type":1,"target":"m","arguments":[1.50,{"b":null,"a":1}]}`+"\x1e")
			if got := f.last(); !reflect.DeepEqual(got, want) {
				t.Errorf("%s:\n got %+v\nwant %+v", path, got, want)
			}
		}
	}
}

func TestAzuresArgumentsMayBeAbsentOrNull(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	for _, body := range []string{`{"target":"m"}`, `{"target":"m","arguments":null}`} {
		if w := f.do("POST", "/api/hubs/chat/:send"+apiVersion, body); w.Code != http.StatusAccepted {
			t.Errorf("%s: got %d %s", body, w.Code, w.Body)
		} else if got := string(f.last().Body); got != `{"type":1,"target":"m","arguments":[]}`+"\x1e" {
			t.Errorf("%s became %s", body, got)
		}
	}
}

func TestAzuresBadRequestsAppendNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{MaxSendBytes: 2000})
	good := `{"target":"m","arguments":[]}`
	f.send(good)
	before := f.end()
	long := strings.Repeat("x", 1025)
	for _, test := range []struct {
		path, body, contentType string
		status                  int
		field                   string
	}{
		{"/api/hubs/chat/:send", "", "", 400, ""},
		{"/api/hubs/chat/:send", "null", "", 400, ""},
		{"/api/hubs/chat/:send", "[]", "", 400, ""},
		{"/api/hubs/chat/:send", good + "x", "", 400, ""},
		{"/api/hubs/chat/:send", `{"arguments":[]}`, "", 400, "target"},
		{"/api/hubs/chat/:send", `{"target":""}`, "", 400, "target"},
		{"/api/hubs/chat/:send", `{"target":1}`, "", 400, "target"},
		{"/api/hubs/chat/:send", `{"target":"` + long + `"}`, "", 400, "target"},
		{"/api/hubs/chat/:send", `{"target":"m","arguments":{}}`, "", 400, "arguments"},
		{"/api/hubs/chat/:send", "{\"target\":\"\xff\"}", "", 400, ""},
		{"/api/hubs/chat/:send", `{"target":"` + strings.Repeat("x", 2000) + `"}`, "", 413, ""},
		{"/api/hubs/chat/:send", good, "text/plain", 415, ""},
		{"/api/hubs/chat/:send", good, "application/x-msgpack", 400, ""},
		{"/api/hubs/chat/send", good, "application/x-msgpack", 415, ""},
		{"/api/hubs/chat/:send?excluded=", good, "", 400, "excluded[0]"},
		{"/api/hubs/chat/:send?excluded=a" + strings.Repeat("&excluded=a", 1000), good, "", 400, "excluded"},
		{"/api/hubs/c%20hat/:send", good, "", 400, "hub"},
		{"/api/v1/hubs/c%20hat", good, "", 400, "hub"},
		{"/api/hubs/chat/groups/" + long + "/:send", good, "", 400, "group"},
		{"/api/hubs/chat/groups/%FF/:send", good, "", 400, "group"},
		{"/api/hubs/chat/groups//:send", good, "", 400, "group"},
		{"/api/hubs/chat/users/" + long + "/:send", good, "", 400, "user"},
		{"/api/v1/hubs/chat/users/" + long, good, "", 400, "user"},
		{"/api/hubs/chat/connections/" + strings.Repeat("x", 5000) + "/:send", good, "", 400, "connection"},
		{"/api/hubs/chat/:closeConnections?reason=" + strings.Repeat("x", 1025), "", "", 400, "reason"},
		{"/api/hubs/chat/:closeConnections?reason=%FF", "", "", 400, "reason"},
		{"/api/hubs/chat/:closeConnections?allowReconnect=maybe", "", "", 400, "allowReconnect"},
		{"/api/hubs/chat/groups/" + long + "/:closeConnections", "", "", 400, "group"},
		{"/api/hubs/chat/users/" + long + "/:closeConnections", "", "", 400, "user"},
		{"/api/hubs/chat/users/u/:closeConnections?excluded=", "", "", 400, "excluded[0]"},
		{"/api/hubs/chat/:nothing", good, "", 404, ""},
	} {
		headers := []string{}
		if test.contentType != "" {
			headers = []string{"Content-Type", test.contentType}
		}
		w := f.do("POST", test.path, test.body, headers...)
		if got := refused(t, w, test.status); got.Target != test.field {
			t.Errorf("%.60s %.40q: field is %q, want %q (%s)", test.path, test.body, got.Target, test.field, got.Message)
		}
	}
	if after := f.end(); after != before {
		t.Errorf("a refused request was appended: the log ends at %v, not %v", after, before)
	}
}

// end returns where the log of hub chat ends.
func (f *fixture) end() streams.Position {
	f.t.Helper()
	reply, err := f.store.Range(f.t.Context(), "chat", streams.Position{}, 1)
	if err != nil {
		f.t.Fatal(err)
	}
	return reply.Last
}

// The SDKs decide by the header what was not found; that of an address that does not exist has none of their names.
func TestAzuresConnectionOperations(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	f.connect("c", streams.OpenPoll, 1)
	f.connect("d", streams.OpenPoll, 1)
	const h, v1 = "/api/hubs/chat", "/api/v1/hubs/chat"
	for _, test := range []struct {
		method, path string
		status       int
		header       string
	}{
		{"HEAD", h + "/connections/c" + apiVersion, 200, ""},
		{"HEAD", v1 + "/connections/c", 200, ""},
		{"HEAD", h + "/connections/x" + apiVersion, 404, "Warning.Connection.NotExisted"},
		{"GET", v1 + "/connections/x", 404, "Warning.Connection.NotExisted"},
		{"PUT", h + "/groups/g/connections/c" + apiVersion, 200, ""},
		{"PUT", v1 + "/groups/g/connections/c", 200, ""},
		{"PUT", h + "/groups/g/connections/x" + apiVersion, 404, "Error.Connection.NotExisted"},
		{"PUT", v1 + "/groups/g/connections/x", 404, "Error.Connection.NotExisted"},
		{"DELETE", h + "/groups/g/connections/x" + apiVersion, 200, ""},
		{"DELETE", v1 + "/groups/g/connections/x", 200, ""},
		{"DELETE", h + "/groups/g/connections/x", 404, "not_found"},
		{"DELETE", h + "/groups/g/connections/c" + apiVersion, 200, ""},
		{"DELETE", h + "/connections/c/groups" + apiVersion, 200, ""},
		{"DELETE", h + "/connections/x/groups" + apiVersion, 200, ""},
		{"DELETE", h + "/connections/x" + apiVersion, 404, "Warning.Connection.NotExisted"},
		{"DELETE", h + "/connections/c" + apiVersion, 200, ""},
		{"DELETE", v1 + "/connections/d", 202, ""},
		{"HEAD", h + "/connections/c" + apiVersion, 404, "Warning.Connection.NotExisted"},
		{"HEAD", "/api/v1/health", 200, ""},
		{"HEAD", "/api/health" + apiVersion, 200, ""},
		{"GET", v1 + "/nothing", 404, "not_found"},
	} {
		w := f.do(test.method, test.path, "")
		if got := w.Header().Get("X-Ms-Error-Code"); w.Code != test.status || got != test.header {
			t.Errorf("%s %s: got %d %q, want %d %q", test.method, test.path, w.Code, got, test.status, test.header)
		}
	}
}

func TestLeavingAllGroupsIsOneEntry(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	f.connect("c", streams.OpenPoll, 1)
	f.do("PUT", "/api/hubs/chat/groups/g/connections/c", "")
	f.do("PUT", "/api/hubs/chat/groups/h/connections/c", "")
	if w := f.do("DELETE", "/api/hubs/chat/connections/c/groups"+apiVersion, ""); w.Code != 200 || !strings.Contains(w.Body.String(), `"changed":true`) {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	reply, err := f.node.Lookup(t.Context(), "chat", "c")
	if err != nil || len(reply.Record.OpenGroups()) > 0 {
		t.Errorf("still in %v (%v)", reply.Record.OpenGroups(), err)
	}
}

func TestClosingAnAudienceIsOneEntry(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	for at, want := range map[string]streams.Entry{
		"":          {Flags: streams.FlagAll | streams.FlagReconnect, Excluded: []string{"d"}},
		"/groups/g": {Flags: streams.FlagReconnect, Groups: []string{"g"}, Excluded: []string{"d"}},
		"/users/u":  {Flags: streams.FlagReconnect, Users: []string{"u"}, Excluded: []string{"d"}},
	} {
		w := f.do("POST", "/api/hubs/chat"+at+"/:closeConnections"+apiVersion+"&excluded=d&reason=so%20long", "")
		if w.Code != http.StatusNoContent || w.Body.Len() > 0 {
			t.Errorf("%s: got %d %s", at, w.Code, w.Body)
		}
		want.Kind, want.Body = streams.KindClose, []byte("so long")
		if got := f.last(); !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n got %+v\nwant %+v", at, got, want)
		}
	}
}

// One key is one send, to one audience: the body alone does not say to whom.
func TestAKeyOfAnAddressedSendStandsForItsAudienceToo(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	send := func(at string) (int, string) {
		w := f.do("POST", "/api/hubs/chat"+at+"/:send"+apiVersion, `{"target":"m"}`, "Idempotency-Key", "k")
		return w.Code, w.Body.String()
	}
	if code, body := send("/groups/g"); code != 202 || strings.Contains(body, "replayed") {
		t.Errorf("first: %d %s", code, body)
	}
	if code, body := send("/groups/g"); code != 202 || !strings.Contains(body, `"replayed":true`) {
		t.Errorf("again: %d %s", code, body)
	}
	if code, body := send("/groups/h"); code != 422 {
		t.Errorf("to another group: %d %s", code, body)
	}
}
