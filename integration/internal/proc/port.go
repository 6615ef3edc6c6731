package proc

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// Ports for servers that cannot report the one they got. They lie below Linux's ephemeral range, so that no outgoing
// connection takes one while its server is down between two starts.
const (
	firstPort = 18000
	lastPort  = 32000
)

// reserved holds the UDP ports of the TCP ports that this process was given: another process is not given them while it runs.
var reserved struct {
	sync.Mutex
	ports []net.PacketConn
}

// FreePort returns a loopback TCP port that was free a moment ago, and that no other caller gets, in this process or in others that
// run at the same time. A stranger may still take it first: callers try again with another one when their server does not start.
func FreePort() (int, error) {
	for range 100 {
		port := firstPort + rand.IntN(lastPort-firstPort)
		if reserve(net.JoinHostPort("127.0.0.1", strconv.Itoa(port))) {
			return port, nil
		}
	}
	return 0, errors.New("no free port after 100 tries")
}

func reserve(addr string) bool {
	held, err := net.ListenPacket("udp", addr)
	if err != nil {
		return false
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		held.Close()
		return false
	}
	l.Close()
	reserved.Lock()
	defer reserved.Unlock()
	reserved.ports = append(reserved.ports, held)
	return true
}
