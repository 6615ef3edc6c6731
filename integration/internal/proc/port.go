package proc

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
)

// Ports for servers that cannot report the one they got. They lie below Linux's ephemeral range, so that no outgoing
// connection takes one while its server is down between two starts.
const (
	firstPort = 18000
	lastPort  = 32000
)

// FreePort returns a loopback TCP port that was free a moment ago. Another process may still take it first: callers
// try again with another one when their server does not start.
func FreePort() (int, error) {
	for range 100 {
		port := firstPort + rand.IntN(lastPort-firstPort)
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		return port, l.Close()
	}
	return 0, errors.New("no free port after 100 tries")
}
