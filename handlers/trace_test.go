package handlers_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"testing"

	"hubstream/handlers"
	"hubstream/streams"
)

// tracer writes down what it is told; it records requests that have a traceparent.
type tracer struct {
	told    []string
	appends int
}

type parentKey struct{}

func (t *tracer) Request(r *http.Request, route string) (context.Context, func(int)) {
	parent := r.Header.Get("traceparent")
	if parent == "" {
		return r.Context(), nil
	}
	t.told = append(t.told, r.Method+" "+route)
	return context.WithValue(r.Context(), parentKey{}, parent), func(status int) { t.told = append(t.told, fmt.Sprint("answer ", status)) }
}

func (t *tracer) Append(ctx context.Context, hub string) (string, func(streams.Receipt, error)) {
	parent, _ := ctx.Value(parentKey{}).(string)
	if parent == "" {
		return "", nil
	}
	t.appends++
	return fmt.Sprint("child ", t.appends, " of ", parent), func(r streams.Receipt, err error) {
		t.told = append(t.told, fmt.Sprint("append ", hub, " ", r.Position.IsZero(), " ", err))
	}
}

func (t *tracer) tells(tb testing.TB, want ...string) {
	tb.Helper()
	if !slices.Equal(t.told, want) {
		tb.Errorf("the tracer was told %q, want %q", t.told, want)
	}
	t.told = nil
}

func newTraced(t *testing.T) (*fixture, *tracer) {
	f, tr := newFixture(t, handlers.Config{}), &tracer{}
	f.services.Tracer = tr
	f.Start(f.services)
	return f, tr
}

// lastTrace is what the newest entry of hub chat carries.
func (f *fixture) lastTrace() string {
	f.t.Helper()
	e := f.last()
	return e.Trace()
}

const jsonBody = "application/json"

func TestSendCarriesItsTraceIntoTheLog(t *testing.T) {
	t.Parallel()
	f, tr := newTraced(t)
	for n, path := range []string{"/api/hubs/chat/send", "/api/v1/hubs/chat", "/api/hubs/CHAT/groups/g/:send?api-version=2022-06-01"} {
		w := f.do("POST", path, `{"target":"m"}`, "Content-Type", jsonBody, "traceparent", "p")
		if want := fmt.Sprint("child ", n+1, " of p"); w.Code != http.StatusAccepted || f.lastTrace() != want {
			t.Errorf("%s: got %d, the entry carries %q, want %q", path, w.Code, f.lastTrace(), want)
		}
		if len(tr.told) != 3 || tr.told[1] != "append chat false <nil>" || tr.told[2] != "answer 202" {
			t.Errorf("%s: the tracer was told %q", path, tr.told)
		}
		tr.told = nil
	}
}

func TestSendThatIsNotRecordedCarriesNothing(t *testing.T) {
	t.Parallel()
	f, tr := newTraced(t)
	if w := f.send(`{"target":"m"}`); w.Code != http.StatusAccepted || f.lastTrace() != "" {
		t.Errorf("got %d, the entry carries %q", w.Code, f.lastTrace())
	}
	tr.tells(t)
}

// A backend that repeats a send does so in another span, maybe in another trace: it is the same send for all that.
func TestRepeatedSendInAnotherTraceIsTheSame(t *testing.T) {
	t.Parallel()
	f, _ := newTraced(t)
	for _, path := range []string{"/api/hubs/chat/send", "/api/v1/hubs/chat/users/u"} {
		var first string
		for _, parent := range []string{"one", "two", ""} {
			w := f.do("POST", path, `{"target":"m"}`, "Content-Type", jsonBody, "Idempotency-Key", path, "traceparent", parent)
			if w.Code != http.StatusAccepted {
				t.Fatalf("%s, trace %q: got %d %s", path, parent, w.Code, w.Body)
			}
			if first == "" {
				first = f.lastTrace()
			}
			if got := f.lastTrace(); got != first {
				t.Errorf("%s: the entry carries %q, then %q", path, first, got)
			}
		}
	}
}

func TestRefusedSendEndsItsSpan(t *testing.T) {
	t.Parallel()
	f, tr := newTraced(t)
	f.do("POST", "/api/hubs/chat/send", `{"target":7}`, "Content-Type", jsonBody, "traceparent", "p")
	tr.tells(t, "POST /api/hubs/:hub/send", "answer 400")
	f.services.Streams = nil // a programmer's error
	f.Start(f.services)
	f.do("POST", "/api/hubs/chat/send", `{"target":"m"}`, "Content-Type", jsonBody, "traceparent", "p")
	tr.tells(t, "POST /api/hubs/:hub/send", "answer 500")
}

// Where nothing is traced, a send costs what it costs without: TestSendAllocatesLittle has the number.
func TestTraceparentCostsNothingWithoutATracer(t *testing.T) {
	f := newFixture(t, handlers.Config{})
	s := newSender(f, broadcastBody)
	without := testing.AllocsPerRun(1000, s.send)
	s.request.Header.Set("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	if with := testing.AllocsPerRun(1000, s.send); with > without && !raceEnabled { // the race detector's pools forget at random
		t.Errorf("%v allocations, %v without a traceparent", with, without)
	}
	if got := f.lastTrace(); got != "" {
		t.Errorf("the entry carries %q", got)
	}
}
