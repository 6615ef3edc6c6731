package transports

// lap goes over those outlets of one hub that a writer has. They are not queued each by itself: they are in one list anyway, in which each
// says where the next one is.
type lap struct {
	from    any   // as in WakeAll
	members []any // outlets
	next    int   // of members
	left    int   // how many it is to come to still, from next on and around
	behind  *lap  // whose turn is next
}

// laps are those that a writer is to go, each some way in its turn. Guarded by writer.mu.
type laps struct {
	of          map[any]*lap // by from
	first, last *lap
	left        int // of all of them
	spare       *lap
}

// WakeAll implements streams.Waker: the members are outlets.
func (w *writer) WakeAll(from any, members []any) {
	waiting := w.startLap(from, members)
	w.wake()
	if waiting >= writesTooMany { // whether or not it was asleep: it may be long in coming to the last of them
		w.wakeOthers()
	}
}

// startLap returns how many wait for the writer then.
func (w *writer) startLap(from any, members []any) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.laps.start(from, members)
	return w.waiting()
}

// start begins a lap, or has the one that is under way go all around once more from where it is: whoever it was still to come to is not
// looked after twice, and has waited longest.
func (l *laps) start(from any, members []any) {
	x := l.of[from]
	if x == nil {
		if x = l.spare; x == nil {
			x = &lap{}
		}
		l.spare, x.from = nil, from
		if l.of == nil {
			l.of = map[any]*lap{}
		}
		l.of[from] = x
		l.push(x)
	}
	l.left += len(members) - x.left
	x.members, x.next, x.left = members, x.next%len(members), len(members)
}

// take takes those that are next into room, and returns how many.
func (l *laps) take(room []*outlet) (n int) {
	for n < len(room) && l.first != nil {
		x := l.pop()
		some := min(len(room)-n, x.left)
		for range some {
			room[n] = x.members[x.next].(*outlet)
			x.next = (x.next + 1) % len(x.members)
			n++
		}
		x.left -= some
		l.left -= some
		if x.left > 0 {
			l.push(x)
			continue
		}
		delete(l.of, x.from)
		*x = lap{}
		l.spare = x
	}
	return n
}

func (l *laps) push(x *lap) {
	if l.first == nil {
		l.first = x
	} else {
		l.last.behind = x
	}
	l.last = x
}

func (l *laps) pop() *lap {
	x := l.first
	l.first, x.behind = x.behind, nil
	if l.first == nil {
		l.last = nil
	}
	return x
}
