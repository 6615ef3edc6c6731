package node

import (
	"runtime"
	"runtime/metrics"
	"testing"
	"time"
)

func TestCollectionsAreRare(t *testing.T) {
	keepRoom()
	runtime.GC() // from here on by the rule, whatever the tests before have used
	runtime.GC()
	const garbage = 20 * roomBytes
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range garbage / (64 << 10) {
		kept = make([]byte, 64<<10)
	}
	runtime.ReadMemStats(&after)
	collections := after.NumGC - before.NumGC
	if most := uint32(garbage / roomBytes * 2); collections > most {
		t.Errorf("%d collections for %d MiB of garbage beside %d MiB in use, want at most %d", collections, garbage>>20, before.HeapAlloc>>20, most)
	}
	// And no more than that is kept for it, once what a collection has found is known.
	goal := []metrics.Sample{{Name: "/gc/heap/goal:bytes"}}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		runtime.GC()
		runtime.ReadMemStats(&after)
		metrics.Read(goal)
		most := after.HeapAlloc*2 + roomBytes + roomBytes/4
		if goal[0].Value.Uint64() <= most {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the next collection is at %d MiB, with %d in use", goal[0].Value.Uint64()>>20, after.HeapAlloc>>20)
		}
	}
}

var kept []byte

// What is in use may grow as large as it likes: the room is never less than by Go's rule, and not more than was meant beside it.
func TestRoomByWhatIsInUse(t *testing.T) {
	for _, test := range []struct {
		inUse   uint64
		percent int
	}{
		{0, 800},
		{4 << 20, 800},
		{8 << 20, 400},
		{32 << 20, 100},
		{33 << 20, 100},
		{4 << 30, 100},
	} {
		if got := percentFor(test.inUse); got != test.percent {
			t.Errorf("%d bytes in use: %d %%, want %d %%", test.inUse, got, test.percent)
		}
	}
}
