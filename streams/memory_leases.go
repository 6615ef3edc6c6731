package streams

import "container/heap"

// lease is the time until which something with a name lives.
type lease struct {
	name  string
	until int64 // the store's clock, ms
	place int   // in the heap
}

// passed tells whether the lease is over.
func (l *lease) passed(now int64) bool { return l.until <= now }

// leases is a heap of leases, the first to pass on top.
type leases []*lease

// set adds a lease that is not among them yet.
func (s *leases) set(l *lease) { heap.Push(s, l) }

// extend gives a lease another time, later or earlier.
func (s *leases) extend(l *lease, until int64) {
	l.until = until
	heap.Fix(s, l.place)
}

func (s *leases) remove(l *lease) { heap.Remove(s, l.place) }

// due returns at most limit leases that have passed. Only those are looked at, and
// their children in the heap: cheap however many are alive.
func (s leases) due(now int64, limit int) []*lease {
	var list []*lease
	open := []int{0}
	if len(s) == 0 || !s[0].passed(now) {
		return nil
	}
	for len(open) > 0 && len(list) < limit {
		i := open[len(open)-1]
		open = open[:len(open)-1]
		if i >= len(s) || !s[i].passed(now) {
			continue
		}
		list = append(list, s[i])
		open = append(open, 2*i+1, 2*i+2)
	}
	return list
}

// The methods of heap.Interface.

func (s leases) Len() int           { return len(s) }
func (s leases) Less(i, j int) bool { return s[i].until < s[j].until }

func (s leases) Swap(i, j int) {
	s[i], s[j] = s[j], s[i]
	s[i].place, s[j].place = i, j
}

// Push adds a lease at the end, for package heap.
func (s *leases) Push(x any) {
	l := x.(*lease)
	l.place = len(*s)
	*s = append(*s, l)
}

// Pop takes the last lease, for package heap.
func (s *leases) Pop() any {
	last := len(*s) - 1
	l := (*s)[last]
	(*s)[last] = nil
	*s = (*s)[:last]
	return l
}
