package streams

import (
	"slices"
	"testing"
)

// toldOf is a Waker that notes what it is told of.
type toldOf struct{ calls [][]any }

func (w *toldOf) WakeAll(_ any, members []any) { w.calls = append(w.calls, members) }

// names are of those that it was told of since, sorted.
func (w *toldOf) names() (names []string) {
	for _, members := range w.calls {
		for _, member := range members {
			names = append(names, member.(string))
		}
	}
	slices.Sort(names)
	w.calls = nil
	return names
}

func toUser(user string) Entry {
	return Entry{Kind: KindMessage, Users: []string{user}, Body: []byte("for " + user)}
}

// Of what is for everybody a Waker is told once for all that it looks after; they are not woken then. Those that look after themselves
// are, and so is whoever something else is for.
func TestEverybodyIsToldOfAtOnce(t *testing.T) {
	t.Parallel()
	l := newListeners(t, 1<<20)
	var woken []string
	listen := func(id string) *Attachment {
		a := l.listen(id)
		a.wake = func() { woken = append(woken, id) }
		return a
	}
	one, other := &toldOf{}, &toldOf{}
	a, b, c, d := listen("a"), listen("b"), listen("c"), listen("d")
	a.WakeWith(one, "a")
	b.WakeWith(one, "b")
	c.WakeWith(other, "c")
	check := func(what string, ofOne, ofOther, alone []string) {
		t.Helper()
		slices.Sort(woken)
		calls := len(one.calls)
		if got := one.names(); !slices.Equal(got, ofOne) || calls > 1 {
			t.Errorf("%s: one is told of %q in %d calls, want %q", what, got, calls, ofOne)
		}
		if got := other.names(); !slices.Equal(got, ofOther) {
			t.Errorf("%s: the other is told of %q, want %q", what, got, ofOther)
		}
		if !slices.Equal(woken, alone) {
			t.Errorf("%s: woken by themselves are %q, want %q", what, woken, alone)
		}
		woken = nil
		for _, x := range []*Attachment{a, b, c, d} {
			l.take(x, bracketed, 1<<10)
		}
	}
	l.append(broadcast("1"), broadcast("2"))
	check("two broadcasts", []string{"a", "b"}, []string{"c"}, []string{"d"})
	l.append(Entry{Kind: KindMessage, Connections: []string{"a", "d"}, Body: []byte("3")})
	check("a message to two connections", nil, nil, []string{"a", "d"})
	l.hub.leave(a)
	l.append(broadcast("4"))
	check("after one has left", []string{"b"}, []string{"c"}, []string{"d"})
	l.hub.leave(c)
	c.WakeWith(one, "c") // too late
	d.WakeWith(other, "d")
	l.append(broadcast("5"))
	check("after one has changed", []string{"b"}, []string{"d"}, nil)
	if n := len(l.hub.live()); n != 2 {
		t.Errorf("%d are in service, want 2", n)
	}
}

// What a Waker was told of stays as it was told, whoever comes or leaves meanwhile.
func TestWhoWasToldOfStays(t *testing.T) {
	t.Parallel()
	l := newListeners(t, 1<<20)
	w := &toldOf{}
	a, b := l.listen("a"), l.listen("b")
	a.WakeWith(w, "a")
	b.WakeWith(w, "b")
	l.append(broadcast("1"))
	l.hub.leave(a)
	l.listen("c").WakeWith(w, "c")
	l.append(broadcast("2"))
	if got := w.calls[0]; !slices.Equal(got, []any{"a", "b"}) {
		t.Errorf("the first call's members have become %q", got)
	}
	if got := w.calls[1]; len(got) != 2 || !slices.Contains(got, any("b")) || !slices.Contains(got, any("c")) {
		t.Errorf("the second call's members are %q", got)
	}
}

// A cursor that moves along although nothing is taken stays before a broadcast that its Waker has not come to, and goes on after it.
func TestCursorWaitsForWhatItsWakerIsToldOf(t *testing.T) {
	t.Parallel()
	l := newListeners(t, 1<<20)
	a := l.listen("a")
	a.WakeWith(&toldOf{}, "a")
	l.take(a, bracketed, 1<<10)
	want := func(what string, n uint64) {
		t.Helper()
		if p := a.Cursor(); p != at(n) {
			t.Errorf("%s: the cursor is %v, want %v", what, p, at(n))
		}
	}
	l.append(toUser("x"))
	want("after what is for another", 1)
	l.append(broadcast("2"), toUser("x"))
	want("before what is for everybody", 1)
	if got := l.take(a, bracketed, 1<<10); got != "<2>" {
		t.Errorf("got %q", got)
	}
	l.append(toUser("x"))
	want("after it", 4)

	// A log that begins anew may begin before it.
	l.append(broadcast("5"), broadcast("6"))
	l.hub.mu.Lock()
	l.hub.restart(at(2))
	l.hub.mu.Unlock()
	l.last = 2
	a = l.listen("b")
	a.WakeWith(&toldOf{}, "b")
	l.take(a, bracketed, 1<<10)
	l.append(toUser("x"))
	want("in a log that began anew", 3)
}
