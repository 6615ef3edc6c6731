// Package tracestest has a collector for tests.
package tracestest

import (
	"compress/gzip"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Span is a span as it was received.
type Span struct {
	Node              string // service.instance.id of its resource
	Name              string
	Kind              otlp.Span_SpanKind
	Trace, ID, Parent string // in hex
	Start, End        time.Time
	Failed            bool
	Attributes        map[string]string
}

// Collector receives spans by OTLP over HTTP, as an OpenTelemetry collector does.
type Collector struct {
	URL string

	mu    sync.Mutex
	spans []Span
	came  chan struct{}
}

// Start starts one, which ends with the test.
func Start(tb testing.TB) *Collector {
	c := &Collector{came: make(chan struct{})}
	server := httptest.NewServer(c)
	tb.Cleanup(server.Close)
	c.URL = server.URL
	return c
}

// ServeHTTP takes one export.
func (c *Collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := read(r)
	var export collector.ExportTraceServiceRequest
	if err != nil || r.Method != http.MethodPost || r.URL.Path != "/v1/traces" || proto.Unmarshal(body, &export) != nil {
		http.Error(w, "this is no export of spans", http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, resource := range export.ResourceSpans {
		node := texts(resource.Resource.Attributes)["service.instance.id"]
		for _, scope := range resource.ScopeSpans {
			for _, s := range scope.Spans {
				c.spans = append(c.spans, spanOf(node, s))
			}
		}
	}
	close(c.came)
	c.came = make(chan struct{})
	answer, _ := proto.Marshal(&collector.ExportTraceServiceResponse{})
	w.Header().Set("Content-Type", "application/x-protobuf")
	_, _ = w.Write(answer)
}

func read(r *http.Request) ([]byte, error) {
	if !strings.EqualFold(r.Header.Get("Content-Encoding"), "gzip") {
		return io.ReadAll(r.Body)
	}
	plain, err := gzip.NewReader(r.Body)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(plain)
}

func spanOf(node string, s *otlp.Span) Span {
	return Span{
		Node: node, Name: s.Name, Kind: s.Kind,
		Trace: hex.EncodeToString(s.TraceId), ID: hex.EncodeToString(s.SpanId), Parent: hex.EncodeToString(s.ParentSpanId),
		Start: time.Unix(0, int64(s.StartTimeUnixNano)), End: time.Unix(0, int64(s.EndTimeUnixNano)),
		Failed: s.Status.GetCode() == otlp.Status_STATUS_CODE_ERROR, Attributes: texts(s.Attributes),
	}
}

func texts(list []*common.KeyValue) map[string]string {
	all := map[string]string{}
	for _, a := range list {
		all[a.Key] = a.Value.GetStringValue()
		if all[a.Key] == "" {
			all[a.Key] = a.Value.String()
		}
	}
	return all
}

// Spans returns what was received of a trace, all if it is empty.
func (c *Collector) Spans(trace string) []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	var found []Span
	for _, s := range c.spans {
		if trace == "" || s.Trace == trace {
			found = append(found, s)
		}
	}
	return found
}

// Wait returns the spans of a trace when there are at least n.
func (c *Collector) Wait(tb testing.TB, trace string, n int) []Span {
	tb.Helper()
	limit := time.After(20 * time.Second)
	for {
		c.mu.Lock()
		came := c.came
		c.mu.Unlock()
		spans := c.Spans(trace)
		if len(spans) >= n {
			return spans
		}
		select {
		case <-came:
		case <-limit:
			tb.Fatalf("%d spans came, want %d: %+v", len(spans), n, spans)
		}
	}
}
