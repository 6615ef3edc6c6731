package upstream

import (
	"sync/atomic"

	"github.com/sony/gobreaker/v2"
)

// Counts is what a Client did since its start, and has now.
type Counts struct {
	// Calls counts by category and outcome.
	Calls map[string]map[Outcome]int64
	// Retries counts the attempts after the first.
	Retries int64
	// Running are the calls and streams under way, Waiting what waits for one to end.
	Running, Waiting int64
	// Broken are the upstreams, by host, that are left alone (1) or not (0).
	Broken map[string]int64
}

var categories = [...]string{CategoryConnections, CategoryMessages}

type counters struct {
	calls   [len(categories)][len(outcomes)]atomic.Int64
	retries atomic.Int64
	waiting atomic.Int64
}

func (c *counters) add(category string, outcome Outcome) {
	for i, known := range categories {
		for j := range outcomes {
			if category == known && outcome == outcomes[j] {
				c.calls[i][j].Add(1)
			}
		}
	}
}

// Counts returns what the client did.
func (c *Client) Counts() Counts {
	n := Counts{
		Calls: map[string]map[Outcome]int64{}, Retries: c.counts.retries.Load(), Waiting: c.counts.waiting.Load(),
		Running: int64(len(c.calls) + len(c.streams)), Broken: map[string]int64{},
	}
	for i, category := range categories {
		n.Calls[category] = map[Outcome]int64{}
		for j, outcome := range outcomes {
			n.Calls[category][outcome] = c.counts.calls[i][j].Load()
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for host, b := range c.breakers {
		n.Broken[host] = 0
		if b.State() != gobreaker.StateClosed {
			n.Broken[host] = 1
		}
	}
	return n
}
