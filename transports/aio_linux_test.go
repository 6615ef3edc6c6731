package transports

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// refuse makes the kernel refuse all calls until undone.
func (r *round) refuse() (undo func()) {
	if r.aio == nil {
		return func() {}
	}
	list := r.aio.list
	clear(r.aio.list[:])
	return func() { r.aio.list = list }
}

func newTestAIO(t *testing.T) *aio {
	t.Helper()
	a, err := newAIO()
	skipWithout(t, err)
	t.Cleanup(a.close)
	return a
}

// Each write is told what became of it, as if it had been made by itself.
func TestAIOTellsWhatBecameOfEach(t *testing.T) {
	a := newTestAIO(t)
	all := crowd(t, 4)
	open, full, shut, large := &all[0].outlet, &all[1].outlet, &all[2].outlet, &all[3].outlet
	fill(full.fd)
	if err := unix.Shutdown(shut.fd, unix.SHUT_WR); err != nil {
		t.Fatal(err)
	}
	one, some := []byte("1"), []byte("some")
	refused := 0
	for n := 0; n < 2*len(a.done) || refused == 0; n++ { // around the ring; the kernel may find more room than it had
		writes := []pendingWrite{{outlet: open, out: some}, {outlet: full, out: one}, {outlet: shut, out: one}}
		if came, err := a.send(writes); came != len(writes) {
			t.Fatalf("it has come to %d, want %d: %v", came, len(writes), err)
		}
		if writes[1].n == 0 {
			refused++
		}
		for i, want := range []struct {
			n   int
			err error
		}{{len(some), nil}, {writes[1].n, nil}, {0, unix.EPIPE}} {
			if w := writes[i]; w.n != want.n || w.err != want.err {
				t.Fatalf("round %d: write %d: %d bytes, %v; want %d, %v", n, i, w.n, w.err, want.n, want.err)
			}
		}
	}
	writes := []pendingWrite{{outlet: large, out: make([]byte, 16<<20)}}
	_, _ = a.send(writes)
	if writes[0].n == 0 || writes[0].n == 16<<20 || writes[0].err != nil {
		t.Errorf("%d of 16 MiB, %v; want some", writes[0].n, writes[0].err)
	}
}

// A write for which there is no descriptor is not come to, nor are those after it.
func TestAIOStopsAtWhatHasNoDescriptor(t *testing.T) {
	a := newTestAIO(t)
	all := crowd(t, 2)
	none := &outlet{fd: -1}
	for _, where := range []int{0, 1} {
		writes := []pendingWrite{{outlet: &all[0].outlet, out: []byte("first")}, {outlet: &all[1].outlet, out: []byte("second")}}
		writes[where].outlet = none
		came, err := a.send(writes)
		if came != where || (err == unix.EBADF) != (where == 0) {
			t.Errorf("it has come to %d, %v, want %d", came, err, where)
		}
	}
	all[0].hears(t, "first")
}

// A connection is given up for what its socket says, not for what became of the write that was meant for it: here, as another is made in its place.
func TestConnectionOutlivesItsFailureInTheRound(t *testing.T) {
	r := &round{aio: newTestAIO(t)}
	all := crowd(t, 5)
	shut := all[4]
	if err := unix.Shutdown(shut.fd, unix.SHUT_WR); err != nil {
		t.Fatal(err)
	}
	one := []byte("1")
	r.aio.list[1] = &iocb{data: 1, opcode: iocbWrite, fd: uint32(shut.fd), buf: uint64(uintptr(unsafe.Pointer(&one[0]))), bytes: 1}
	for range 3 {
		tell(r, all[:4], " here;")
	}
	runtime.KeepAlive(one)
	if all[1].isClosed() || all[1].failed.Load() {
		t.Error("a connection is given up for what became of another write")
	}
	for i, m := range all[:4] {
		m.hears(t, strings.Repeat(fmt.Sprint(i, " here;"), 3))
	}
}

// What the kernel has refused is not what it comes to when it takes something again.
func TestAIOThatIsRefusedForAWhile(t *testing.T) {
	r := &round{aio: newTestAIO(t)}
	all := crowd(t, 4)
	want := ""
	for n := range 2 * len(r.aio.done) {
		undo := func() {}
		if n%3 > 0 {
			undo = r.refuse()
		}
		tell(r, all, fmt.Sprint(" has ", n, ";"))
		undo()
		want += fmt.Sprint("# has ", n, ";")
	}
	for i, m := range all {
		m.hears(t, strings.ReplaceAll(want, "#", fmt.Sprint(i)))
	}
}

// contexts is how many of aio's the kernel has given to this process.
func contexts(t *testing.T) int {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(maps), "[aio]")
}

// What the kernel has given is given back.
func TestWritersGiveBackWhatTheKernelGave(t *testing.T) {
	newTestAIO(t)
	before := contexts(t)
	for range 20 {
		w := &writers{}
		w.start(serverOfWriters())
		if contexts(t) == before {
			t.Fatal("the writers have none")
		}
		w.close()
	}
	if after := contexts(t); after >= before+20 {
		t.Errorf("%d are given, %d before", after, before)
	}
}

// A node that finds out that it cannot use what it was given has not taken it from others for that; nor has it kept what it found out with.
func TestAIOThatCannotBeTriedIsGivenBack(t *testing.T) {
	newTestAIO(t)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	few := limit
	few.Cur = 3
	before, open := contexts(t), descriptors(t)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	var err error
	for range 20 {
		var a *aio
		if a, err = newAIO(); err == nil {
			a.close()
			break
		}
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(err, unix.EMFILE) {
		t.Fatalf("got %v, want what it cannot be tried for", err)
	}
	if after := contexts(t); after >= before+20 {
		t.Errorf("%d are given, %d before", after, before)
	}
	for range 20 {
		newTestAIO(t)
	}
	if after := descriptors(t); after >= open+20 {
		t.Errorf("%d descriptors are open, %d before", after, open)
	}
}

// descriptors is how many this process has.
func descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// If something is not done when the call returns it is waited for: here, until there is something to read.
func TestAIOWaitsForWhatIsNotDone(t *testing.T) {
	a := newTestAIO(t)
	m := crowd(t, 1)[0]
	const poll = 5                   // IOCB_CMD_POLL
	for n := range 2 * len(a.done) { // around the ring
		writes := []pendingWrite{{outlet: &m.outlet}, {outlet: &m.outlet}}
		a.asked[0] = iocb{data: 1, opcode: poll, fd: uint32(m.fd), buf: unix.POLLIN}
		if taken, _, errno := unix.RawSyscall(unix.SYS_IO_SUBMIT, uintptr(unsafe.Pointer(a.ring)), 1, uintptr(unsafe.Pointer(&a.list))); taken != 1 {
			t.Skip("the kernel does not wait for sockets so: ", errno)
		}
		said := make(chan error, 1)
		go func() { _, err := m.there.Write([]byte("x")); said <- err }()
		for a.reap(writes) == 0 {
		}
		if writes[0].n != 0 || writes[1].n&unix.POLLIN == 0 {
			t.Fatalf("round %d: got %d and %d, want the second to be ready", n, writes[0].n, writes[1].n)
		}
		if err := <-said; err != nil {
			t.Fatal(err)
		}
		if got, err := unix.Read(m.fd, make([]byte, 2)); got != 1 {
			t.Fatalf("got %d bytes, %v: it has not waited", got, err)
		}
	}
}

// Who is told to do without it has none.
func TestServerWithoutAIO(t *testing.T) {
	newTestAIO(t)
	for _, without := range []bool{false, true} {
		s := serverOfWriters()
		s.cfg.NoAIO = without
		s.writers.start(s)
		defer s.writers.close()
		for _, w := range s.writers.list {
			if has := w.round.aio != nil; has == without {
				t.Errorf("NoAIO is %v, and the writer has one: %v", without, has)
			}
		}
	}
}
