package transports_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hubstream/streams"
	"hubstream/transports"
)

var (
	stormSeed  = flag.Uint64("stormseed", 0, "TestPollsInAStorm, TestStatefulSocketsInAStorm: run only this seed")
	stormSeeds = flag.Uint64("stormseeds", 8, "TestPollsInAStorm, TestStatefulSocketsInAStorm: how many seeds to run")
	stormTrace = flag.Int("stormtrace", 120, "TestPollsInAStorm, TestStatefulSocketsInAStorm: how many of the last steps before a fault a failure shows")
)

// stormNumbers are those that a client gets: from the first that comes on each once, in order.
type stormNumbers struct {
	first bool // one has come
	next  int  // the one that must come
}

// takes takes a number, and tells whether it is the one that must come.
func (x *stormNumbers) takes(s *storm, name string, n int) bool {
	if !x.first {
		x.first, x.next = true, n
	}
	if n != x.next {
		s.fault("%s got %d, want %d", name, n, x.next)
		return false
	}
	x.next++
	return true
}

// storm is one run of clients that must miss nothing and get nothing twice, over nodes in virtual time: numbers are sent to everybody, and each
// client takes note of those that it gets. Nodes are killed and drained meanwhile, the store is away now and then, slow, or
// loses what it has replied. Which of these a run has depends on its seed.
//
// The nodes run as they like: a seed makes the same faults again, but may not fail the same way.
type storm struct {
	*cluster
	seed   uint64
	kills  bool
	drains bool
	away   bool
	app    *stormApp // executes the clients' calls, if there is one

	began time.Time
	over  chan struct{} // everything was sent, and nothing goes wrong any more
	sent  int           // when it is over

	mu     sync.Mutex
	rng    *rand.Rand
	dead   map[int]bool // the nodes that no proxy sends anything to
	leaves map[int]bool // those that say that they are not ready
	calm   bool
	deaf   bool // no answer arrives
	trace  []string
	faults []string
}

const (
	stormNodes    = 4
	stormClients  = 4
	stormTime     = 40 * time.Second
	stormPatience = 4 * time.Minute
)

// runStorm runs clients, each by its number, over nodes with an upstream, and fails the test if any of them has found a fault.
func runStorm(t *testing.T, upstream func(s *storm) transports.Upstream, client func(s *storm, i int)) {
	first, count := uint64(1), *stormSeeds
	if *stormSeed != 0 {
		first, count = *stormSeed, 1
	}
	for seed := first; seed < first+count; seed++ {
		bubbleRun(t, fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			s := newStorm(seed)
			s.cluster = newCluster(t, stormNodes, func(cfg *transports.Config) { cfg.Upstream = upstream(s) })
			s.blow()
			s.run(func(i int) { client(s, i) })
		})
	}
}

func newStorm(seed uint64) *storm {
	return &storm{
		seed: seed, kills: seed%2 == 0, drains: seed%3 != 1, away: seed%4 < 2,
		began: time.Now(), over: make(chan struct{}), rng: rand.New(rand.NewPCG(seed, 1)), dead: map[int]bool{}, leaves: map[int]bool{},
	}
}

func (s *storm) run(client func(i int)) {
	var running sync.WaitGroup
	running.Go(s.publishAll)
	if s.kills {
		running.Go(s.killSome)
	}
	if s.drains {
		running.Go(s.drainOne)
	}
	if s.away {
		running.Go(s.loseTheStore)
	}
	for i := range stormClients {
		running.Go(func() {
			s.sleep(time.Second)
			client(i)
		})
	}
	running.Wait()
	synctest.Wait()
	s.report()
}

// publishAll sends the numbers from 0 on, each until it is accepted, and one more when the storm is over.
func (s *storm) publishAll() {
	n := 0
	for ; time.Since(s.began) < stormTime; n++ {
		s.note("publish %d", n)
		for s.tryPublish(n) != nil {
			time.Sleep(50 * time.Millisecond)
		}
		if s.n(3) > 0 {
			s.sleep(100 * time.Millisecond)
		}
		if s.n(30) == 0 {
			s.sleep(4 * time.Second)
		}
	}
	s.set(func() { s.calm = true })
	time.Sleep(time.Second)
	for s.store.away.Load() {
		time.Sleep(time.Second)
	}
	s.cluster.publish(s.node(), n)
	s.sent = n + 1
	close(s.over)
}

func (s *storm) tryPublish(n int) error {
	_, err := s.nodes[s.node()].Publish(s.ctx, hubName, &streams.Entry{Kind: streams.KindMessage, Flags: streams.FlagAll, Body: []byte(invocation(n))})
	return err
}

// blow lets the store's steps be slow, fail, or fail when they are done. In some runs it is only slow.
func (s *storm) blow() {
	gentle := s.n(3) == 0
	s.store.onBefore(func(step string) error {
		if s.spares(step) {
			return nil
		}
		switch n := s.n(200); {
		case n < 10:
			s.delay(step, 60*time.Millisecond)
		case n < 12 && !gentle:
			s.delay(step, 900*time.Millisecond)
		case n < 15 && !gentle:
			return streams.ErrUnavailable
		}
		return nil
	})
	s.store.onAfter(func(step string) error {
		if s.spares(step) {
			return nil
		}
		switch n := s.n(200); {
		case n < 6:
			s.delay(step, 60*time.Millisecond)
		case n < 9 && !gentle && step == "continue":
			return streams.ErrOutcomeUnknown
		case n < 9 && !gentle:
			return streams.ErrUnavailable
		}
		return nil
	})
}

// delay makes a step slow. Not a verification: a hub makes one at a time, under a lock, and the time of a bubble stands still while
// somebody waits for a lock.
func (s *storm) delay(step string, d time.Duration) {
	if step != "verify" {
		s.sleep(d)
	}
}

// spares tells whether a step goes well: those that no client waits for do, and an append whose reply was lost would be sent twice.
func (s *storm) spares(step string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calm || step == "beat" || step == "append" || step == "expired" || step == "trim"
}

func (s *storm) killSome() {
	for i := range 2 {
		time.Sleep(5 * time.Second)
		s.sleep(12 * time.Second)
		s.note("kill %d", i)
		s.set(func() { s.dead[i] = true })
		s.kill(i)
	}
}

// drainOne drains a node. Requests come to it for a while still. If the store is away at times, it is then, too, and the network is bad
// before: as when the machine under all of it is replaced.
func (s *storm) drainOne() {
	const node = 2
	time.Sleep(5 * time.Second)
	s.sleep(12 * time.Second)
	s.note("drain %d", node)
	limit := time.Duration(s.n(6000)) * time.Millisecond
	if s.away {
		limit = 20 * time.Second // a store that is away for more than half of it costs the answer that was lost
	}
	ctx, cancel := context.WithTimeout(s.ctx, limit)
	defer cancel()
	known := time.AfterFunc(time.Duration(s.n(3000))*time.Millisecond, func() { s.set(func() { s.dead[node] = true }) })
	defer known.Stop()
	s.set(func() { s.leaves[node] = true })
	if s.away {
		s.set(func() { s.deaf = true })
		time.Sleep(100 * time.Millisecond)
		s.store.goAway()
		s.set(func() { s.deaf = false })
		time.AfterFunc(time.Duration(s.n(3000))*time.Millisecond, s.store.comeBack)
		s.sleep(time.Second)
	}
	s.nodes[node].server.Drain(ctx)
	s.set(func() { s.dead[node] = true })
	_ = s.nodes[node].http.Close()
}

func (s *storm) loseTheStore() {
	for range 4 {
		time.Sleep(2 * time.Second)
		s.sleep(8 * time.Second)
		s.note("the store is away")
		s.store.goAway()
		s.sleep(3 * time.Second)
		s.note("the store is back")
		s.store.comeBack()
	}
}

// node is one to which a proxy sends a request.
func (s *storm) node() int { return s.among(func(node int) bool { return !s.dead[node] }) }

// ready is one to which a proxy sends a new connection.
func (s *storm) ready() int {
	return s.among(func(node int) bool { return !s.dead[node] && !s.leaves[node] })
}

func (s *storm) among(fits func(node int) bool) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if node := s.rng.IntN(stormNodes); fits(node) {
			return node
		}
	}
}

// n is a random number below n.
func (s *storm) n(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rng.IntN(n)
}

// sleep lets some time pass, less than d.
func (s *storm) sleep(d time.Duration) {
	time.Sleep(time.Duration(s.n(int(d/time.Millisecond))) * time.Millisecond)
}

func (s *storm) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *storm) isDeaf() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.deaf
}

func (s *storm) isOver() bool {
	select {
	case <-s.over:
		return true
	default:
		return false
	}
}

func (s *storm) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trace = append(s.trace, fmt.Sprintf("%v ", time.Since(s.began))+fmt.Sprintf(format, args...))
}

// fault notes what must not happen.
func (s *storm) fault(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, fmt.Sprintf(format, args...))
	if len(s.faults) == 1 { // what follows is of less interest
		s.trace = append(s.trace[max(0, len(s.trace)-*stormTrace):], "FAULT "+s.faults[0])
	}
}

func (s *storm) report() {
	s.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.faults) == 0 {
		return
	}
	at := len(s.trace)
	for i, line := range s.trace {
		if strings.HasPrefix(line, "FAULT") {
			at = i + 1
			break
		}
	}
	s.Errorf("seed %d: %s\nlast steps before the first:\n%s", s.seed, strings.Join(s.faults, "; "), strings.Join(s.trace[:at], "\n"))
}
