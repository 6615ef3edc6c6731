package handlers_test

import (
	"encoding/json"
	"strings"
	"testing"

	"hubstream/handlers"
)

const script = "Microsoft SignalR/8.0 (8.0.7; Unknown OS; NodeJS; 20.1)"

func TestScriptsAreSentToWhereTheyAskForStatefulReconnect(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	f.statefulAt("https://push.example.com/p")
	for name, c := range map[string]struct {
		path, header, agent string
		to                  string // empty: answered here
	}{
		"Node":             {"/hubs/Chat/negotiate?user=a%20b&negotiateVersion=1", "User-Agent", script, "https://push.example.com/p/hubs/Chat?useStatefulReconnect=true&user=a+b"},
		"browser":          {"/hubs/chat/negotiate?negotiateVersion=1", "X-SignalR-User-Agent", "Microsoft SignalR/10.0 (10.0.1; Unknown OS; Browser; Unknown Runtime Version)", "https://push.example.com/p/hubs/chat?useStatefulReconnect=true"},
		"already there":    {"/hubs/chat/negotiate?useStatefulReconnect=true&negotiateVersion=1", "User-Agent", script, ""},
		"asked not to":     {"/hubs/chat/negotiate?UseStatefulReconnect=false&negotiateVersion=1", "User-Agent", script, ""},
		"version 0":        {"/hubs/chat/negotiate", "User-Agent", script, ""},
		"before version 8": {"/hubs/chat/negotiate?negotiateVersion=1", "User-Agent", strings.ReplaceAll(script, "8.0", "7.0"), ""},
		".NET":             {"/hubs/chat/negotiate?negotiateVersion=1", "User-Agent", "Microsoft SignalR/8.0 (8.0.7; Linux; .NET; .NET 8.0.7)", ""},
		"Java":             {"/hubs/chat/negotiate?negotiateVersion=1", "X-SignalR-User-Agent", "Microsoft SignalR/8.0 (8.0.7; Linux; Java; 17; Eclipse)", ""},
		"another":          {"/hubs/chat/negotiate?negotiateVersion=1", "User-Agent", "curl/8", ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := f.do("POST", c.path, "", c.header, c.agent)
			var answer struct{ URL, ConnectionToken, ConnectionID string }
			if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != 200 {
				t.Fatalf("got %d %s (%v)", w.Code, w.Body, err)
			}
			if answer.URL != c.to || (c.to == "") != (answer.ConnectionID != "") {
				t.Errorf("got %s, want it sent to %q", w.Body, c.to)
			}
		})
	}
	f.statefulAt("")
	if w := f.do("POST", "/hubs/chat/negotiate?negotiateVersion=1", "", "User-Agent", script); strings.Contains(w.Body.String(), "url") {
		t.Errorf("redirected although that is off: %s", w.Body)
	}
}

func TestParseStatefulAddress(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"https://a.example": "https://a.example", "http://127.0.0.1:80/": "http://127.0.0.1:80", "https://a.example/x/": "https://a.example/x",
		"a.example": "", "ftp://a.example": "", "https://": "", "https://a.example?x=1": "", "https://u:p@a.example": "", "https://a.example#f": "",
	} {
		if got, err := handlers.ParseStatefulAddress(raw); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q, %v, want %q", raw, got, err, want)
		}
	}
}
