package handlers_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"hubstream/handlers"
)

// TestBodiesAreBounded: what backends send at once takes as much memory as is configured, and whoever would make it more is told to
// repeat.
func TestBodiesAreBounded(t *testing.T) {
	t.Parallel()
	const limit = 1 << 20
	f := newFixture(t, handlers.Config{BodiesBytes: limit})
	body := func(size int) string {
		frame := `{"target":"m","arguments":[""]}`
		return strings.Replace(frame, `""`, `"`+strings.Repeat("x", size-len(frame))+`"`, 1)
	}
	post := func(body io.Reader, size int64) *http.Request {
		r := httptest.NewRequest("POST", "/api/hubs/chat/send", body)
		r.Header.Set("Content-Type", "application/json")
		r.ContentLength = size
		return r
	}
	const large = 600_000
	half, rest := io.Pipe()
	first := httptest.NewRecorder()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.Handler.ServeHTTP(first, post(half, large))
	}()
	text := body(large)
	_, _ = io.WriteString(rest, text[:10]) // it is being received now

	for name, size := range map[string]int64{"a length": large, "no length": -1} {
		w := httptest.NewRecorder()
		f.Handler.ServeHTTP(w, post(strings.NewReader(text), size))
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "1" || !strings.Contains(w.Body.String(), fmt.Sprint(limit)) {
			t.Errorf("a second large body with %s got %d %s", name, w.Code, w.Body)
		}
	}
	if w := f.send(body(100_000)); w.Code != http.StatusAccepted {
		t.Errorf("a body that fits got %d %s", w.Code, w.Body)
	}
	_, _ = io.WriteString(rest, text[10:])
	_ = rest.Close()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("the first send does not end")
	}
	if first.Code != http.StatusAccepted {
		t.Errorf("the first got %d %s", first.Code, first.Body)
	}

	// Whatever becomes of a request, its memory is free again.
	for range 5 {
		f.send(text[:large-1])                                                 // malformed
		f.do("POST", "/api/hubs/chat/batch", "["+text+"]")                     // each with a result
		f.do("POST", "/api/hubs/chat/:send?api-version=2022-06-01", text)      // Azure's
		f.do("POST", "/api/hubs/chat/send", strings.Repeat(" ", limit/2)+"{}") // without a target
		broken := post(io.MultiReader(strings.NewReader(text[:1000]), brokenBody{}), large)
		f.Handler.ServeHTTP(httptest.NewRecorder(), broken)
	}
	if w := f.send(text); w.Code != http.StatusAccepted {
		t.Errorf("in the end a body that fits got %d %s", w.Code, w.Body)
	}
}

type brokenBody struct{}

func (brokenBody) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
