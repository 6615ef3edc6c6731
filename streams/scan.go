package streams

// scan is a walk over the entries that may match one connection, in order.
type scan struct {
	w      *window
	filter *filter
	next   uint64 // the number of the next entry to look at
	lists  []scanList
}

// scanList is what is left of one posting.
type scanList struct {
	numbers []uint64
}

// scanLinear is how many entries are looked at one by one for each posting that a
// walk by postings would have to open.
const scanLinear = 4

// want is the answer to an entry that is offered.
type want uint8

const (
	more   want = iota // taken; go on
	enough             // taken; stop
	reject             // not taken; stop before it
)

// visit steps the filter through the window's entries from a number on, in order, and
// offers each that is not skipped, for as long as more is wanted. It returns the
// number of the first entry that has not been considered. An entry that was rejected is
// offered again by the next visit: stepping the filter twice at it changes nothing.
//
// Few entries are looked at one by one, and so are broadcasts; many by postings: the connection's own lists,
// its user's, its groups' and that of the broadcasts, merged.
func (w *window) visit(f *filter, from uint64, offer func(*Item, verdict) want) uint64 {
	end := w.next()
	if from >= w.special || end-from <= uint64(scanLinear*(3+len(f.groups)+len(f.userGroups))) {
		for n := from; n < end; n++ {
			item := w.item(n)
			if v := f.step(item.Position, &item.Entry); v != skip {
				switch offer(item, v) {
				case enough:
					return n + 1
				case reject:
					return n
				}
			}
		}
		return end
	}
	s := scan{w: w, filter: f, next: from}
	s.open(&w.all)
	s.open(w.conns[f.id])
	if f.user != "" {
		s.open(w.users[f.user])
	}
	for _, groups := range [...]Memberships{f.groups, f.userGroups} {
		for group := range groups {
			s.open(w.groups[group])
		}
	}
	return s.run(offer)
}

func (s *scan) run(offer func(*Item, verdict) want) uint64 {
	for len(s.lists) > 0 {
		number := s.lists[0].numbers[0]
		s.advance()
		if number < s.next {
			continue // in another list, too
		}
		s.next = number + 1
		item := s.w.item(number)
		v := s.filter.step(item.Position, &item.Entry)
		if item.Kind == KindControl && item.Verb == VerbJoin {
			for _, group := range item.Named {
				s.open(s.w.groups[group]) // superfluous ones are skipped by the filter
			}
		}
		if v == skip {
			continue
		}
		switch offer(item, v) {
		case enough:
			return number + 1
		case reject:
			return number
		}
	}
	return s.w.next()
}

// open adds what a posting has from next on. The lists are a heap by their first number.
func (s *scan) open(p *posting) {
	if p == nil {
		return
	}
	numbers := p.after(s.next)
	if len(numbers) == 0 {
		return
	}
	s.lists = append(s.lists, scanList{numbers})
	i := len(s.lists) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if s.lists[parent].numbers[0] <= s.lists[i].numbers[0] {
			break
		}
		s.lists[parent], s.lists[i] = s.lists[i], s.lists[parent]
		i = parent
	}
}

// advance drops the heap's smallest number.
func (s *scan) advance() {
	s.lists[0].numbers = s.lists[0].numbers[1:]
	last := len(s.lists) - 1
	if len(s.lists[0].numbers) == 0 {
		s.lists[0] = s.lists[last]
		s.lists = s.lists[:last]
	}
	for i := 0; ; {
		child := 2*i + 1
		if child >= len(s.lists) {
			return
		}
		if right := child + 1; right < len(s.lists) && s.lists[right].numbers[0] < s.lists[child].numbers[0] {
			child = right
		}
		if s.lists[i].numbers[0] <= s.lists[child].numbers[0] {
			return
		}
		s.lists[i], s.lists[child] = s.lists[child], s.lists[i]
		i = child
	}
}
