package handlers_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"hubstream/streams"
)

// ask reads one of the console's answers.
func (f *fixture) ask(path string, into any) {
	f.t.Helper()
	w := f.do("GET", "/console/api/hubs/chat/"+path, "", "Authorization", "Bearer admin")
	if err := json.Unmarshal(w.Body.Bytes(), into); err != nil || w.Code != http.StatusOK {
		f.t.Fatalf("%s: %d %s", path, w.Code, w.Body)
	}
}

type table struct {
	Connections []struct {
		ConnectionID, User, Node string
		Groups                   []string
	}
	Next  string
	Total int
}

func TestConnectionsAreListedInPagesAndSearched(t *testing.T) {
	t.Parallel()
	f := newConsole(t, false)
	const all = 120
	for i := range all {
		f.connect(fmt.Sprintf("c-%03d", i), streams.OpenWebSocket, 1)
	}
	f.member("PUT", "Traders", "c-077")
	seen := map[string]bool{}
	pages := 0
	for cursor := ""; ; pages++ {
		var page table
		f.ask("connections?cursor="+cursor, &page)
		if page.Total != all {
			t.Errorf("%d in all, want %d", page.Total, all)
		}
		for _, c := range page.Connections {
			if c.User != "alice" || c.Node != "n1" || c.Groups == nil {
				t.Errorf("got %+v", c)
			}
			seen[c.ConnectionID] = true
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	if len(seen) != all || pages < 2 {
		t.Errorf("%d connections in %d pages, want %d", len(seen), pages, all)
	}
	for search, want := range map[string]int{"c-07": 10, "trader": 1, "ALICE": 50, "nobody": 0} {
		var page table
		f.ask("connections?search="+search, &page)
		if len(page.Connections) != want {
			t.Errorf("search %q: %d rows, want %d", search, len(page.Connections), want)
		}
	}
}

func TestHubsAreListedInPagesAndSearched(t *testing.T) {
	t.Parallel()
	f := newConsole(t, false)
	f.connect("c", streams.OpenWebSocket, 1)
	const all = 120
	for i := range all - 1 {
		f.do("POST", fmt.Sprintf("/api/hubs/room-%03d/send", i), `{"target":"m"}`, "Content-Type", "application/json", "Authorization", "Bearer admin")
	}
	type page struct {
		Hubs []struct {
			Hub         string
			Connections int
		}
		Next  string
		Total int
	}
	list := func(query string) (p page) {
		w := f.do("GET", "/console/api/hubs?"+query, "", "Authorization", "Bearer admin")
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != http.StatusOK {
			t.Fatalf("%s: %d %s", query, w.Code, w.Body)
		}
		return p
	}
	seen := map[string]int{}
	for cursor := ""; ; {
		p := list("cursor=" + cursor)
		if p.Total != all {
			t.Errorf("%d in all, want %d", p.Total, all)
		}
		for _, hub := range p.Hubs {
			seen[hub.Hub] = hub.Connections
		}
		if cursor = p.Next; cursor == "" {
			break
		}
	}
	if len(seen) != all || seen["chat"] != 1 {
		t.Errorf("%d hubs with %d in chat, want %d and 1", len(seen), seen["chat"], all)
	}
	if p := list("search=ROOM-01"); len(p.Hubs) != 10 || p.Total != 10 {
		t.Errorf("search: %+v", p)
	}
}
