package streams

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// batchOf is a batch of entries with these sizes in bytes.
func batchOf(sizes ...int) scriptedBatch {
	var b scriptedBatch
	for i, size := range sizes {
		body := []byte(strings.Repeat(string(rune('a'+i%26)), size))
		b = append(b, &oneAppend{entry: string(AppendEntry(nil, &Entry{Kind: KindMessage, Body: body}))})
	}
	return b
}

// stream is what a stream holds of a batch whose first entry has a position, but for a blank entry at its end.
func (b scriptedBatch) stream(t *testing.T, first Position) []RawEntry {
	t.Helper()
	var stored []RawEntry
	p := Position{first.ms, first.seq - 1}
	for _, data := range inBundles(b) {
		n := uint64(1)
		if data[0] == bundleFormat {
			n = bigEndian(data[1:])
		}
		p.seq += n
		stored = append(stored, RawEntry{p, data})
	}
	if last := len(stored) - 1; stored[last].Data == blankEntry {
		stored = stored[:last]
	}
	return stored
}

func TestBundlesAreTakenApart(t *testing.T) {
	t.Parallel()
	for _, sizes := range [][]int{{0}, {1, 2}, {1, 2, 3}, {1, 2, 3, 4}, {20_000, 20_000, 20_000}, {1, 8000, 8000, 8000, 8000, 1, 20_000, 1, 1, 1}, slices.Repeat([]int{200}, 300)} {
		for _, first := range []Position{{5, 0}, {5, 7}} {
			b := batchOf(sizes...)
			stored := b.stream(t, first)
			for skip := -1; skip < len(b); skip++ {
				after := Position{4, 99}
				if skip >= 0 {
					after = Position{first.ms, first.seq + uint64(skip)}
				}
				var got, want []RawEntry
				for _, e := range stored {
					if e.Position.After(after) { // as a stream is read
						got = unbundle(got, e, after)
					}
				}
				for i := skip + 1; i < len(b); i++ {
					want = append(want, RawEntry{Position{first.ms, first.seq + uint64(i)}, b[i].entry})
				}
				if !slices.Equal(got, want) {
					t.Fatalf("entries of %v bytes from %v on, after %v: got %d, want %d", sizes, first, after, len(got), len(want))
				}
			}
		}
	}
}

// A batch is few entries of the stream, none of which is large unless it was, and ends with an entry that stands alone, as it begins: with a
// blank one, where its last is large.
func TestBundlesAreFewAndSmall(t *testing.T) {
	t.Parallel()
	for want, sizes := range map[int][]int{
		3:  slices.Repeat([]int{10}, 100),
		8:  slices.Repeat([]int{400}, 100),
		6:  {1, 4000, 4000, 4000, 4000, 5000, 5000, 1},
		5:  {9000, 9000, 9000, 9000},
		4:  {1, 15_000, 20_000, 1},
		10: slices.Repeat([]int{17_000}, 9),
	} {
		stored := inBundles(batchOf(sizes...))
		if len(stored) != want {
			t.Errorf("entries of %v bytes are %d of the stream, want %d", sizes, len(stored), want)
		}
		for i, data := range stored {
			bundle := data[0] == bundleFormat
			if bundle && (len(data) > bundleBytes || i == 0 || i == len(stored)-1) {
				t.Errorf("entries of %v bytes: the one at %d is a bundle of %d bytes", sizes, i, len(data))
			}
		}
	}
}

// What is no bundle is left alone, however much it looks like one.
func TestWhatIsNoBundleIsLeftAlone(t *testing.T) {
	t.Parallel()
	whole := batchOf(1, 2, 3, 4).stream(t, Position{5, 3})[1]
	data := whole.Data
	for name, e := range map[string]RawEntry{
		"an entry":                    {Position{5, 3}, batchOf(1)[0].entry},
		"nothing":                     {Position{5, 3}, ""},
		"a byte":                      {Position{5, 3}, data[:1]},
		"a bundle of none":            {Position{5, 3}, "B\x00\x00\x00\x00"},
		"more entries than positions": {Position{5, 0}, data},
		"too long":                    {Position{5, 5}, data + "x"},
		"too many":                    {Position{5, 5}, "B\xff\xff\xff\xff" + data[bundleHeader:]},
	} {
		if got := unbundle(nil, e, Position{}); !slices.Equal(got, []RawEntry{e}) {
			t.Errorf("%s: got %q", name, got)
		}
	}
	for n := range len(data) {
		e := RawEntry{whole.Position, data[:n]}
		if got := unbundle(nil, e, Position{}); !slices.Equal(got, []RawEntry{e}) {
			t.Errorf("the first %d bytes: got %q", n, got)
		}
	}
}

func FuzzUnbundle(f *testing.F) {
	f.Add(batchOf(1, 2, 3, 4).stream(&testing.T{}, Position{5, 3})[1].Data, uint64(6), uint64(4))
	f.Add("B\x00\x00\x00\x01\x00\x00\x00\x00", uint64(0), uint64(0))
	f.Fuzz(func(t *testing.T, data string, seq, after uint64) {
		stored := RawEntry{Position{5, seq}, data}
		last := Position{5, after}
		for _, e := range unbundle(nil, stored, last) {
			if e != stored && !e.Position.After(last) || e.Position.After(stored.Position) || !strings.Contains(data, e.Data) {
				t.Fatalf("%v after %v", e, last)
			}
			last = e.Position
		}
	})
}

func BenchmarkUnbundle(b *testing.B) {
	stored := batchOf(slices.Repeat([]int{200}, 60)...).stream(&testing.T{}, Position{5, 0})[1]
	dst := make([]RawEntry, 0, 100)
	b.ReportAllocs()
	for b.Loop() {
		dst = unbundle(dst[:0], stored, Position{})
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(dst)), "ns/entry")
}

// How much is read at once is reckoned by what the store's entries hold, not by the entries in them.
func TestReadsKnowWhatBundlesHold(t *testing.T) {
	t.Parallel()
	l := newListeners(t, 64<<20)
	large := Batch{Stored: 1, Entries: slices.Repeat([]RawEntry{{at(1), strings.Repeat("x", 1<<10)}}, 64)} // 64 KiB
	tail := tailer{node: l.hub.node}
	tail.measure([]Batch{large})
	if want := tailBytes / (64 << 10); tail.limit != want {
		t.Errorf("the tail reads %d of the store's entries of 64 KiB, want %d", tail.limit, want)
	}
	look := reading{most: 1 << 20}
	look.note(&RangeReply{Stored: large.Stored, Entries: large.Entries})
	if want := pageBytes / (64 << 10); look.size() != want {
		t.Errorf("a look reads %d of the store's entries of 64 KiB, want %d", look.size(), want)
	}
	look = reading{most: pageEntries}
	look.note(&RangeReply{Stored: 10, Entries: make([]RawEntry, 10*50)})
	if want := pageEntries / 50; look.size() != want {
		t.Errorf("a look reads %d of the store's entries of 50 each, want %d", look.size(), want)
	}
}

// A read of the tail that has bundles may be many entries: they are delivered a few at a time, and who is sent one does not wait for all.
func TestManyEntriesOfBundlesAreDeliveredInParts(t *testing.T) {
	t.Parallel()
	const entries = 20 * tailEntries
	l := newListeners(t, 64<<20)
	a := l.listen("a")
	var seen []uint64
	a.wake = func() {
		seen = append(seen, l.hub.win.end.seq)
		if _, err := a.Next(t.Context(), nil, 1<<20); err != nil {
			t.Error(err)
		}
	}
	data := string(AppendEntry(nil, &Entry{Kind: KindMessage, Connections: []string{"a"}}))
	b := Batch{Hub: l.hub.name, Stored: entries / 100}
	for i := range uint64(entries) {
		b.Entries = append(b.Entries, RawEntry{at(i + 1), data})
	}
	tail := tailer{node: l.hub.node}
	tail.read(l.hub)
	if err := tail.deliver(b); err != nil {
		t.Fatal(err)
	}
	if len(seen) != entries/tailEntries || seen[0] != tailEntries {
		t.Errorf("of %d entries its receiver is told after %v", entries, seen)
	}
}

// bundledLog is a log of which the store holds some entries together, the first of them by itself.
type bundledLog struct {
	Log
	bundle int
	single uint64 // so many entries are by themselves
	last   uint64
	read   []int // limits of the reads
}

func (l *bundledLog) Range(_ context.Context, _ string, after Position, limit int) (RangeReply, error) {
	l.read = append(l.read, limit)
	reply := RangeReply{Last: at(l.last)}
	for seq := after.seq + 1; seq <= l.last && reply.Stored < limit; reply.Stored++ {
		n := uint64(l.bundle)
		if seq <= l.single {
			n = 1
		}
		for range min(n, l.last+1-seq) {
			reply.Entries = append(reply.Entries, RawEntry{at(seq), string(AppendEntry(nil, &Entry{Kind: KindMessage}))})
			seq++
		}
	}
	return reply, nil
}

// A page has so many entries, whether they are bundled or not, and whatever the tail reads now; and little more is read for it.
func TestPagesOfBundlesAreNoLarger(t *testing.T) {
	t.Parallel()
	const single, bundle = 10 * pageEntries, 100
	l := newListeners(t, 64<<20)
	l.append(broadcast("now"))
	log := &bundledLog{bundle: bundle, single: single, last: 20 * pageEntries}
	p := &l.hub.pages
	p.log, p.tip = log, func() (Position, string) { return at(log.last), "" }
	for from := at(0); from.seq < log.last; {
		pg, err := p.after(t.Context(), from)
		if err != nil {
			t.Fatal(err)
		}
		if len(pg.items) > pageEntries || pg.items[0].Position != from.next() || pg.end != pg.items[len(pg.items)-1].Position {
			t.Fatalf("the page after %v has %d entries, from %v to %v", from, len(pg.items), pg.items[0].Position, pg.end)
		}
		from = pg.end
	}
	want := slices.Concat([]int{fewEntries}, slices.Repeat([]int{pageEntries}, 11), slices.Repeat([]int{pageEntries / bundle}, 9))
	if !slices.Equal(log.read, want) {
		t.Errorf("of the store's entries pages read %v, want %v", log.read, want)
	}
}

// Appends that go together take room for themselves, be they to one hub or each to another.
func TestAppendsOfManyHubsTakeLittleRoom(t *testing.T) {
	t.Parallel()
	for _, hubs := range []int{1, 2, 16, batchEntries} {
		var list []*hubAppends
		for i := range batchEntries {
			list = withAppend(list, &oneAppend{hub: hubKeys(fmt.Sprint(i % hubs))}, batchEntries)
		}
		room := 0
		for _, a := range list {
			room += cap(a.scriptedBatch)
		}
		if len(list) != hubs || room > 3*batchEntries {
			t.Errorf("%d appends to %d hubs have room for %d, in %d lists", batchEntries, hubs, room, len(list))
		}
	}
}
