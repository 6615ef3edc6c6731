package node_test

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hubstream/cmd/api/node"
)

// pipes is a listener whose connections are within the process, where time is fake.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if c, ok := <-p; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// ask sends the beginning of a request, and returns its answer's status and body when the server has closed the connection.
func ask(t *testing.T, handler http.HandlerFunc, request string) (status int, body string) {
	t.Helper()
	connections := make(pipes)
	server := node.NewServer(context.Background(), handler, slog.New(slog.DiscardHandler))
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(connections) }()
	defer func() { <-ended }()
	defer close(connections)
	ours, its := net.Pipe()
	defer ours.Close()
	connections <- its
	_ = ours.SetDeadline(time.Now().Add(10 * time.Minute))
	if _, err := io.WriteString(ours, request); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(ours), nil)
	if err != nil {
		t.Fatalf("there is no answer: %v", err)
	}
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatalf("the answer does not end: %v", err)
	}
	return answer.StatusCode, string(text)
}

// Whoever reaches the node may send the beginning of a request: a refusal must not wait for the rest for ever.
func TestARefusalDoesNotWaitForABodyThatDoesNotCome(t *testing.T) {
	t.Parallel()
	for name, framing := range map[string]string{"counted": "Content-Length: 10", "chunked": "Transfer-Encoding: chunked"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				status, _ := ask(t, http.NotFound, "POST /hubs/chat/negotiate HTTP/1.1\r\nHost: h\r\n"+framing+"\r\n\r\n")
				if took := time.Since(began); status != http.StatusNotFound || took > time.Minute {
					t.Errorf("%d after %v", status, took)
				}
			})
		})
	}
}

// Polls and calls of clients' methods are held far longer than a request may take to come.
func TestARequestThatIsThereMayBeHeld(t *testing.T) {
	t.Parallel()
	held := func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		select {
		case <-time.After(3 * time.Minute):
		case <-r.Context().Done():
			w.WriteHeader(http.StatusInternalServerError)
		}
		_, _ = w.Write(body)
	}
	for name, request := range map[string]string{
		"without a body": "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
		"with a body":    "POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				_, sent, _ := strings.Cut(request, "\r\n\r\n")
				if status, body := ask(t, held, request); status != http.StatusOK || body != sent {
					t.Errorf("%d %q", status, body)
				}
			})
		})
	}
}
