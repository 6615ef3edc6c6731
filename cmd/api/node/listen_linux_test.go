package node_test

import (
	"net"
	"syscall"
	"testing"

	"hubstream/cmd/api/node"
)

// A client that is gone without a word, and that nothing is sent to, is noticed as it is by a plain listener.
func TestAcceptedConnectionsAreKeptAlive(t *testing.T) {
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ours, err := node.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	want, got := keptAlive(t, plain), keptAlive(t, ours)
	if want[0] != 1 || got != want {
		t.Errorf("accepted connections have %v, want %v", got, want)
	}
}

// keptAlive is how a connection that is accepted is kept alive.
func keptAlive(t *testing.T, l net.Listener) (values [4]int) {
	t.Helper()
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = raw.Control(func(fd uintptr) {
		for i, option := range [...]struct{ level, name int }{
			{syscall.SOL_SOCKET, syscall.SO_KEEPALIVE}, {syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE},
			{syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL}, {syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT},
		} {
			if values[i], err = syscall.GetsockoptInt(int(fd), option.level, option.name); err != nil {
				t.Error(err)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return values
}
