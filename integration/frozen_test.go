package integration_test

import (
	"fmt"
	"sync"
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
	var told saying
	for i, s := range there {
		go told.listen(i, s)
	}
	time.Sleep(time.Second)

	n.Freeze(true)
	time.Sleep(timeout / 2)
	for _, s := range there {
		s.SendText(rawclient.Ping)
	}
	time.Sleep(timeout/2 + time.Second)
	thaw := time.Now()
	n.Freeze(false)
	time.Sleep(3 * time.Second) // longer than it is lenient, and less than they may be silent
	told.Lock()
	defer told.Unlock()
	for i, what := range told.what {
		if what.at.Sub(thaw) < timeout { // on a busy machine it may be later already
			t.Fatalf("client %d got %s; want nothing but pings", i, what.text)
		}
	}
	records, _ := gone.ExpectClosed(timeout + slack)
	wantErrorClose(t, records[len(records)-1])
}

// saying is the first that each of some clients is told but pings, and when.
type saying struct {
	sync.Mutex
	what map[int]said
}

type said struct {
	text string
	at   time.Time
}

func (all *saying) listen(i int, s *rawclient.WS) {
	for {
		m, err := s.Read(time.Hour)
		if err == nil && m.Payload == rawclient.Ping {
			continue
		}
		all.Lock()
		defer all.Unlock()
		if all.what == nil {
			all.what = map[int]said{}
		}
		all.what[i] = said{fmt.Sprintf("%q, %v", m.Payload, err), time.Now()}
		return
	}
}
