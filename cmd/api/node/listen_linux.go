package node

import (
	"context"
	"net"
	"syscall"
)

// keptAlive are the library's own defaults for a connection, by which a peer that is gone without a word is noticed.
var keptAlive = [...]struct{ level, option, value int }{
	{syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1},
	{syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE, 15},  // s of silence until the first probe
	{syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL, 15}, // s from one to the next
	{syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT, 9},    // without an answer
}

// listen listens for clients. Their connections inherit from the socket that they are accepted from what the library would else set on
// each, in four system calls.
func listen(ctx context.Context, address string) (net.Listener, error) {
	config := net.ListenConfig{KeepAlive: -1, Control: func(_, _ string, c syscall.RawConn) error {
		var refused error
		err := c.Control(func(fd uintptr) {
			for _, o := range keptAlive {
				if refused == nil {
					refused = syscall.SetsockoptInt(int(fd), o.level, o.option, o.value)
				}
			}
		})
		if err == nil {
			err = refused
		}
		return err
	}}
	l, err := config.Listen(ctx, "tcp", address)
	if err != nil { // older kernels refuse some of them for Multipath TCP
		return net.Listen("tcp", address)
	}
	return l, nil
}
