package integration_test

import (
	"net/http"
	"regexp"
	"testing"
	"time"

	"hubstream/integration/internal/jsclient"
	"hubstream/integration/internal/nodes"
	"hubstream/integration/internal/proxytest"
	"hubstream/integration/internal/rawclient"
	"hubstream/integration/internal/relay"
	"hubstream/integration/valkeytest"
)

// ofNode is how an official JavaScript client names itself.
const ofNode = "Microsoft SignalR/10.0 (10.0.11; Linux; NodeJS; v22.12.0)"

// A node has written an answer, and its connection breaks on the way. What the proxy sends again, in the same moment
// and to another node, is the same poll: it gets that answer.
func TestAnswerLostOnTheWayIsSentAgain(t *testing.T) {
	t.Parallel()
	c := &cluster{nodes.Three(t, valkeytest.Shared(t).Addr)}
	hub := newHub(t)
	p := openPolling(t, c, hub)
	way := relay.Start(t, c.nodes[0].Addr)
	poll := "/hubs/" + hub + "?id=" + p.token + "&_=4102444800000"
	answered := func() int {
		return len(regexp.MustCompile(`method=GET .*hub=`+hub+` status=200`).FindAllString(c.nodes[0].Output(), -1))
	}
	before := answered()
	older := p.at(1).StartPoll(p.token)
	if older.Answered(200 * time.Millisecond) {
		t.Fatal("a poll with nothing to say was answered")
	}
	cut := make(chan error, 1)
	go func() {
		_, err := rawclient.Do(t.Context(), http.MethodGet, "http://"+way.Addr+poll, "", "User-Agent", ofNode)
		cut <- err
	}()
	older.Answer(rawclient.Patience) // the other poll has come
	way.Hold()
	c.backend(t, hub).toAll(1)
	waitFor(t, "the answer", func() bool { return answered() > before })
	way.Cut()
	if err := <-cut; err == nil {
		t.Fatal("the answer arrived")
	}
	a, err := rawclient.Do(t.Context(), http.MethodGet, c.nodes[1].URL+poll, "", "User-Agent", ofNode)
	if err != nil || a.Status != http.StatusOK || a.Body != messageRecord(1)+rawclient.Separator {
		t.Fatalf("the poll, again: got %d %q %v, want the message", a.Status, a.Body, err)
	}
	c.backend(t, hub).toAll(2)
	p.expectMessage(2)
}

func waitFor(t *testing.T, what string, ask func() bool) {
	t.Helper()
	for end := time.Now().Add(rawclient.Patience); !ask(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited for %s in vain", what)
		}
	}
}

// Connections between a proxy and the nodes break again and again, in the middle of everything.
func TestPollingClientMissesNothingWhenConnectionsAreCut(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	hub := newHub(t)
	var ways []*relay.Relay
	var addrs []string
	for _, addr := range c.addrs() {
		way := relay.Start(t, addr)
		ways, addrs = append(ways, way), append(addrs, way.Addr)
	}
	proxy := proxytest.HAProxy(t, addrs, proxytest.RetryPolls(), proxytest.Retries(100))
	conn := sharedJS(t).Open(t, jsclient.Options{URL: proxy.URL + "/hubs/" + hub, Transport: jsclient.LongPolling, Protocol: jsclient.JSON})
	const total = 500
	b := c.backend(t, hub)
	for i := range total {
		b.toAll(i)
		if i%3 == 0 {
			ways[i/3%len(ways)].Cut()
		}
	}
	for want := range total {
		if got := number(t, conn.Next()); got != want {
			t.Fatalf("got message %d, want %d", got, want)
		}
	}
	if events := conn.Events(); len(events) > 0 {
		t.Errorf("the client noticed: %v", events)
	}
	marks := map[string]int{}
	for _, line := range proxy.Log() {
		if m := regexp.MustCompile(`^200 GET .*&_=(\d+)`).FindStringSubmatch(line); m != nil {
			marks[m[1]]++
		}
	}
	if len(marks) < 10 {
		t.Errorf("the client polled %d times", len(marks))
	}
	for mark, n := range marks {
		if n > 1 {
			t.Errorf("%d answers to polls with mark %s", n, mark)
		}
	}
}
