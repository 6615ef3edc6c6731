package node

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
)

const (
	// roomBytes is how much a node allocates between two collections of garbage, at least. Go's rule is as much as is in use: that is
	// little for a node with few connections, and a collection costs all the same to begin, to scan the stacks, and to end.
	roomBytes = 32 << 20 // 32 MiB
	// usualPercent is Go's rule, which leaves more room to what uses more.
	usualPercent = 100
)

// keepRoom has garbage collected by roomBytes where Go's rule would do it sooner. Who sets GOGC has a rule of one's own, and GOMEMLIMIT
// holds in any case.
var keepRoom = sync.OnceFunc(func() {
	if os.Getenv("GOGC") == "" {
		k := &roomKeeper{percent: usualPercent, samples: []metrics.Sample{
			{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"},
		}}
		k.collected(0)
	}
})

// roomKeeper sets the rule anew after each collection.
type roomKeeper struct {
	percent int
	samples []metrics.Sample // of what a collection looks at: Go's rule is a percentage of that
}

// sign is garbage, by which the next collection is noticed.
type sign struct{ _ *sign }

func (k *roomKeeper) collected(int) {
	metrics.Read(k.samples)
	var inUse uint64
	for _, s := range k.samples {
		inUse += s.Value.Uint64()
	}
	// To set it stops everything for a moment, so what hardly changes is left.
	if percent := percentFor(inUse); percent < k.percent || percent > k.percent+k.percent/8 {
		debug.SetGCPercent(percent)
		k.percent = percent
	}
	runtime.AddCleanup(new(sign), k.collected, 0)
}

// leastInUse is what Go takes to be in use at least: with 800 % it collects after 32 MiB at the earliest, whatever is in use.
const leastInUse = 4 << 20 // 4 MiB

// percentFor is how much may be allocated until the next collection, in percent of what is in use.
func percentFor(inUse uint64) int {
	return int(max(usualPercent, roomBytes*100/max(inUse, leastInUse)))
}
