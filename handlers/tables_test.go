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
	var names struct {
		Users, Groups []struct {
			Name        string
			Connections int
		}
	}
	f.ask("names", &names)
	if fmt.Sprint(names.Users) != "[{alice 120}]" || fmt.Sprint(names.Groups) != "[{Traders 1}]" {
		t.Errorf("got %+v", names)
	}
}
