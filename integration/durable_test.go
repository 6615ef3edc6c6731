package integration_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"hubstream/integration/internal/jsclient"
	"hubstream/integration/internal/nodes"
	"hubstream/integration/internal/rawclient"
	"hubstream/integration/valkeytest"
)

// producers send numbered messages to a hub, several at once, until they are told to stop.
type producers struct {
	stop    chan struct{}
	working sync.WaitGroup

	mu       sync.Mutex
	accepted []int
	refused  int // or of unknown outcome
}

const producerCount = 4

func startProducers(t *testing.T, c *cluster, hub string) *producers {
	p := &producers{stop: make(chan struct{})}
	for i := range producerCount {
		p.working.Go(func() {
			for n := i; ; n += producerCount {
				select {
				case <-p.stop:
					return
				case <-time.After(2 * time.Millisecond):
				}
				a, err := rawclient.Do(t.Context(), http.MethodPost, c.nodes[n%len(c.nodes)].URL+"/api/hubs/"+hub+"/send",
					fmt.Sprintf(`{"target":"message","arguments":[%d]}`, n), "Content-Type", "application/json")
				p.mu.Lock()
				if err == nil && a.Status == http.StatusAccepted {
					p.accepted = append(p.accepted, n)
				} else {
					p.refused++
				}
				p.mu.Unlock()
			}
		})
	}
	return p
}

// await returns when as many more messages were accepted.
func (p *producers) await(t *testing.T, more int) {
	t.Helper()
	count := func() int {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.accepted)
	}
	want, last, at := count()+more, 0, time.Now()
	for n := count(); n < want; n = count() {
		if n > last {
			last, at = n, time.Now()
		}
		if time.Since(at) > rawclient.Patience {
			t.Fatalf("%d messages were accepted, want %d, and none for %v", n, want, rawclient.Patience)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// end stops them and returns what was accepted.
func (p *producers) end() map[int]bool {
	close(p.stop)
	p.working.Wait()
	accepted := map[int]bool{}
	for _, n := range p.accepted {
		accepted[n] = true
	}
	return accepted
}

// A message that was accepted outlives a Valkey that is killed in the middle, if that writes every command to disk, and
// arrives once; the clients notice nothing.
func TestAcceptedMessagesSurviveAKilledValkey(t *testing.T) {
	t.Parallel()
	server := valkeytest.Start(t, valkeytest.AppendOnly())
	c := &cluster{nodes.Three(t, server.Addr)}
	hub := newHub(t)
	proxy := c.haproxy(t)
	conns := []*jsclient.Conn{
		sharedJS(t).Open(t, jsclient.Options{URL: proxy + "/hubs/" + hub, Transport: jsclient.WebSockets, Protocol: jsclient.JSON, Stateful: true}),
		sharedJS(t).Open(t, jsclient.Options{URL: proxy + "/hubs/" + hub, Transport: jsclient.WebSockets, Protocol: jsclient.MessagePack}),
		sharedJS(t).Open(t, jsclient.Options{URL: proxy + "/hubs/" + hub, Transport: jsclient.ServerSentEvents, Protocol: jsclient.JSON}),
		sharedJS(t).Open(t, jsclient.Options{URL: proxy + "/hubs/" + hub, Transport: jsclient.LongPolling, Protocol: jsclient.JSON}),
	}
	p := startProducers(t, c, hub)
	for range 3 {
		p.await(t, 100)
		server.Kill()
		server.Start()
	}
	p.await(t, 100)
	accepted := p.end()
	for _, n := range c.nodes {
		awaitReadiness(t, n, http.StatusOK)
	}
	c.backend(t, hub).toAll("end")
	for _, conn := range conns {
		got := map[int]bool{}
		for m := conn.Next(); m.Args != `["end"]`; m = conn.Next() {
			n := number(t, m)
			if got[n] {
				t.Errorf("over %s: message %d came twice", conn.Transport, n)
			}
			got[n] = true
		}
		for n := range accepted {
			if !got[n] {
				t.Errorf("over %s: message %d was accepted and did not come", conn.Transport, n)
			}
		}
		if events := conn.Events(); len(events) > 0 {
			t.Errorf("over %s the client noticed: %v", conn.Transport, events)
		}
	}
	t.Logf("%d accepted, %d refused or unknown", len(accepted), p.refused)
}

func number(t *testing.T, m jsclient.Message) int {
	t.Helper()
	var args []int
	if err := json.Unmarshal([]byte(m.Args), &args); err != nil || len(args) != 1 {
		t.Fatalf("got %v, want one number", m)
	}
	return args[0]
}

// With -valkey-durable a message that was accepted is in the log that a replica goes on with.
func TestAcceptedMessagesSurviveAFailover(t *testing.T) {
	t.Parallel()
	group := valkeytest.StartSentinel(t, 3, valkeytest.AppendOnly())
	c := &cluster{}
	for _, name := range []string{"n1", "n2", "n3"} {
		c.nodes = append(c.nodes, nodes.Start(t, nodes.Options{
			Name: name, Valkey: strings.Join(group.Sentinels, ","),
			Args: []string{"-valkey-mode", "sentinel", "-valkey-master", group.Name, "-valkey-durable", "1"},
		}))
	}
	hub := newHub(t)
	p := startProducers(t, c, hub)
	p.await(t, 200)
	group.Replica.Kill() // it does not get what is sent now
	time.Sleep(500 * time.Millisecond)
	group.Primary.Kill()
	group.Replica.Start()
	group.WaitPromoted(t)
	group.Primary.Start() // the sentinels make it the replica that sends wait for
	p.await(t, 100)
	accepted := p.end()
	log := group.Replica.Do("EVAL", `local all = {}
for _, key in ipairs(redis.call('KEYS', '*:'..ARGV[1]..':log')) do
  for _, entry in ipairs(redis.call('XRANGE', key, '-', '+')) do all[#all + 1] = entry[2][2] end
end
return all`, "0", hub)
	for n := range accepted {
		if !strings.Contains(log, fmt.Sprintf(`"arguments":[%d]`, n)) {
			t.Errorf("message %d was accepted and is not in the log", n)
		}
	}
	t.Logf("%d accepted, %d refused or unknown", len(accepted), p.refused)
}
