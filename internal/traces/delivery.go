package traces

import (
	"context"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"hubstream/streams"
	"hubstream/transports"
)

// maxDeliveries is how many deliveries of one message are recorded on a node: a broadcast has a receiver for each
// connection, and its trace shall stay one that can be looked at.
const maxDeliveries = 16

// delivery is what a node knows of a message that carries a trace context.
type delivery struct {
	read  time.Time // from the log
	count atomic.Int32
}

// Read notes that a message was read from a hub's log; see streams.Config.Traced.
func (t *Tracer) Read(i *streams.Item) {
	t.deliveries.ContainsOrAdd(i.Trace(), &delivery{read: time.Now()})
}

// Wants implements transports.Tracer.
func (t *Tracer) Wants(i *streams.Item) bool {
	d, known := t.deliveries.Get(i.Trace())
	if !known { // its connection was away: the message is from the log's past
		d = &delivery{read: time.Now()}
		t.deliveries.Add(i.Trace(), d)
	}
	return d.count.Load() < maxDeliveries && d.count.Add(1) <= maxDeliveries
}

// Wrote implements transports.Tracer.
func (t *Tracer) Wrote(i *streams.Item, to transports.Write, failed bool) {
	began := time.Now()
	if d, known := t.deliveries.Peek(i.Trace()); known {
		began = d.read
	}
	transport := string(to.Transport)
	if to.Transport == streams.TransportNone {
		transport = "EventStream" // a plain one
	}
	ctx := t.headers.Extract(context.Background(), propagation.MapCarrier{"traceparent": i.Trace()})
	_, span := t.tracer.Start(ctx, "deliver "+to.Hub, trace.WithSpanKind(trace.SpanKindConsumer), trace.WithTimestamp(began),
		trace.WithAttributes(ofHub(to.Hub, "deliver")...), trace.WithAttributes(
			attribute.String("hubstream.transport", transport),
			attribute.String("hubstream.connection_id", to.ConnectionID),
		))
	if failed {
		span.SetStatus(codes.Error, "the client is gone, or too slow")
	}
	span.End()
}

var _ transports.Tracer = (*Tracer)(nil)
