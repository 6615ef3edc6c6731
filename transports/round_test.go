package transports

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"hubstream/streams"
)

// eachWay runs a test with each way to write a round: one socket after the other, and all at once where the kernel does that.
func eachWay(t *testing.T, test func(t *testing.T, r *round)) {
	t.Run("one by one", func(t *testing.T) { test(t, newRound()) })
	t.Run("at once", func(t *testing.T) {
		r := newRound()
		skipWithout(t, r.open())
		t.Cleanup(r.close)
		test(t, r)
	})
}

// skipWithout skips a test of what the kernel does not have, or does not let this process use.
func skipWithout(tb testing.TB, err error) {
	tb.Helper()
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, os.ErrPermission) {
		tb.Skip("not here: ", err)
	}
	if err != nil {
		tb.Fatal(err)
	}
}

// member is a speaker whose words go where somebody listens.
type member struct {
	*speaker
	there net.Conn
}

// crowd returns some, whom no writer looks after.
func crowd(t testing.TB, n int) (all []member) {
	w := &writers{list: []*writer{{}}}
	for range n {
		o, there := w.connected(t)
		all = append(all, member{o, there})
	}
	return all
}

// tell has each say words that begin with its number, in one round.
func tell(r *round, all []member, words string) {
	b := &batch{joined: &streams.Joined{}}
	for i, m := range all {
		m.words = append(m.words, fmt.Sprint(i, words))
		m.serve(b, r)
	}
	r.flush()
}

// fill writes zeros until a socket takes no more, and returns how many.
func fill(fd int) (filled int) {
	zeros := make([]byte, 64<<10)
	for n := 1; n > 0; filled += n {
		n, _ = writeReady(fd, zeros)
	}
	return filled
}

// hears fails unless a text is what comes next.
func (m member) hears(t *testing.T, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(m.there, got); string(got) != want {
		t.Fatalf("got %d bytes, %.40q %v, want %d, %.40q", n, got[:n], err, len(want), want)
	}
}

// Whoever is written to in a round gets what is for it, in order, round after round.
func TestRoundWritesToEachItsOwn(t *testing.T) {
	eachWay(t, func(t *testing.T, r *round) {
		all := crowd(t, writesAtOnce)
		for n := range 100 {
			tell(r, all[:1+n%writesAtOnce], fmt.Sprintf(" has %d;", n))
		}
		for i, m := range all {
			for n := range 100 {
				if i <= n%writesAtOnce {
					m.hears(t, fmt.Sprintf("%d has %d;", i, n))
				}
			}
			if m.state.Load() != idle || !m.writing.TryLock() || !m.hold() {
				t.Errorf("%d is still being written to", i)
			}
		}
	})
}

// Sockets that take no more, or nothing, do not keep the others of their round from what is theirs, and get all of their own later.
func TestRoundWithSocketsThatTakeNothing(t *testing.T) {
	eachWay(t, func(t *testing.T, r *round) {
		all := crowd(t, 8)
		full, reset, gone, last, busy := all[1], all[2], all[3], all[4], all[5]
		filled := fill(full.fd)
		_ = reset.there.(*net.TCPConn).SetLinger(0)
		_ = reset.there.Close()
		for n := 1; n > 0; { // a moment passes until that is known
			var err error
			if n, err = writeReady(reset.fd, []byte("x")); err != nil {
				break
			}
		}
		gone.hangUp()
		last.finished = true
		busy.writing.Lock()
		tell(r, all, " here;")
		busy.writing.Unlock()
		for _, i := range []int{0, 5, 6, 7} {
			all[i].hears(t, fmt.Sprint(i, " here;"))
		}
		if !reset.isClosed() || !reset.failed.Load() {
			t.Error("a socket that has failed is not given up")
		}
		for _, i := range []int{2, 3, 4} {
			if all[i].state.Load() != idle || !all[i].writing.TryLock() {
				t.Errorf("somebody still means to write to %d", i)
			}
		}
		full.hears(t, string(make([]byte, filled)))
		full.hears(t, "1 here;")
		if _, err := last.conn.Write([]byte("the end")); err != nil {
			t.Fatal(err)
		}
		last.hears(t, "the end")
	})
}

// What a socket does not take at once of what is for it comes after, though what it was copied from is used again meanwhile.
func TestRoundWithWhatIsTooLarge(t *testing.T) {
	for _, copied := range []bool{false, true} {
		eachWay(t, func(t *testing.T, r *round) {
			all := crowd(t, 4)
			long := strings.Repeat("long ", 200<<10)
			for i, m := range all {
				_ = m.conn.(*net.TCPConn).SetWriteBuffer(64 << 10)
				m.state.Store(flushing)
				out := []byte(fmt.Sprint(i, long))
				r.add(pendingWrite{outlet: &m.outlet, out: out, copied: copied, complete: true})
				if copied {
					clear(out)
				}
			}
			r.flush()
			for i, m := range all {
				m.hears(t, fmt.Sprint(i, long))
			}
		})
	}
}

// What is overwritten by what comes next is written as it was.
func TestRoundWithWhatIsOverwritten(t *testing.T) {
	eachWay(t, func(t *testing.T, r *round) {
		all := crowd(t, writesAtOnce)
		for n := range 10 {
			out := make([]byte, 0, 8<<10)
			text := func(i int) string { return strings.Repeat(fmt.Sprint(n, " is for ", i, "\n"), 500) } // more than a round has room for
			for i, m := range all {
				m.state.Store(flushing)
				out = append(out[:0], text(i)...)
				r.add(pendingWrite{outlet: &m.outlet, out: out, copied: true, complete: true})
			}
			clear(out)
			r.flush()
			for i, m := range all {
				m.hears(t, text(i))
			}
		}
	})
}

// What a socket does not take at once, or who writes to it does not let in, is kept as it was, though the rounds after it use the memory again.
func TestRoundKeepsWhatIsOverwrittenForThoseThatTakeItLater(t *testing.T) {
	eachWay(t, func(t *testing.T, r *round) {
		all := crowd(t, 4)
		full, busy := all[1], all[2]
		filled := fill(full.fd)
		busy.writing.Lock()
		out := make([]byte, 0, 100)
		for n, members := range [][]member{all, {all[0], all[3]}, {all[0], all[3]}} {
			for i, m := range members {
				m.state.Store(flushing)
				out = fmt.Append(out[:0], n, " is for ", i, ";")
				r.add(pendingWrite{outlet: &m.outlet, out: out, copied: true, complete: true})
			}
			r.flush()
		}
		clear(out[:cap(out)])
		busy.writing.Unlock()
		full.hears(t, string(make([]byte, filled)))
		full.hears(t, "0 is for 1;")
		busy.hears(t, "0 is for 2;")
		all[0].hears(t, "0 is for 0;1 is for 0;2 is for 0;")
		all[3].hears(t, "0 is for 3;1 is for 1;2 is for 1;")
	})
}

// A connection that is given up while a round writes to it is closed when that is done, and nothing is written after it.
func TestRoundWithWhoIsGivenUpMeanwhile(t *testing.T) {
	for _, taken := range []int{0, 2, 5} {
		m := crowd(t, 1)[0]
		m.words = []string{"more"}
		m.state.Store(flushing)
		w := pendingWrite{outlet: &m.outlet, out: []byte("words")}
		if !w.begin() {
			t.Fatal("it cannot be written to")
		}
		m.hangUp()
		w.n, _ = writeReady(m.fd, w.out[:taken])
		w.end()
		if m.state.Load() != idle || !m.writing.TryLock() {
			t.Errorf("%d bytes taken: somebody still means to write to it", taken)
		}
		if got, err := io.ReadAll(m.there); string(got) != "words"[:taken] || err != nil {
			t.Errorf("got %q %v, want %d bytes and the end", got, err, taken)
		}
	}
}

// A round that is over keeps nothing alive, and has all its room again.
func TestRoundKeepsNothing(t *testing.T) {
	eachWay(t, func(t *testing.T, r *round) {
		all := crowd(t, writesAtOnce)
		room := cap(r.copies)
		for range 3 {
			for _, m := range all {
				m.state.Store(flushing)
				r.add(pendingWrite{outlet: &m.outlet, out: make([]byte, maxCopies/writesAtOnce+1), copied: true, complete: true})
			}
			r.flush()
			for _, w := range r.pending[:cap(r.pending)] {
				if w.outlet != nil || w.out != nil {
					t.Fatal("it keeps what it has written")
				}
			}
			if len(r.copies) != 0 || cap(r.copies) != room {
				t.Fatalf("%d of %d bytes are in use, want none of %d", len(r.copies), cap(r.copies), room)
			}
		}
	})
}

// What the kernel does not take together is written nevertheless.
func TestRoundThatTheKernelRefuses(t *testing.T) {
	eachWay(t, func(t *testing.T, r *round) {
		all := crowd(t, 8)
		tell(r, all, " before;")
		defer r.refuse()()
		for range 100 { // many more than there is room for
			tell(r, all, " after;")
		}
		for i, m := range all {
			m.hears(t, fmt.Sprint(i, " before;", strings.Repeat(fmt.Sprint(i, " after;"), 100)))
		}
	})
}

// Who has more to say than went out with a round is asked again, or says it by itself where it would have to wait.
func TestRoundGoesOnWithTheRest(t *testing.T) {
	eachWay(t, func(t *testing.T, r *round) {
		all := crowd(t, 5)
		waits, more := all[4], all[1]
		waits.state.Store(flushing)
		waits.words = []string{"the rest;"}
		r.add(pendingWrite{outlet: &waits.outlet, out: []byte("begun;")})
		more.words = []string{"first;"}
		tell(r, all[:4], " second;")
		waits.hears(t, "begun;the rest;")
		room := make([]*outlet, len(all))
		if n, _ := more.writer.take(room); n != 1 || room[0] != &more.outlet {
			t.Fatalf("%d are asked again, want the one", n)
		}
		more.serve(&batch{joined: &streams.Joined{}}, r)
		r.flush()
		more.hears(t, "first;1 second;")
	})
}

// BenchmarkRound is what it takes to write 300 bytes to some sockets, whose readers are on this machine.
func BenchmarkRound(b *testing.B) {
	for _, atOnce := range []bool{false, true} {
		for _, n := range []int{1, 2, 4, 16} {
			b.Run(fmt.Sprintf("at once %v/%d", atOnce, n), func(b *testing.B) {
				r := newRound()
				if atOnce {
					skipWithout(b, r.open())
					defer r.close()
				}
				all := crowd(b, n)
				out := make([]byte, 300)
				room := make([]byte, 1<<20)
				for i := 0; b.Loop(); i++ {
					for j := range all {
						all[j].state.Store(flushing)
						r.add(pendingWrite{outlet: &all[j].outlet, out: out, complete: true})
					}
					r.flush()
					if i%200 == 199 {
						b.StopTimer()
						for _, m := range all {
							if _, err := io.ReadFull(m.there, room[:200*len(out)]); err != nil {
								b.Fatal(err)
							}
						}
						b.StartTimer()
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/write")
			})
		}
	}
}
