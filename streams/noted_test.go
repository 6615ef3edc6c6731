package streams

import "testing"

// Appends that meet are acknowledged in any order: what is noted of them must not seem to be missing when the tail reads them in the log's.
func TestOwnEntriesAreReadInTheLogsOrder(t *testing.T) {
	t.Parallel()
	l := newListeners(t, 1<<20)
	entry := func(n uint64) RawEntry { return RawEntry{at(n), string(AppendEntry(nil, &Entry{Kind: KindMessage}))} }
	for _, n := range []uint64{4, 2, 3, 1} {
		l.hub.own.note(l.hub, entry(n))
	}
	for _, read := range [][]RawEntry{{}, {entry(1), entry(2)}, {entry(3), entry(4), entry(5)}} {
		if err := l.read(read...); err != nil {
			t.Fatalf("reading %d entries: %v", len(read), err)
		}
	}
	if n := len(l.hub.own); n > 0 {
		t.Errorf("%d entries are still to be read", n)
	}
	l.hub.own.note(l.hub, entry(5))
	if n := len(l.hub.own); n > 0 {
		t.Error("one that was read before it was acknowledged is still to be read")
	}
	l.hub.own.note(l.hub, entry(6))
	if err := l.read(entry(7)); err != errEntryMissing {
		t.Errorf("reading without one that was acknowledged: %v, want %v", err, errEntryMissing)
	}
}

// A tail that is far behind does not have a node remember all that it appends: the newest prove the most.
func TestFewOwnEntriesAreRemembered(t *testing.T) {
	t.Parallel()
	l := newListeners(t, 1<<20)
	for n := range uint64(maxOwn + 10) {
		l.hub.own.note(l.hub, RawEntry{Position: at(n + 1)})
	}
	if n, last := len(l.hub.own), l.hub.own.last(); n != maxOwn || last != at(maxOwn+10) {
		t.Errorf("%d entries up to %v are remembered, want %d up to %v", n, last, maxOwn, at(maxOwn+10))
	}
}

// What the tail has read of a log that is then found to be lost, by a request meanwhile, is not taken for what the next one has: its
// positions may be beyond the new one's end, whose entries would be passed over until then.
func TestWhatWasReadBeforeALossIsNotDelivered(t *testing.T) {
	l := newListeners(t, 1<<20)
	l.hub.gen = "before"
	entry := func(n uint64) RawEntry { return RawEntry{at(n), string(AppendEntry(nil, &Entry{Kind: KindMessage}))} }
	tail := tailer{node: l.hub.node, tail: l.hub.node.store.Tail(Bucket(l.hub.name))}
	defer tail.tail.Close()
	deliver := func(n uint64) {
		t.Helper()
		if err := tail.deliver(Batch{Hub: l.hub.name, Entries: []RawEntry{entry(n)}, Stored: 1}); err != nil {
			t.Fatal(err)
		}
	}
	tail.read(l.hub)
	deliver(1)
	l.hub.lose(VerifyReply{Gen: "after", Last: at(2)})
	deliver(9)
	if end, _ := l.hub.tip(); end != at(2) {
		t.Fatalf("the hub has gone on to %v, and the log ends at %v", end, at(2))
	}
	tail.list("")
	tail.read(l.hub)
	deliver(3)
	if end, _ := l.hub.tip(); end != at(3) {
		t.Errorf("the hub has gone on to %v, want %v", end, at(3))
	}
}
