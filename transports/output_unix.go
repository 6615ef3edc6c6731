//go:build unix

package transports

import (
	"net"
	"syscall"
)

// descriptor returns the file descriptor of a connection, or -1 if it has none.
func descriptor(conn net.Conn) int {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return -1
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return -1
	}
	n := -1
	_ = raw.Control(func(fd uintptr) { n = int(fd) })
	return n
}

// writeReady writes as much as a socket takes at once, which may be nothing. It is net.Conn's Write without its locks, its deadline and its
// waiting, whose memory would have to come into the processor's caches for each socket.
func writeReady(fd int, b []byte) (n int, err error) {
	for {
		switch n, err = syscall.Write(fd, b); err {
		case nil:
			return n, nil
		case syscall.EINTR:
		case syscall.EAGAIN:
			return 0, nil
		default:
			return 0, err
		}
	}
}
