package node

import (
	"context"
	"net/http"
	"runtime"
	runtimemetrics "runtime/metrics"
	"time"

	"hubstream/internal/metrics"
	"hubstream/internal/upstream"
	"hubstream/streams"
	"hubstream/web"
)

// newFeed makes the console's feed of what the services count.
func (n *node) newFeed(s *services) *web.Feed {
	report := func(ctx context.Context, data []byte, keep time.Duration) ([]web.Told, error) {
		all, err := s.streams.Report(ctx, data, keep)
		told := make([]web.Told, len(all))
		for i, r := range all {
			told[i] = web.Told(r)
		}
		return told, err
	}
	return web.NewFeed(func() web.Report { return n.report(s) }, report)
}

// newMetrics makes the metrics, which serve gives their sources.
func (n *node) newMetrics() http.Handler {
	n.metrics = &metrics.Node{
		Name: n.cfg.Node, Version: version(),
		Refusals: func() map[string]int64 { return n.handler.Refusals() },
		Upstream: func() *upstream.Client { return n.upstream }, LinesDropped: n.logged.total.Load,
		State: func() (serving, draining bool) {
			draining = n.draining.Load()
			return n.feed.Load() != nil && !draining, draining
		},
	}
	return metrics.Handler(n.metrics)
}

// report is what this node tells the others of itself.
func (n *node) report(s *services) web.Report {
	r := web.Report{
		Node: n.cfg.Node, Version: version(), State: web.StateReady, Uptime: time.Since(n.began).Milliseconds(),
		Figures: figuresOf(s.streams.Figures()),
	}
	if n.draining.Load() {
		r.State = web.StateDraining
	}
	for reason, count := range n.handler.Refusals() {
		r.Errors[reason] = count
	}
	counts := s.transports.Counts()
	for _, reason := range []string{"gap", "lost", "error", "protocol_error", "client_timeout", "expired"} {
		r.Errors["connection_"+reason] = counts.Closed[reason]
	}
	for kind, count := range counts.Limits {
		r.Errors["limited_"+kind] = count // not all for their size
	}
	r.Memory, r.Goroutines = heap(), runtime.NumGoroutine()
	return r
}

func figuresOf(f streams.Figures) web.Figures {
	figures := web.Figures{
		Connections: map[string]int64{}, Hubs: f.Hubs, Sends: f.Sends, Deliveries: f.Deliveries,
		Delays: f.Delays, Lag: max(f.Lag, f.Slowest).Milliseconds(),
		Errors: map[string]int64{"fell_behind": f.Gaps, "log_lost": f.Losses, "undecodable": f.Undecodable},
	}
	for kind, count := range f.StoreErrors {
		figures.Errors["store_"+string(kind)] = count
	}
	for transport, count := range f.Connections {
		name := string(transport)
		if transport == streams.TransportNone {
			name = "EventStream"
		}
		figures.Connections[name] = count
	}
	for _, bound := range streams.DelayBounds {
		figures.DelayBounds = append(figures.DelayBounds, bound.Milliseconds())
	}
	return figures
}

// heap is what live and dead objects take, in bytes. Reading it stops nothing.
func heap() uint64 {
	sample := []runtimemetrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	runtimemetrics.Read(sample)
	return sample[0].Value.Uint64()
}
