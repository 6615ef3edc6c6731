package transports

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// aio is a context of Linux's asynchronous I/O, see io_submit(2): many sockets are written to in one system call, each as by write(2). Nothing is
// asynchronous with sockets that do not block. What came after it, io_uring, does the same, hardly faster, and containers do not let a process use it.
// It is one goroutine's at a time.
type aio struct {
	ring *aioRing // shared with the kernel, which knows the context by its address
	done []ioEvent

	asked [aioEntries]iocb
	list  [aioEntries]*iocb // of asked
}

// aioEntries is how many sockets are written to at once, at the most.
const aioEntries = writesAtOnce

// aioRing is struct aio_ring of fs/aio.c, behind which its events are. libaio looks into it, too, and so it stays as it is.
type aioRing struct {
	_                uint32
	entries          uint32
	head, tail       uint32
	magic            uint32
	_, incompat, len uint32
}

// aioMagic is in each ring, AIO_RING_MAGIC.
const aioMagic = 0xa10a10a1

// ioEvent is struct io_event of linux/aio_abi.h.
type ioEvent struct {
	data, _ uint64
	res, _  int64
}

// iocb is struct iocb of linux/aio_abi.h.
type iocb struct {
	data   uint64
	_      uint64 // the kernel's key, and flags: none
	opcode uint16
	_      int16
	fd     uint32
	buf    uint64
	bytes  uint64
	_      int64
	_      uint64
	_, _   uint32
}

const iocbWrite = 1 // IOCB_CMD_PWRITE

// newAIO fails where the kernel has none, or does not let this process use it, or has given away as many as it gives (fs.aio-max-nr).
func newAIO() (*aio, error) {
	a := &aio{}
	if _, _, errno := unix.Syscall(unix.SYS_IO_SETUP, aioEntries, uintptr(unsafe.Pointer(&a.ring)), 0); errno != 0 {
		return nil, fmt.Errorf("io_setup: %w", errno)
	}
	if a.ring.magic != aioMagic || a.ring.incompat != 0 {
		a.close()
		return nil, errors.New("aio: the kernel's ring is one that is not known")
	}
	a.done = unsafe.Slice((*ioEvent)(unsafe.Add(unsafe.Pointer(a.ring), a.ring.len)), a.ring.entries)
	for i := range a.list {
		a.list[i] = &a.asked[i]
	}
	if err := a.try(); err != nil {
		a.close()
		return nil, fmt.Errorf("io_submit: %w", err)
	}
	return a, nil
}

var hello = []byte("hello")

// try sends something: that a ring can be had says nothing of what may be done with it.
func (a *aio) try() error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("socketpair: %w", err)
	}
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	writes := []pendingWrite{{outlet: &outlet{fd: pair[0]}, out: hello}}
	if _, err := a.send(writes); err != nil {
		return err
	}
	if w := &writes[0]; w.err != nil || w.n != len(hello) {
		return fmt.Errorf("%d of %d bytes sent: %v", w.n, len(hello), w.err)
	}
	return nil
}

// close gives back what the kernel has for it.
func (a *aio) close() {
	_, _, _ = unix.Syscall(unix.SYS_IO_DESTROY, uintptr(unsafe.Pointer(a.ring)), 0, 0)
}

// send writes as much as each socket takes at once, which may be nothing, and tells each write what became of it. It returns how many it has come to:
// all, unless one has no descriptor, or the kernel has no memory for more, or refuses; err is for who wants to know why it has come to none. There must
// not be more than aioEntries, and their bytes must be where Go moves nothing: not on a stack.
//
// The kernel waits for no socket, as Go's do not block, and so has done with what it was given before the call returns. That is also why Go's scheduler
// is not told of the call: it works, as all else here does. In batches to single users, that is a seventh more.
func (a *aio) send(writes []pendingWrite) (came int, err error) {
	for i := range writes {
		w := &writes[i]
		a.asked[i] = iocb{
			data: uint64(i), opcode: iocbWrite, fd: uint32(w.outlet.fd),
			buf: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(w.out)))), bytes: uint64(len(w.out)),
		}
	}
	taken, _, errno := unix.RawSyscall(unix.SYS_IO_SUBMIT, uintptr(unsafe.Pointer(a.ring)), uintptr(len(writes)), uintptr(unsafe.Pointer(&a.list)))
	if errno != 0 {
		taken, err = 0, errno
	}
	for left := int(taken); left > 0; left -= a.reap(writes) {
	}
	runtime.KeepAlive(writes)
	return int(taken), err
}

// reap tells those writes that are done what became of them, and returns how many that are. It waits for one.
func (a *aio) reap(writes []pendingWrite) int {
	head, tail := a.ring.head, atomic.LoadUint32(&a.ring.tail)
	if head == tail { // never seen
		var e ioEvent
		n, _, _ := unix.Syscall6(unix.SYS_IO_GETEVENTS, uintptr(unsafe.Pointer(a.ring)), 1, 1, uintptr(unsafe.Pointer(&e)), 0, 0)
		if n == 1 {
			writes[e.data].result(int32(e.res))
			return 1
		}
		return 0
	}
	n := 0
	for ; head != tail; n++ {
		e := &a.done[head]
		writes[e.data].result(int32(e.res))
		if head++; head == a.ring.entries {
			head = 0
		}
	}
	atomic.StoreUint32(&a.ring.head, head)
	return n
}

// result is told what write(2) would have returned: how much was written, or the number of an error, negative.
func (w *pendingWrite) result(res int32) {
	switch err := unix.Errno(-res); {
	case res >= 0:
		w.n, w.err = int(res), nil
	case err == unix.EAGAIN:
		w.n, w.err = 0, nil
	default:
		w.n, w.err = 0, err
	}
}
