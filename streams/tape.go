package streams

import (
	"sort"
	"sync"
	"sync/atomic"
)

// Sizes of a tape's pieces: the first is small, as most hubs have little to say, and each is twice the one before.
const (
	firstPiece = 1 << 10  // 1 KiB
	lastPiece  = 64 << 10 // 64 KiB
)

// tape is one encoding of the newest broadcasts of a window, one after another in memory: what a connection has not
// had yet, and all others that are as far as it, is one slice, and goes out with one write that copies nothing.
//
// It is made when a connection first needs it. The hub's lock is held for reading
// by those that use it, and for writing by drop.
type tape struct {
	// upTo is the number of the first entry that is not on it. While it is the window's next, nothing changes but by drop.
	upTo atomic.Uint64

	mu    sync.Mutex // of those that lengthen it
	begin uint64     // the number of the first entry on it
	marks []mark     // of each entry from begin on
	piece *piece     // the last
}

// mark is where an entry's encoding is. One that is no broadcast has none.
type mark struct {
	piece      *piece
	start, end int32
}

type piece struct{ bytes []byte }

// joined returns the encodings of the broadcasts from number on, but at most maxBytes or else one, and the number of
// the entry after the last of them. They are on the tape, which reaches to the window's end, and nothing but broadcasts follows number.
func (t *tape) joined(number uint64, maxBytes int) (b []byte, next uint64) {
	marks := t.marks[number-t.begin:]
	first, n := marks[0], len(marks)
	beyond := func(m mark) bool { return m.piece != first.piece || int(m.end-first.start) > maxBytes }
	if beyond(marks[n-1]) {
		n = max(1, sort.Search(n, func(i int) bool { return beyond(marks[i]) }))
	}
	stop := marks[n-1].end
	return first.piece.bytes[first.start:stop:stop], number + uint64(n)
}

// lengthen brings the tape up to the window's end. If nobody has needed it for a while it begins anew at number.
func (t *tape) lengthen(w *window, f *Format, number uint64) {
	if t.upTo.Load() != w.next() {
		t.write(w, f, number)
	}
}

func (t *tape) write(w *window, f *Format, number uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	end, upTo := w.next(), t.upTo.Load()
	if upTo == end {
		return
	}
	if number > upTo || upTo < w.first || t.piece == nil {
		t.begin, t.marks, t.piece = number, nil, &piece{}
		upTo = number
	}
	encodings := make([][]byte, 0, end-upTo)
	for ; upTo < end; upTo++ {
		size := 0
		if item := w.item(upTo); item.isBroadcast() {
			b := t.encode(f, item)
			size, encodings = len(b), append(encodings, b)
			item.share(f, &encodings[len(encodings)-1])
		}
		stop := len(t.piece.bytes)
		t.marks = append(t.marks, mark{t.piece, int32(stop - size), int32(stop)})
	}
	t.upTo.Store(end)
}

// encode appends an item's encoding. The slice that it returns ends before what will follow, but has room for it: see adjoin.
func (t *tape) encode(f *Format, item *Item) []byte {
	bytes := t.piece.bytes
	size := len(bytes)
	b := f.encode(bytes[size:], item)
	if _, there := adjoin(bytes, b); !there {
		bytes = append(make([]byte, 0, max(len(b), min(lastPiece, max(firstPiece, 2*cap(bytes))))), b...)
		t.piece, size = &piece{bytes}, 0
		b = bytes
	}
	t.piece.bytes = bytes[:size+len(b)]
	return t.piece.bytes[size:]
}

// drop forgets the entries before first.
func (t *tape) drop(first uint64) {
	for len(t.marks) > 0 && t.begin < first {
		t.marks = t.marks[1:]
		t.begin++
	}
}

// adjoin returns a and b as one slice, if they are neighbours on a tape.
func adjoin(a, b []byte) ([]byte, bool) {
	if len(b) == 0 {
		return a, true
	}
	if cap(a)-len(a) < len(b) {
		return nil, false
	}
	both := a[:len(a)+len(b)]
	return both, &both[len(a)] == &b[0]
}
