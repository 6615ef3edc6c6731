package handlers

import (
	"context"
	"net/http"

	"github.com/labstack/echo/v4"

	"hubstream/streams"
)

// Tracer records what becomes of sends.
type Tracer interface {
	// Request begins the span of a send's request, in the trace that its headers name. The context is for Append; end
	// ends the span with the answer's status. A nil end: the request is not recorded, nor is anything that it leads to.
	Request(r *http.Request, route string) (ctx context.Context, end func(status int))
	// Append begins the span of an append, in a context of Request. The entry carries traceparent; end ends the span.
	// A nil end: it is not recorded.
	Append(ctx context.Context, hub string) (traceparent string, end func(streams.Receipt, error))
}

// traced makes a route of sends begin a span.
func traced(serve func(echo.Context, *Services) error) func(echo.Context, *Services) error {
	return func(c echo.Context, s *Services) error {
		if s.Tracer == nil {
			return serve(c, s)
		}
		r := c.Request()
		ctx, end := s.Tracer.Request(r, c.Path())
		if end == nil {
			return serve(c, s)
		}
		c.SetRequest(r.WithContext(ctx))
		status := http.StatusInternalServerError // of a panic
		defer func() { end(status) }()
		err := serve(c, s)
		status = c.Response().Status
		if err != nil {
			status = refusalFor(err).status
		}
		return err
	}
}

// traceAppend begins the span of an append, and makes the entry carry it. The end may be nil.
func (s *Services) traceAppend(ctx context.Context, hub string, e *streams.Entry) (end func(streams.Receipt, error)) {
	if s.Tracer == nil {
		return nil
	}
	traceparent, end := s.Tracer.Append(ctx, hub)
	e.SetTrace(traceparent)
	return end
}
