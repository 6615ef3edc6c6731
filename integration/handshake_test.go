package integration_test

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"hubstream/integration/internal/jsclient"
	"hubstream/integration/internal/nodes"
	"hubstream/integration/internal/rawclient"
	"hubstream/integration/internal/relay"
	"hubstream/integration/valkeytest"
)

func TestHandshakeVersionsUpToTwoAreAccepted(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	hub := c.hub(t, newHub(t), 0)
	for version := range 3 {
		w := hub.WebSocket(hub.Connect().Token())
		w.SendText(`{"version":` + strconv.Itoa(version) + `,"more":[],"protocol":"json"}` + rawclient.Separator)
		w.ExpectText(rawclient.Accepted)
	}
}

// badHandshakes maps what a client says to words of the error it gets.
var badHandshakes = map[string][]string{
	`{"protocol":"json","version":7}`:        {"The server does not support version 7 of the 'json' protocol."},
	`{"protocol":"json","version":3}`:        {"The server does not support version 3 of the 'json' protocol."},
	`{"protocol":"protobuf","version":1}`:    {"The protocol 'protobuf' is not supported."},
	`{"version":1}`:                          {"protocol"},
	`{"protocol":"json"}`:                    {"version"},
	`{"protocol":1,"version":1}`:             {"protocol"},
	`not JSON`:                               {"An unexpected error occurred during connection handshake."},
	`[]`:                                     {"An unexpected error occurred during connection handshake."},
	`{"type":1,"target":"x","arguments":[]}`: {"protocol"},
}

func wantHandshakeError(t *testing.T, record string, words ...string) {
	t.Helper()
	record = strings.ReplaceAll(record, `\u0027`, `'`)
	if !strings.HasPrefix(record, `{"error":"`) || strings.Contains(record, `"type"`) {
		t.Errorf("got %q, want a handshake error", record)
	}
	for _, word := range words {
		if !strings.Contains(record, word) {
			t.Errorf("got %q, want it to say %q", record, word)
		}
	}
}

func TestBadHandshakeIsAnsweredAndTheEnd(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	name := newHub(t)
	for request, words := range badHandshakes {
		t.Run("over WebSockets "+request, func(t *testing.T) {
			t.Parallel()
			hub := c.hub(t, name, 0)
			n := hub.Connect()
			w := hub.WebSocket(n.Token())
			w.SendText(request + rawclient.Separator)
			records, _ := w.ExpectClosed(5 * time.Second)
			if len(records) != 1 {
				t.Fatalf("got %q, want one error", records)
			}
			wantHandshakeError(t, records[0], words...)
			awaitGone(t, c, name, n)
		})
		t.Run("over long polling "+request, func(t *testing.T) {
			t.Parallel()
			p := startPolling(t, c, name)
			p.next().Post(p.token, request+rawclient.Separator)
			records := rawclient.Records(p.next().Poll(p.token).Body)
			if len(records) != 1 {
				t.Fatalf("got %q, want one error", records)
			}
			wantHandshakeError(t, records[0], words...)
			if a := p.next().Poll(p.token); a.Status != http.StatusNoContent && a.Status != http.StatusNotFound {
				t.Errorf("then: got %d %q, want 204 or 404", a.Status, a.Body)
			}
		})
	}
}

// handshakeTimeout is the reference's.
const handshakeTimeout = 15 * time.Second

func TestHandshakeThatNeverComesEndsTheConnection(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	name := newHub(t)
	t.Run("over WebSockets", func(t *testing.T) {
		t.Parallel()
		hub := c.hub(t, name, 0)
		w := hub.WebSocket(hub.Connect().Token())
		w.SendText(rawclient.Handshake[:10]) // a beginning is not a handshake
		start := time.Now()
		records, _ := w.ExpectClosed(2 * handshakeTimeout)
		if took := time.Since(start); took < handshakeTimeout-2*time.Second {
			t.Errorf("closed after %v, want %v", took, handshakeTimeout)
		}
		if len(records) != 1 {
			t.Fatalf("got %q, want one error", records)
		}
		wantHandshakeError(t, records[0], "Handshake was canceled.")
	})
	t.Run("over an event stream", func(t *testing.T) {
		t.Parallel()
		hub := c.hub(t, name, 1)
		n := hub.Connect()
		records := hub.Events(n.Token()).ExpectEnd(2 * handshakeTimeout)
		if len(records) != 1 {
			t.Fatalf("got %q, want one error", records)
		}
		wantHandshakeError(t, records[0], "Handshake was canceled.")
		awaitGone(t, c, name, n)
	})
	t.Run("over long polling", func(t *testing.T) {
		t.Parallel()
		p := startPolling(t, c, name)
		end := time.Now().Add(4 * handshakeTimeout)
		for {
			a := p.next().StartPoll(p.token).Answer(2 * handshakeTimeout)
			if a.Status == http.StatusOK && a.Body != "" {
				wantHandshakeError(t, strings.TrimSuffix(a.Body, rawclient.Separator), "Handshake was canceled.")
			}
			if a.Status == http.StatusNoContent || a.Status == http.StatusNotFound {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("still %d after %v", a.Status, 4*handshakeTimeout)
			}
		}
	})
}

func TestHandshakeLargerThanAMessageMayBeIsRefused(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	hub := c.hub(t, newHub(t), 0)
	w := hub.WebSocket(hub.Connect().Token())
	w.SendText(`{"protocol":"json","version":1,"padding":"` + strings.Repeat("x", messageLimit) + `"}` + rawclient.Separator)
	records, _ := w.ExpectClosed(10 * time.Second)
	if len(records) != 1 {
		t.Fatalf("got %q, want one error", records)
	}
	wantHandshakeError(t, records[0])
}

// What reaches a script together with the handshake's answer, because both were held up on the way, it does not count. It must
// not be sent anything that counts by then, or it takes that twice when it comes back.
func TestMessagesThatArriveWithTheHandshakesAnswerComeOnce(t *testing.T) {
	t.Parallel()
	asked, allowed := make(chan struct{}), make(chan struct{})
	app := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-ASRS-Event") == "connected" {
			close(asked)
			<-allowed
		}
	}))
	t.Cleanup(app.Close)
	n := nodes.Start(t, nodes.Options{
		Name: "n1", Valkey: valkeytest.Shared(t).Addr, Args: []string{"-upstream", app.URL + "/{hub}/{category}/{event}", "-upstream-authorize"},
	})
	way, hub := relay.Start(t, n.Addr), newHub(t)
	opened := make(chan *jsclient.Conn, 1)
	go func() {
		conn, err := sharedJS(t).TryOpen(t, jsclient.Options{
			URL: "http://" + way.Addr + "/hubs/" + hub, Transport: jsclient.WebSockets, Protocol: jsclient.JSON, Stateful: true,
		})
		if err != nil {
			t.Error(err)
		}
		opened <- conn
	}()
	<-asked // the handshake is with the node
	way.Hold()
	close(allowed)
	b := (&cluster{[]*nodes.Node{n}}).backend(t, hub)
	const total = 15 // for longer than a second, and on a busy machine not for the 10 s that a client without pings waits
	for i := range total {
		b.toAll(i)
		time.Sleep(100 * time.Millisecond)
	}
	way.Release()
	conn := <-opened
	if conn == nil {
		return
	}
	b.toAll(total)
	last := -1
	for dropped := false; last < total+1; {
		got := number(t, conn.Next())
		if got <= last || last >= 0 && got != last+1 {
			t.Fatalf("got message %d after %d", got, last)
		}
		if last = got; last == total && !dropped {
			dropped = true
			if err := conn.Drop(); err != nil {
				t.Fatal(err)
			}
			b.toAll(total + 1)
		}
	}
	if events := conn.Events(); len(events) > 0 {
		t.Errorf("the client noticed: %v", events)
	}
}
