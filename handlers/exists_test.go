package handlers_test

import (
	"encoding/json"
	"strings"
	"testing"

	"hubstream/handlers"
	"hubstream/streams"
)

// A user or group exists as long as it has a connection.
func TestUsersAndGroupsExistWhileTheyHaveConnections(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	f.connect("c", streams.OpenPoll, 1)
	f.connect("d", streams.OpenPoll, 1)
	f.do("PUT", "/api/hubs/chat/groups/g%2F1/connections/c", "")
	check := func(path string, status int, header, body string) {
		t.Helper()
		for _, prefix := range []string{"/api/hubs/chat", "/api/v1/hubs/chat"} {
			for _, method := range []string{"GET", "HEAD"} {
				w := f.do(method, prefix+path, "")
				if got := w.Header().Get("X-Ms-Error-Code"); w.Code != status || got != header {
					t.Errorf("%s %s: got %d %q, want %d %q", method, prefix+path, w.Code, got, status, header)
				}
				if method == "GET" && body != "" && w.Body.String() != body {
					t.Errorf("%s: got %s, want %s", path, w.Body, body)
				}
			}
		}
	}
	check("/users/alice", 200, "", `{"connections":2}`)
	check("/users/bob", 404, "Warning.User.NotExisted", `{"code":"not_found","message":"the user has no connection"}`)
	check("/groups/g%2F1", 200, "", `{"connections":1}`)
	check("/groups/g", 404, "Warning.Group.NotExisted", `{"code":"not_found","message":"the group has no connection"}`)
	check("/groups/"+strings.Repeat("x", 1025), 400, "invalid", "")
	if _, err := f.node.End(t.Context(), "chat", "c", ""); err != nil {
		t.Fatal(err)
	}
	check("/users/alice", 200, "", `{"connections":1}`)
	check("/groups/g%2F1", 404, "Warning.Group.NotExisted", "")
	if w := f.do("GET", "/api/hubs/other/users/alice", ""); w.Code != 404 {
		t.Errorf("in another hub: got %d", w.Code)
	}
}

func TestConnectionsAreListedInPages(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	for _, id := range []string{"a", "b", "c"} {
		f.connect(id, streams.OpenPoll, 1)
	}
	got := []string{}
	for cursor := ""; ; {
		w := f.do("GET", "/api/hubs/chat/connections?limit=2&cursor="+cursor, "")
		var page struct {
			Connections []struct{ ConnectionID, User string }
			Next        string
			Total       int
		}
		if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || w.Code != 200 || page.Total != 3 {
			t.Fatalf("got %d %s (%v)", w.Code, w.Body, err)
		}
		for _, c := range page.Connections {
			got = append(got, c.ConnectionID+" "+c.User)
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	if strings.Join(got, ",") != "a alice,b alice,c alice" {
		t.Errorf("listed %q", got)
	}
	for _, limit := range []string{"0", "501", "x"} {
		if e := refused(t, f.do("GET", "/api/hubs/chat/connections?limit="+limit, ""), 400); e.Target != "limit" {
			t.Errorf("limit %s: field %q", limit, e.Target)
		}
	}
	if w := f.do("GET", "/api/hubs/empty/connections", ""); w.Code != 200 || w.Body.String() != `{"connections":[],"next":"","total":0}` {
		t.Errorf("an unknown hub: got %d %s", w.Code, w.Body)
	}
}
