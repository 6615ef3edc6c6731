package streams_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"hubstream/integration/valkeytest"
	"hubstream/streams"
)

var (
	twinsSeed  = flag.Uint64("twinsseed", 0, "TestMemoryAndValkeyAnswerTheSame: run only this seed")
	twinsSeeds = flag.Uint64("twinsseeds", 10, "TestMemoryAndValkeyAnswerTheSame: how many seeds to run")
	twinsSteps = flag.Int("twinssteps", 400, "TestMemoryAndValkeyAnswerTheSame: calls of each seed")
)

// TestMemoryAndValkeyAnswerTheSame makes the same random calls of a store in memory and of one in Valkey, and compares what each call
// returns, and after it the records, which of them have expired, the groups, the list of connections and the log's end. Whatever the model tests find out about
// the rules in memory is then true of the scripts, too.
//
// Positions, generations and times are each store's own: positions and generations are compared by when they came up first, and times by whether
// there is one. The rules about polls do compare times, so that a call must not be within a second of another for one store and
// beyond it for the other; see twins.pause.
//
// A failure prints its seed; -twinsseed makes the same calls again.
func TestMemoryAndValkeyAnswerTheSame(t *testing.T) {
	t.Parallel()
	server := valkeytest.Start(t)
	first, count := uint64(1), *twinsSeeds
	if *twinsSeed != 0 {
		first, count = *twinsSeed, 1
	}
	for seed := first; seed < first+count; seed++ {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			m := streams.NewMemory(streams.MemoryConfig{})
			defer m.Close()
			g := newTwins(t, seed, m, openValkey(t, streams.ValkeyConfig{Addresses: []string{server.Addr}}))
			for g.step = range *twinsSteps {
				g.pause()
				g.make(g.next())
			}
		})
	}
}

// twins are two stores that are called alike, and what the run knows of its connections so that its calls are such as nodes make.
type twins struct {
	*testing.T
	seed           uint64
	rng            *rand.Rand
	memory, valkey *twin

	step  int
	trace []string
	began time.Time // what is older is from more than a second ago
	calls int       // that were made of connections' work, and owner tokens that were given

	ids    []string                    // of the connections that there are
	users  map[string]string           // whom they are for
	modes  map[string]streams.OpenMode // how they were opened
	owners map[string]string           // by whom last
	tokens []string                    // of the latest owners
	given  map[string]uint64           // the number of the item of work that was given last
}

func newTwins(t *testing.T, seed uint64, memory, valkey streams.Store) *twins {
	g := &twins{
		T: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 7)), memory: newTwin(t, memory), valkey: newTwin(t, valkey), began: time.Now(),
		users: map[string]string{}, modes: map[string]streams.OpenMode{}, owners: map[string]string{}, given: map[string]uint64{},
	}
	for i := range 2 {
		g.ids = append(g.ids, "")
		g.arrive(i)
	}
	return g
}

// twinsCall is a call of either store. It returns what the call did, in words.
type twinsCall struct {
	name string
	make func(*twin) (string, error)
}

// make makes a call of both, and fails the test unless they have done the same.
func (g *twins) make(c twinsCall) {
	g.Helper()
	began := time.Now()
	g.trace = append(g.trace, fmt.Sprint(g.step, " ", c.name))
	memory, valkey := g.memory.did(c, g.ids), g.valkey.did(c, g.ids)
	if memory == valkey {
		return
	}
	if took := time.Since(began); took > slowCall {
		g.Skipf("seed %d, step %d: the stores differ, but the machine stood still for %v", g.seed, g.step, took)
	}
	g.Fatalf("seed %d, step %d: memory and Valkey differ\nlast calls:\n%s\nmemory: %s\nvalkey: %s", g.seed, g.step,
		strings.Join(g.trace[max(0, len(g.trace)-60):], "\n"), memory, valkey)
}

const (
	aSecond   = 1050 * time.Millisecond // a little more than what the rules compare
	twinsSpan = 500 * time.Millisecond
	slowCall  = aSecond - twinsSpan - 100*time.Millisecond
)

// pause lets more than a second pass whenever some of it has: what was before is then older than that for both stores, whichever of them
// was asked first, and what is since is younger for both.
func (g *twins) pause() {
	if time.Since(g.began) > twinsSpan || g.chance(200) {
		time.Sleep(aSecond)
		g.began = time.Now()
	}
}

// next is the next call.
func (g *twins) next() twinsCall {
	if g.chance(100) {
		g.arrive(g.rng.IntN(len(g.ids)))
	}
	switch n := g.rng.IntN(34); {
	case n < 8:
		return g.open()
	case n < 10:
		return g.handshake()
	case n < 13:
		return g.answer()
	case n < 16:
		return g.goOn()
	case n < 17:
		return g.wrote()
	case n < 18:
		return g.abandon()
	case n < 21:
		return g.touch()
	case n < 22:
		return g.finish()
	case n < 24:
		return g.join()
	case n < 25:
		return g.end()
	case n < 26:
		return g.accept()
	case n < 28:
		return g.work()
	case n < 29:
		return g.reply()
	case n < 30:
		return g.adopt()
	case n < 31:
		return g.trim()
	case n < 32:
		return g.user()
	case n < 33 && g.chance(3):
		return g.close()
	}
	if g.chance(3) {
		items := make([]streams.OnceRequest, 1+g.rng.IntN(6))
		for i := range items {
			items[i].Entry = fmt.Appendf(nil, "batch %d", i)
		}
		return twinsCall{fmt.Sprint("append ", len(items)), func(w *twin) (string, error) {
			results, err := w.AppendAll(g.Context(), twinsHub, items)
			for i := 1; i < len(results)-2; i++ {
				w.inside[results[i].Position] = true
			}
			return "", err
		}}
	}
	return twinsCall{"append", func(w *twin) (string, error) {
		_, err := w.Append(g.Context(), twinsHub, []byte("msg"))
		return "", err
	}}
}

// arrive replaces a connection by one that is not known yet.
func (g *twins) arrive(i int) {
	g.ids[i] = fmt.Sprintf("c%d", len(g.users))
	g.users[g.ids[i]] = pickOf(g, "", "u", "u")
}

func (g *twins) id() string { return pickOf(g, g.ids...) }

// chance is true in one of n cases.
func (g *twins) chance(n int) bool { return g.rng.IntN(n) == 0 }

func pickOf[T any](g *twins, list ...T) T { return list[g.rng.IntN(len(list))] }

// owner is who serves a connection, or another who does, or did.
func (g *twins) owner(id string) string {
	record, _ := g.record(id)
	switch {
	case record.Owner != "" && !g.chance(3):
		return record.Owner
	case len(g.tokens) == 0:
		return "n1.0"
	}
	return pickOf(g, append(g.tokens, g.last(id), g.last(id))...)
}

// last is who asked to serve a connection last.
func (g *twins) last(id string) string {
	if owner := g.owners[id]; owner != "" {
		return owner
	}
	return "n1.0"
}

// newOwner is an owner that has not been there yet, or the one before, whose call is repeated.
func (g *twins) newOwner(id string) string {
	if owner := g.owners[id]; owner != "" && g.chance(6) {
		return owner
	}
	g.calls++
	owner := fmt.Sprintf("n%d.%d", 1+g.rng.IntN(2), g.calls)
	g.tokens = append(g.tokens, owner)
	g.tokens = g.tokens[max(0, len(g.tokens)-6):]
	g.owners[id] = owner
	return owner
}

// lease passes at once, or not at all.
func (g *twins) lease() time.Duration {
	if g.chance(6) {
		return 0
	}
	return time.Hour
}

// ago is how long a request has been on its way: not at all, or so long that its client may have given it up.
func (g *twins) ago() time.Duration {
	if g.chance(8) {
		return 96 * time.Second
	}
	return 0
}

// arrived is when a request came that has been on its way for so long.
func arrived(ago time.Duration) time.Time {
	if ago == 0 {
		return time.Time{}
	}
	return time.Now().Add(-ago)
}

// place is one of the log's last positions, by number, or the one that comes next.
func (g *twins) place() int {
	return max(0, len(g.memory.positions)-1-g.rng.IntN(4)+g.rng.IntN(2))
}

// record is a connection's record, for calls that fit it.
func (g *twins) record(id string) (streams.Record, bool) {
	reply, err := g.memory.Lookup(g.Context(), twinsHub, id)
	return reply.Record, err == nil
}

func (g *twins) worker() streams.Worker {
	return streams.Worker{Token: pickOf(g, "wa", "wb"), Lease: time.Hour}
}

func twinsEntries(list ...string) (data [][]byte) {
	for _, s := range list {
		data = append(data, []byte(s))
	}
	return data
}

// some are the first of a list, or none.
func some[T any](g *twins, list ...T) []T { return slices.Clip(list[:g.rng.IntN(len(list)+1)]) }
