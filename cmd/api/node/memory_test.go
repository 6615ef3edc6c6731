package node

import (
	"testing"
	"time"
)

// A node gives memory back once it is quiet, and only what is worth a collection.
func TestMemoryIsGivenBackInQuietTimes(t *testing.T) {
	const mib = 1 << 20
	var thrifty thrift
	now := time.Unix(1, 0)
	tick := func(what string, at heapUse, want bool) {
		t.Helper()
		now = now.Add(quietTime / 2)
		if got := thrifty.due(at, now); got != want {
			t.Errorf("%s: given back %v, want %v", what, got, want)
		}
	}
	tick("start", heapUse{}, false)
	for n := uint64(1); n <= 10; n++ {
		tick("a storm", heapUse{allocated: n * 50 * mib, objects: 40 * mib, live: 20 * mib, free: 30 * mib}, false)
	}
	after := heapUse{allocated: 501 * mib, objects: 40 * mib, live: 20 * mib, free: 30 * mib}
	tick("one second after it", after, false)
	tick("two seconds after it", after, true)
	given := heapUse{allocated: 502 * mib, objects: 21 * mib, live: 20 * mib}
	for range 30 {
		tick("quiet since", given, false)
	}
	small := heapUse{allocated: 502 * mib, objects: 7 * mib, live: 2 * mib, free: 2 * mib}
	for range 30 {
		tick("little to give", small, false)
	}
	share := heapUse{allocated: 502 * mib, objects: 410 * mib, live: 400 * mib, free: 10 * mib}
	for range 30 {
		tick("little for its size", share, false)
	}
	again := 0
	for n := range uint64(40) { // garbage that comes slowly
		now = now.Add(quietTime / 2)
		if thrifty.due(heapUse{allocated: 502*mib + n*mib, objects: 60 * mib, live: 20 * mib}, now) {
			again++
		}
	}
	if most := int(40 * quietTime / 2 / givePause); again < 1 || again > most {
		t.Errorf("given back %d times in 40 s, want some, but at most %d", again, most)
	}
}

// What comes a moment after memory was given back, as the clients of a node that has just begun, does not stay for long either.
func TestMemoryOfAStormAfterAnotherIsGivenBack(t *testing.T) {
	const mib = 1 << 20
	var thrifty thrift
	now := time.Unix(1, 0)
	allocated := uint64(0)
	for storm := range 3 {
		for range 2 { // seconds
			now, allocated = now.Add(time.Second), allocated+50*mib
			thrifty.due(heapUse{allocated: allocated, objects: 30 * mib, live: 20 * mib}, now)
		}
		quiet := now
		for !thrifty.due(heapUse{allocated: allocated, objects: 30 * mib, live: 20 * mib}, now) {
			if now = now.Add(quietTime / 2); now.Sub(quiet) > 4*time.Second {
				t.Fatalf("storm %d: nothing was given back within 4 s of quiet", storm)
			}
		}
	}
}
