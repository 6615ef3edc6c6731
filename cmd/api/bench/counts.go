package bench

import (
	"errors"
	"fmt"
	"math/bits"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// shards spread what many goroutines count.
const shards = 16

// counter counts, by several goroutines.
type counter [shards]struct {
	n atomic.Int64
	_ [56]byte // a cache line each
}

func (c *counter) add(i int, n int64) { c[i%shards].n.Add(n) }

func (c *counter) load() (n int64) {
	for i := range c {
		n += c[i].n.Load()
	}
	return n
}

// A histogram counts times in buckets that are 1/16 wide, from a microsecond to hours.
const (
	perPower = 16
	buckets  = 40 * perPower
)

type histogram [shards]struct {
	counts [buckets]atomic.Int64
	most   atomic.Int64 // microseconds
}

func (h *histogram) add(i int, d time.Duration) {
	us := max(0, d.Microseconds())
	shard := &h[i%shards]
	shard.counts[bucketOf(us)].Add(1)
	for most := shard.most.Load(); us > most && !shard.most.CompareAndSwap(most, us); most = shard.most.Load() {
	}
}

func bucketOf(us int64) int {
	if us < 2*perPower {
		return int(us)
	}
	power := bits.Len64(uint64(us)) - 5 // 16 to 31 are left
	return min(buckets-1, power*perPower+int(us>>power))
}

// upperBound is the most that is in a bucket.
func upperBound(bucket int) int64 {
	if bucket < 2*perPower {
		return int64(bucket)
	}
	power := bucket/perPower - 1
	return int64(bucket-power*perPower+1)<<power - 1
}

// Times sums up a histogram, in milliseconds.
type Times struct {
	Count int64   `json:"count"`
	P50   float64 `json:"p50"`
	P99   float64 `json:"p99"`
	P999  float64 `json:"p999"`
	Max   float64 `json:"max"`
}

func (h *histogram) times() (t Times) {
	var sum [buckets]int64
	most := int64(0)
	for s := range h {
		most = max(most, h[s].most.Load())
		for i := range sum {
			n := h[s].counts[i].Load()
			sum[i] += n
			t.Count += n
		}
	}
	quantile := func(share float64) float64 {
		rank, seen := int64(share*float64(t.Count)), int64(0)
		for i, n := range sum {
			if seen += n; seen > rank {
				return float64(min(most, upperBound(i))) / 1000
			}
		}
		return float64(most) / 1000
	}
	t.P50, t.P99, t.P999, t.Max = quantile(0.5), quantile(0.99), quantile(0.999), float64(most)/1000
	return t
}

// counts is what a run counts.
type counts struct {
	delivered  counter // fresh messages
	latency    histogram
	returns    histogram // from the end of a session until the client is served again
	sent       atomic.Int64
	sendFailed atomic.Int64
	cuts       atomic.Int64
	ends       atomic.Int64 // sessions that ended, by cuts or by themselves
	refused    atomic.Int64 // stateful connections that could not be continued

	mu     sync.Mutex
	errors map[string]int64
}

// maxErrors is how many different errors are kept.
const maxErrors = 20

// failed notes what went wrong, without the addresses that differ each time.
func (c *counts) failed(err error) {
	var network *net.OpError
	if errors.As(err, &network) {
		err = fmt.Errorf("%s: %w", network.Op, network.Err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if text := err.Error(); c.errors[text] > 0 || len(c.errors) < maxErrors {
		c.errors[text]++
	}
}
