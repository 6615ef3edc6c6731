package web

import (
	"encoding/json"
	"time"
)

// Report is what a node tells the others of itself. Counters count from the node's start.
type Report struct {
	Node    string `json:"node"`
	Version string `json:"version"`
	State   string `json:"state"`  // ready, draining, stopped, or why it is not ready
	Uptime  int64  `json:"uptime"` // ms
	Figures
}

// Figures is what a node's work amounts to. No name of a hub, user, group or connection is in it.
type Figures struct {
	Connections map[string]int64 `json:"connections"` // attached now, by transport
	Hubs        int              `json:"hubs"`
	Sends       int64            `json:"sends"`
	Deliveries  int64            `json:"deliveries"`
	// Delays counts writes by the age of their oldest message, for each of DelayBounds (ms) and beyond.
	Delays      []int64          `json:"delays"`
	DelayBounds []int64          `json:"delayBounds"`
	Lag         int64            `json:"lag"`    // age of the oldest message that waited, or was written late, since the last report, ms
	Errors      map[string]int64 `json:"errors"` // by reason
	Memory      uint64           `json:"memory"` // of the heap, bytes
	Goroutines  int              `json:"goroutines"`
}

// States of a Report.
const (
	StateReady    = "ready"
	StateDraining = "draining"
	StateStopped  = "stopped"
)

// Told is a report as the store has it.
type Told struct {
	Node string
	Data []byte // a Report as JSON, maybe of another version
	Age  time.Duration
}

// snapshot is an event of the feed: all nodes as they have told of themselves.
type snapshot struct {
	At    int64     `json:"at"` // this node's clock, ms
	Error string    `json:"error,omitempty"`
	Nodes []nodeRow `json:"nodes"`
}

type nodeRow struct {
	Name string `json:"name"`
	Age  int64  `json:"age"` // ms
	Gone bool   `json:"gone"`
	// Report is as the node wrote it: a newer one may tell more.
	Report json.RawMessage `json:"report"`
}

// rowsOf makes an event's rows of what was told.
func rowsOf(told []Told) []nodeRow {
	rows := make([]nodeRow, 0, len(told))
	for _, t := range told {
		var r Report
		if json.Unmarshal(t.Data, &r) != nil {
			continue // nothing that can be shown
		}
		gone := t.Age > goneAfter && r.State != StateStopped
		rows = append(rows, nodeRow{Name: t.Node, Age: t.Age.Milliseconds(), Gone: gone, Report: t.Data})
	}
	return rows
}
