package handlers_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"hubstream/handlers"
	"hubstream/streams"
)

const onceBody = `{"target":"m","arguments":[1]}`

func (f *fixture) sendOnce(key, body string) *httptest.ResponseRecorder {
	f.t.Helper()
	return f.do("POST", "/api/hubs/chat/send", body, "Content-Type", "application/json", "Idempotency-Key", key)
}

func (f *fixture) messages() (n int) {
	f.t.Helper()
	reply, err := f.store.Range(f.t.Context(), "chat", streams.Position{}, 1000)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, raw := range reply.Entries {
		if e, err := streams.DecodeEntry(raw.Data); err == nil && e.Kind == streams.KindMessage {
			n++
		}
	}
	return n
}

func TestSendWithAKeyIsSentOnce(t *testing.T) {
	f := newFixture(t, handlers.Config{})
	first := f.sendOnce("k1", onceBody)
	again := f.sendOnce("k1", onceBody)
	if first.Code != 202 || again.Code != 202 {
		t.Fatalf("got %d and %d, want 202 twice", first.Code, again.Code)
	}
	want := strings.TrimSuffix(first.Body.String(), "}") + `,"replayed":true}`
	if got := again.Body.String(); got != want {
		t.Errorf("the repetition is answered %s, want %s", got, want)
	}
	if other := f.sendOnce("k2", onceBody); other.Code != 202 || strings.Contains(other.Body.String(), "replayed") {
		t.Errorf("another key is answered %d %s", other.Code, other.Body)
	}
	if got := f.messages(); got != 2 {
		t.Errorf("the log has %d messages, want 2", got)
	}
}

func TestKeyInTheBodyIsTheSameKey(t *testing.T) {
	f := newFixture(t, handlers.Config{})
	body := `{"id":"k1","target":"m","arguments":[1]}`
	f.send(body)
	if again := f.send(body); !strings.Contains(again.Body.String(), `"replayed":true`) {
		t.Errorf("the repetition is answered %s", again.Body)
	}
	if got := f.messages(); got != 1 {
		t.Errorf("the log has %d messages, want 1", got)
	}
}

func TestKeyWithAnotherBodyIsRefused(t *testing.T) {
	f := newFixture(t, handlers.Config{})
	f.sendOnce("k1", onceBody)
	if got := refused(t, f.sendOnce("k1", `{"target":"m","arguments":[2]}`), 422); got.Code != "key_reused" {
		t.Errorf("code is %q", got.Code)
	}
	if got := f.messages(); got != 1 {
		t.Errorf("the log has %d messages, want 1", got)
	}
}

func TestBadKeysAreRefused(t *testing.T) {
	f := newFixture(t, handlers.Config{})
	for name, w := range map[string]*httptest.ResponseRecorder{
		"empty":         f.sendOnce("", onceBody),
		"too long":      f.sendOnce(strings.Repeat("k", 257), onceBody),
		"contradictory": f.sendOnce("k1", `{"id":"k2","target":"m"}`),
	} {
		if got := refused(t, w, 400); got.Target != "Idempotency-Key" {
			t.Errorf("%s: field is %q", name, got.Target)
		}
	}
	r := httptest.NewRequest("POST", "http://hub.example/api/hubs/chat/send", strings.NewReader(onceBody))
	r.Header = http.Header{"Content-Type": {"application/json"}, "Idempotency-Key": {"k1", "k2"}}
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	if got := refused(t, w, 400); got.Target != "Idempotency-Key" {
		t.Errorf("two of them: field is %q", got.Target)
	}
	if got := refused(t, f.send(`{"id":1,"target":"m"}`), 400); got.Target != "id" {
		t.Errorf("field is %q, want id", got.Target)
	}
	if got := f.messages(); got != 0 {
		t.Errorf("the log has %d messages, want none", got)
	}
}

func TestKeysAtTheirLimitsAreTaken(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	if w := f.sendOnce(strings.Repeat("k", 256), onceBody); w.Code != 202 {
		t.Errorf("256 bytes: got %d %s", w.Code, w.Body)
	}
	if w := f.sendOnce("k1", `{"id":"k1","target":"m"}`); w.Code != 202 {
		t.Errorf("the same in header and body: got %d %s", w.Code, w.Body)
	}
}

func TestWhatAPlainStreamFollows(t *testing.T) {
	f := newFixture(t, handlers.Config{})
	for query, want := range map[string]string{
		"":                        "chat  ",
		"?groups=":                "chat  ",
		"?groups=a,b&user=u":      "chat u a|b",
		"?groups=a%2Cx&groups=b":  "chat  a,x|b",
		"?groups=%C3%A4%20b&user": "chat  ä b",
	} {
		if got := f.do("GET", "/api/hubs/Chat/events"+query, "").Body.String(); got != want {
			t.Errorf("%q follows %q, want %q", query, got, want)
		}
	}
	if w := f.do("GET", "/api/hubs/chat/events?groups="+strings.Repeat("g,", 99)+"g", ""); w.Code != http.StatusOK {
		t.Errorf("100 groups, which is the limit: got %d %s", w.Code, w.Body)
	}
	for _, query := range []string{"?groups=a,,b", "?groups=" + strings.Repeat("g", 1025), "?groups=" + strings.Repeat("g,", 100) + "g"} {
		if got := refused(t, f.do("GET", "/api/hubs/chat/events"+query, ""), 400); !strings.HasPrefix(got.Target, "groups") {
			t.Errorf("field is %q, want groups", got.Target)
		}
	}
}

// A plain event stream is refused as everything else of the API is, with a code.
func TestRefusedPlainStreamHasACode(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	w := f.do("GET", "/api/hubs/full/events", "")
	if got := refused(t, w, http.StatusTooManyRequests); got.Code != "too_many_connections" || got.Message != "too many" {
		t.Errorf("got %+v", got)
	}
	if got := w.Header().Get("Retry-After"); got != "5" {
		t.Errorf("Retry-After is %q", got)
	}
}
