package transports

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// refuse makes the kernel refuse all calls from now on.
func (r *round) refuse() {
	if r.ring != nil {
		unix.Close(r.ring.fd)
		r.ring.fd = -1
	}
}

func newTestUring(t *testing.T) *uring {
	t.Helper()
	u, err := newUring()
	if err != nil {
		t.Skip("not here: ", err)
	}
	t.Cleanup(u.close)
	return u
}

// Each write is told what became of it, as if it had been made by itself.
func TestUringTellsWhatBecameOfEach(t *testing.T) {
	u := newTestUring(t)
	all := crowd(t, 4)
	open, full, shut, large := &all[0].outlet, &all[1].outlet, &all[2].outlet, &all[3].outlet
	fill(full.fd)
	if err := unix.Shutdown(shut.fd, unix.SHUT_WR); err != nil {
		t.Fatal(err)
	}
	one, some := []byte("1"), []byte("some")
	refused := 0
	for n := 0; n < 3*uringEntries || refused == 0; n++ { // around the ring; the kernel may find more room than it had
		writes := []pendingWrite{{outlet: open, out: some}, {outlet: full, out: one}, {outlet: &outlet{fd: -1}, out: one}, {outlet: shut, out: one}}
		if came, err := u.send(writes); came != len(writes) {
			t.Fatalf("it has come to %d, want %d: %v", came, len(writes), err)
		}
		if writes[1].n == 0 {
			refused++
		}
		for i, want := range []struct {
			n   int
			err error
		}{{len(some), nil}, {writes[1].n, nil}, {0, unix.EBADF}, {0, unix.EPIPE}} {
			if w := writes[i]; w.n != want.n || w.err != want.err {
				t.Fatalf("round %d: write %d: %d bytes, %v; want %d, %v", n, i, w.n, w.err, want.n, want.err)
			}
		}
	}
	writes := []pendingWrite{{outlet: large, out: make([]byte, 16<<20)}}
	_, _ = u.send(writes)
	if writes[0].n == 0 || writes[0].n == 16<<20 || writes[0].err != nil {
		t.Errorf("%d of 16 MiB, %v; want some", writes[0].n, writes[0].err)
	}
}

// A connection is given up for what its socket says, not for what the ring does, which fails for reasons of its own: here because it sends
// to nothing but sockets.
func TestConnectionOutlivesItsFailureInTheRing(t *testing.T) {
	r := &round{ring: newTestUring(t)}
	all := crowd(t, 4)
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	all[1].fd = int(write.Fd())
	for range 3 {
		tell(r, all, " here;")
	}
	if all[1].isClosed() || all[1].failed.Load() {
		t.Error("a connection is given up for what the ring cannot do")
	}
	_ = write.Close()
	if got, err := io.ReadAll(read); string(got) != strings.Repeat("1 here;", 3) || err != nil {
		t.Errorf("got %q %v", got, err)
	}
	for _, i := range []int{0, 2, 3} {
		all[i].hears(t, strings.Repeat(fmt.Sprint(i, " here;"), 3))
	}
}

// What the kernel has refused is not what it comes to when it takes something again.
func TestRingThatIsRefusedForAWhile(t *testing.T) {
	r := &round{ring: newTestUring(t)}
	all := crowd(t, 4)
	fd := r.ring.fd
	want := ""
	for n := range uringEntries {
		if r.ring.fd = fd; n%3 > 0 {
			r.ring.fd = -1
		}
		tell(r, all, fmt.Sprint(" has ", n, ";"))
		want += fmt.Sprint("# has ", n, ";")
	}
	r.ring.fd = fd
	for i, m := range all {
		m.hears(t, strings.ReplaceAll(want, "#", fmt.Sprint(i)))
	}
}

// What the kernel has given is given back.
func TestWritersGiveTheirRingsBack(t *testing.T) {
	if u, err := newUring(); err != nil {
		t.Skip("not here: ", err)
	} else {
		u.close()
	}
	descriptors := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	before := descriptors()
	for range 20 {
		w := &writers{}
		w.start(serverOfWriters())
		w.close()
	}
	if after := descriptors(); after >= before+20 {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}

// Who is told to do without it has none.
func TestServerWithoutIOUring(t *testing.T) {
	newTestUring(t)
	for _, without := range []bool{false, true} {
		s := serverOfWriters()
		s.cfg.NoIOUring = without
		s.writers.start(s)
		defer s.writers.close()
		for _, w := range s.writers.list {
			if has := w.round.ring != nil; has == without {
				t.Errorf("NoIOUring is %v, and the writer has one: %v", without, has)
			}
		}
	}
}
