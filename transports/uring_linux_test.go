package transports

import (
	"errors"
	"os"
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
	fill(all[1].fd)
	if err := unix.Shutdown(all[3].fd, unix.SHUT_WR); err != nil {
		t.Fatal(err)
	}
	none := &outlet{fd: -1}
	for n := range 3 * uringEntries { // around the ring
		fill(all[1].fd) // the kernel may have found more room
		writes := []pendingWrite{{outlet: &all[0].outlet, out: make([]byte, n+1)}, {outlet: &all[1].outlet, out: []byte("x")}, {outlet: none, out: []byte("x")}, {outlet: &all[3].outlet, out: []byte("x")}}
		if sent := u.send(writes); sent != len(writes) {
			t.Fatalf("sent %d", sent)
		}
		for i, want := range []struct {
			n   int
			err error
		}{{n + 1, nil}, {0, nil}, {0, unix.EBADF}, {0, unix.EPIPE}} {
			if w := writes[i]; w.n != want.n || !errors.Is(w.err, want.err) {
				t.Fatalf("%d: %d: %d %v, want %d %v", n, i, w.n, w.err, want.n, want.err)
			}
		}
	}
	large := make([]byte, 16<<20)
	writes := []pendingWrite{{outlet: &all[2].outlet, out: large}}
	if u.send(writes); writes[0].n == 0 || writes[0].n == len(large) || writes[0].err != nil {
		t.Errorf("%d of %d bytes, %v: want some", writes[0].n, len(large), writes[0].err)
	}
}

// What the kernel has given is given back.
func TestWritersGiveTheirRingsBack(t *testing.T) {
	newTestUring(t).close()
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
