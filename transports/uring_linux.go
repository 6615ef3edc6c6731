package transports

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// uring is an io_uring of the kernel's, see io_uring(7): many sockets are written to in one system call, each as by send(2). It is one
// goroutine's at a time.
type uring struct {
	fd             int
	rings, entries []byte // shared with the kernel

	// What is asked for.
	sqes   *[uringEntries]sqe
	sqTail *uint32
	sqMask uint32

	// What became of it.
	cqes           unsafe.Pointer // to the first cqe
	cqHead, cqTail *uint32
	cqMask         uint32
}

// uringEntries is how many sockets are written to at once, at the most: a power of two.
const uringEntries = writesAtOnce

// uringParams is struct io_uring_params.
type uringParams struct {
	sqEntries, cqEntries, flags, sqThreadCPU, sqThreadIdle, features, wqFd uint32
	_                                                                      [3]uint32
	sq                                                                     struct {
		head, tail, mask, entries, flags, dropped, array, _ uint32
		_                                                   uint64
	}
	cq struct {
		head, tail, mask, entries, overflow, cqes, flags, _ uint32
		_                                                   uint64
	}
}

// sqe is struct io_uring_sqe, as far as IORING_OP_SEND has it.
type sqe struct {
	opcode   uint8
	_        [3]uint8
	fd       int32
	_        uint64
	addr     uint64
	len      uint32
	msgFlags uint32
	userData uint64
	_        [24]byte
}

// cqe is struct io_uring_cqe.
type cqe struct {
	userData uint64
	res      int32
	_        uint32
}

// Of linux/io_uring.h.
const (
	opSend            = 26      // IORING_OP_SEND
	featSingleMmap    = 1 << 0  // IORING_FEAT_SINGLE_MMAP: both rings are mapped as one
	featNativeWorkers = 1 << 9  // IORING_FEAT_NATIVE_WORKERS: Linux 5.12
	offRings          = 0       // IORING_OFF_SQ_RING
	offEntries        = 1 << 28 // IORING_OFF_SQES
	enterGetEvents    = 1       // IORING_ENTER_GETEVENTS
)

// newUring fails where the kernel has none, or none that is new enough, or does not let this process use it, as in many containers.
func newUring() (*uring, error) {
	var p uringParams
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, uringEntries, uintptr(unsafe.Pointer(&p)), 0)
	if errno != 0 {
		return nil, fmt.Errorf("io_uring_setup: %w", errno)
	}
	u := &uring{fd: int(fd)}
	err := u.open(&p)
	if err == nil {
		err = u.try()
	}
	if err != nil {
		u.close()
		return nil, err
	}
	return u, nil
}

func (u *uring) open(p *uringParams) (err error) {
	if need := uint32(featSingleMmap | featNativeWorkers); p.features&need != need || p.sqEntries != uringEntries {
		return fmt.Errorf("io_uring: the kernel's is too old: features %#x", p.features)
	}
	size := max(p.sq.array+p.sqEntries*4, p.cq.cqes+p.cqEntries*uint32(unsafe.Sizeof(cqe{})))
	if u.rings, err = unix.Mmap(u.fd, offRings, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE); err != nil {
		return fmt.Errorf("io_uring: mmap: %w", err)
	}
	u.entries, err = unix.Mmap(u.fd, offEntries, int(unsafe.Sizeof(*u.sqes)), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return fmt.Errorf("io_uring: mmap: %w", err)
	}
	at := func(offset uint32) *uint32 { return (*uint32)(unsafe.Pointer(&u.rings[offset])) }
	u.sqes = (*[uringEntries]sqe)(unsafe.Pointer(&u.entries[0]))
	u.sqTail, u.sqMask = at(p.sq.tail), *at(p.sq.mask)
	u.cqHead, u.cqTail, u.cqMask = at(p.cq.head), at(p.cq.tail), *at(p.cq.mask)
	u.cqes = unsafe.Pointer(&u.rings[p.cq.cqes])
	for i := range p.sqEntries { // which entry a place of the ring means: always its own
		*at(p.sq.array + 4*i) = i
	}
	return nil
}

var hello = []byte("hello")

// try sends something: that an io_uring can be had says nothing of what may be done with it.
func (u *uring) try() error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("socketpair: %w", err)
	}
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	writes := []pendingWrite{{outlet: &outlet{fd: pair[0]}, out: hello}}
	if _, err := u.send(writes); err != nil {
		return fmt.Errorf("io_uring_enter: %w", err)
	}
	if w := &writes[0]; w.err != nil || w.n != len(hello) {
		return fmt.Errorf("io_uring: %d of %d bytes sent: %v", w.n, len(hello), w.err)
	}
	return nil
}

// close gives back what the kernel has for it.
func (u *uring) close() {
	for _, mapped := range [][]byte{u.rings, u.entries} {
		if mapped != nil {
			_ = unix.Munmap(mapped)
		}
	}
	_ = unix.Close(u.fd)
}

// send writes as much as each socket takes at once, which may be nothing, and tells each write what became of it. It returns how many it has come to:
// all, unless the kernel has no memory for more, or refuses; err is for who wants to know why it has come to none. There must not be more than
// uringEntries, and their bytes must be where Go moves nothing: not on a stack.
//
// The kernel waits for no socket, as it is told by MSG_DONTWAIT, and so has done with what it was given before the call returns. That is also why
// Go's scheduler is not told of the call: it works, as all else here does. In batches to single users, that is a seventh more.
func (u *uring) send(writes []pendingWrite) (came int, err error) {
	tail := *u.sqTail
	for i := range writes {
		w := &writes[i]
		u.sqes[(tail+uint32(i))&u.sqMask] = sqe{
			opcode: opSend, fd: int32(w.outlet.fd),
			addr: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(w.out)))), len: uint32(len(w.out)),
			msgFlags: unix.MSG_DONTWAIT | unix.MSG_NOSIGNAL, userData: uint64(i),
		}
	}
	atomic.StoreUint32(u.sqTail, tail+uint32(len(writes)))
	taken, _, errno := unix.RawSyscall6(unix.SYS_IO_URING_ENTER, uintptr(u.fd), uintptr(len(writes)), 0, 0, 0, 0)
	if errno != 0 {
		taken, err = 0, errno
	}
	atomic.StoreUint32(u.sqTail, tail+uint32(taken)) // what was not taken is taken back
	for left := int(taken); left > 0; left -= u.reap(writes) {
	}
	runtime.KeepAlive(writes)
	return int(taken), err
}

// reap tells those writes that are done what became of them, and returns how many that are. It waits for one.
func (u *uring) reap(writes []pendingWrite) int {
	head, tail := *u.cqHead, atomic.LoadUint32(u.cqTail)
	if head == tail { // never seen
		_, _, _ = unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(u.fd), 0, 1, enterGetEvents, 0, 0)
		return 0
	}
	for at := head; at != tail; at++ {
		c := (*cqe)(unsafe.Add(u.cqes, uintptr(at&u.cqMask)*unsafe.Sizeof(cqe{})))
		writes[c.userData].result(c.res)
	}
	atomic.StoreUint32(u.cqHead, tail)
	return int(tail - head)
}

// result is told what send(2) would have returned: how much was written, or the number of an error, negative.
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
