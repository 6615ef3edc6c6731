package node

import (
	"context"

	"hubstream/handlers"
	"hubstream/internal/traces"
	"hubstream/streams"
	"hubstream/transports"
)

// newTracer returns nil if nothing is traced.
func (n *node) newTracer(ctx context.Context) (*traces.Tracer, error) {
	if n.cfg.TraceEndpoint == "" {
		return nil, nil
	}
	return traces.New(context.WithoutCancel(ctx), traces.Config{
		Node: n.cfg.Node, Version: version(), Endpoint: n.cfg.TraceEndpoint, Sample: n.cfg.TraceSample, Logger: n.log,
	})
}

// The hooks of the tracer are nil without one: nobody even looks for a trace then.

func (n *node) tracerOfSends() handlers.Tracer {
	if n.tracer == nil {
		return nil
	}
	return n.tracer
}

func (n *node) tracerOfReads() func(*streams.Item) {
	if n.tracer == nil {
		return nil
	}
	return n.tracer.Read
}

func (n *node) tracerOfWrites() transports.Tracer {
	if n.tracer == nil {
		return nil
	}
	return n.tracer
}
