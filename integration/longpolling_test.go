package integration_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"hubstream/integration/internal/rawclient"
)

// polling is a long polling connection whose requests go round the nodes.
type polling struct {
	t       *testing.T
	c       *cluster
	hub     string
	token   string
	id      string
	turn    int
	records []string // received, not expected yet
}

// openPolling negotiates and connects, with the JSON handshake done.
func openPolling(t *testing.T, c *cluster, hub string) *polling {
	t.Helper()
	p := startPolling(t, c, hub)
	if a := p.next().Post(p.token, rawclient.Handshake); a.Status != http.StatusOK || a.Body != "" {
		t.Fatalf("handshake: got %d %q, want an empty 200", a.Status, a.Body)
	}
	p.expect("{}")
	return p
}

// startPolling stops after the first poll.
func startPolling(t *testing.T, c *cluster, hub string) *polling {
	t.Helper()
	p := &polling{t: t, c: c, hub: hub}
	n := p.next().Connect()
	p.token, p.id = n.Token(), n.ConnectionID
	wantFirstPoll(t, p.next().Poll(p.token))
	return p
}

func wantFirstPoll(t *testing.T, a rawclient.Answer) {
	t.Helper()
	if a.Status != http.StatusOK || a.Body != "" || a.Header.Get("Content-Length") != "0" {
		t.Errorf("first poll: got %d, Content-Length %q, %q; want an empty 200", a.Status, a.Header.Get("Content-Length"), a.Body)
	}
	if got := a.Header.Get("Content-Type"); got != "application/octet-stream" {
		t.Errorf("first poll: Content-Type %q, want application/octet-stream", got)
	}
	wantUncached(t, a)
}

func wantUncached(t *testing.T, a rawclient.Answer) {
	t.Helper()
	if got := a.Header.Get("Cache-Control"); !strings.Contains(got, "no-cache") || !strings.Contains(got, "no-store") {
		t.Errorf("poll: Cache-Control %q, want no-cache, no-store", got)
	}
}

func (p *polling) at(i int) *rawclient.HubClient { return p.c.hub(p.t, p.hub, i) }

// next is the next node in turn.
func (p *polling) next() *rawclient.HubClient {
	p.turn++
	return p.at(p.turn)
}

// expect polls until the next record has come, and compares it.
func (p *polling) expect(want string) {
	p.t.Helper()
	for end := time.Now().Add(rawclient.Patience); len(p.records) == 0; {
		if time.Now().After(end) {
			p.t.Fatalf("%q did not come", want)
		}
		a := p.next().Poll(p.token)
		if a.Status != http.StatusOK {
			p.t.Fatalf("poll at %s: got %d %q, want %q", a.Node(), a.Status, a.Body, want)
		}
		p.records = append(p.records, rawclient.Records(a.Body)...)
	}
	got := p.records[0]
	p.records = p.records[1:]
	if got != want {
		p.t.Fatalf("next record: got %q, want %q", got, want)
	}
}

// expectMessage is expect for a call of "message" with one number.
func (p *polling) expectMessage(i int) {
	p.t.Helper()
	p.expect(messageRecord(i))
}

func messageRecord(i int) string {
	return fmt.Sprintf(`{"type":1,"target":"message","arguments":[%d]}`, i)
}

func TestFirstPollAnswersAtOnceOnWhicheverNode(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	name := newHub(t)
	for i := range c.nodes {
		n := c.hub(t, name, 0).Connect()
		start := time.Now()
		wantFirstPoll(t, c.hub(t, name, i).Poll(n.Token()))
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("the first poll at %s took %v", c.nodes[i].Name, took)
		}
	}
}

// A proxy whose answer was cut off sends the first poll again, elsewhere: it is still the first. Only after a while: at
// once, an equal mark is the next poll of a client whose clock has not moved on.
func TestRepeatedFirstPollIsStillTheFirst(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	name := newHub(t)
	n := c.hub(t, name, 0).Connect()
	for i := range c.nodes {
		hub := c.hub(t, name, i)
		wantFirstPoll(t, rawclient.Hub(t, hub.With(n.Token())+"&_=1700000000001").Do(http.MethodGet, "", ""))
		time.Sleep(1100 * time.Millisecond)
	}
}

// At once, the same mark is a second poll, and waits: JavaScript's clock has milliseconds, and its client is quicker.
func TestSecondPollWithTheMarkOfTheFirstWaits(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	name := newHub(t)
	n := c.hub(t, name, 0).Connect()
	url := func(i int) string { return c.hub(t, name, i).With(n.Token()) + "&_=1700000000001" }
	wantFirstPoll(t, rawclient.Hub(t, url(0)).Do(http.MethodGet, "", ""))
	answer := make(chan rawclient.Answer, 1)
	go func() {
		a, _ := rawclient.Do(t.Context(), http.MethodGet, url(1), "")
		answer <- a
	}()
	select {
	case a := <-answer:
		t.Fatalf("answered at once with %d %q", a.Status, a.Body)
	case <-time.After(500 * time.Millisecond):
	}
	c.hub(t, name, 2).Post(n.Token(), rawclient.Handshake)
	if a := <-answer; a.Body != rawclient.Accepted {
		t.Errorf("got %d %q, want the handshake's answer", a.Status, a.Body)
	}
}

func TestPollsCarryWholeMessagesTogether(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	hub := newHub(t)
	p := openPolling(t, c, hub)
	b := c.backend(t, hub)
	const n = 5
	want := ""
	for i := range n {
		b.toAll(i)
		want += messageRecord(i) + rawclient.Separator
	}
	a := p.next().Poll(p.token)
	if a.Status != http.StatusOK || a.Body != want {
		t.Fatalf("got %d %q, want 200 %q", a.Status, a.Body, want)
	}
	if got := a.Header.Get("Content-Length"); got != strconv.Itoa(len(want)) {
		t.Errorf("Content-Length %q, want %d", got, len(want))
	}
	if got := a.Header.Get("Content-Type"); got != "application/octet-stream" {
		t.Errorf("Content-Type %q, want application/octet-stream", got)
	}
	wantUncached(t, a)
}

func TestPendingPollIsAnsweredByASendAtAnotherNode(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	hub := newHub(t)
	p := openPolling(t, c, hub)
	b := c.backend(t, hub)
	for i := range 2 * len(c.nodes) {
		poll := p.next().StartPoll(p.token)
		if i%2 == 0 && poll.Answered(50*time.Millisecond) {
			t.Fatal("a poll with nothing to say was answered")
		}
		b.turn = p.turn + 1 // never the node where the poll waits
		b.toAll(i)
		a := poll.Answer(rawclient.Patience)
		if want := messageRecord(i) + rawclient.Separator; a.Status != 200 || a.Body != want {
			t.Fatalf("got %d %q, want %q", a.Status, a.Body, want)
		}
	}
}

// 3,000 messages while the polls go round the nodes and several backends send: none lost, none twice, none early.
func TestPollsOverAllNodesLoseNothing(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	hub := newHub(t)
	p := openPolling(t, c, hub)
	const total, workers = 3_000, 12
	failed := make(chan string, workers)
	for w := range workers {
		go func() {
			for i := w; i < total; i += workers {
				body := fmt.Sprintf(`{"target":"message","arguments":[%d]}`, i)
				var a rawclient.Answer
				var err error
				for try := range 5 { // a machine that is very busy may keep Valkey's answer for too long
					a, err = rawclient.Do(t.Context(), http.MethodPost, c.nodes[(i+try)%3].URL+"/api/hubs/"+hub+"/send", body,
						"Content-Type", "application/json", "Idempotency-Key", fmt.Sprint(hub, i))
					if err != nil || a.Status != http.StatusServiceUnavailable {
						break
					}
				}
				if err != nil || a.Status != http.StatusAccepted {
					failed <- fmt.Sprintf("send %d: %v %d %s", i, err, a.Status, a.Body)
					return
				}
			}
		}()
	}
	next := [workers]int{}
	for w := range next {
		next[w] = w
	}
	for got := 0; got < total; {
		a := p.next().Poll(p.token)
		if a.Status != http.StatusOK {
			t.Fatalf("after %d messages: poll at %s: %d %q", got, a.Node(), a.Status, a.Body)
		}
		for _, record := range rawclient.Records(a.Body) {
			var i int
			if _, err := fmt.Sscanf(record, `{"type":1,"target":"message","arguments":[%d]}`, &i); err != nil {
				t.Fatalf("%q: %v", record, err)
			}
			if i != next[i%workers] {
				t.Fatalf("got message %d of sender %d, want %d", i, i%workers, next[i%workers])
			}
			next[i%workers] += workers
			got++
		}
		select {
		case reason := <-failed:
			t.Fatal(reason)
		default:
		}
	}
}

func TestNewerPollEndsTheOlderAndGetsTheMessages(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	hub := newHub(t)
	b := c.backend(t, hub)
	for newer := range c.nodes { // on the same node, and on others
		p := openPolling(t, c, hub)
		older := p.at(0).StartPoll(p.token)
		if older.Answered(200 * time.Millisecond) {
			t.Fatal("a poll with nothing to say was answered")
		}
		now := p.at(newer).StartPoll(p.token)
		if a := older.Answer(5 * time.Second); a.Status != http.StatusOK || a.Body != "" {
			t.Errorf("the older poll: got %d %q, want an empty 200", a.Status, a.Body)
		}
		b.toConnection(p.id, newer)
		if a := now.Answer(rawclient.Patience); a.Status != http.StatusOK || a.Body != messageRecord(newer)+rawclient.Separator {
			t.Errorf("the newer poll at %s: got %d %q, want the message", c.nodes[newer].Name, a.Status, a.Body)
		}
	}
}

func TestDeleteEndsAPollThatWaitsElsewhere(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	hub := newHub(t)
	for i := range c.nodes {
		p := openPolling(t, c, hub)
		poll := p.at(0).StartPoll(p.token)
		if poll.Answered(200 * time.Millisecond) {
			t.Fatal("a poll with nothing to say was answered")
		}
		deleted := time.Now()
		if a := p.at(i).Delete(p.token); a.Status != http.StatusAccepted || a.Body != "" {
			t.Errorf("DELETE at %s: got %d %q, want an empty 202", c.nodes[i].Name, a.Status, a.Body)
		}
		if a := poll.Answer(5 * time.Second); a.Status != http.StatusNoContent {
			t.Errorf("the poll: got %d %q, want 204", a.Status, a.Body)
		}
		if took := time.Since(deleted); took > 3*time.Second {
			t.Errorf("the poll ended %v after DELETE, want within 3 s", took)
		}
		for j := range c.nodes {
			for request, a := range requestsOf(t, p.at(j), p.token) {
				if a.Status != http.StatusNotFound {
					t.Errorf("%s at %s after DELETE: got %d, want 404", request, c.nodes[j].Name, a.Status)
				}
			}
		}
	}
}

// A client posts its handshake before, or together with, its first poll; Python's does.
func TestHandshakeMayComeBeforeTheFirstPoll(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	name := newHub(t)
	n := c.hub(t, name, 0).Connect()
	if a := c.hub(t, name, 1).Post(n.Token(), rawclient.Handshake); a.Status != http.StatusOK {
		t.Fatalf("handshake: got %d %q", a.Status, a.Body)
	}
	wantFirstPoll(t, c.hub(t, name, 2).Poll(n.Token()))
	p := &polling{t: t, c: c, hub: name, token: n.Token(), id: n.ConnectionID}
	p.expect("{}")
	c.backend(t, name).toAll(1)
	p.expectMessage(1)
}

// With MessagePack an empty answer before the handshake's kills the client, so no poll may give up early.
func TestBinaryPollWaitsForTheHandshake(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	p := startPolling(t, c, newHub(t))
	poll := p.next().StartPoll(p.token)
	if poll.Answered(2 * time.Second) {
		t.Fatal("a poll was answered before the handshake")
	}
	if a := p.next().Post(p.token, rawclient.HandshakeMessagePack); a.Status != http.StatusOK {
		t.Fatalf("handshake: got %d %q", a.Status, a.Body)
	}
	if a := poll.Answer(rawclient.Patience); a.Body != rawclient.Accepted {
		t.Fatalf("got %d %q, want the handshake's answer", a.Status, a.Body)
	}
	c.backend(t, p.hub).send(audience{}, "a", 42)
	if a := p.next().Poll(p.token); a.Body != "\x09\x96\x01\x80\xc0\xa1a\x91\x2a\x90" {
		t.Errorf("got % x, want the invocation in MessagePack", a.Body)
	}
}

// No message that was sent before the handshake's answer reaches the client, and none overtakes it.
func TestHandshakeAnswerComesFirst(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	hub := newHub(t)
	b := c.backend(t, hub)
	for range 5 {
		p := startPolling(t, c, hub)
		b.toAll(1)
		p.next().Post(p.token, rawclient.Handshake)
		b.toAll(2)
		p.expect("{}")
		p.expectMessage(2)
	}
}

func TestPostsAreExecutedInOrderAtWhicheverNodes(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	p := openPolling(t, c, newHub(t))
	const n = 20
	for i := range n {
		body := fmt.Sprintf(`{"type":1,"invocationId":"%d","target":"Nope","arguments":[]}`, i) + rawclient.Separator
		if a := p.next().Post(p.token, body); a.Status != http.StatusOK || a.Body != "" {
			t.Fatalf("POST: got %d %q, want an empty 200", a.Status, a.Body)
		}
	}
	for got := 0; got < n; {
		a := p.next().Poll(p.token)
		if a.Status != http.StatusOK {
			t.Fatalf("poll: %d %q", a.Status, a.Body)
		}
		for _, record := range rawclient.Records(a.Body) {
			wantCompletionError(t, record, strconv.Itoa(got))
			got++
		}
	}
}

// Java starts a POST per message without waiting for the one before: none may be torn.
func TestParallelPostsKeepTheirFraming(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	p := openPolling(t, c, newHub(t))
	const n = 20
	answers := make(chan error, n)
	for i := range n {
		url := p.at(i).With(p.token)
		go func() {
			body := fmt.Sprintf(`{"type":1,"invocationId":"%d","target":"Nope","arguments":["%s"]}`, i, strings.Repeat("x", 2000)) + rawclient.Separator
			a, err := rawclient.Do(t.Context(), http.MethodPost, url, body)
			if err == nil && a.Status != http.StatusOK {
				err = fmt.Errorf("POST: %d %s", a.Status, a.Body)
			}
			answers <- err
		}()
	}
	for range n {
		if err := <-answers; err != nil {
			t.Fatal(err)
		}
	}
	completed := map[string]bool{}
	for len(completed) < n {
		a := p.next().Poll(p.token)
		if a.Status != http.StatusOK {
			t.Fatalf("poll: %d %q", a.Status, a.Body)
		}
		for _, record := range rawclient.Records(a.Body) {
			id := completionError(t, record)
			if completed[id] {
				t.Errorf("invocation %s was completed twice", id)
			}
			completed[id] = true
		}
	}
}

// A POST holds whole messages: since POSTs may overlap, and reach different nodes, parts of one have no order.
func TestPostThatEndsInsideAMessageIsRefused(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	p := openPolling(t, c, newHub(t))
	wantAnswer(t, p.next().Post(p.token, invocation("torn")[:20]), http.StatusBadRequest, "message")
	records := rawclient.Records(p.next().Poll(p.token).Body)
	if len(records) != 1 {
		t.Fatalf("got %q, want a Close message", records)
	}
	wantErrorClose(t, records[0])
}

// A poll that nothing happens for ends by itself, before the proxies' limits and with an empty answer.
func TestPollTimesOutEmptyBelowProxyLimits(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	p := openPolling(t, c, newHub(t))
	start := time.Now()
	a := p.next().Poll(p.token)
	took := time.Since(start)
	if a.Status != http.StatusOK || a.Body != "" || a.Header.Get("Content-Length") != "0" {
		t.Errorf("got %d %q, want an empty 200", a.Status, a.Body)
	}
	if took < 20*time.Second || took > 29*time.Second {
		t.Errorf("the poll took %v, want about 25 s", took)
	}
	c.backend(t, p.hub).toAll(1)
	p.expectMessage(1)
}

// What waits for a client can be looked at, from any node, and looking takes nothing away.
func TestPendingShowsWhatWaits(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	hub := newHub(t)
	p := openPolling(t, c, hub)
	b := c.backend(t, hub)
	b.toConnection(p.id, "first waiting")
	b.toAll("second waiting")
	b.toUser("somebody", "not for it")
	for range c.nodes {
		a := b.pending(p.id)
		if a.Status != http.StatusOK || !strings.HasPrefix(a.Header.Get("Content-Type"), "application/json") {
			t.Fatalf("got %d %s %s", a.Status, a.Header.Get("Content-Type"), a.Body)
		}
		first, second := strings.Index(a.Body, "first waiting"), strings.Index(a.Body, "second waiting")
		if first < 0 || second < first || strings.Contains(a.Body, "not for it") {
			t.Errorf("got %s, want the two messages in order", a.Body)
		}
	}
	p.expect(`{"type":1,"target":"message","arguments":["first waiting"]}`)
	p.expect(`{"type":1,"target":"message","arguments":["second waiting"]}`)
	if a := b.pending("nobody-has-this-id"); a.Status != http.StatusNotFound {
		t.Errorf("pending of an unknown connection: got %d, want 404", a.Status)
	}
}

// Close before the end: a client that breaks the protocol learns why from its poll, and then it is over.
func TestCloseIsDeliveredBeforeTheEnd(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	p := openPolling(t, c, newHub(t))
	p.next().Post(p.token, `{"no":"type"}`+rawclient.Separator)
	a := p.next().Poll(p.token)
	records := rawclient.Records(a.Body)
	if a.Status != http.StatusOK || len(records) != 1 {
		t.Fatalf("got %d %q, want a Close message", a.Status, a.Body)
	}
	wantErrorClose(t, records[0])
	for i := range c.nodes {
		if a := p.at(i).Poll(p.token); a.Status != http.StatusNoContent && a.Status != http.StatusNotFound {
			t.Errorf("poll after Close at %s: got %d %q, want 204 or 404", c.nodes[i].Name, a.Status, a.Body)
		}
	}
}

// A client's Close is a normal end.
func TestClientCloseEndsPolling(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	p := openPolling(t, c, newHub(t))
	poll := p.at(0).StartPoll(p.token)
	if a := p.at(1).Post(p.token, rawclient.Close); a.Status != http.StatusOK {
		t.Errorf("POST of Close: got %d %q, want 200", a.Status, a.Body)
	}
	a := poll.Answer(5 * time.Second)
	for _, record := range rawclient.Records(a.Body) {
		if strings.Contains(record, `"error"`) {
			t.Errorf("a normal end told %q", record)
		}
	}
	if a.Status == http.StatusOK {
		a = p.at(2).Poll(p.token)
	}
	if a.Status != http.StatusNoContent && a.Status != http.StatusNotFound {
		t.Errorf("poll after the client's Close: got %d %q, want 204 or 404", a.Status, a.Body)
	}
}
