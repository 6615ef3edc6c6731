package integration_test

import (
	"net/http"
	"strings"
	"testing"

	"hubstream/integration/internal/jsclient"
	"hubstream/integration/internal/rawclient"
)

// An independent client reads our event streams, large events included.
func TestR3labsClientReadsTheEventStream(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	name := newHub(t)
	events, n := c.hub(t, name, 0).OpenEvents()
	b := c.backend(t, name)
	b.join("g", n.ConnectionID)
	large := strings.Repeat("large ", 20_000)
	b.toGroup("g", "to a group")
	b.toAll(large)
	b.toConnection(n.ConnectionID, "last")
	for _, text := range []string{"to a group", large, "last"} {
		events.Expect(`{"type":1,"target":"message","arguments":["` + text + `"]}`)
	}
}

// A POST may reach any node; what it causes leaves on the stream, wherever that is.
func TestPostAtAnotherNodeIsAnsweredOnTheStream(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	name := newHub(t)
	n := c.hub(t, name, 0).Connect()
	events := c.hub(t, name, 1).Events(n.Token())
	if a := c.hub(t, name, 2).Post(n.Token(), rawclient.Handshake); a.Status != http.StatusOK || a.Body != "" {
		t.Fatalf("handshake: got %d %q, want an empty 200", a.Status, a.Body)
	}
	events.Expect("{}")
	for i, id := range []string{"0", "1", "2", "3", "4", "5"} {
		if a := c.hub(t, name, i).Post(n.Token(), invocation(id)); a.Status != http.StatusOK {
			t.Fatalf("POST: got %d %q", a.Status, a.Body)
		}
	}
	for _, id := range []string{"0", "1", "2", "3", "4", "5"} {
		wantCompletionError(t, events.Next(), id)
	}
}

// Old .NET clients take CRLF, "data: " lines and comments, and nothing else.
func TestEventStreamBytes(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	name := newHub(t)
	n := c.hub(t, name, 0).Connect()
	raw := c.hub(t, name, 1).RawEvents(n.Token())
	if raw.Status != http.StatusOK {
		t.Fatalf("got %d", raw.Status)
	}
	for header, want := range map[string]string{
		"Content-Type": "text/event-stream", "Content-Encoding": "identity", "X-Accel-Buffering": "no", "Pragma": "no-cache",
	} {
		if got := raw.Header.Get(header); got != want {
			t.Errorf("%s: got %q, want %q", header, got, want)
		}
	}
	if got := raw.Header.Get("Cache-Control"); !strings.Contains(got, "no-cache") {
		t.Errorf("Cache-Control: got %q, want no-cache", got)
	}
	t.Log("the first bytes come at once, before the handshake")
	raw.ExpectBytes(":\r\n")
	c.hub(t, name, 2).Post(n.Token(), rawclient.Handshake)
	raw.ExpectBytes("data: {}\x1e\r\n\r\n")
	b := c.backend(t, name)
	b.toAll("line\nfeed")
	raw.ExpectBytes(`data: {"type":1,"target":"message","arguments":["line\nfeed"]}` + "\x1e\r\n\r\n")
	for range 20 {
		b.toAll("x")
	}
	for got := 0; got < 20; {
		event := raw.NextEvent()
		data, ok := strings.CutPrefix(event, "data: ")
		data, whole := strings.CutSuffix(data, "\x1e\r\n\r\n")
		if !ok || !whole || strings.ContainsAny(data, "\r\n") {
			t.Fatalf("event %q: want one data line of whole messages, ended by CRLF CRLF", event)
		}
		got += len(rawclient.Records(data))
	}
}

func TestEventStreamRefusesMessagePackInTheHandshake(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	name := newHub(t)
	n := c.hub(t, name, 0).Connect()
	events := c.hub(t, name, 0).Events(n.Token())
	if a := c.hub(t, name, 1).Post(n.Token(), rawclient.HandshakeMessagePack); a.Status != http.StatusOK {
		t.Fatalf("POST: got %d %q", a.Status, a.Body)
	}
	want := `"error":"Cannot use the 'messagepack' protocol on the current transport. The transport does not support 'Binary' transfer format."`
	if got := strings.ReplaceAll(events.Next(), `\u0027`, `'`); !strings.Contains(got, want) {
		t.Errorf("got %s, want %s", got, want)
	}
	events.ExpectEnd(rawclient.Patience)
}

// The JavaScript client aborts its stream and posts a Close; the connection is then gone everywhere.
func TestStoppedEventStreamClientIsGone(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	name := newHub(t)
	conn := sharedJS(t).Open(t, jsclient.Options{URL: c.haproxy(t) + "/hubs/" + name, Transport: jsclient.ServerSentEvents})
	if err := conn.Stop(); err != nil {
		t.Fatal(err)
	}
	if e := conn.Event("closed"); e.Error != "" {
		t.Errorf("closed with %q", e.Error)
	}
	token := conn.Token
	awaitGone(t, c, name, rawclient.Negotiated{ConnectionToken: &token})
}

// Node's EventSource asks again and again after a 5xx, and never after a 404.
func TestAbandonedEventStreamIsNotFound(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	name := newHub(t)
	events, n := c.hub(t, name, 0).OpenEvents()
	events.Cancel()
	awaitGone(t, c, name, n)
	if _, status, _ := c.hub(t, name, 1).TryEvents(n.Token()); status != http.StatusNotFound {
		t.Errorf("got %d, want 404", status)
	}
}
