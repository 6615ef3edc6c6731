package handlers_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"hubstream/negotiate"
	"hubstream/negotiate/access"
	"hubstream/streams"
)

// connectionToken is that of a connection of ann in a hub.
func (f *fixture) connectionToken(id, hub string) string {
	f.t.Helper()
	token, err := f.keyring.Seal(negotiate.Token{ConnectionID: id, Hub: hub, User: "ann", Deadline: f.node.Now() + 60000, NegotiateVersion: 1})
	if err != nil {
		f.t.Fatal(err)
	}
	return token
}

// A newer token reaches the connection by the log, so that any node may be asked.
func TestRefresh(t *testing.T) {
	t.Parallel()
	f := newGuarded(t, access.Config{CloseAtExpiry: true})
	id := strings.Repeat("A", 22)
	f.connectAs(id, "ann")
	aud := "http://hub.example/client/?hub=chat"
	token := claims(t, keyOne, map[string]any{"aud": aud, "exp": time.Now().Add(time.Hour).Unix()})
	for _, path := range []string{"/hubs/chat/refresh?id=", "/client/refresh?hub=chat&id="} {
		w := f.do("POST", path+f.connectionToken(id, "chat"), "", "Authorization", "Bearer "+token)
		var answer struct{ TokenLifetimeSeconds int64 }
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != http.StatusOK {
			t.Fatalf("%s: got %d %s", path, w.Code, w.Body)
		}
		if want := int64((time.Hour + access.DefaultLeeway).Seconds()); answer.TokenLifetimeSeconds > want || answer.TokenLifetimeSeconds < want-5 {
			t.Errorf("it is good for %d s, want %d", answer.TokenLifetimeSeconds, want)
		}
		if e := f.last(); e.Kind != streams.KindControl || e.Verb != streams.VerbRenew || !slices.Equal(e.Connections, []string{id}) {
			t.Errorf("the log has %+v", e)
		}
	}
}

func TestRefreshThatIsRefused(t *testing.T) {
	t.Parallel()
	f := newGuarded(t, access.Config{})
	id := strings.Repeat("A", 22)
	f.connectAs(id, "ann")
	before := f.last()
	aud := "http://hub.example/client/?hub=chat"
	ann, eve := claims(t, keyOne, map[string]any{"aud": aud}), claims(t, keyOne, map[string]any{"aud": aud, "nameid": "eve"})
	for _, c := range []struct {
		name, method, query, token, body string
		status                           int
	}{
		{"without a token", "POST", "?id=" + f.connectionToken(id, "chat"), "", "an access token is needed", http.StatusUnauthorized},
		{"with the token in the query", "POST", "?access_token=" + ann + "&id=" + f.connectionToken(id, "chat"), "", "an access token is needed", http.StatusUnauthorized},
		{"without a connection", "POST", "", ann, `{"error":"missing_connection_token"}`, http.StatusBadRequest},
		{"of somebody else", "POST", "?id=" + f.connectionToken(id, "chat"), eve, `{"error":"user_changed"}`, http.StatusForbidden},
		{"of another hub", "POST", "?id=" + f.connectionToken(id, "other"), ann, `{"error":"connection_not_found"}`, http.StatusNotFound},
		{"of nothing", "POST", "?id=x", ann, `{"error":"connection_not_found"}`, http.StatusNotFound},
		{"of an ID that is no token", "POST", "?id=" + id, ann, `{"error":"connection_not_found"}`, http.StatusNotFound},
		{"of a connection that is not there", "POST", "?id=" + f.connectionToken(negotiate.NewConnectionID(), "chat"), ann, `{"error":"connection_not_found"}`, http.StatusNotFound},
		{"with another method", "GET", "?id=" + f.connectionToken(id, "chat"), ann, "the method is not allowed here", http.StatusMethodNotAllowed},
	} {
		header := []string{"Authorization", "Bearer " + c.token}
		if c.token == "" {
			header = nil
		}
		w := f.do(c.method, "/hubs/chat/refresh"+c.query, "", header...)
		if w.Code != c.status || strings.TrimSpace(w.Body.String()) != c.body {
			t.Errorf("%s: got %d %s, want %d %s", c.name, w.Code, w.Body, c.status, c.body)
		}
	}
	if e := f.last(); e.Kind != before.Kind {
		t.Errorf("the log has %+v", e)
	}
}

// For how long its token is good a client is told where its connection would be closed.
func TestNegotiateTellsTheTokensLifetime(t *testing.T) {
	t.Parallel()
	for closes, word := range map[bool]string{true: `"tokenLifetimeSeconds":3`, false: `"availableTransports"`} {
		f := newGuarded(t, access.Config{CloseAtExpiry: closes})
		token := claims(t, keyOne, map[string]any{"aud": "http://hub.example/client/?hub=chat"})
		w := f.do("POST", "/hubs/chat/negotiate?negotiateVersion=1", "", "Authorization", "Bearer "+token)
		if body := w.Body.String(); !strings.Contains(body, word) || strings.Contains(body, "tokenLifetimeSeconds") != closes {
			t.Errorf("closing %t: got %s", closes, body)
		}
	}
}
