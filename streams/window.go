package streams

import (
	"sort"
	"sync/atomic"
)

// Item is an entry at its position, shared by all its receivers on this node.
type Item struct {
	Position Position
	Entry
	raw       string
	encodings [maxFormats]atomic.Pointer[[]byte]
}

// isBroadcast tells whether it is a message that every connection is sent that has begun.
func (i *Item) isBroadcast() bool {
	return i.Kind == KindMessage && i.Flags&FlagAll != 0 && len(i.Excluded) == 0
}

// itemOverhead is about what an item takes besides its bytes: the struct, its place in
// the window and in the postings, and its encodings' headers. Each further name takes nameOverhead: in its list and its set, and a posting
// where nothing else names it.
const (
	itemOverhead = 400
	nameOverhead = 120
)

func (i *Item) size() int {
	names := len(i.Groups) + len(i.Users) + len(i.Connections) + len(i.Excluded) + len(i.Named)
	return 2*len(i.raw) + itemOverhead + nameOverhead*max(0, names-1)
}

// newItem decodes what the log holds. An entry that cannot be decoded matches nobody.
func newItem(e RawEntry) (*Item, error) {
	entry, err := DecodeEntry(e.Data)
	entry.index()
	return &Item{Position: e.Position, Entry: entry, raw: e.Data}, err
}

// window is the newest part of a hub's log on this node, in order, with postings by
// target, so that catching up costs the matches and not the entries. It holds every
// entry after start, up to end, that is not blank. Guarded by its hub's mutex.
type window struct {
	start, end Position
	// items[head:] are the entries; the first of them has the number first.
	items []*Item
	head  int
	first uint64
	bytes int
	// special is the number after the newest entry that is no broadcast, or one to be traced: from there on everybody is
	// sent everything.
	special uint64
	tapes   [maxFormats]tape

	all                  posting
	groups, users, conns map[string]*posting
}

// posting is the numbers of the entries with one target, ascending.
type posting struct {
	numbers []uint64
}

// reset empties the window, which then begins after p.
func (w *window) reset(p Position) {
	*w = window{
		start: p, end: p, first: w.next(),
		groups: map[string]*posting{}, users: map[string]*posting{}, conns: map[string]*posting{},
	}
}

func (w *window) len() int { return len(w.items) - w.head }

// next is the number that the next entry will have.
func (w *window) next() uint64 { return w.first + uint64(w.len()) }

// push appends the next entry.
func (w *window) push(item *Item) {
	number := w.next()
	w.items = append(w.items, item)
	w.end = item.Position
	w.bytes += item.size()
	if !item.isBroadcast() {
		w.special = number + 1
	}
	if item.Flags&FlagAll != 0 {
		w.all.numbers = append(w.all.numbers, number)
	}
	post(w.groups, item.Groups, number)
	post(w.users, item.Users, number)
	post(w.conns, item.Connections, number)
}

// pass moves the end over an entry that is blank. Else it would part broadcasts that can be sent as one slice, and be looked at by
// everybody.
func (w *window) pass(p Position) { w.end = p }

func post(index map[string]*posting, targets []string, number uint64) {
	for _, target := range targets {
		p := index[target]
		if p == nil {
			p = &posting{}
			index[target] = p
		}
		if n := len(p.numbers); n == 0 || p.numbers[n-1] != number { // a target may be named twice
			p.numbers = append(p.numbers, number)
		}
	}
}

// pop drops the oldest entry.
func (w *window) pop() {
	item := w.items[w.head]
	w.items[w.head] = nil
	w.head++
	w.start = item.Position
	w.bytes -= item.size()
	if item.Flags&FlagAll != 0 {
		w.all.drop(w.first)
	}
	unpost(w.groups, item.Groups, w.first)
	unpost(w.users, item.Users, w.first)
	unpost(w.conns, item.Connections, w.first)
	w.first++
	for i := range w.tapes {
		w.tapes[i].drop(w.first)
	}
	if w.head > len(w.items)/2 && w.head > 64 {
		w.items = append(make([]*Item, 0, w.len()+64), w.items[w.head:]...)
		w.head = 0
	}
}

func unpost(index map[string]*posting, targets []string, number uint64) {
	for _, target := range targets {
		if p := index[target]; p != nil {
			p.drop(number)
			if len(p.numbers) == 0 {
				delete(index, target)
			}
		}
	}
}

// drop removes number if it is the first.
func (p *posting) drop(number uint64) {
	if len(p.numbers) > 0 && p.numbers[0] == number {
		p.numbers = p.numbers[1:]
	}
}

// after returns the numbers at or after number.
func (p *posting) after(number uint64) []uint64 {
	n := len(p.numbers)
	if n == 0 || p.numbers[n-1] < number {
		return nil
	}
	if p.numbers[0] >= number {
		return p.numbers
	}
	return p.numbers[sort.Search(n, func(i int) bool { return p.numbers[i] >= number }):]
}

// numberAfter returns the number of the first entry after p, which must not be before start.
func (w *window) numberAfter(p Position) uint64 {
	if !p.Before(w.end) {
		return w.next()
	}
	items := w.items[w.head:]
	return w.first + uint64(sort.Search(len(items), func(i int) bool { return items[i].Position.After(p) }))
}

// nextAfter is numberAfter with a hint: the number that it was when it was asked last, which mostly still holds.
func (w *window) nextAfter(p Position, hint uint64) uint64 {
	if hint >= w.first && hint <= w.next() && w.before(hint) == p {
		return hint
	}
	return w.numberAfter(p)
}

func (w *window) item(number uint64) *Item { return w.items[w.head+int(number-w.first)] }

// before is a position before an entry, with nothing but blank entries between them: the one of the entry before it.
func (w *window) before(number uint64) Position {
	if number == w.next() {
		return w.end
	}
	if number == w.first {
		return w.start
	}
	return w.item(number - 1).Position
}
