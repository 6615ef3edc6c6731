package bench

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"hubstream/internal/sleep"
)

// Report is what came of a run. Rates, CPU and memory are those of the time that is measured, latency is of what was to be sent in it; all
// else is of the whole run.
type Report struct {
	Connections    int     `json:"connections"`
	Transport      string  `json:"transport"`
	Protocol       string  `json:"protocol"`
	Stateful       bool    `json:"stateful"`
	ConnectSeconds float64 `json:"connectSeconds"`
	Seconds        float64 `json:"seconds"` // that were measured

	Sent       int64   `json:"sent"`
	SendFailed int64   `json:"sendFailed"` // refused, or of unknown outcome
	SendRate   float64 `json:"sendRate"`   // a second
	RateAsked  float64 `json:"rateAsked"`  // that were to be sent in a second; 0: as many as could be
	Delivered  int64   `json:"delivered"`
	Rate       float64 `json:"rate"` // deliveries a second

	Lost      int64 `json:"lost"`
	Repeated  int64 `json:"repeated"`
	Reordered int64 `json:"reordered"`
	Strays    int64 `json:"strays"` // messages to clients that they are not for

	// Latency is from when a message was to be sent until a client has it, in milliseconds.
	Latency Times `json:"latency"`

	Cuts    int64 `json:"cuts"`
	Ends    int64 `json:"ends"`    // sessions that ended, cut or not
	Refused int64 `json:"refused"` // stateful connections that could not be continued
	// Returns is how long clients were away, in milliseconds.
	Returns Times `json:"returns"`

	Bench  Usage            `json:"bench"`
	Nodes  []Usage          `json:"nodes"`
	Errors map[string]int64 `json:"errors"`
}

// Usage is what a process used.
type Usage struct {
	Address   string  `json:"address,omitempty"`
	Cores     float64 `json:"cores"`     // CPU seconds a second
	CPU       float64 `json:"cpu"`       // microseconds a delivery
	CPUPerOne float64 `json:"cpuPerOne"` // microseconds a message sent
	Memory    float64 `json:"memory"`    // resident, bytes
	Error     string  `json:"error,omitempty"`
}

// measure makes the load, and measures it after the warm-up.
func (p *Report) measure(ctx context.Context, r *run) {
	loading, stop := context.WithCancel(ctx)
	loaded := make(chan struct{})
	go func() { defer close(loaded); r.load(loading) }()
	defer func() { stop(); <-loaded }()

	_ = sleep.For(ctx, r.o.Warm)
	asking := context.WithoutCancel(ctx)
	nodes, own := r.nodesUsage(asking), ownUsage()
	sent, delivered, from := r.counts.sent.Load(), r.counts.delivered.load(), r.now()
	r.measuredTo.Store(int64(from + r.o.Duration))
	r.measuredFrom.Store(int64(from))
	_ = sleep.For(ctx, r.o.Duration)
	took := r.now() - from
	sent, delivered = r.counts.sent.Load()-sent, r.counts.delivered.load()-delivered
	ownAfter, nodesAfter := ownUsage(), r.nodesUsage(asking)

	p.Seconds = took.Seconds()
	p.SendRate, p.Rate = float64(sent)/p.Seconds, float64(delivered)/p.Seconds
	used := func(before, after usage) Usage {
		cpu := after.cpu - before.cpu
		if cpu < 0 {
			return Usage{Error: "it was started anew meanwhile"}
		}
		return Usage{
			Cores: cpu / p.Seconds, CPU: ratio(cpu*1e6, delivered), CPUPerOne: ratio(cpu*1e6, sent), Memory: after.memory,
		}
	}
	p.Bench = used(own, ownAfter)
	for i, n := range nodesAfter {
		u := used(nodes[i].usage, n.usage)
		for _, err := range []error{nodes[i].err, n.err} {
			if err != nil {
				u = Usage{Error: err.Error()}
			}
		}
		u.Address = n.address
		p.Nodes = append(p.Nodes, u)
	}
}

func ratio(a float64, b int64) float64 {
	if b == 0 {
		return 0
	}
	return a / float64(b)
}

// finish counts what is known when everything has settled.
func (p *Report) finish(r *run) {
	p.Connections, p.Transport, p.Protocol, p.Stateful = r.o.Connections, r.o.Transport, r.o.Protocol, r.o.Stateful
	p.RateAsked = r.o.Rate
	p.Sent, p.SendFailed, p.Delivered = r.counts.sent.Load(), r.counts.sendFailed.Load(), r.counts.delivered.load()
	p.Cuts, p.Ends, p.Refused = r.counts.cuts.Load(), r.counts.ends.Load(), r.counts.refused.Load()
	p.Latency, p.Returns = r.counts.latency.times(), r.counts.returns.times()
	p.Lost = r.lost()
	for _, c := range r.clients {
		c.ledger.mu.Lock()
		p.Repeated += c.ledger.repeated
		p.Reordered += c.ledger.reordered
		p.Strays += c.ledger.strays
		c.ledger.mu.Unlock()
	}
	r.counts.mu.Lock()
	defer r.counts.mu.Unlock()
	p.Errors = maps.Clone(r.counts.errors)
}

// Err says what the nodes have done that they must not; nil: nothing.
func (p *Report) Err() error {
	if p.Lost+p.Repeated+p.Reordered+p.Strays == 0 {
		return nil
	}
	return fmt.Errorf("%d lost, %d repeated, %d out of order, %d to the wrong client", p.Lost, p.Repeated, p.Reordered, p.Strays)
}

// Write writes the report for people.
func (p *Report) Write(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) { fmt.Fprintf(t, name+"\t"+format+"\n", args...) }
	stateful := ""
	if p.Stateful {
		stateful = ", stateful"
	}
	line("connections", "%d %s, %s%s; connected in %.1f s (%.0f/s)", p.Connections, p.Transport, p.Protocol, stateful,
		p.ConnectSeconds, float64(p.Connections)/p.ConnectSeconds)
	line("sends", "%.1f/s%s; %d in all, %d failed", p.SendRate, p.behind(), p.Sent, p.SendFailed)
	line("deliveries", "%.0f/s over %.1f s; %d in all", p.Rate, p.Seconds, p.Delivered)
	line("faults", "%d lost, %d repeated, %d out of order, %d to the wrong client", p.Lost, p.Repeated, p.Reordered, p.Strays)
	line("latency", "%s", p.Latency)
	if p.Ends > 0 {
		line("returns", "%d cut off, %d ended, %d could not be continued; away %s", p.Cuts, p.Ends, p.Refused, p.Returns)
	}
	line("bench", "%s", p.Bench)
	for _, u := range p.Nodes {
		line(strings.TrimSuffix(u.Address, "/metrics"), "%s", u)
	}
	for _, text := range slices.Sorted(maps.Keys(p.Errors)) {
		line("seen", "%d times: %s", p.Errors[text], text)
	}
	return t.Flush()
}

// behind says what was asked for, where it was not reached.
func (p *Report) behind() string {
	const noticed = 0.02 // a share
	if missing := (p.RateAsked - p.SendRate) * p.Seconds; missing < 1+noticed*p.RateAsked*p.Seconds {
		return ""
	}
	return fmt.Sprintf(" of %.1f/s that were asked for", p.RateAsked)
}

func (t Times) String() string {
	return fmt.Sprintf("p50 %s, p99 %s, p99.9 %s, max %s", milliseconds(t.P50), milliseconds(t.P99), milliseconds(t.P999), milliseconds(t.Max))
}

func milliseconds(ms float64) string {
	return (time.Duration(ms*1000) * time.Microsecond).Round(100 * time.Microsecond).String()
}

func (u Usage) String() string {
	if u.Error != "" {
		return "CPU and memory are not known: " + u.Error
	}
	return fmt.Sprintf("%.2f cores: %.2f us a delivery, %.1f us a send; %.0f MiB", u.Cores, u.CPU, u.CPUPerOne, u.Memory/(1<<20))
}
