package handlers_test

import (
	"bytes"
	"context"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"hubstream/handlers"
	"hubstream/streams"
)

// A backend that gives up is no fault of the node's: operators who watch for those would be woken by every impatient backend.
func TestABackendThatGivesUpIsNoFault(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	f := newFixture(t, handlers.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	f.connect("c1", streams.OpenWebSocket, 1)
	for path, body := range map[string]string{
		"connections/c1/:invoke": `{"target":"ask"}`,
		"batch":                  `[{"op":"join","connection":"c1","group":"g"},{"target":"t"}]`,
	} {
		ctx, cancel := context.WithCancel(t.Context())
		if path == "batch" {
			cancel()
		} else {
			time.AfterFunc(50*time.Millisecond, cancel)
		}
		r := httptest.NewRequestWithContext(ctx, "POST", "http://hub.example/api/hubs/chat/"+path, strings.NewReader(body))
		f.ServeHTTP(httptest.NewRecorder(), r)
		cancel()
	}
	for reason, n := range f.Refusals() {
		t.Errorf("%d are counted as %s", n, reason)
	}
	if log.Len() > 0 {
		t.Errorf("logged: %s", log.String())
	}
}
