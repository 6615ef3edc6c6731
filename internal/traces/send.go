package traces

import (
	"context"
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"hubstream/handlers"
	"hubstream/streams"
)

// Request implements handlers.Tracer.
func (t *Tracer) Request(r *http.Request, route string) (context.Context, func(status int)) {
	ctx := t.headers.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	ctx, span := t.tracer.Start(ctx, r.Method+" "+route, trace.WithSpanKind(trace.SpanKindServer))
	if !span.IsRecording() {
		return r.Context(), nil
	}
	span.SetAttributes(attribute.String("http.request.method", r.Method), attribute.String("http.route", route))
	return ctx, func(status int) {
		span.SetAttributes(attribute.Int("http.response.status_code", status))
		if status >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, "")
		}
		span.End()
	}
}

// Append implements handlers.Tracer.
func (t *Tracer) Append(ctx context.Context, hub string) (traceparent string, end func(streams.Receipt, error)) {
	if !trace.SpanContextFromContext(ctx).IsSampled() {
		return "", nil
	}
	ctx, span := t.tracer.Start(ctx, "append "+hub, trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(ofHub(hub, "append")...))
	carrier := propagation.MapCarrier{}
	t.headers.Inject(ctx, carrier)
	return carrier["traceparent"], func(r streams.Receipt, err error) {
		if err != nil {
			span.SetStatus(codes.Error, err.Error())
		} else {
			span.SetAttributes(attribute.String("messaging.message.id", r.String()))
		}
		span.End()
	}
}

// ofHub are the attributes of an operation on a hub's messages.
func ofHub(hub, operation string) []attribute.KeyValue {
	return []attribute.KeyValue{
		attribute.String("messaging.system", "hubstream"),
		attribute.String("messaging.operation.name", operation),
		attribute.String("messaging.destination.name", hub),
	}
}

var _ handlers.Tracer = (*Tracer)(nil)
