package bench

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Names of the metrics that every process has (Prometheus, "Writing client libraries", "Process metrics").
const (
	cpuMetric    = "process_cpu_seconds_total"
	memoryMetric = "process_resident_memory_bytes"
)

// usage is what a process has used.
type usage struct {
	cpu    float64 // seconds
	memory float64 // bytes
}

func (u *usage) set(name string, value float64) {
	switch name {
	case cpuMetric:
		u.cpu = value
	case memoryMetric:
		u.memory = value
	}
}

// ownUsage is this process's; 0 where the system does not tell.
func ownUsage() (u usage) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	families, _ := registry.Gather() // what cannot be read is left out
	for _, family := range families {
		for _, m := range family.GetMetric() {
			u.set(family.GetName(), m.GetCounter().GetValue()+m.GetGauge().GetValue())
		}
	}
	return u
}

// metricsTimeout is how long a node may take to show its metrics.
const metricsTimeout = 5 * time.Second

// usageOf is a node's, by its metrics.
func (s *Service) usageOf(ctx context.Context, address string) (u usage, err error) {
	ctx, cancel := context.WithTimeout(ctx, metricsTimeout)
	defer cancel()
	text, err := s.do(ctx, http.MethodGet, address, "", nil)
	if err != nil {
		return u, err
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if number, err := strconv.ParseFloat(value, 64); err == nil {
			u.set(name, number)
		}
	}
	if u == (usage{}) {
		return u, fmt.Errorf("%s is not there", cpuMetric)
	}
	return u, nil
}

// nodeUsage is a node's, or why it is not known.
type nodeUsage struct {
	address string
	usage
	err error
}

func (r *run) nodesUsage(ctx context.Context) (list []nodeUsage) {
	addresses := strings.Split(r.o.Metrics, ",")
	if r.o.Metrics == "" {
		addresses = nil
		for _, node := range r.service.Nodes {
			addresses = append(addresses, node+"/metrics")
		}
	}
	for _, address := range addresses {
		n := nodeUsage{address: address}
		n.usage, n.err = r.service.usageOf(ctx, address)
		list = append(list, n)
	}
	return list
}
