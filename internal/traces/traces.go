// Package traces records, with OpenTelemetry, what becomes of sends: one trace from a backend's request to the sockets of
// those it is for, over all nodes.
//
//	POST /api/hubs/:hub/send       server, in the trace that the request's traceparent names
//	  append chat                  producer: until the log has the message
//	    deliver chat               consumer, on each node: from reading the log to the end of a connection's write
//
// The message carries the trace context of its append through the log (streams.Entry.Trace). A send that is not sampled
// carries nothing, and nothing is recorded of it anywhere.
package traces

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Config says what is recorded, and where it goes.
type Config struct {
	// Node and Version name the node in every span.
	Node, Version string
	// Endpoint is the collector's address for OTLP over HTTP, a URL with its path. Required.
	Endpoint string
	// Sample is the share, 0 to 1, of those sends that are recorded that bring no decision with them.
	Sample float64
	// Logger is told when the collector cannot be reached, and when it can again. Required.
	Logger *slog.Logger
}

// Tracer makes spans, and sends them to the collector in the background: it never waits for it, and drops what the
// collector does not take in time. Safe for concurrent use.
type Tracer struct {
	provider *sdk.TracerProvider
	tracer   trace.Tracer
	headers  propagation.TraceContext
	// deliveries are of the messages that were read last, by their trace context.
	deliveries *lru.Cache[string, *delivery]
}

// maxTraced is how many messages are remembered; of older ones it is not known when they were read.
const maxTraced = 4096

// New returns a Tracer, which Close ends. It does not try to reach the collector.
func New(ctx context.Context, cfg Config) (*Tracer, error) {
	uploads, err := newUploads(cfg.Endpoint)
	if err != nil {
		return nil, err
	}
	exporter, err := otlptrace.New(ctx, uploads)
	if err != nil {
		return nil, err
	}
	deliveries, err := lru.New[string, *delivery](maxTraced)
	if err != nil {
		return nil, err
	}
	t := &Tracer{deliveries: deliveries}
	t.provider = sdk.NewTracerProvider(
		sdk.WithSampler(sdk.ParentBased(sdk.TraceIDRatioBased(cfg.Sample))),
		sdk.WithBatcher(&telling{SpanExporter: exporter, log: cfg.Logger}, sdk.WithBatchTimeout(exportInterval)),
		sdk.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "hubstream"),
			attribute.String("service.instance.id", cfg.Node),
			attribute.String("service.version", cfg.Version),
		)),
	)
	t.tracer = t.provider.Tracer("hubstream")
	return t, nil
}

const (
	exportInterval = time.Second
	exportTimeout  = 10 * time.Second
	closeTimeout   = 2 * time.Second
)

// Close sends what is left, for as long as ctx and closeTimeout allow.
func (t *Tracer) Close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, closeTimeout)
	defer cancel()
	_ = t.provider.Shutdown(ctx) // what is lost has been told
}

// telling tells of failures once, and of their end: a collector that is away would fill the log.
type telling struct {
	sdk.SpanExporter
	log  *slog.Logger
	away atomic.Bool
}

func (e *telling) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	err := e.SpanExporter.ExportSpans(ctx, spans)
	switch {
	case err != nil && !e.away.Swap(true):
		e.log.Warn("traces cannot be sent to the collector, and are dropped until they can", "error", err)
	case err == nil && e.away.Swap(false):
		e.log.Info("traces are sent to the collector again")
	}
	return nil
}
