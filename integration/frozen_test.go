package integration_test

import (
	"errors"
	"net"
	"testing"
	"time"

	"hubstream/integration/internal/nodes"
	"hubstream/integration/internal/rawclient"
)

// What clients say to a node that stands still waits in its sockets. When it went on it closed them for their silence before it had looked there.
func TestFrozenNodeDoesNotBlameItsClients(t *testing.T) {
	t.Parallel()
	const timeout = 8 * time.Second
	n := nodes.StartProcess(t, nodes.Options{Fast: true, Args: []string{"-client-timeout", timeout.String(), "-keep-alive", "4s"}})
	hub := rawclient.Hub(t, n.URL+"/hubs/"+newHub(t))
	gone, _ := hub.OpenWebSocket()
	var there []*rawclient.WS
	for range 400 { // more than are found readable at once
		s, _ := hub.OpenWebSocket()
		there = append(there, s)
	}
	for _, s := range append(there, gone) { // from now on they can be silent for too long
		s.SendText(rawclient.Ping)
	}
	time.Sleep(time.Second)

	n.Freeze(true)
	time.Sleep(timeout / 2)
	for _, s := range there {
		s.SendText(rawclient.Ping)
	}
	time.Sleep(timeout/2 + time.Second)
	n.Freeze(false)
	time.Sleep(3 * time.Second) // longer than it is lenient, and less than they may be silent
	for i, s := range there {
		for {
			m, err := s.Read(time.Millisecond)
			var late net.Error
			if errors.As(err, &late) && late.Timeout() {
				break // still open
			}
			if err != nil || m.Payload != rawclient.Ping {
				t.Fatalf("client %d got %q, %v; want nothing but pings", i, m.Payload, err)
			}
		}
	}
	records, _ := gone.ExpectClosed(timeout + slack)
	wantErrorClose(t, records[len(records)-1])
}
