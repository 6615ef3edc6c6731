package transports_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"hubstream/transports"
)

func newWhole(t testing.TB) (net.Listener, func() net.Conn) {
	l, dial := newLoopback(t)
	return transports.WholeAnswers(l, time.Minute), dial
}

// An answer that is larger than net/http's buffer is there as a whole once any of it is.
func TestAnswerToAPollIsOnePiece(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, newWhole)
	k := c.openPolling(handshakeJSON)
	conn := c.nodes[0].dial()
	defer conn.Close()
	message := fmt.Sprintf(`{"type":1,"target":"m","arguments":["%s"]}`+"\x1e", strings.Repeat("x", 9<<10))
	buf := make([]byte, 64<<10)
	for n := range 100 {
		c.publishBody(0, message)
		fmt.Fprintf(conn, "GET /%s?id=%s&_=%d HTTP/1.1\r\nHost: node\r\n\r\n", hubName, k.token, 10+n)
		size, err := conn.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(buf, []byte("HTTP/1.1 200 OK\r\n")) || !bytes.HasSuffix(buf[:size], []byte("\r\n\r\n"+message)) {
			t.Fatalf("answer %d came in pieces: the first has %d bytes", n, size)
		}
	}
}

// What is too large to be held back comes as it is written, and so do the other transports' bytes.
func TestWhatIsNotHeldBack(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, newWhole)
	k := c.openPolling(handshakeJSON)
	e := c.negotiate().openEvents(0).shakesHands(0)
	s := c.negotiate().openSocket(0, handshakeJSON)
	large := fmt.Sprintf(`{"type":1,"target":"m","arguments":["%s"]}`+"\x1e", strings.Repeat("x", 300<<10))
	c.publishBody(0, large)
	c.publish(0, 1)
	k.poll(0, "10").expect(200, large)
	k.poll(0, "11").expect(200, invocation(1))
	s.expect(large + invocation(1))
	e.expectEvents(large + invocation(1))
}

// A connection that is not TCP's, or of another http.Server, answers as it did.
func TestAnswersWithoutWholeConnections(t *testing.T) {
	t.Parallel()
	l, dial := newPipes(t)
	server := &http.Server{ConnContext: transports.ConnContext, Handler: http.NotFoundHandler()}
	go server.Serve(transports.WholeAnswers(l, time.Minute))
	defer server.Close()
	conn := dial()
	defer conn.Close()
	go io.WriteString(conn, "GET / HTTP/1.1\r\nHost: node\r\n\r\n")
	if b, err := io.ReadAll(io.LimitReader(conn, 12)); err != nil || string(b) != "HTTP/1.1 404" {
		t.Errorf("got %q, %v", b, err)
	}
}

// unread has a client ask again and again that reads nothing, and returns when the server gives it up.
func unread(t *testing.T, handler http.HandlerFunc) {
	t.Helper()
	l, dial := newLoopback(t)
	server := &http.Server{ConnContext: transports.ConnContext, Handler: handler}
	go server.Serve(transports.WholeAnswers(l, 100*time.Millisecond))
	defer server.Close()
	conn := dial()
	defer conn.Close()
	_ = conn.SetWriteDeadline(time.Now().Add(time.Minute))
	ask := []byte(strings.Repeat("GET / HTTP/1.1\r\nHost: node\r\n\r\n", 100))
	for {
		_, err := conn.Write(ask)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("the connection is held for a client that does not read")
		}
		if err != nil {
			return
		}
	}
}

// large is more than sockets hold.
var large = bytes.Repeat([]byte("x"), 16<<20)

func answerLarge(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(large) }

func answerFile(w http.ResponseWriter, r *http.Request) {
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(large))
}

// What a connection's socket holds is memory of the node's machine: megabytes, for whoever reaches it.
func TestAClientThatDoesNotReadItsAnswersIsGivenUp(t *testing.T) {
	t.Parallel()
	for name, handler := range map[string]http.HandlerFunc{"small": http.NotFound, "large": answerLarge, "file": answerFile} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			unread(t, handler)
		})
	}
}

// A client that reads, be it slowly, gets all of an answer.
func TestALargeAnswerMayTakeItsTime(t *testing.T) {
	t.Parallel()
	for name, handler := range map[string]http.HandlerFunc{"large": answerLarge, "file": answerFile} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, dial := newLoopback(t)
			server := &http.Server{ConnContext: transports.ConnContext, Handler: handler}
			go server.Serve(transports.WholeAnswers(l, time.Second))
			defer server.Close()
			conn := dial()
			defer conn.Close()
			_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")
			got := 0
			for buf := make([]byte, 256<<10); ; time.Sleep(100 * time.Millisecond) {
				n, err := conn.Read(buf)
				if got += n; err != nil {
					break
				}
			}
			if got < len(large) {
				t.Errorf("%d bytes of %d", got, len(large))
			}
		})
	}
}
