package handlers_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"hubstream/handlers"
	"hubstream/streams"
)

func TestUsersAreInGroupsOnAllPathsOfAzure(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	f.connectAs("c", "x%y")
	for _, path := range []string{
		"/api/hubs/chat/users/x%25y/groups/a%2Fb%20c?api-version=2022-06-01",
		"/api/v1/hubs/chat/groups/a%2Fb%20c/users/x%25y",
		"/api/v1/hubs/chat/users/x%25y/groups/a%2Fb%20c",
	} {
		v1 := strings.Contains(path, "/v1/")
		for _, method := range []string{"GET", "HEAD"} {
			w := f.do(method, path, "")
			if w.Code != 404 || w.Header().Get("x-ms-error-code") != "Info.User.NotInGroup" {
				t.Errorf("%s %s before: got %d %q", method, path, w.Code, w.Header().Get("x-ms-error-code"))
			}
		}
		put := f.do("PUT", path, "")
		if want := map[bool]int{true: 202, false: 200}[v1]; put.Code != want || !strings.Contains(put.Body.String(), `"changed":true`) {
			t.Errorf("PUT %s: got %d %s, want %d", path, put.Code, put.Body, want)
		}
		if w := f.do("GET", path, ""); w.Code != 200 {
			t.Errorf("GET %s: got %d", path, w.Code)
		}
		if w := f.do("GET", "/api/hubs/chat/groups/a%2Fb%20c", ""); w.Body.String() != `{"connections":1}` {
			t.Errorf("the group: got %s", w.Body)
		}
		for range 2 { // the second changes nothing, and is as good
			w := f.do("DELETE", path, "")
			if want := map[bool]int{true: 202, false: 204}[v1]; w.Code != want || w.Body.Len() > 0 {
				t.Errorf("DELETE %s: got %d %s, want %d", path, w.Code, w.Body, want)
			}
		}
	}
	for path, want := range map[string]int{"/api/hubs/chat/users/x%25y/groups?api-version=2024-12-01": 204, "/api/v1/hubs/chat/users/x%25y/groups": 202} {
		f.do("PUT", "/api/hubs/chat/users/x%25y/groups/g", "")
		if w := f.do("DELETE", path, ""); w.Code != want {
			t.Errorf("DELETE %s: got %d, want %d", path, w.Code, want)
		}
		if w := f.do("GET", "/api/hubs/chat/users/x%25y/groups/g", ""); w.Code != 404 {
			t.Errorf("after leaving all: got %d", w.Code)
		}
	}
}

func TestOurOwnPathsTellThePositionOfAChange(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	f.connectAs("c", "ann")
	var joined, left struct {
		Position string
		Changed  bool
	}
	w := f.do("PUT", "/api/hubs/chat/users/ann/groups/g?ttl=60", "")
	if json.Unmarshal(w.Body.Bytes(), &joined); !joined.Changed || joined.Position == "" {
		t.Errorf("join: got %d %s", w.Code, w.Body)
	}
	w = f.do("GET", "/api/hubs/chat/users/ann/groups", "")
	var list struct {
		Groups []struct {
			Group string
			Until time.Time
		}
	}
	if json.Unmarshal(w.Body.Bytes(), &list); len(list.Groups) != 1 || list.Groups[0].Group != "g" || time.Until(list.Groups[0].Until).Round(time.Second) > time.Minute {
		t.Errorf("groups: got %s", w.Body)
	}
	w = f.do("DELETE", "/api/hubs/chat/users/ann/groups/g", "")
	if json.Unmarshal(w.Body.Bytes(), &left); w.Code != 200 || !left.Changed || left.Position <= joined.Position {
		t.Errorf("leave: got %d %s after %v", w.Code, w.Body, joined)
	}
}

// With ttl 0 the connections that the user has now join, and no other.
func TestATTLOfZeroIsForNow(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	f.connectAs("now", "ann")
	f.do("PUT", "/api/hubs/chat/users/ann/groups/g?ttl=0", "")
	f.connectAs("later", "ann")
	if w := f.do("GET", "/api/hubs/chat/groups/g", ""); w.Body.String() != `{"connections":1}` {
		t.Errorf("the group: got %s", w.Body)
	}
	if w := f.do("GET", "/api/hubs/chat/users/ann/groups", ""); w.Body.String() != `{"groups":[]}` {
		t.Errorf("the user's groups: got %s", w.Body)
	}
	if w := f.do("DELETE", "/api/hubs/chat/users/ann/groups/g", ""); !strings.Contains(w.Body.String(), `"changed":true`) {
		t.Errorf("leave: got %s", w.Body)
	}
	if w := f.do("GET", "/api/hubs/chat/groups/g", ""); w.Code != 404 {
		t.Errorf("the group after the leave: got %d %s", w.Code, w.Body)
	}
}

func TestAzuresApplicationIsPartOfTheHub(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	if w := f.do("POST", "/api/hubs/Chat/:send?api-version=2022-06-01&application=App", `{"target":"m"}`); w.Code != 202 {
		t.Fatalf("got %d %s", w.Code, w.Body)
	}
	for hub, want := range map[string]int{"app_chat": 2, "chat": 0} { // the first entry is its generation
		reply, err := f.store.Range(t.Context(), hub, streams.Position{}, 10)
		if err != nil || len(reply.Entries) != want {
			t.Errorf("%s has %d entries (%v), want %d", hub, len(reply.Entries), err, want)
		}
	}
	if got := refused(t, f.do("POST", "/api/hubs/chat/:send?application=a/b", `{"target":"m"}`), 400); got.Target != "application" {
		t.Errorf("a bad application: got %+v", got)
	}
}

func TestVerbsNeedNoSlash(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	if w := f.do("POST", "/api/hubs/chat:send?api-version=2022-06-01", `{"target":"m"}`); w.Code != http.StatusAccepted {
		t.Errorf("send: got %d %s", w.Code, w.Body)
	} else if f.last().Flags != streams.FlagAll {
		t.Errorf("sent %+v", f.last())
	}
	if w := f.do("POST", "/api/hubs/chat:closeConnections?api-version=2022-06-01&reason=bye", ""); w.Code != http.StatusNoContent {
		t.Errorf("close: got %d %s", w.Code, w.Body)
	} else if string(f.last().Body) != "bye" {
		t.Errorf("closed by %+v", f.last())
	}
	refused(t, f.do("POST", "/api/hubs/chat:nothing", `{"target":"m"}`), 404)
	refused(t, f.do("POST", "/api/hubs/chat", `{"target":"m"}`), 404)
}

func TestThePreviewsPathsSend(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	for path, want := range map[string]streams.Entry{
		"":                   {Flags: streams.FlagAll},
		"/user/a,b":          {Users: []string{"a,b"}},
		"/users/a,b%2Fc":     {Users: []string{"a", "b/c"}},
		"/group/g":           {Groups: []string{"g"}},
		"/groups/g%2Ch,i%25": {Groups: []string{"g", "h", "i%"}},
	} {
		if w := f.do("POST", "/api/v1-preview/hub/chat"+path, `{"target":"m"}`); w.Code != http.StatusAccepted {
			t.Errorf("%s: got %d %s", path, w.Code, w.Body)
			continue
		}
		got := f.last()
		if got.Flags != want.Flags || strings.Join(got.Users, "|") != strings.Join(want.Users, "|") || strings.Join(got.Groups, "|") != strings.Join(want.Groups, "|") {
			t.Errorf("%s was sent to %+v, want %+v", path, got, want)
		}
	}
	if got := refused(t, f.do("POST", "/api/v1-preview/hub/chat/users/a,,b", `{"target":"m"}`), 400); got.Target != "users[1]" {
		t.Errorf("an empty name: got %+v", got)
	}
}
