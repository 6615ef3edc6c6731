package streams_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"hubstream/integration/valkeytest"
	"hubstream/streams"
)

var bundlesLog = fmt.Sprintf("{bundles:%d}:%s:log", streams.Bucket(hub), hub)

// batch appends a batch of so many entries, and checks that the log then ends with it.
func (u user) batch(n int) []streams.AppendResult {
	u.t.Helper()
	items := make([]streams.OnceRequest, n)
	for i := range items {
		items[i].Entry = message(fmt.Sprint(i))
	}
	results, err := u.AppendAll(u.t.Context(), hub, items)
	must(u.t, "append a batch", err)
	log, err := u.Range(u.t.Context(), hub, streams.Position{}, 1000)
	must(u.t, "read the log", err)
	var want []streams.RawEntry
	for i, r := range results {
		want = append(want, streams.RawEntry{Position: r.Position, Data: string(items[i].Entry)})
	}
	if got := log.Entries[max(0, len(log.Entries)-n):]; !slices.Equal(got, want) {
		u.t.Fatalf("the log ends with %v, want %v", got, want)
	}
	return results
}

// A batch is few entries of the stream, which is what makes it cheap.
func TestValkeyBatchIsFewEntries(t *testing.T) {
	t.Parallel()
	server := valkeytest.Start(t)
	u := use(t, streams.ValkeyConfig{Addresses: []string{server.Addr}, Prefix: "bundles"})
	u.send("first") // makes the log
	u.batch(100)
	if n := server.Do("XLEN", bundlesLog); n != "5" {
		t.Errorf("a generation, a message and a batch of 100 short ones are %s entries of the stream, want 5", n)
	}
}

// What bundles take of Valkey's memory is little more than what is in them, for they fit what its allocator gives out.
func TestValkeyBundlesWasteNoMemory(t *testing.T) {
	t.Parallel()
	server := valkeytest.Start(t)
	u := use(t, streams.ValkeyConfig{Addresses: []string{server.Addr}, Prefix: "bundles"})
	items := slices.Repeat([]streams.OnceRequest{{Entry: message(strings.Repeat("x", 150))}}, 100)
	size := 0
	for range 20 {
		_, err := u.AppendAll(t.Context(), hub, items)
		must(t, "append a batch", err)
		size += len(items) * len(items[0].Entry)
	}
	reply, err := u.Trim(t.Context(), hub, streams.Position{})
	must(t, "ask for the log's size", err)
	if most := int64(size) * 6 / 5; reply.Bytes > most {
		t.Errorf("entries of %d bytes take %d of Valkey, want at most %d", size, reply.Bytes, most)
	}
}

// Positions go on one by one where a stream's sequence numbers are larger than the numbers of a script are exact.
func TestValkeyBatchAtLargeSequenceNumbers(t *testing.T) {
	t.Parallel()
	server := valkeytest.Start(t)
	u := use(t, streams.ValkeyConfig{Addresses: []string{server.Addr}, Prefix: "bundles"})
	u.send("first")
	const far = "99999999999999" // ms
	for _, sequence := range []string{"99999999999990", "999999999999990", "9007199254740990", "18446744073709551000"} {
		last := far + "-" + sequence
		server.Do("XSETID", bundlesLog, last)
		results := u.batch(100)
		if p := results[0].Position.String(); !strings.HasPrefix(p, far+"-") {
			t.Errorf("after %s comes %s", last, p)
		}
		for i, r := range results[1:] {
			if !r.Position.After(results[i].Position) {
				t.Fatalf("after %s: %v is not after %v", last, r.Position, results[i].Position)
			}
		}
		for i, r := range results {
			if !u.verify(streams.VerifyRequest{Proof: r.Position, ProofEntry: string(message(fmt.Sprint(i)))}).Proven {
				t.Fatalf("after %s: the entry at %v is no proof", last, r.Position)
			}
		}
	}
}
