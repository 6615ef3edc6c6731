package streams

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
)

func someNames(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprint("n", rand.IntN(3*longList))
	}
	return list
}

// An entry means the same to a connection whether its lists are gone through or looked up.
func TestLongListsAreLookedUp(t *testing.T) {
	t.Parallel()
	verdicts := map[verdict]int{}
	for range 20000 {
		length := func() int { return rand.IntN(2) * rand.IntN(2*longList) }
		e := Entry{Kind: KindMessage, Groups: someNames(length()), Users: someNames(length()), Connections: someNames(length()), Excluded: someNames(length())}
		if rand.IntN(4) == 0 {
			e.Flags = FlagAll
		}
		memberships := func() Memberships {
			m := Memberships{}
			for _, name := range someNames(rand.IntN(2) * rand.IntN(4*longList)) {
				m[name] = []Interval{{Join: at(uint64(rand.IntN(8)))}}
			}
			return m
		}
		f := newFilter(&Record{
			ID: someNames(1)[0], User: someNames(1)[0], Start: at(1), Groups: memberships(), UserGroups: memberships(),
		}, "n1.a", at(3))
		want := f.step(at(4), &e)
		item, err := newItem(RawEntry{at(4), string(AppendEntry(nil, &e))})
		if err != nil {
			t.Fatal(err)
		}
		if got := f.step(at(4), &item.Entry); got != want {
			t.Fatalf("%+v to %+v: verdict %d, want %d", e, f, got, want)
		}
		verdicts[want]++
	}
	if verdicts[deliver] < 1000 || verdicts[skip] < 1000 {
		t.Errorf("verdicts were %v", verdicts)
	}
}

// Of an entry with a thousand names each of a thousand connections looks for its own, and not through all of them: one set for all, and
// none where nobody looks.
func TestLongListsAreIndexedOnceForAll(t *testing.T) {
	names := make([]string, MaxTargets)
	for i := range names {
		names[i] = fmt.Sprint("n", i)
	}
	for of, e := range map[string]Entry{
		"groups": {Groups: names}, "users": {Users: names}, "connections": {Connections: names}, "excluded": {Flags: FlagAll, Excluded: names},
	} {
		e.Kind = KindMessage
		item, _ := newItem(RawEntry{at(4), string(AppendEntry(nil, &e))})
		sets := map[string]*nameSet{
			"groups": &item.sets[ofGroups], "users": &item.sets[ofUsers], "connections": &item.sets[ofConnections], "excluded": &item.sets[ofExcluded],
		}
		if sets[of].names != nil {
			t.Errorf("%s: there is a set although nobody has looked", of)
		}
		f := newFilter(&Record{ID: "n1", User: "n1", Start: at(1), Groups: Memberships{"n1": {{Join: at(2)}}}}, "n1.a", at(3))
		f.step(at(4), &item.Entry)
		if len(sets[of].names) != MaxTargets {
			t.Errorf("%s: the set has %d names", of, len(sets[of].names))
		}
		if n := testing.AllocsPerRun(100, func() { f.step(at(4), &item.Entry) }); n != 0 {
			t.Errorf("%s: another look takes %v allocations", of, n)
		}
	}
}

// What a window is taken to hold is about what it takes, however many short names its entries have, each with its posting.
func TestWindowCountsNames(t *testing.T) {
	const limit = 8 << 20
	for _, names := range []int{1, 10, MaxTargets} {
		var w window
		w.reset(Position{})
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		f := newFilter(&Record{ID: "c", Start: at(1), Groups: Memberships{"g": {{Join: at(2)}}}}, "n1.a", at(3))
		for i := 0; w.bytes < limit; i++ {
			e := Entry{Kind: KindMessage, Body: []byte("hello")}
			for j := range names {
				e.Groups = append(e.Groups, fmt.Sprint("g", i*names+j))
			}
			item, _ := newItem(RawEntry{at(uint64(4 + i)), string(AppendEntry(nil, &e))})
			f.step(item.Position, &item.Entry) // makes its set
			w.push(item)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if taken := int64(after.HeapAlloc) - int64(before.HeapAlloc); taken > limit*3/2 {
			t.Errorf("entries with %d names: counted as %d MiB, they take %d MiB", names, limit>>20, taken>>20)
		}
		runtime.KeepAlive(&w)
	}
}
