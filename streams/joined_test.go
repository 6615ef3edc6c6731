package streams

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// listeners is a hub in which connections listen, without a store.
type listeners struct {
	testing.TB
	hub    *hub
	joined *Joined
	last   uint64
}

func newListeners(t testing.TB, windowBytes int) *listeners {
	n := NewNode(NewMemory(MemoryConfig{}), Config{Name: "node", WindowBytes: windowBytes})
	h := n.acquire("hub")
	h.tailing = true
	h.win.reset(at(0))
	return &listeners{TB: t, hub: h, joined: n.NewJoined()}
}

// listen begins after the newest entry.
func (l *listeners) listen(id string) *Attachment {
	l.Helper()
	record := Record{ID: id, Start: at(l.last), Cursor: at(l.last), Transport: TransportServerSentEvents}
	reply := OpenReply{Record: record, Last: at(l.last)}
	a := newAttachment(l.hub, &reply, "owner", 0, func() {})
	if err := l.hub.enter(a, "", at(l.last)); err != nil {
		l.Fatal(err)
	}
	return a
}

func (l *listeners) append(entries ...Entry) {
	l.Helper()
	var raw []RawEntry
	for _, e := range entries {
		l.last++
		raw = append(raw, RawEntry{at(l.last), string(AppendEntry(nil, &e))})
	}
	if err := l.read(raw...); err != nil {
		l.Fatal("the entries are refused")
	}
}

// read is what the hub does with entries that the tail has read.
func (l *listeners) read(entries ...RawEntry) error {
	l.hub.read = l.hub.resets
	return l.hub.append(entries)
}

func broadcast(body string) Entry {
	return Entry{Kind: KindMessage, Flags: FlagAll, Body: []byte(body)}
}

func (l *listeners) take(a *Attachment, f *Format, maxBytes int) string {
	l.Helper()
	if !a.Take(l.joined, f, maxBytes) {
		l.Fatal("only Next can say what is next")
	}
	return string(l.joined.Bytes)
}

var bracketed = NewFormat(func(dst []byte, i *Item) []byte { return append(append(append(dst, '<'), i.Body...), '>') })

// What many have not had yet is one and the same memory for all of them, however far each is.
func TestBroadcastsAreJoinedWithoutCopying(t *testing.T) {
	t.Parallel()
	l := newListeners(t, 1<<20)
	a, b := l.listen("a"), l.listen("b")
	l.append(broadcast("1"), broadcast("2"))
	if got := l.take(a, bracketed, 1<<10); got != "<1><2>" {
		t.Errorf("a is sent %q", got)
	}
	l.append(broadcast("3"))
	if got := l.take(b, bracketed, 1<<10); got != "<1><2><3>" || l.joined.Copied {
		t.Errorf("b is sent %q, copied: %v", got, l.joined.Copied)
	}
	last := &l.joined.Bytes[len("<1><2>")]
	if got := l.take(a, bracketed, 1<<10); got != "<3>" || &l.joined.Bytes[0] != last {
		t.Errorf("a is sent %q, at other memory than b", got)
	}
	if got := l.take(a, bracketed, 1<<10); got != "" || l.joined.More {
		t.Errorf("a is sent %q again", got)
	}
	if l.take(l.listen("c"), bracketed, 1<<10) != "" {
		t.Error("a listener that came last is sent something")
	}
}

// Nothing wakes a connection for what it could have taken: it is told that there is more, and its cursor stays there.
func TestWhatDoesNotFitIsMore(t *testing.T) {
	t.Parallel()
	l := newListeners(t, 1<<20)
	a := l.listen("a")
	l.append(broadcast("1"), broadcast("2"), broadcast("3"))
	for n, want := range []struct {
		maxBytes int
		sent     string
		more     bool
	}{{0, "<1>", true}, {5, "<2>", true}, {3, "<3>", false}} {
		if got := l.take(a, bracketed, want.maxBytes); got != want.sent || l.joined.More != want.more {
			t.Errorf("got %q, more: %v; want %q, %v", got, l.joined.More, want.sent, want.more)
		}
		if p := a.Cursor(); p != at(uint64(n+1)) {
			t.Errorf("the cursor is %v, want %v", p, at(uint64(n+1)))
		}
	}
}

// A blank entry after a large one is passed over, and costs nobody a copy.
func TestBroadcastsAreJoinedOverWhatIsBlank(t *testing.T) {
	t.Parallel()
	l := newListeners(t, 1<<20)
	a, b := l.listen("a"), l.listen("b")
	blank := Entry{Kind: KindBlank}
	l.append(broadcast("1"), blank, broadcast("2"))
	if got := l.take(a, bracketed, 1<<10); got != "<1><2>" || l.joined.Copied {
		t.Errorf("a is sent %q, copied: %v", got, l.joined.Copied)
	}
	l.append(blank)
	if got := l.take(a, bracketed, 1<<10); got != "" || l.joined.More || a.Cursor() != at(4) {
		t.Errorf("a is sent %q, more: %v, and is at %v", got, l.joined.More, a.Cursor())
	}
	l.append(broadcast("3"))
	if got := l.take(b, bracketed, 1<<10); got != "<1><2><3>" || l.joined.Copied {
		t.Errorf("b is sent %q, copied: %v", got, l.joined.Copied)
	}
	last := &l.joined.Bytes[len("<1><2>")]
	if got := l.take(a, bracketed, 1<<10); got != "<3>" || &l.joined.Bytes[0] != last {
		t.Errorf("a is sent %q, at other memory than b", got)
	}
	c := l.listen("c")
	l.append(blank)
	if lag := c.lag(1000); lag != 0 {
		t.Errorf("c, who has not looked for anything yet, is %v behind", lag)
	}
}

// A window may hold nothing but what was blank; who has passed over it is at its end.
func TestWindowOfNothingButWhatIsBlank(t *testing.T) {
	t.Parallel()
	l := newListeners(t, 1<<10)
	a := l.listen("a")
	l.append(broadcast(strings.Repeat("x", 1<<10)), Entry{Kind: KindBlank})
	if a.Take(l.joined, bracketed, 1<<10) {
		t.Errorf("who is behind the window is sent %q", l.joined.Bytes)
	}
	b := l.listen("b")
	l.append(Entry{Kind: KindBlank})
	items, err := b.Next(t.Context(), nil, 1<<10)
	if err != nil || len(items) > 0 || b.cursor != at(3) {
		t.Errorf("b is sent %d messages, %v, and is at %v", len(items), err, b.cursor)
	}
	l.append(Entry{Kind: KindBlank})
	if got := l.take(b, bracketed, 1<<10); got != "" || b.cursor != at(4) {
		t.Errorf("b is sent %q, and is at %v", got, b.cursor)
	}
	l.append(broadcast("1"))
	if got := l.take(b, bracketed, 1<<10); got != "<1>" {
		t.Errorf("b is sent %q", got)
	}
}

// A connection that is numbered one by one takes the same memory.
func TestStatefulConnectionsShareTheTape(t *testing.T) {
	t.Parallel()
	l := newListeners(t, 1<<20)
	a, s := l.listen("a"), l.listen("s")
	s.Start(at(0), true)
	l.append(broadcast("1"), broadcast("2"), broadcast("3"))
	if got := l.take(s, bracketed, 1<<10); got != "<1><2><3>" || l.joined.Copied {
		t.Errorf("got %q, copied: %v", got, l.joined.Copied)
	}
	first := &l.joined.Bytes[0]
	if got := l.take(a, bracketed, 1<<10); got != "<1><2><3>" || &l.joined.Bytes[0] != first {
		t.Errorf("got %q, at other memory", got)
	}
	s.Ack(2)
	if s.Acked() != 2 {
		t.Errorf("acknowledged: %d, want 2", s.Acked())
	}
}

// Whoever takes in whichever pieces is sent what Next would say, in order and once.
func TestTakeIsWhatNextSays(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		l := newListeners(t, 1<<20)
		want, got := map[*Attachment]*strings.Builder{}, map[*Attachment]*bytes.Buffer{}
		var all []*Attachment
		for i := range 4 {
			a := l.listen(fmt.Sprint("c", i))
			want[a], got[a] = &strings.Builder{}, &bytes.Buffer{}
			all = append(all, a)
		}
		drain := func(a *Attachment, maxBytes int) {
			if rng.IntN(4) == 0 {
				items, err := a.Next(context.Background(), nil, maxBytes)
				if err != nil {
					t.Fatal(err)
				}
				for _, item := range items {
					got[a].Write(item.Encoding(bracketed))
				}
				return
			}
			got[a].WriteString(l.take(a, bracketed, maxBytes))
		}
		for n := range 300 {
			e := broadcast(fmt.Sprint(n, strings.Repeat("x", rng.IntN(200))))
			named := all[rng.IntN(len(all))]
			switch rng.IntN(10) {
			case 0:
				e.Flags, e.Connections = 0, []string{named.id}
			case 1:
				e.Excluded = []string{named.id}
			case 2:
				e = Entry{Kind: KindControl, Verb: VerbLeave, Connections: []string{"another"}, Named: []string{"g"}}
			case 3:
				e = Entry{Kind: KindBlank}
			}
			l.append(e)
			for _, a := range all {
				if e.Kind == KindMessage && (e.Flags&FlagAll != 0 || a == named) && (e.Excluded == nil || a != named) {
					fmt.Fprintf(want[a], "<%s>", e.Body)
				}
				if rng.IntN(10) == 0 {
					drain(a, rng.IntN(1000))
				}
			}
		}
		for _, a := range all {
			for len(got[a].Bytes()) < want[a].Len() {
				before := got[a].Len()
				if drain(a, 1<<10); got[a].Len() == before {
					break
				}
			}
			if got[a].String() != want[a].String() {
				t.Fatalf("seed %d: %s is sent\n%s\nwant\n%s", seed, a.id, got[a], want[a])
			}
		}
	}
}

// The window forgets, and so does the tape; who is behind both is told to read the store.
func TestTapeForgetsWithTheWindow(t *testing.T) {
	t.Parallel()
	l := newListeners(t, 16<<10)
	slow, fast := l.listen("slow"), l.listen("fast")
	for n := range 1000 {
		l.append(broadcast(fmt.Sprint(n)))
		if got, want := l.take(fast, bracketed, 1<<10), fmt.Sprintf("<%d>", n); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
	tape := &l.hub.win.tapes[bracketed.slot]
	if marks, entries := len(tape.marks), l.hub.win.len(); marks > entries {
		t.Errorf("the tape has %d entries, the window %d", marks, entries)
	}
	if slow.Take(l.joined, bracketed, 1<<10) {
		t.Errorf("who is behind the window is sent %q", l.joined.Bytes)
	}
}

// What nobody needed while it was new is not encoded for whoever comes later.
func TestTapeBeginsAnewAfterAPause(t *testing.T) {
	t.Parallel()
	l := newListeners(t, 1<<20)
	l.append(broadcast("1"))
	a := l.listen("a")
	l.append(broadcast("2"))
	l.take(a, bracketed, 1<<10)
	l.hub.leave(a)
	l.append(broadcast("3"), broadcast("4"))
	b := l.listen("b")
	l.append(broadcast("5"))
	if got := l.take(b, bracketed, 1<<10); got != "<5>" {
		t.Errorf("got %q", got)
	}
	if l.hub.win.item(2).encodings[bracketed.slot].Load() != nil {
		t.Error("what nobody is sent was encoded")
	}
}

func TestTakeAllocatesNothing(t *testing.T) {
	l := newListeners(t, 64<<20)
	a := l.listen("a")
	for range 3000 {
		l.append(broadcast(strings.Repeat("x", 200)))
	}
	l.take(l.listen("another"), bracketed, 1)
	allocs := testing.AllocsPerRun(100, func() {
		if !a.Take(l.joined, bracketed, 1<<10) || len(l.joined.Bytes) == 0 {
			t.Fatal("there is nothing left")
		}
		l.joined.Tick()
	})
	if allocs > 0 {
		t.Errorf("%.1f allocations for each take", allocs)
	}
}

func BenchmarkTake(b *testing.B) {
	for _, messages := range []int{1, 8, 64} {
		b.Run(fmt.Sprint(messages), func(b *testing.B) {
			const receivers = 1000
			l := newListeners(b, 64<<20)
			all := make([]*Attachment, receivers)
			for i := range all {
				all[i] = l.listen(fmt.Sprint(i))
			}
			b.ReportAllocs()
			for b.Loop() {
				for range messages {
					l.append(broadcast(strings.Repeat("x", 200)))
				}
				for _, a := range all {
					a.Take(l.joined, bracketed, 64<<10)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*receivers), "ns/receiver")
		})
	}
}

// A message's trace context costs its receivers nothing where nobody looks for it, and is found where somebody does.
func TestTracedBroadcastsAreFoundIfWanted(t *testing.T) {
	t.Parallel()
	traced := broadcast("2")
	traced.SetTrace("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	for _, wanted := range []bool{false, true} {
		l := newListeners(t, 1<<20)
		read := 0
		if wanted {
			l.hub.node.cfg.Traced = func(*Item) { read++ }
		}
		a := l.listen("a")
		l.append(broadcast("1"), traced, broadcast("3"))
		if got := l.take(a, bracketed, 1<<10); got != "<1><2><3>" {
			t.Errorf("wanted %v: got %q", wanted, got)
		}
		if found := len(l.joined.Traced) == 1 && string(l.joined.Traced[0].Body) == "2" && read == 1; found != wanted || !wanted && len(l.joined.Traced) > 0 {
			t.Errorf("wanted %v: found %v", wanted, l.joined.Traced)
		}
		if !wanted && l.joined.Copied {
			t.Error("nobody looks for it, and it is copied nevertheless")
		}
		l.append(broadcast("4"))
		if got := l.take(a, bracketed, 1<<10); got != "<4>" || len(l.joined.Traced) > 0 {
			t.Errorf("wanted %v: then got %q with %v", wanted, got, l.joined.Traced)
		}
	}
}
