package handlers_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"hubstream/negotiate/access"
	"hubstream/streams"
)

const scriptAgent = "Microsoft SignalR/10.0 (10.0.11; Linux; NodeJS; 20.0.0)"

// A JavaScript client shows the token that it negotiated with for as long as an event stream lasts, and goes on when a POST is refused: its
// calls would fail for ever.
func TestScriptWhoseTokenHasExpiredIsSentBack(t *testing.T) {
	t.Parallel()
	const call = `{"type":1,"target":"M","invocationId":"0","arguments":[]}` + "\x1e"
	aud := map[string]any{"aud": "http://hub.example/client/?hub=chat", "exp": time.Now().Add(-time.Hour).Unix()}
	of := func(changes map[string]any) map[string]any {
		all := map[string]any{}
		for name, value := range aud {
			all[name] = value
		}
		for name, value := range changes {
			all[name] = value
		}
		return all
	}
	for what, v := range map[string]struct {
		key, body, agent string
		claims           map[string]any
		closed           bool
	}{
		"a call":                   {keyOne, call, scriptAgent, aud, true},
		"a ping: it may only hear": {keyOne, `{"type":6}` + "\x1e", scriptAgent, aud, false},
		"another client, which may show a newer token": {keyOne, call, "Microsoft SignalR/8.0 (8.0.1+abc; Linux; .NET; .NET 8.0.1)", aud, false},
		"somebody else":       {keyOne, call, scriptAgent, of(map[string]any{"nameid": "eve"}), false},
		"a forged token":      {strings.Repeat("k", 44), call, scriptAgent, aud, false},
		"a token for no hub":  {keyOne, call, scriptAgent, of(map[string]any{"aud": "http://hub.example/client/?hub=other"}), false},
		"a token that is not": {keyOne, call, scriptAgent, of(map[string]any{"exp": time.Now().Add(time.Hour).Unix()}), false},
	} {
		f := newGuarded(t, access.Config{})
		id := strings.Repeat("A", 22)
		f.connectUser(id, "ann", streams.OpenEvents, 1)
		w := f.do("POST", "/hubs/chat?id="+f.connectionToken(id, "chat"), v.body, "Authorization", "Bearer "+claims(t, v.key, v.claims), "User-Agent", v.agent)
		if v.claims["exp"] == aud["exp"] && w.Code != http.StatusUnauthorized {
			t.Errorf("%s: got %d", what, w.Code)
		}
		e := f.last()
		if closed := e.Kind == streams.KindClose && e.Flags&streams.FlagReconnect != 0; closed != v.closed {
			t.Errorf("%s: closed %v, want %v", what, closed, v.closed)
		}
	}
}

// Its event stream stayed open when the key was taken away, and each of its calls failed from then on.
func TestScriptWhoseKeyIsTakenAwayIsSentBack(t *testing.T) {
	t.Parallel()
	const call = `{"type":1,"target":"M","invocationId":"0","arguments":[]}` + "\x1e"
	aud := map[string]any{"aud": "http://hub.example/client/?hub=chat"}
	eve := map[string]any{"aud": "http://hub.example/client/?hub=chat", "nameid": "eve"}
	for what, v := range map[string]struct {
		keys    []access.Key // one after the other
		claims  map[string]any
		refused bool
		closed  bool
	}{
		"taken away":                   {[]access.Key{keyTwo}, aud, true, true},
		"taken away for long":          {[]access.Key{keyTwo, access.Key(strings.Repeat("k", 44)), keyTwo}, aud, true, true},
		"taken away and given again":   {[]access.Key{keyTwo, keyOne}, aud, false, false},
		"taken away, of somebody else": {[]access.Key{keyTwo}, eve, true, false},
	} {
		f := newGuarded(t, access.Config{})
		id := strings.Repeat("A", 22)
		f.connectUser(id, "ann", streams.OpenEvents, 1)
		for _, key := range v.keys {
			f.verifier.Replace([]access.Key{key}, nil)
		}
		w := f.do("POST", "/hubs/chat?id="+f.connectionToken(id, "chat"), call, "Authorization", "Bearer "+claims(t, keyOne, v.claims), "User-Agent", scriptAgent)
		if refused := w.Code == http.StatusUnauthorized; refused != v.refused || refused && !strings.Contains(w.Body.String(), "not signed with a key") {
			t.Errorf("%s: got %d %s", what, w.Code, w.Body)
		}
		e := f.last()
		if closed := e.Kind == streams.KindClose && e.Flags&streams.FlagReconnect != 0; closed != v.closed {
			t.Errorf("%s: closed %v, want %v", what, closed, v.closed)
		}
	}
}
