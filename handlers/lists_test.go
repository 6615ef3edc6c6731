package handlers_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"hubstream/handlers"
	"hubstream/streams"
)

// read answers a GET into a value.
func (f *fixture) read(path string, into any) {
	f.t.Helper()
	w := f.do("GET", path, "")
	if err := json.Unmarshal(w.Body.Bytes(), into); w.Code != 200 || err != nil {
		f.t.Fatalf("GET %s: %d %s (%v)", path, w.Code, w.Body, err)
	}
}

func TestUsersAndGroupsAreListedInPages(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	for i, user := range []string{"cy", "ann", "bob", "ann", ""} {
		f.connectAs(fmt.Sprint("c", i), user)
	}
	f.do("PUT", "/api/hubs/chat/groups/red/connections/c0", "")
	f.do("PUT", "/api/hubs/chat/groups/red/connections/c4", "")
	f.do("PUT", "/api/hubs/chat/users/ann/groups/blue%2Fü", "")
	for path, want := range map[string]string{"users": "ann 2, bob 1, cy 1", "groups": "blue/ü 2, red 2"} {
		var all []string
		cursor, pages := "", 0
		for ; pages == 0 || cursor != ""; pages++ {
			var page struct {
				Users, Groups []struct {
					User, Group string
					Connections int
				}
				Total int
				Next  string
			}
			f.read("/api/hubs/chat/"+path+"?limit=1&cursor="+cursor, &page)
			if page.Total != strings.Count(want, ",")+1 {
				t.Errorf("%s: total %d", path, page.Total)
			}
			for _, row := range append(page.Users, page.Groups...) {
				all = append(all, fmt.Sprintf("%s%s %d", row.User, row.Group, row.Connections))
			}
			cursor = page.Next
		}
		if got := strings.Join(all, ", "); got != want {
			t.Errorf("%s: got %q in %d pages, want %q", path, got, pages, want)
		}
	}
	var members struct {
		Connections []struct{ ConnectionID, User string }
		Total       int
		Next        string
	}
	f.read("/api/hubs/chat/users/ann/connections?limit=1", &members)
	if members.Total != 2 || len(members.Connections) != 1 || members.Connections[0].ConnectionID != "c1" || members.Next == "" {
		t.Errorf("a user's connections: %+v", members)
	}
	f.read("/api/hubs/chat/groups/blue%2F%C3%BC/connections?cursor="+members.Next, &members)
	if members.Total != 2 || len(members.Connections) != 1 || members.Connections[0].ConnectionID != "c3" || members.Next != "" {
		t.Errorf("the rest of a group's connections: %+v", members)
	}
	f.read("/api/hubs/chat/groups/none/connections", &members)
	if members.Total != 0 || len(members.Connections) != 0 {
		t.Errorf("nobody's connections: %+v", members)
	}
}

type azurePage struct {
	Value    []struct{ ConnectionID, UserID string }
	NextLink string
}

func TestAzuresListGoesOnByTheAddressThatItGives(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	for i := range 450 {
		id := fmt.Sprintf("c%03d", i)
		user := ""
		if i%2 == 0 {
			user = "ann"
		}
		f.connectAs(id, user)
		f.do("PUT", "/api/hubs/chat/groups/a%2Fb/connections/"+id, "")
	}
	walk := func(query string) (ids []string, pages int) {
		next := "http://hub.example/api/hubs/chat/groups/a%2Fb/connections?api-version=2024-12-01" + query
		for ; next != ""; pages++ {
			address, err := url.Parse(next)
			if err != nil || address.Host != "hub.example" || address.Query().Get("api-version") != "2024-12-01" {
				t.Fatalf("nextLink is %q (%v)", next, err)
			}
			var page azurePage
			f.read(address.RequestURI(), &page)
			for _, member := range page.Value {
				ids = append(ids, member.ConnectionID)
				if want := map[bool]string{true: "ann"}[(member.ConnectionID[3]-'0')%2 == 0]; member.UserID != want {
					t.Errorf("%+v", member)
				}
			}
			next = page.NextLink
		}
		return ids, pages
	}
	for query, want := range map[string][2]int{
		"": {450, 3}, "&maxpagesize=200": {450, 3}, "&maxPageSize=100": {450, 5}, "&top=120": {120, 1}, "&top=250&maxpagesize=60": {250, 5}, "&top=1000": {450, 3},
	} {
		ids, pages := walk(query)
		if len(ids) != want[0] || pages != want[1] {
			t.Errorf("%q: %d connections on %d pages, want %v", query, len(ids), pages, want)
		}
		for i, id := range ids {
			if id != fmt.Sprintf("c%03d", i) {
				t.Fatalf("%q: number %d is %s", query, i, id)
			}
		}
	}
}

func TestOneConnectionIsDescribed(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	f.connect("poll", streams.OpenPoll, 1)
	f.connectAs("socket", "ann")
	f.do("PUT", "/api/hubs/chat/users/ann/groups/g", "")
	type details struct {
		ConnectionID, User, Transport, State, Node, Since, Protocol string
		Groups                                                      []string
		LagMs                                                       *int64
	}
	var got details
	f.read("/api/hubs/chat/connections/socket", &got)
	if got.User != "ann" || got.Transport != "WebSockets" || got.State != "open" || got.Node != "n1" || got.Since == "" || got.Protocol != "json" ||
		len(got.Groups) != 1 || got.LagMs != nil {
		t.Errorf("a socket: %+v", got)
	}
	got = details{}
	f.send(`{"target":"m"}`)
	f.read("/api/hubs/chat/connections/poll", &got)
	if got.LagMs == nil || *got.LagMs < 0 || *got.LagMs > 60_000 {
		t.Errorf("a poller with something buffered: %+v", got)
	}
}
