// Package metrics shows what a node counts in Prometheus' format. The parts of a node count with plain atomics and know
// nothing of Prometheus: their totals are read when somebody asks for them. All labels have few and fixed values; none
// is a connection, a user, a group or a hub.
//
// It is made with prometheus/client_golang: it adds 3 MB to the binary, and in return comes with the process's and the
// runtime's metrics, HELP and TYPE lines, histograms made of counts (VictoriaMetrics/metrics has none), and OpenMetrics.
package metrics

import (
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"hubstream/internal/upstream"
	"hubstream/streams"
	"hubstream/transports"
)

// Node is what the metrics are read from.
type Node struct {
	// Name is the node's name, Version what it was built from.
	Name, Version string
	// Refusals returns how many requests were refused, by code.
	Refusals func() map[string]int64
	// Upstream returns what calls upstreams, or nil; nil itself if there never is one.
	Upstream func() *upstream.Client
	// State tells whether the node serves, and whether it is draining.
	State func() (serving, draining bool)
	// LinesDropped returns how many lines of the log nobody read in time.
	LinesDropped func() int64

	mu         sync.Mutex
	streams    *streams.Node
	transports *transports.Server
}

// Serve adds what the node has when it has reached its store.
func (n *Node) Serve(s *streams.Node, t *transports.Server) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.streams, n.transports = s, t
}

func (n *Node) services() (*streams.Node, *transports.Server) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.streams, n.transports
}

// Handler answers with all metrics of n and of its process.
func Handler(n *Node) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(n, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true, MaxRequestsInFlight: 8, Timeout: 10 * time.Second})
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("hubstream_"+name, help, labels, nil)
}

var (
	info        = describe("build_info", "1, with the node's name and what it was built from.", "node", "version")
	serving     = describe("serving", "1 when the node has reached its store and is not stopping.")
	draining    = describe("draining", "1 while the node moves its connections elsewhere.")
	connections = describe("connections", "Connections attached to the node now; of long polling, polls that wait.", "transport")
	attaches    = describe("attaches_total", "Connections attached to the node, a poll each time.", "transport")
	sends       = describe("sends_total", "Messages that the node appended to hubs' logs.")
	deliveries  = describe("deliveries_total", "Messages that the node handed to clients' connections.")
	delay       = describe("publish_to_write_seconds", "Time from a message's append to its write to a client; of several in one write, the oldest's.")
	lag         = describe("lag_seconds", "Age of the oldest entry that an attached connection has not been handed yet.")
	hubs        = describe("hubs", "Hubs whose logs the node follows, or has used lately.")
	hubsUnread  = describe("hubs_unread", "Hubs that the node follows and whose logs it cannot read now: nothing of theirs is delivered here.")
	window      = describe("window_bytes", "What the node holds in memory of hubs' logs, in bytes.")
	trims       = describe("trims_total", "Trims of hubs' logs by this node.")
	gaps        = describe("gaps_total", "Times that the node, reading a log, fell behind its retention.")
	lost        = describe("lost_logs_total", "Logs that were lost or rolled back: their connections were closed.")
	undecodable = describe("undecodable_entries_total", "Entries that could not be read, and matched nobody.")
	storeErrors = describe("store_errors_total", "Failures of Valkey, repeated attempts included.", "kind")
	errorsSeen  = describe("errors_total", "Requests that were refused by the API, by reason.", "reason")
	polls       = describe("polls_total", "Polls that were served.")
	takeovers   = describe("takeovers_total", "Stateful connections that came back to this node, from whichever node they were at.")
	ghosts      = describe("ghost_sockets_total", "Sockets of stateful connections that ended without taking their connection over.")
	drained     = describe("drained_total", "Connections and polls that were sent elsewhere because the node stops.", "transport")
	closed      = describe("closed_total", "Connections that the node closed, by reason.", "reason")
	limited     = describe("limited_total", "What clients sent and was refused: for its size, as too fast, or as one connection too many.", "limit")
	stray       = describe("stray_stream_items_total", "Stream items of clients that belonged to no stream under way.")
	calls       = describe("upstream_calls_total", "Calls of upstreams, retries not counted, by category and outcome.", "category", "outcome")
	retries     = describe("upstream_retries_total", "Attempts to call upstreams after the first.")
	calling     = describe("upstream_calls", "Calls of upstreams and streams that are under way.")
	waiting     = describe("upstream_waiting", "Calls of upstreams that wait for others to end.")
	lines       = describe("log_lines_dropped_total", "Lines of the log that were dropped, as nobody read them.")
	broken      = describe("upstream_broken", "1 while an upstream keeps failing and is left alone.", "upstream")
)

var all = []*prometheus.Desc{
	info, serving, draining, connections, attaches, sends, deliveries, delay, lag, hubs, hubsUnread, window, trims, gaps, lost,
	undecodable, storeErrors, errorsSeen, polls, takeovers, ghosts, drained, closed, limited,
	stray, calls, retries, calling, waiting, broken, lines,
}

// Describe implements prometheus.Collector.
func (n *Node) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range all {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (n *Node) Collect(ch chan<- prometheus.Metric) {
	c := collector(ch)
	isServing, isDraining := n.State()
	c.gauge(info, 1, n.Name, n.Version)
	c.gauge(serving, truth(isServing))
	c.gauge(draining, truth(isDraining))
	each(c.counter, errorsSeen, n.Refusals())
	c.counter(lines, float64(n.LinesDropped()))
	if n.Upstream != nil && n.Upstream() != nil {
		c.upstream(n.Upstream().Counts())
	}
	s, t := n.services()
	if s == nil {
		return // a counter that is not there yet is no counter that was set back
	}
	c.streams(s.Totals())
	c.transports(t.Counts())
}

type collector chan<- prometheus.Metric

func (c collector) gauge(d *prometheus.Desc, value float64, labels ...string) {
	c <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}

func (c collector) counter(d *prometheus.Desc, value float64, labels ...string) {
	c <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, value, labels...)
}

// each collects one metric for every value of its label.
func each[K ~string](collect func(*prometheus.Desc, float64, ...string), d *prometheus.Desc, values map[K]int64) {
	for label, value := range values {
		name := string(label)
		if name == string(streams.TransportNone) {
			name = plainStream
		}
		collect(d, float64(value), name)
	}
}

// plainStream is the transport of plain event streams, which are not SignalR's.
const plainStream = "EventStream"

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (c collector) streams(f streams.Figures) {
	each(c.gauge, connections, f.Connections)
	each(c.counter, attaches, f.Attaches)
	c.counter(sends, float64(f.Sends))
	c.counter(deliveries, float64(f.Deliveries))
	c.delays(f.Delays)
	c.gauge(lag, f.Lag.Seconds())
	c.gauge(hubs, float64(f.Hubs))
	c.gauge(hubsUnread, float64(f.HubsUnread))
	c.gauge(window, float64(f.WindowBytes))
	c.counter(trims, float64(f.Trims))
	c.counter(gaps, float64(f.Gaps))
	c.counter(lost, float64(f.Losses))
	c.counter(undecodable, float64(f.Undecodable))
	each(c.counter, storeErrors, f.StoreErrors)
}

// delays makes a histogram of the counts. The sum is not counted; it is taken as if each was at its bound.
func (c collector) delays(counts []int64) {
	buckets, count, sum := map[float64]uint64{}, uint64(0), 0.0
	for i, n := range counts {
		count += uint64(n)
		bound := streams.DelayBounds[min(i, len(streams.DelayBounds)-1)].Seconds()
		sum += bound * float64(n)
		if i < len(streams.DelayBounds) {
			buckets[bound] = count
		}
	}
	c <- prometheus.MustNewConstHistogram(delay, count, sum, buckets)
}

func (c collector) transports(t transports.Counts) {
	c.counter(polls, float64(t.Polls))
	c.counter(takeovers, float64(t.Takeovers))
	c.counter(ghosts, float64(t.Ghosts))
	c.counter(stray, float64(t.StrayItems))
	each(c.counter, drained, t.Drained)
	each(c.counter, closed, t.Closed)
	each(c.counter, limited, t.Limits)
}

func (c collector) upstream(n upstream.Counts) {
	for category, outcomes := range n.Calls {
		for outcome, count := range outcomes {
			c.counter(calls, float64(count), category, string(outcome))
		}
	}
	c.counter(retries, float64(n.Retries))
	c.gauge(calling, float64(n.Running))
	c.gauge(waiting, float64(n.Waiting))
	for host, is := range n.Broken {
		c.gauge(broken, float64(is), host)
	}
}

var _ prometheus.Collector = (*Node)(nil)
