package node_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"hubstream/cmd/api/node"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// output is what a node prints, for several goroutines.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
	news chan struct{} // closed, and made anew, with every write
}

func newOutput() *output { return &output{news: make(chan struct{})} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.news)
	o.news = make(chan struct{})
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// running is a node that has said where it is.
type running struct {
	t     testing.TB
	out   *output
	url   string
	stop  context.CancelFunc
	ended chan error
}

func start(t testing.TB, args ...string) *running {
	t.Helper()
	return startLogging(t, io.Discard, args...)
}

// startLogging is start, with somebody who reads the log.
func startLogging(t testing.TB, log io.Writer, args ...string) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	n := &running{t: t, out: newOutput(), stop: cancel, ended: make(chan error, 1)}
	go func() {
		n.ended <- node.Run(ctx, append([]string{"-listen", "127.0.0.1:0", "-drain", "1s"}, args...), none, n.out, log)
	}()
	t.Cleanup(n.wait)
	for n.url == "" {
		n.out.mu.Lock()
		text, news := n.out.text.String(), n.out.news
		n.out.mu.Unlock()
		if _, rest, ok := strings.Cut(text, "listening on "); ok {
			n.url, _, _ = strings.Cut(rest, " ")
			break
		}
		select {
		case <-news:
		case err := <-n.ended:
			t.Fatalf("it ended: %v", err)
		}
	}
	return n
}

// wait ends the node, and fails unless it ends well. It may be called again.
func (n *running) wait() {
	n.t.Helper()
	n.stop()
	select {
	case err := <-n.ended:
		if err != nil {
			n.t.Errorf("Run: %v", err)
		}
		n.ended <- nil
	case <-time.After(30 * time.Second):
		n.t.Error("the node does not end")
	}
}

func (n *running) do(method, path, body string) (status int, text string, header http.Header) {
	n.t.Helper()
	return n.doWith(method, path, body)
}

// doWith makes a request with headers: name, value, name, value.
func (n *running) doWith(method, path, body string, headers ...string) (status int, text string, header http.Header) {
	n.t.Helper()
	r, err := http.NewRequest(method, n.url+path, strings.NewReader(body))
	if err != nil {
		n.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	r.Close = true // no idle connection is left behind
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		n.t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		n.t.Fatal(err)
	}
	return answer.StatusCode, string(b), answer.Header
}

func TestNodesStartServeAndEnd(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"n1", "n2", "n3"} {
		n := start(t, "-node", name)
		for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/nothing": 404} {
			if status, text, header := n.do("GET", path, ""); status != want || header.Get("X-Hubstream-Node") != name {
				t.Errorf("%s: got %d %s from %q", path, status, text, header.Get("X-Hubstream-Node"))
			}
		}
		if status, text, _ := n.do("POST", "/api/hubs/chat/send", `{"target":"hello","arguments":["world"]}`); status != 202 || !strings.HasPrefix(text, `{"position":"`) {
			t.Errorf("send: got %d %s", status, text)
		}
		if status, text, _ := n.do("POST", "/hubs/chat/negotiate?negotiateVersion=1", ""); status != 200 || !strings.Contains(text, "connectionToken") {
			t.Errorf("negotiate: got %d %s", status, text)
		}
	}
}

// Errors are shown by reason, and what came too fast, or is one connection too many, was not too large.
func TestConsoleNamesLimitsAsTheyAre(t *testing.T) {
	t.Parallel()
	n := start(t)
	text := ""
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(text, `"errors":{`); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the node does not report: %s", text)
		}
		_, text, _ = n.do("GET", "/console/history", "")
	}
	for _, limit := range []string{"message", "post", "rate", "connections"} {
		if !strings.Contains(text, `"limited_`+limit+`":0`) || strings.Contains(text, `"too_large_`+limit) {
			t.Errorf("%s: it reports %s", limit, text)
		}
	}
}

// Balancers go on to send new connections to a node until they have seen that it is not ready.
func TestDrainBeginsWhenBalancersHaveNoticed(t *testing.T) {
	t.Parallel()
	const notice = 5 * time.Second
	n := start(t, "-drain", "8s", "-drain-notice", notice.String())
	stream := func() *http.Response {
		answer, err := http.Get(n.url + "/api/hubs/chat/events")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = answer.Body.Close() })
		return answer
	}
	early := stream()
	began := time.Now()
	n.stop()
	for status := 200; status != 503; status, _, _ = n.do("GET", "/readyz", "") {
	}
	late := stream()
	for what, answer := range map[string]*http.Response{"a stream": early, "a stream that comes late": late} {
		_, _ = io.Copy(io.Discard, answer.Body)
		if took := time.Since(began); answer.StatusCode != 200 || took < notice {
			t.Errorf("%s: got %d, and its end after %v; want 200, and %v", what, answer.StatusCode, took, notice)
		}
	}
}

func TestAnnouncementSaysHowToUseTheNode(t *testing.T) {
	t.Parallel()
	n := start(t)
	n.wait()
	lines := strings.Split(strings.TrimSpace(n.out.String()), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], "development mode") || !strings.Contains(lines[0], "log in memory") ||
		!strings.Contains(lines[1], "curl -X POST "+n.url+"/api/hubs/chat/send -H 'Content-Type: application/json' -d '{") {
		t.Errorf("it says:\n%s", strings.Join(lines, "\n"))
	}
}

// A poll that waits is answered, not cut, when the node is asked to end.
func TestEndAnswersWhatWaits(t *testing.T) {
	t.Parallel()
	n := start(t)
	_, text, _ := n.do("POST", "/hubs/chat/negotiate?negotiateVersion=1", "")
	_, token, _ := strings.Cut(text, `"connectionToken":"`)
	token, _, _ = strings.Cut(token, `"`)
	if status, text, _ := n.do("GET", "/hubs/chat?id="+token, ""); status != 200 {
		t.Fatalf("first poll: got %d %s", status, text)
	}
	if status, text, _ := n.do("POST", "/hubs/chat?id="+token, `{"protocol":"json","version":1}`+"\x1e"); status != 200 {
		t.Fatalf("handshake: got %d %s", status, text)
	}
	if status, text, _ := n.do("GET", "/hubs/chat?id="+token, ""); status != 200 || text != "{}\x1e" {
		t.Fatalf("poll: got %d %q", status, text)
	}
	answered := make(chan int, 1)
	go func() {
		status, _, _ := n.do("GET", "/hubs/chat?id="+token, "")
		answered <- status
	}()
	select {
	case status := <-answered:
		t.Fatalf("a poll with nothing to say: got %d", status)
	case <-time.After(100 * time.Millisecond):
	}
	n.wait()
	if status := <-answered; status != 200 {
		t.Errorf("got %d, want 200", status)
	}
}

func TestAddressInUseEndsTheStart(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	err = node.Run(t.Context(), []string{"-listen", taken.Addr().String()}, none, io.Discard, io.Discard)
	checkError(t, err, "-listen", taken.Addr().String())
}

func TestUnusableValkeyAddressEndsTheStart(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"no port", "ftp://u:hunter2@h:1", "valkey://u:hunter2@:no"} {
		err := node.Run(t.Context(), []string{"-listen", "127.0.0.1:0", "-valkey", address}, none, io.Discard, io.Discard)
		checkError(t, err, "-valkey", "address")
	}
}

// A node whose store cannot be reached lives, is not ready, says so, and ends when it is asked to.
func TestNodeWithoutItsStoreLives(t *testing.T) {
	t.Parallel()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	log := newOutput()
	n := startLogging(t, log, "-valkey", "valkey://u:hunter2@"+closed.Addr().String())
	if text := n.out.String(); !strings.Contains(text, "Valkey at "+closed.Addr().String()) || strings.Contains(text, "hunter2") {
		t.Errorf("it says: %s", text)
	}
	if status, _, _ := n.do("GET", "/healthz", ""); status != 200 {
		t.Errorf("healthz: got %d", status)
	}
	if status, text, _ := n.do("GET", "/readyz", ""); status != 503 || !strings.Contains(text, "connection refused") || strings.Contains(text, closed.Addr().String()) {
		t.Errorf("readyz: got %d %s", status, text)
	}
	if text := log.String(); strings.Count(text, "waiting for the store") != 1 || !strings.Contains(text, "connection refused") || strings.Contains(text, "hunter2") {
		t.Errorf("it logs: %s", text)
	}
	if status, _, header := n.do("POST", "/api/hubs/chat/send", `{"target":"m"}`); status != 503 || header.Get("Retry-After") != "1" {
		t.Errorf("send: got %d %v", status, header)
	}
}

// Behind a proxy whose server is away each attempt has a connection of its own, with another port, which is cut.
func TestTheSameReasonToWaitIsLoggedOnce(t *testing.T) {
	t.Parallel()
	proxy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	const attempts = 12
	tried := make(chan struct{})
	go func() {
		for i := 1; ; i++ {
			conn, err := proxy.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 1))
			_ = conn.(*net.TCPConn).SetLinger(0)
			conn.Close()
			if i == attempts {
				close(tried)
			}
		}
	}()
	log := newOutput()
	n := startLogging(t, log, "-valkey", proxy.Addr().String())
	<-tried
	n.wait()
	// By then a read has failed, perhaps a write, and the end of the attempts.
	if text := log.String(); strings.Count(text, "waiting for the store") > 4 || !strings.Contains(text, "waiting for the store") {
		t.Errorf("of %d attempts it logs: %s", attempts, text)
	}
}

// What is said of a certificate that has expired has the time in it, which is another every second.
func TestThatACertificateHasExpiredIsLoggedOnce(t *testing.T) {
	t.Parallel()
	server, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{expired(t)}})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	seconds := make(chan struct{}) // closed when attempts have been made in several
	go func() {
		var first time.Time
		for told := false; ; {
			conn, err := server.Accept()
			if err != nil {
				return
			}
			_ = conn.(*tls.Conn).Handshake()
			conn.Close()
			if first.IsZero() {
				first = time.Now()
			}
			if !told && time.Since(first) > 2500*time.Millisecond {
				told = true
				close(seconds)
			}
		}
	}()
	log := newOutput()
	n := startLogging(t, log, "-valkey", "valkeys://"+server.Addr().String())
	<-seconds
	n.wait()
	if text := log.String(); strings.Count(text, "certificate has expired") != 1 {
		t.Errorf("it logs: %s", text)
	}
}

// expired makes a certificate that was valid until yesterday.
func expired(t *testing.T) tls.Certificate {
	t.Helper()
	now := time.Now()
	key, der := newAuthority(t).issue(&x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: now.AddDate(0, 0, -2), NotAfter: now.AddDate(0, 0, -1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	})
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// freeAddress is an address that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
