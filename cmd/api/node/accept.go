package node

import (
	"errors"
	"log/slog"
	"net"
	"time"
)

// accepting is a listener that logs why connections cannot be accepted. The server tries again every second, and says so where it says
// what clients do wrong, which is for those who debug; that file descriptors have run out is for operators.
type accepting struct {
	net.Listener
	log  *slog.Logger
	told time.Time // owned by Accept, which the server calls from one goroutine
}

// acceptPause is the time between two times that it is told.
const acceptPause = time.Minute

// Accept implements net.Listener.
func (l *accepting) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil && !errors.Is(err, net.ErrClosed) && time.Since(l.told) >= acceptPause {
		l.told = time.Now()
		l.log.Error("connections are not accepted (too many open files: LimitNOFILE, ulimit -n)", "error", err)
	}
	return conn, err
}
