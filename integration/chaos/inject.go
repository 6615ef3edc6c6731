package chaos

import (
	"sync"
	"time"
)

// execute makes the faults of a schedule, and returns when all of them are over and everything runs again.
func (r *run) execute(schedule Schedule) map[Action]int {
	i := &injector{run: r, counts: map[Action]int{}, began: time.Now()}
	for n := range i.nodes {
		i.nodes[n] = make(chan func(), len(schedule)*2)
		i.working.Go(func() {
			for do := range i.nodes[n] {
				do()
			}
		})
	}
	for _, e := range schedule {
		i.until(e.At)
		finish := i.begin(e)
		if finish == nil {
			continue
		}
		i.counts[e.Action]++
		i.pending = append(i.pending, ending{e.At + e.For, finish})
	}
	i.until(forever)
	for n := range i.nodes {
		close(i.nodes[n])
	}
	i.working.Wait()
	return i.counts
}

// lostTail is how much of the log a failover to a stale replica loses.
const lostTail = 300 * ms

const forever = time.Duration(1<<63 - 1)

// injector makes faults. Valkey's are made on the test's own goroutine; those of each node one after the other on
// another, since a node's start and end take a while.
type injector struct {
	run     *run
	counts  map[Action]int
	began   time.Time
	pending []ending
	nodes   [nodeCount]chan func()
	working sync.WaitGroup
}

type ending struct {
	at     time.Duration
	finish func()
}

// until waits until a time of the schedule and ends the faults that end before.
func (i *injector) until(at time.Duration) {
	for len(i.pending) > 0 {
		first := 0
		for n := range i.pending {
			if i.pending[n].at < i.pending[first].at {
				first = n
			}
		}
		e := i.pending[first]
		if e.at > at {
			break
		}
		time.Sleep(e.at - time.Since(i.began))
		e.finish()
		i.pending = append(i.pending[:first], i.pending[first+1:]...)
	}
	if at < forever {
		time.Sleep(at - time.Since(i.began))
	}
}

// begin begins a fault, and returns what ends it; nil if it is not possible now.
func (i *injector) begin(e Event) (finish func()) {
	r := i.run
	switch e.Action {
	case KillNode, DrainNode, FreezeNode:
		return i.node(e)
	case KillValkey, StopValkey, FreezeValkey, FailOver, LoseTail:
		return i.valkey(e)
	case Stall:
		for n, c := range r.clients {
			if n%20 == e.Target {
				c.stallFor(e.For)
			}
		}
		return func() {}
	case FreezeJS:
		r.js[e.Target].Freeze(true)
		return func() { r.js[e.Target].Freeze(false) }
	}
	relay := r.relays[e.Target]
	switch e.Action {
	case Cut:
		relay.Cut()
		return func() {}
	case Hold:
		relay.Hold()
		return relay.Release
	case HoldCut:
		relay.Hold()
		return func() { relay.Cut(); relay.Release() }
	case Delay:
		relay.Latency(e.For / 20)
		return func() { relay.Latency(0) }
	case Refuse:
		relay.Refuse(true)
		relay.Cut()
		return func() { relay.Refuse(false) }
	}
	return nil
}

func (i *injector) node(e Event) func() {
	p, queue := i.run.nodes[e.Target], i.nodes[e.Target]
	switch e.Action {
	case FreezeNode:
		queue <- func() { p.freeze(true) }
		return func() { queue <- func() { p.freeze(false) } }
	default:
		queue <- func() { p.end(e.Action == KillNode) }
	}
	return func() {
		queue <- func() {
			if err := p.start(); err != nil {
				i.run.tb.Errorf("node %s: %v", p.name, err)
			}
		}
	}
}

func (i *injector) valkey(e Event) func() {
	s := i.run.store
	if e.Action == FailOver || e.Action == LoseTail {
		if err := s.whole(); err != nil {
			i.run.tb.Logf("%v: skipped: %v", e, err)
			return nil
		}
	}
	server, err := s.primary(e.Target)
	if err != nil {
		i.run.tb.Logf("%v: skipped: %v", e, err)
		return nil
	}
	switch e.Action {
	case FreezeValkey:
		s.freeze(server)
		return s.resume
	case LoseTail:
		replica, err := s.replicaOf(server)
		if err != nil {
			i.run.tb.Logf("%v: skipped: %v", e, err)
			return nil
		}
		from := i.run.now()
		replica.Kill()
		time.Sleep(lostTail)
		s.kill(server, true)
		i.run.lostTails = append(i.run.lostTails, LostTail{from, i.run.now()})
		replica.Start()
		return s.restart
	}
	s.kill(server, e.Action != StopValkey)
	return s.restart
}
