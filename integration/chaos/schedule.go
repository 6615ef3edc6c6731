package chaos

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Action is what a fault does.
type Action string

const (
	KillNode   Action = "kill node"   // SIGKILL; started again at the end
	DrainNode  Action = "drain node"  // SIGTERM; started again at the end
	FreezeNode Action = "freeze node" // SIGSTOP until the end

	KillValkey   Action = "kill Valkey"      // SIGKILL; started again at the end
	StopValkey   Action = "restart Valkey"   // SIGTERM; started again at the end
	FreezeValkey Action = "freeze Valkey"    // SIGSTOP until the end
	FailOver     Action = "fail over Valkey" // SIGKILL of a primary; started again, as a replica, at the end

	LoseTail Action = "fail over to a stale replica" // as before, but the last writes never reached the replica

	Cut      Action = "cut connections"        // reset those of a relay
	Hold     Action = "black hole"             // nothing passes a relay until the end
	HoldCut  Action = "black hole, then reset" // nothing passes, and then the connections are reset
	Delay    Action = "delay"                  // everything through a relay is late
	Refuse   Action = "refuse connections"     // a relay resets them, until the end
	Stall    Action = "stall readers"          // some clients do not read until the end
	FreezeJS Action = "freeze Node process"    // of the JavaScript clients
)

// Event is one fault of a schedule.
type Event struct {
	At, For time.Duration
	Action  Action
	Target  int // which node, relay and so on; what it means is the action's, modulo how many there are
}

func (e Event) String() string {
	return fmt.Sprintf("%8.3fs  %-24s %d for %v", e.At.Seconds(), e.Action, e.Target, e.For.Round(time.Millisecond))
}

// Schedule is what breaks when.
type Schedule []Event

func (s Schedule) String() string {
	lines := make([]string, len(s))
	for i, e := range s {
		lines[i] = e.String()
	}
	return strings.Join(lines, "\n")
}

// lane is a sequence of faults of which only one is there at a time; several lanes are independent of each other.
type lane struct {
	pause   time.Duration // mean, between two faults
	targets []int
	choices []choice
	first   []Event // before all others
}

type choice struct {
	weight   int
	action   Action
	from, to time.Duration // how long it lasts
}

// plan makes the schedule of a run of the given length: the same for the same seed.
func plan(seed uint64, length time.Duration, lanes []lane) Schedule {
	var all Schedule
	for i, l := range lanes {
		random := rand.New(rand.NewPCG(seed, uint64(i)))
		at := time.Duration(random.ExpFloat64() * float64(l.pause) / 2)
		for _, e := range l.first {
			all = append(all, e)
			at = e.At + e.For + l.pause
		}
		for {
			c := l.choose(random)
			e := Event{
				At: at, For: c.from, Action: c.action, Target: l.targets[random.IntN(len(l.targets))],
			}
			if c.to > c.from {
				e.For += time.Duration(random.Int64N(int64(c.to - c.from)))
			}
			e.For = min(e.For, length/3)
			if e.At+e.For >= length {
				break
			}
			all = append(all, e)
			at += e.For + l.pause/4 + time.Duration(random.ExpFloat64()*float64(l.pause)*3/4)
		}
	}
	slices.SortStableFunc(all, func(a, b Event) int { return cmp.Compare(a.At, b.At) })
	return all
}

func (l *lane) choose(random *rand.Rand) choice {
	total := 0
	for _, c := range l.choices {
		total += c.weight
	}
	n := random.IntN(total)
	for _, c := range l.choices {
		if n -= c.weight; n < 0 {
			return c
		}
	}
	return choice{} // not reached
}

const (
	ms  = time.Millisecond
	sec = time.Second
)

// lanesFor are the lanes of a run with three nodes. At least one node is always up.
func lanesFor(t Topology, relays int, pace time.Duration) []lane {
	nodeFaults := []choice{
		{5, KillNode, 500 * ms, 4 * sec}, {4, DrainNode, 1500 * ms, 4 * sec}, {2, FreezeNode, 200 * ms, 5 * sec},
	}
	var relayNumbers []int
	for i := range relays {
		relayNumbers = append(relayNumbers, i)
	}
	lanes := []lane{
		{pause: pace, targets: []int{0}, choices: nodeFaults},
		{pause: 2 * pace, targets: []int{1, 2}, choices: nodeFaults},
		{pause: pace, targets: relayNumbers[:relays/2], choices: []choice{
			{6, Cut, 0, 0}, {2, HoldCut, 200 * ms, 3 * sec}, {2, Hold, 200 * ms, 5 * sec}, {2, Delay, sec, 5 * sec}, {1, Refuse, 100 * ms, sec},
		}},
		{pause: pace, targets: relayNumbers[relays/2:], choices: []choice{
			{6, Cut, 0, 0}, {2, HoldCut, 5 * sec, 20 * sec}, {1, Hold, 5 * sec, 40 * sec}, {2, Delay, 2 * sec, 10 * sec},
		}},
		{pause: 2 * pace, targets: []int{0, 1, 2, 3}, choices: []choice{{3, Stall, sec, 10 * sec}, {1, Stall, 10 * sec, 45 * sec}}},
		{pause: 4 * pace, targets: []int{0, 1}, choices: []choice{{1, FreezeJS, 200 * ms, 3 * sec}}},
	}
	switch t {
	case Standalone:
		lanes = append(lanes, lane{pause: 2 * pace, targets: []int{0}, choices: []choice{
			{4, KillValkey, 100 * ms, 3 * sec}, {2, StopValkey, 100 * ms, 3 * sec}, {4, FreezeValkey, 100 * ms, 6 * sec},
			{1, FreezeValkey, 6 * sec, 15 * sec},
		}})
	default:
		lanes = append(lanes, lane{
			pause: max(2*pace, 10*sec), targets: []int{0, 1, 2},
			choices: []choice{
				{4, FailOver, 5 * sec, 8 * sec}, {1, LoseTail, 5 * sec, 8 * sec}, {2, KillValkey, 50 * ms, 300 * ms}, {2, FreezeValkey, 100 * ms, 700 * ms},
			},
			first: []Event{{2 * sec, 5 * sec, LoseTail, 0}},
		})
	}
	return lanes
}
