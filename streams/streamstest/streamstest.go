// Package streamstest holds every implementation of streams.Store to one suite.
//
// The suite is the contract in executable form: each sentence of the interface's
// comments has a test that fails when it is broken. What only Valkey can suffer
// (failover, a lost answer, another process under the same keys) is tested beside the
// implementation.
//
// The suite runs in real time, since a real Valkey's clock cannot be faked, but waits
// for little: leases of tens of milliseconds, and once for longer than a second.
package streamstest

import (
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"hubstream/streams"
)

// Opener returns a store that is ready for use and closes it when the test ends.
// Stores of several calls may share what they hold: every test has hubs of its own.
type Opener = func(t *testing.T) streams.Store

// Run tests the stores that open returns.
func Run(t *testing.T, open Opener) {
	t.Run("Append", func(t *testing.T) { run(t, open, appendTests) })
	t.Run("AppendOnce", func(t *testing.T) { run(t, open, onceTests) })
	t.Run("AppendAll", func(t *testing.T) { run(t, open, batchTests) })
	t.Run("Range", func(t *testing.T) { run(t, open, rangeTests) })
	t.Run("Trim", func(t *testing.T) { run(t, open, trimTests) })
	t.Run("Verify", func(t *testing.T) { run(t, open, verifyTests) })
	t.Run("Tail", func(t *testing.T) { run(t, open, tailTests) })
	t.Run("Create", func(t *testing.T) { run(t, open, createTests) })
	t.Run("Open", func(t *testing.T) { run(t, open, openTests) })
	t.Run("Poll", func(t *testing.T) { run(t, open, pollTests) })
	t.Run("PollInManyGroups", func(t *testing.T) { runIn(t, open, pollTests, 30) })
	t.Run("Reattach", func(t *testing.T) { run(t, open, reattachTests) })
	t.Run("Abandoned", func(t *testing.T) { run(t, open, abandonedTests) })
	t.Run("Handshake", func(t *testing.T) { run(t, open, handshakeTests) })
	t.Run("Answer", func(t *testing.T) { run(t, open, answerTests) })
	t.Run("Continue", func(t *testing.T) { run(t, open, continueTests) })
	t.Run("Touch", func(t *testing.T) { run(t, open, touchTests) })
	t.Run("Finish", func(t *testing.T) { run(t, open, finishTests) })
	t.Run("Join", func(t *testing.T) { run(t, open, joinTests) })
	t.Run("Close", func(t *testing.T) { run(t, open, closeTests) })
	t.Run("End", func(t *testing.T) { run(t, open, endTests) })
	t.Run("Work", func(t *testing.T) { run(t, open, workTests) })
	t.Run("Users", func(t *testing.T) { run(t, open, userTests) })
	t.Run("Count", func(t *testing.T) { run(t, open, countTests) })
	t.Run("Cluster", func(t *testing.T) { run(t, open, clusterTests) })
	t.Run("Availability", func(t *testing.T) { run(t, open, availabilityTests) })
	t.Run("Concurrency", func(t *testing.T) { run(t, open, concurrencyTests) })
}

// run runs each test with a store and a hub of its own, named after its function.
func run(t *testing.T, open Opener, tests []func(*hub)) { runIn(t, open, tests, 0) }

func runIn(t *testing.T, open Opener, tests []func(*hub), groups int) {
	for _, test := range tests {
		name := runtime.FuncForPC(reflect.ValueOf(test).Pointer()).Name()
		t.Run(name[strings.LastIndexByte(name, '.')+1:], func(t *testing.T) {
			t.Parallel()
			h := newHub(t, open(t))
			h.groups = groups
			test(h)
		})
	}
}

// count tells how often an entry with these bytes is among entries.
func count(entries []streams.RawEntry, entry []byte) int {
	n := 0
	for _, e := range entries {
		if e.Data == string(entry) {
			n++
		}
	}
	return n
}

// same compares lists whose order says nothing.
func same(got, want []string) bool {
	got, want = slices.Clone(got), slices.Clone(want)
	slices.Sort(got)
	slices.Sort(want)
	return slices.Equal(got, want)
}
