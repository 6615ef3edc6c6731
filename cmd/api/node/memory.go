package node

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// giveBack gives memory back to the system when the node has become quiet, until ctx ends. After a storm of connections
// or sends, Go keeps what it has grown to for the next one, and does not even look for minutes what is garbage.
func giveBack(ctx context.Context) {
	ticker := time.NewTicker(quietTime / 2)
	defer ticker.Stop()
	samples := []metrics.Sample{
		{Name: "/gc/heap/allocs:bytes"}, {Name: "/memory/classes/heap/free:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/gc/heap/live:bytes"},
	}
	var t thrift
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		metrics.Read(samples)
		at := heapUse{
			allocated: samples[0].Value.Uint64(), free: samples[1].Value.Uint64(),
			objects: samples[2].Value.Uint64(), live: samples[3].Value.Uint64(),
		}
		if t.due(at, time.Now()) {
			debug.FreeOSMemory()
		}
	}
}

// heapUse is Go's heap at a moment, in bytes.
type heapUse struct {
	allocated uint64 // since the start
	free      uint64 // not used, and not given back
	objects   uint64 // in use, or garbage that was not collected yet
	live      uint64 // of objects, as the last collection has found them
}

const (
	// quietTime is how long a node must have been quiet, quietBytes what it may have allocated meanwhile.
	quietTime  = 2 * time.Second
	quietBytes = 4 << 20 // 4 MiB
	// worthBytes is how much it must be, and a quarter of what is in use: looking costs a collection.
	worthBytes = 8 << 20 // 8 MiB
	// givePause is the time between two times.
	givePause = 4 * time.Second
)

// thrift decides when memory is given back.
type thrift struct {
	quietAt   heapUse   // when the node became quiet
	quietFrom time.Time // since when it is; zero: not known yet
	given     time.Time // when it was last
}

// due tells whether to give memory back now.
func (t *thrift) due(at heapUse, now time.Time) bool {
	if t.quietFrom.IsZero() || at.allocated-t.quietAt.allocated > quietBytes {
		t.quietAt, t.quietFrom = at, now
		return false
	}
	if now.Sub(t.quietFrom) < quietTime || now.Sub(t.given) < givePause {
		return false
	}
	t.quietAt, t.quietFrom = at, now
	spare := at.free
	if at.objects > at.live {
		spare += at.objects - at.live
	}
	if spare < worthBytes || spare < at.live/4 {
		return false
	}
	t.given = now
	return true
}
