package transports_test

import (
	"bufio"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"
	"weak"

	"hubstream/negotiate/access"
	"hubstream/streams"
)

// TestIdleEventStreamKeepsNothingOfItsRequest: the request's handler returns at once, and with it go net/http's
// buffers and the request; the stream goes on.
func TestIdleEventStreamKeepsNothingOfItsRequest(t *testing.T) {
	for _, query := range []string{"?id=", "?plain=1"} {
		c := newCluster(t, 1)
		k := c.negotiate()
		if strings.HasSuffix(query, "=") {
			query += k.token
		}
		wrote := make(chan string, 100)
		s := &sink{closed: make(chan struct{}), write: func(b []byte) { wrote <- string(b) }}
		t.Cleanup(func() { _ = s.Close() })
		r := httptest.NewRequest(http.MethodGet, "/"+hubName+query, nil)
		r.Header.Set("Accept", "text/event-stream")
		served := make(chan struct{})
		go func() {
			c.nodes[0].http.Handler.ServeHTTP(&hijacked{httptest.NewRecorder(), s}, r)
			close(served)
		}()
		select {
		case <-served:
		case <-time.After(soon):
			t.Fatalf("%s: the handler is there as long as the stream", query)
		}
		if strings.HasPrefix(query, "?id=") {
			k.post(0, handshakeJSON)
		}
		c.publish(0, 1)
		for all := ""; !strings.Contains(all, strings.TrimSuffix(invocation(1), "\x1e")); {
			select {
			case b := <-wrote:
				all += b
			case <-time.After(soon):
				t.Fatalf("%s: the message has not come, but %q", query, all)
			}
		}
	}
}

// What a plain stream follows is named in its address, which is as long as its token.
func TestIdlePlainStreamKeepsNothingOfItsAddress(t *testing.T) {
	c := newCluster(t, 1)
	s := &sink{closed: make(chan struct{}), write: func([]byte) {}}
	t.Cleanup(func() { _ = s.Close() })
	open := func() weak.Pointer[byte] {
		address := strings.Repeat("x", 64<<10)
		r := httptest.NewRequest(http.MethodGet, "/"+hubName, nil)
		c.nodes[0].server.ServePlain(&hijacked{httptest.NewRecorder(), s}, r, hubName, streams.Audience{Groups: []string{address[:1]}, User: address[1:2]}, access.Identity{}, nil)
		return weak.Make(unsafe.StringData(address))
	}
	for address, tries := open(), 0; address.Value() != nil; tries++ {
		if tries == 20 {
			t.Fatal("the address is there as long as the stream")
		}
		runtime.GC()
	}
}

// Balancers that speak HTTP/1.0 to the nodes, as nginx did by default, know no chunks: the stream ends with the connection.
func TestEventStreamOverHTTP10(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1)
		k := c.negotiate()
		conn := c.nodes[0].dial()
		defer conn.Close()
		go io.WriteString(conn, "GET /"+hubName+"?id="+k.token+" HTTP/1.0\r\nHost: node\r\nAccept: text/event-stream\r\n\r\n")
		r := bufio.NewReader(conn)
		response, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if response.StatusCode != 200 || len(response.TransferEncoding) > 0 || !response.Close || response.Header.Get("Date") == "" {
			t.Errorf("got %+v, want 200 without chunks, ended by the connection's end", response)
		}
		e := &events{connection: k, conn: conn, head: response.Header, in: make(chan string, 1<<16)}
		go e.receive(response.Body)
		e.expect(":\r\n")
		e.shakesHands(0)
		c.publish(0, 1)
		e.expectEvents(invocation(1))
		c.drain(0)
		e.expectEvents(`{"type":7,"allowReconnect":true}` + "\x1e")
		e.expectEnd()
	})
}

// Without a connection to take over (HTTP/2) there is no event stream, and no connection stays behind.
func TestEventStreamNeedsTheConnection(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1)
		k := c.negotiate()
		for _, query := range []string{"?id=" + k.token, "?plain=1"} {
			w := httptest.NewRecorder()
			r := httptest.NewRequest(http.MethodGet, "/"+hubName+query, nil)
			r.Header.Set("Accept", "text/event-stream")
			c.nodes[0].http.Handler.ServeHTTP(w, r)
			if w.Code != http.StatusNotFound {
				t.Errorf("%s: got %d, want 404", query, w.Code)
			}
		}
		k.wantRecord(false)
	})
}
