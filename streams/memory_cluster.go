package streams

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strings"
	"time"
)

// Beat implements Cluster.
func (m *Memory) Beat(ctx context.Context, bucket int, node string, lease time.Duration) (BeatReply, error) {
	if err := m.enter(ctx); err != nil {
		return BeatReply{}, err
	}
	b := &m.buckets[bucket]
	b.mu.Lock()
	defer b.mu.Unlock()
	now := m.now()
	maps.DeleteFunc(b.nodes, func(_ string, until int64) bool { return until <= now })
	if b.nodes == nil {
		b.nodes = make(map[string]int64)
	}
	b.nodes[node] = now + lease.Milliseconds()
	return BeatReply{Run: *m.run.Load(), Now: now, Nodes: len(b.nodes)}, nil
}

// memoryReport is what a node told, and when (ms).
type memoryReport struct {
	at   int64
	data []byte
}

// Report implements Cluster.
func (m *Memory) Report(ctx context.Context, node string, data []byte, keep time.Duration) ([]NodeReport, error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	if m.reports == nil {
		m.reports = map[string]memoryReport{}
	}
	m.reports[node] = memoryReport{now, bytes.Clone(data)}
	var list []NodeReport
	for name, r := range m.reports {
		age := max(now-r.at, 0)
		if age > keep.Milliseconds() {
			delete(m.reports, name)
			continue
		}
		list = append(list, NodeReport{Node: name, Data: bytes.Clone(r.data), Age: time.Duration(age) * time.Millisecond})
	}
	slices.SortFunc(list, func(a, b NodeReport) int { return strings.Compare(a.Node, b.Node) })
	return list, nil
}

// Hubs implements Cluster.
func (m *Memory) Hubs(ctx context.Context, bucket int) ([]string, error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	var list []string
	for name, h := range m.hubs {
		if h.bucket == &m.buckets[bucket] && h.hasLog() {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return list, nil
}

func (h *memoryHub) hasLog() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.gen != ""
}

// Secret implements Cluster.
func (m *Memory) Secret(ctx context.Context, proposal []byte) ([]byte, error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.secret == nil {
		m.secret = bytes.Clone(proposal)
	}
	return bytes.Clone(m.secret), nil
}

// Ready implements Cluster: process memory needs no settings.
func (m *Memory) Ready(ctx context.Context) error { return m.enter(ctx) }
