package traces_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/goleak"

	"hubstream/internal/traces"
	"hubstream/internal/traces/tracestest"
	"hubstream/streams"
	"hubstream/transports"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	traceID = "0af7651916cd43dd8448eb211c80319c"
	parent  = "b7ad6b7169203331"

	sampled    = "00-" + traceID + "-" + parent + "-01"
	notSampled = "00-" + traceID + "-" + parent + "-00"
)

func newTracer(t *testing.T, node, endpoint string, sample float64, log *slog.Logger) *traces.Tracer {
	t.Helper()
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	tracer, err := traces.New(t.Context(), traces.Config{Node: node, Version: "v1", Endpoint: endpoint + "/v1/traces", Sample: sample, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tracer.Close(context.Background()) })
	return tracer
}

// send makes the spans of a send, and returns what its entry carries; nothing if it is not recorded.
func send(tracer *traces.Tracer, traceparent string, failed error) string {
	r := httptest.NewRequest(http.MethodPost, "/api/hubs/chat/send", nil)
	if traceparent != "" {
		r.Header.Set("traceparent", traceparent)
	}
	ctx, answered := tracer.Request(r, "/api/hubs/:hub/send")
	carried, appended := tracer.Append(ctx, "chat")
	if (answered == nil) != (appended == nil) {
		panic("one of two spans")
	}
	if answered == nil {
		return carried
	}
	status := http.StatusAccepted
	if failed != nil {
		status = http.StatusServiceUnavailable
	}
	appended(streams.Receipt{Gen: "gen"}, failed)
	answered(status)
	return carried
}

func itemWith(carried string) *streams.Item {
	i := &streams.Item{Entry: streams.Entry{Kind: streams.KindMessage}}
	i.SetTrace(carried)
	return i
}

// wrote tells of a write, if that is wanted.
func wrote(tracer *traces.Tracer, i *streams.Item, to transports.Write, failed bool) {
	if tracer.Wants(i) {
		tracer.Wrote(i, to, failed)
	}
}

func ofKind(spans []tracestest.Span, kind otlp.Span_SpanKind) (found []tracestest.Span) {
	for _, s := range spans {
		if s.Kind == kind {
			found = append(found, s)
		}
	}
	return found
}

func TestTraceGoesOnAtAnotherNode(t *testing.T) {
	t.Parallel()
	c := tracestest.Start(t)
	n1, n2 := newTracer(t, "n1", c.URL, 0, nil), newTracer(t, "n2", c.URL, 0, nil)
	carried := send(n1, sampled, nil)
	item := itemWith(carried)
	n2.Read(item)
	time.Sleep(time.Millisecond)
	wrote(n2, item, transports.Write{Hub: "chat", ConnectionID: "c1", Transport: streams.TransportWebSockets}, false)
	spans := c.Wait(t, traceID, 3)
	server, producer, consumer := ofKind(spans, otlp.Span_SPAN_KIND_SERVER)[0], ofKind(spans, otlp.Span_SPAN_KIND_PRODUCER)[0], ofKind(spans, otlp.Span_SPAN_KIND_CONSUMER)[0]
	if server.Parent != parent || producer.Parent != server.ID || consumer.Parent != producer.ID {
		t.Errorf("the parents are wrong: %+v", spans)
	}
	if server.Node != "n1" || producer.Node != "n1" || consumer.Node != "n2" {
		t.Errorf("the nodes are wrong: %+v", spans)
	}
	if server.Name != "POST /api/hubs/:hub/send" || producer.Name != "append chat" || consumer.Name != "deliver chat" {
		t.Errorf("the names are wrong: %+v", spans)
	}
	if consumer.Attributes["hubstream.connection_id"] != "c1" || consumer.Attributes["hubstream.transport"] != "WebSockets" || consumer.Failed {
		t.Errorf("the delivery says %+v", consumer)
	}
	if consumer.End.Sub(consumer.Start) < time.Millisecond {
		t.Errorf("the delivery took %v: it begins when the message is read from the log", consumer.End.Sub(consumer.Start))
	}
}

func TestWhoDecidesWhatIsRecorded(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		traceparent string
		sample      float64
		want        bool
	}{
		{sampled, 0, true}, {sampled, 1, true}, {notSampled, 1, false}, {"", 0, false}, {"", 1, true},
		{"malformed", 0, false}, {"malformed", 1, true}, {strings.Replace(sampled, "00-0a", "ff-0a", 1), 0, false},
	} {
		c := tracestest.Start(t)
		tracer := newTracer(t, "n1", c.URL, test.sample, nil)
		if got := send(tracer, test.traceparent, nil) != ""; got != test.want {
			t.Errorf("traceparent %q, share %v: recorded: %v", test.traceparent, test.sample, got)
		}
		tracer.Close(context.Background())
		if got := len(c.Spans("")) > 0; got != test.want {
			t.Errorf("traceparent %q, share %v: sent: %v", test.traceparent, test.sample, got)
		}
	}
}

func TestFailuresAreMarked(t *testing.T) {
	t.Parallel()
	c := tracestest.Start(t)
	tracer := newTracer(t, "n1", c.URL, 0, nil)
	wrote(tracer, itemWith(send(tracer, sampled, errors.New("the store is away"))), transports.Write{Hub: "chat"}, true)
	for _, s := range c.Wait(t, traceID, 3) {
		if !s.Failed {
			t.Errorf("%s: not marked as failed", s.Name)
		}
	}
}

// A broadcast to a hundred thousand connections must not become a hundred thousand spans.
func TestDeliveriesOfOneMessageAreLimited(t *testing.T) {
	t.Parallel()
	c := tracestest.Start(t)
	tracer := newTracer(t, "n1", c.URL, 0, nil)
	item := itemWith(send(tracer, sampled, nil))
	tracer.Read(item)
	for range 1000 {
		wrote(tracer, item, transports.Write{Hub: "chat"}, false)
	}
	tracer.Close(context.Background())
	if got := len(ofKind(c.Spans(traceID), otlp.Span_SPAN_KIND_CONSUMER)); got != 16 {
		t.Errorf("%d deliveries are recorded, want 16", got)
	}
}

func TestCollectorThatIsAwayIsToldOnceAndHoldsNothingUp(t *testing.T) {
	t.Parallel()
	c := tracestest.Start(t)
	refused := make(chan struct{}, 10)
	var back atomic.Bool
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !back.Load() {
			http.Error(w, "out of order", http.StatusBadRequest)
			refused <- struct{}{}
			return
		}
		c.ServeHTTP(w, r)
	}))
	defer proxy.Close()
	var log lines
	tracer := newTracer(t, "n1", proxy.URL, 0, slog.New(slog.NewTextHandler(&log, nil)))
	for range 2 {
		send(tracer, sampled, nil)
		<-refused
	}
	back.Store(true)
	send(tracer, sampled, nil)
	c.Wait(t, traceID, 2)
	tracer.Close(context.Background())
	if n := strings.Count(log.String(), "cannot be sent"); n != 1 {
		t.Errorf("told %d times: %s", n, log.String())
	}
	if !strings.Contains(log.String(), "again") {
		t.Errorf("its return was not told: %s", log.String())
	}
}

// Collectors of others want a key.
func TestHeadersForTheCollectorComeFromItsVariables(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=for%20all")
	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_HEADERS", " Api-Key = a%20key, x=1 ,")
	got := make(chan http.Header, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r.Header }))
	defer server.Close()
	tracer := newTracer(t, "n1", server.URL, 0, nil)
	send(tracer, sampled, nil)
	tracer.Close(context.Background())
	if h := <-got; h.Get("Api-Key") != "a key" || h.Get("X") != "1" || h.Get("Content-Type") != "application/x-protobuf" {
		t.Errorf("the collector got %v", h)
	}
	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "hunter2")
	_, err := traces.New(t.Context(), traces.Config{Endpoint: server.URL, Logger: slog.New(slog.DiscardHandler)})
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a bad header: %v", err)
	}
}

// A node that stops does not wait for a collector that does not answer.
func TestCloseDoesNotWaitForLong(t *testing.T) {
	t.Parallel()
	stuck := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-stuck }))
	defer server.Close()
	defer close(stuck)
	tracer := newTracer(t, "n1", server.URL, 0, nil)
	send(tracer, sampled, nil)
	began := time.Now()
	tracer.Close(context.Background())
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("it took %v", took)
	}
}

type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
