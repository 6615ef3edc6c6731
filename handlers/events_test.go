package handlers_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"

	"hubstream/handlers"
)

// A browser's EventSource that is answered anything but 200 never comes again, and what it followed would be lost to it.
func TestPlainStreamThatComesBackIsNotRefusedForWhatPasses(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	w := f.do("GET", "/api/hubs/full/events", "", "Last-Event-ID", "g.1-1")
	if got := w.Header().Get("Content-Type"); w.Code != http.StatusOK || got != "text/event-stream" || w.Body.String() != ": too_many_connections: too many\r\n" {
		t.Errorf("one too many: got %d, %s, %q", w.Code, got, w.Body)
	}
	if n := f.Refusals()["too_many_connections"]; n != 1 {
		t.Errorf("%d refusals are counted, want 1", n)
	}
	refused(t, f.do("GET", "/api/hubs/full/events", ""), http.StatusTooManyRequests) // it learns why, and has nothing to go on with
}

// The same where the node cannot serve it.
func TestPlainStreamThatComesBackToANodeThatStartsComesAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := handlers.New(handlers.Config{Node: "n1"})
		for id, want := range map[string]int{"": http.StatusServiceUnavailable, "g.1-1": http.StatusOK} {
			r := httptest.NewRequest("GET", "/api/hubs/chat/events", nil)
			r.Header.Set("Last-Event-ID", id)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != want {
				t.Errorf("after %q: got %d, want %d", id, w.Code, want)
			}
		}
	})
}
