package upstream_test

import (
	"net/url"
	"strings"
	"testing"

	"hubstream/internal/upstream"
)

func env(name string) string {
	return map[string]string{"CODE": "k/e?y", "HOST": "functions.example"}[name]
}

func template(t testing.TB, text string) *upstream.Template {
	t.Helper()
	parsed, err := upstream.ParseTemplate(text, env)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return parsed
}

func TestTemplateFillsInWhatItIsAbout(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"http://app:7071/api":                           "http://app:7071/api",
		"http://app/{hub}/api/{category}/{event}":       "http://app/chat/api/messages/Send%20it",
		"https://app/x?e={event}&h={hub}&code=1":        "https://app/x?e=Send+it&h=chat&code=1",
		"https://{@env:HOST}/x?code=a":                  "https://functions.example/x?code=a",
		"https://app/{event}?again={event}":             "https://app/Send%20it?again=Send+it",
		"http://[::1]:8080/{hub}":                       "http://[::1]:8080/chat",
		"http://app/before-{hub}.{event}-after/the-end": "http://app/before-chat.Send%20it-after/the-end",
	} {
		if got, err := template(t, text).URL("chat", "messages", "Send it"); err != nil || got != want {
			t.Errorf("%s: got %s %v, want %s", text, got, err, want)
		}
	}
}

func TestTemplateThatIsNone(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                           "does not begin with http",
		"app/{event}":                "does not begin with http",
		"ftp://app/x":                "does not begin with http",
		"http://{hub}.example/x":     "not a URL",
		"http://app{event}/x":        "stands in its host",
		"http://app:80{event}/x":     "not a URL",
		"http://app@{event}/x":       "host",
		"http://app/{evnt}":          "no parameter {evnt}",
		"http://app/{event":          "has no }",
		"http://app/#{event}":        "fragment",
		"http://app/{@env:NOTHING}":  "NOTHING is not set",
		"{hub}://app/":               "does not begin with http",
		"http://user:{event}@evil/x": "not a URL",
	} {
		_, err := upstream.ParseTemplate(text, env)
		if err == nil || !strings.Contains(err.Error(), want) && !strings.Contains(err.Error(), "host") {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}

// A client chooses the event, and the hub among those that it may connect to.
func TestTemplateDoesNotLeadElsewhere(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"..", ".", "", "a/b", "/", "//evil.example/", `a\b`, `..\`, "../admin", "..;/admin", "%2e%2e", "%2f..", "a%00", "a\r\nHost: evil", "a\x00", "\x7f",
	} {
		if got, err := template(t, "http://app/hubs/{event}").URL("chat", "messages", text); err == nil {
			t.Errorf("%q in a path: got %s, want an error", text, got)
		}
		got, err := template(t, "http://app/fixed?e={event}").URL("chat", "messages", text)
		if err != nil {
			t.Errorf("%q in a query: %v", text, err)
			continue
		}
		if u, err := url.Parse(got); err != nil || u.Host != "app" || u.Path != "/fixed" || u.Query().Get("e") != text {
			t.Errorf("%q in a query: got %s", text, got)
		}
	}
	for _, text := range []string{"@evil.example", "a?b", "a#b", "a&b", "a b", ":80", "é", "a:b@c"} {
		got, err := template(t, "http://app/hubs/{event}").URL("chat", "messages", text)
		u, parsed := url.Parse(got)
		if err != nil || parsed != nil || u.Host != "app" || u.Path != "/hubs/"+text || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
			t.Errorf("%q: got %s %v", text, got, err)
		}
	}
	if got, err := template(t, "http://app/{hub}{event}/x").URL(".", "messages", "."); err == nil {
		t.Errorf("dots of two parameters: got %s", got)
	}
}

func FuzzTemplate(f *testing.F) {
	for _, text := range []string{"..", "a/b", "%2e", "@x", "Send", "a?b#c", "\\", ";"} {
		f.Add(text)
	}
	t, err := upstream.ParseTemplate("https://app.example:8443/base/{event}/end?e={event}", env)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(test *testing.T, event string) {
		got, err := t.URL("h", "messages", event)
		if err != nil {
			return
		}
		u, err := url.Parse(got)
		if err != nil || u.Host != "app.example:8443" || u.Path != "/base/"+event+"/end" || u.Query().Get("e") != event || u.User != nil {
			test.Fatalf("%q leads to %s", event, got)
		}
		if strings.Count(u.Path, "/") != 3 {
			test.Fatalf("%q makes another path: %s", event, got)
		}
	})
}

func TestRulesAreReadInTheirOrder(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		`{"UpstreamSettings":{"Templates":[%]}}`, `{"upstream":{"templates":[%]}}`, `{"templates":[%]}`,
	} {
		rules, err := upstream.Parse([]byte(strings.Replace(text, "%", `
			{"UrlTemplate":"http://a/","HubPattern":"Chat, game","CategoryPattern":"messages","EventPattern":"Send,Say"},
			{"urlTemplate":"http://b/","hubPattern":"chat","categoryPattern":"*","eventPattern":"*","auth":{"type":"None"},"headers":{"x-key":"{@env:HOST}"}},
			{"UrlTemplate":"http://c/","CategoryPattern":"connections"}`, 1)), env)
		if err != nil {
			t.Fatal(err)
		}
		if got := rules[1].Header.Get("X-Key"); got != "functions.example" {
			t.Errorf("header: %q", got)
		}
		c := upstream.New(upstream.Config{Rules: rules})
		for _, event := range []struct {
			hub, category, event string
			want                 bool
		}{
			{"chat", "messages", "Send", true}, {"GAME", "messages", "Say", true}, {"game", "messages", "send", false},
			{"chat", "messages", "other", true}, {"game", "connections", "connected", true}, {"other", "messages", "Send", false},
		} {
			if got := c.Matches(event.hub, event.category, event.event); got != event.want {
				t.Errorf("%v: got %v", event, got)
			}
		}
	}
}

func TestRulesThatAreNone(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`x`:                                   "not JSON",
		`{}`:                                  "no Templates",
		`{"templates":[]}`:                    "no Templates",
		`{"templates":[1]}`:                   "Templates[0]",
		`{"templates":[{"UrlTemplate":"x"}]}`: "Templates[0]: UrlTemplate",
		`{"templates":[{"UrlTemplate":"http://a","Hub":"x"}]}`:                                             "Hub",
		`{"templates":[{"UrlTemplate":"http://a","CategoryPattern":"message"}]}`:                           "CategoryPattern",
		`{"templates":[{"UrlTemplate":"http://a","Auth":{"Type":"ManagedIdentity"}}]}`:                     "Auth.Type",
		`{"templates":[{"UrlTemplate":"http://a","Headers":{"X-ASRS-Hub":"x"}}]}`:                          "cannot be set",
		`{"templates":[{"UrlTemplate":"http://a","Headers":{"A":"x\r\ny"}}]}`:                              "cannot be set",
		`{"templates":[{"UrlTemplate":"http://a"},{"UrlTemplate":"http://a","Headers":{"A":"{@env:B}"}}]}`: "Templates[1]: Headers: A: the variable B is not set",
	} {
		if _, err := upstream.Parse([]byte(text), env); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}
