package transports

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

func members(n int) []any {
	list := make([]any, n)
	for i := range list {
		list[i] = &outlet{}
	}
	return list
}

// A lap that is begun again while it is under way comes to everybody that is there then, once, also when others have come and gone.
func TestLapComesToEverybodyOnce(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	room := make([]*outlet, writesAtOnce)
	for range 2_000 {
		var w writer
		list := members(1 + random.IntN(50))
		for range 1 + random.IntN(5) {
			w.startLap("hub", slices.Clone(list))
			for range random.IntN(4) {
				w.take(room[:1+random.IntN(writesAtOnce)])
			}
			for range random.IntN(10) { // leave as from a crowd
				if i, last := random.IntN(len(list)), len(list)-1; last > 0 {
					list[i] = list[last]
					list = list[:last]
				}
			}
			list = append(list, members(random.IntN(10))...)
		}
		w.startLap("hub", list)
		came := map[*outlet]int{}
		for {
			n, ofLap := w.take(room)
			if n == 0 {
				break
			}
			if !ofLap {
				t.Fatal("taken from an empty queue")
			}
			for _, o := range room[:n] {
				came[o]++
			}
		}
		for _, member := range list {
			if came[member.(*outlet)] != 1 {
				t.Fatalf("the lap came to one of %d %d times", len(list), came[member.(*outlet)])
			}
		}
		if len(came) != len(list) || w.laps.left != 0 || len(w.laps.of) != 0 {
			t.Fatalf("it came to %d of %d; %d laps are left", len(came), len(list), len(w.laps.of))
		}
	}
}

// Neither what is queued nor the laps of other hubs wait for the end of a lap that is begun again and again, nor it for theirs.
func TestLapsAndQueueTakeTurns(t *testing.T) {
	t.Parallel()
	var w writer
	hubs := map[string][]any{"a": members(100), "b": members(40)}
	of := map[*outlet]string{}
	for hub, list := range hubs {
		for _, o := range list {
			of[o.(*outlet)] = hub
		}
	}
	room := make([]*outlet, writesAtOnce)
	came := map[string]int{}
	for range 400 {
		for hub, list := range hubs {
			w.startLap(hub, list)
		}
		for len(w.queue)-w.head < writesAtOnce {
			w.append(&outlet{})
		}
		n, ofLap := w.take(room)
		for _, o := range room[:n] {
			if hub := of[o]; (hub != "") != ofLap {
				t.Fatal("what is queued is taken for a lap's, or the other way round")
			}
			came[of[o]]++
		}
	}
	total := 400 * writesAtOnce
	if came[""] != total/2 || came["a"] != total/4 || came["b"] != total/4 {
		t.Errorf("of %d turns %d were the queue's, %d and %d the laps'", total, came[""], came["a"], came["b"])
	}
}

// lapped are talkers that their writers are told of all at once.
func lapped(list []*talker) (tell func()) {
	of := map[*writer][]any{}
	for _, o := range list {
		of[o.writer] = append(of[o.writer], &o.outlet)
	}
	return func() {
		for w, all := range of {
			w.WakeAll("hub", all)
		}
	}
}

// As TestWritersForgetNobody, for laps, and for both at once: then nobody is asked by two at the same time.
func TestLapsForgetNobody(t *testing.T) {
	w := startWriters(t)
	for _, many := range []int{1, 2, 50} {
		var list []*talker
		for i := range many {
			var asking atomic.Bool
			list = append(list, w.list[i%2].talker(func() {
				if asking.Swap(true) {
					t.Error("one is asked by two writers at once")
				}
				runtime.Gosched()
				asking.Store(false)
			}))
		}
		tell := lapped(list)
		deadline := time.Now().Add(20 * time.Second)
		for n := range 20_000 / many {
			before := make([]int64, many)
			for i, o := range list {
				before[i] = o.asked.Load()
				if n%3 == i%3 {
					o.schedule() // is asked for that, maybe before
				}
			}
			tell()
			for i, o := range list {
				for o.asked.Load() == before[i] || o.state.Load() != idle {
					if time.Now().After(deadline) {
						t.Fatalf("of %d connections one is never asked", many)
					}
				}
			}
		}
	}
}

// A turn is shared by as many laps as it is enough for, and what a lap was is not kept.
func TestSmallLapsShareATurn(t *testing.T) {
	t.Parallel()
	var w writer
	for hub := range 10 {
		w.startLap(hub, members(3))
	}
	room := make([]*outlet, writesAtOnce)
	for _, want := range []int{16, 14, 0} {
		if n, _ := w.take(room); n != want {
			t.Errorf("%d are taken, want %d", n, want)
		}
	}
	if len(w.laps.of) > 0 || w.laps.first != nil || w.laps.last != nil || w.laps.spare.members != nil {
		t.Error("laps that are over are kept")
	}
}

// As TestWriterThatIsHeldUpIsHelped, for a large lap, and for many small ones.
func TestLapOfAWriterThatIsHeldUpIsHelped(t *testing.T) {
	w := holdUp(t)
	for _, size := range []int{100, writesTooMany - 1} {
		late := 0
		if size < writesTooMany {
			late = size // the last small lap may come when the other has done all and sleeps again
		}
		for i := range 2 { // of whom one is asleep
			var others []*talker
			for hub := range 100 / size {
				var list []any
				for range size {
					o := w.list[i].talker(nil)
					others, list = append(others, o), append(list, &o.outlet)
				}
				w.list[i].WakeAll(hub, list)
			}
			askedBut(t, late, others, fmt.Sprintf("%d in a lap", size))
		}
	}
}

// Who is woken for many does not begin alone: it may be held up before it has begun.
func TestLapWakesTheOthersToo(t *testing.T) {
	t.Parallel()
	one, other := &writer{bell: make(chan struct{}, 1)}, &writer{bell: make(chan struct{}, 1)}
	one.others = []*writer{other}
	for _, many := range []int{writesTooMany - 1, writesTooMany} {
		one.asleep.Store(true)
		other.asleep.Store(true)
		one.WakeAll(many, members(many))
		if one.asleep.Load() || other.asleep.Load() == (many == writesTooMany) {
			t.Errorf("%d in a lap: asleep are the one: %v, and the other: %v", many, one.asleep.Load(), other.asleep.Load())
		}
		for n := 1; n > 0; n, _ = one.take(make([]*outlet, 100)) {
		}
	}
}
