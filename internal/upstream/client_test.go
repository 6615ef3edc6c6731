package upstream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"hubstream/internal/upstream"
)

// The access keys and the connection of the reference's vector.
const (
	key1 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789ABCDEFGH"
	key2 = "HGFEDCBA9876543210ZYXWVUTSRQPONMLKJIHGFEDCBA"

	signature = "sha256=cf66552662ae57473be0b61efb4b706e91094549fc783ea68e15670d7f5e5790," +
		"sha256=a784c6dbbfe4e3e638e3fd9a0588c1c087d689c0d87d560ae8cf3a679fa008e0"
)

func TestSignatureIsAzures(t *testing.T) {
	t.Parallel()
	if got := upstream.Signature([]string{key1, key2}, "9f1c2d3e4b5a"); got != signature {
		t.Errorf("got %s", got)
	}
}

// server answers as the handler says, and gives a client for it.
func server(t testing.TB, handler http.HandlerFunc, change ...func(*upstream.Config)) *upstream.Client {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return client(t, s.URL, change...)
}

func client(t testing.TB, address string, change ...func(*upstream.Config)) *upstream.Client {
	t.Helper()
	cfg := upstream.Config{
		Rules: []upstream.Rule{{Template: template(t, address+"/{hub}/{event}"), Categories: upstream.Pattern{"messages", "connections"}}},
		Keys:  func() []string { return []string{key1, key2} },
	}
	for _, f := range change {
		f(&cfg)
	}
	c := upstream.New(cfg)
	t.Cleanup(c.Close)
	return c
}

func request() *upstream.Request {
	return &upstream.Request{
		Hub: "chat", Category: "messages", Event: "Send", ConnectionID: "9f1c2d3e4b5a", User: "ann",
		Claims: []upstream.Claim{{Type: "role", Value: "admin"}, {Type: "role", Value: "a\r\nb"}}, Query: "foo=bar", Key: "9f1c2d3e4b5a:2",
		ContentType: "application/json", Body: []byte(`{"type":1}`),
	}
}

func wantError(t testing.TB, err error, outcome upstream.Outcome, text string) {
	t.Helper()
	var e *upstream.Error
	if !errors.As(err, &e) || e.Outcome != outcome || !strings.Contains(err.Error(), text) {
		t.Errorf("got %v (%+v), want %s: %q", err, e, outcome, text)
	}
}

func TestARequestIsAzures(t *testing.T) {
	t.Parallel()
	c := server(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		for name, want := range map[string]string{
			"X-ASRS-Connection-Id": "9f1c2d3e4b5a", "X-ASRS-Hub": "chat", "X-ASRS-Category": "messages", "X-ASRS-Event": "Send",
			"X-ASRS-User-Id": "ann", "X-ASRS-User-Claims": "role: admin, role: a%0D%0Ab", "X-ASRS-Client-Query": "?foo=bar",
			"X-ASRS-Signature": signature, "Content-Type": "application/json", "Idempotency-Key": "9f1c2d3e4b5a:2",
		} {
			if got := r.Header[http.CanonicalHeaderKey(name)]; len(got) != 1 || got[0] != want {
				t.Errorf("%s: got %q, want %q", name, got, want)
			}
		}
		if r.Method != "POST" || r.URL.Path != "/chat/Send" || string(body) != `{"type":1}` {
			t.Errorf("%s %s %s", r.Method, r.URL, body)
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, "answer")
	})
	answer, err := c.Call(t.Context(), request())
	if err != nil || answer.Status != 200 || string(answer.Body) != "answer" || answer.ContentType != "application/json" {
		t.Errorf("got %+v %v", answer, err)
	}
	anonymous := request()
	anonymous.User, anonymous.Event, anonymous.Claims, anonymous.Query = "", "Größe", nil, ""
	c = server(t, func(w http.ResponseWriter, r *http.Request) {
		for _, name := range []string{"X-Asrs-User-Id", "X-Asrs-User-Claims", "X-Asrs-Client-Query"} {
			if r.Header[name] != nil {
				t.Errorf("%s: %q", name, r.Header[name])
			}
		}
		if got := r.Header.Get("X-ASRS-Event"); got != "Gr%C3%B6%C3%9Fe" || r.URL.Path != "/chat/Größe" {
			t.Errorf("event %q at %s", got, r.URL)
		}
	})
	if _, err := c.Call(t.Context(), anonymous); err != nil {
		t.Error(err)
	}
}

// What a client chooses of its name and its claims must not be taken for another's name, or for more claims.
func TestWhatAClientSaysIsNotMistaken(t *testing.T) {
	t.Parallel()
	r := request()
	r.User, r.Query = "%61nn", "at=50%25"
	r.Claims = []upstream.Claim{{Type: "name", Value: "eve, role: admin"}, {Type: "name: x", Value: "100%,role: admin"}, {Type: "url:name", Value: "a b: c"}}
	c := server(t, func(_ http.ResponseWriter, r *http.Request) {
		for name, want := range map[string]string{
			"X-ASRS-User-Id": "%2561nn", "X-ASRS-Client-Query": "?at=50%25",
			"X-ASRS-User-Claims": "name: eve%2C%20role:%20admin, name:%20x: 100%25%2Crole:%20admin, url:name: a b: c",
		} {
			if got := r.Header.Get(name); got != want {
				t.Errorf("%s: got %q, want %q", name, got, want)
			}
		}
	})
	if _, err := c.Call(t.Context(), r); err != nil {
		t.Error(err)
	}
}

func TestAnUpstreamThatMisbehaves(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		outcome upstream.Outcome
		text    string
	}{
		"slow": {func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-r.Context().Done():
			case <-time.After(5 * time.Second):
			}
		}, upstream.TimedOut, "did not answer within 200ms"},
		"closes early": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "begin")
			panic(http.ErrAbortHandler)
		}, upstream.Failed, "cut off"},
		"closes at once": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, upstream.Failed, "could not be reached"},
		"huge": {func(w http.ResponseWriter, r *http.Request) {
			for range 100 {
				_, _ = w.Write(make([]byte, 64<<10))
			}
		}, upstream.TooLarge, "response too large"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := server(t, test.handler, func(c *upstream.Config) {
				if test.outcome == upstream.TimedOut {
					c.Timeout = 200 * time.Millisecond
				}
			})
			_, err := c.Call(t.Context(), request())
			wantError(t, err, test.outcome, test.text)
			if n := c.Counts(); n.Calls["messages"][test.outcome] != 1 || n.Running != 0 {
				t.Errorf("counted: %+v", n)
			}
		})
	}
}

// An upstream that goes over to another protocol may keep the connection open for ever, and no deadline of the request ends that.
func TestAnUpstreamThatSwitchesProtocols(t *testing.T) {
	t.Parallel()
	c := server(t, func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
		_, _ = io.Copy(io.Discard, conn) // until the other side closes it
	}, func(c *upstream.Config) { c.Timeout = 5 * time.Second })
	answer, err := c.Call(t.Context(), request())
	if err != nil || answer.Status != http.StatusSwitchingProtocols || len(answer.Body) > 0 {
		t.Errorf("got %+v %v", answer, err)
	}
	s, err := c.Stream(t.Context(), request())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if body, err := io.ReadAll(s.Body); s.Status != http.StatusSwitchingProtocols || len(body) > 0 || err != nil {
		t.Errorf("got %d %q %v", s.Status, body, err)
	}
}

// Operators are warned of an event that the application does not know of, and not of each client that it does not let in.
func TestOperatorsAreWarnedOfLostEvents(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		status   int
		asks     bool
		category string
		warned   bool
	}{
		"an event that failed":          {500, false, "connections", true},
		"an event that was forbidden":   {403, false, "connections", true},
		"a question that failed":        {500, true, "connections", true},
		"a question, and the answer no": {403, true, "connections", false},
		"a question of somebody":        {401, true, "connections", false},
		"a call":                        {500, false, "messages", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := &bytes.Buffer{}
			c := server(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(test.status) }, func(c *upstream.Config) {
				c.Logger = slog.New(slog.NewTextHandler(log, nil))
			})
			r := request()
			r.Category, r.Asks = test.category, test.asks
			if answer, err := c.Call(t.Context(), r); err != nil || answer.Status != test.status {
				t.Fatalf("got %+v %v", answer, err)
			}
			if warned := strings.Contains(log.String(), "did not take it"); warned != test.warned {
				t.Errorf("the log: %q", log)
			}
		})
	}
}

// A key for the application is in its address, as Azure Functions have it.
func TestAnUpstreamsKeyIsNotLogged(t *testing.T) {
	t.Parallel()
	gone := httptest.NewServer(nil)
	gone.Close()
	var log bytes.Buffer
	c := upstream.New(upstream.Config{
		Rules:  []upstream.Rule{{Template: template(t, gone.URL+"/hunter2path/{event}?code=hunter2")}},
		Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	_, err := c.Call(t.Context(), request())
	wantError(t, err, upstream.Failed, "could not be reached")
	_, err = c.Stream(t.Context(), request())
	wantError(t, err, upstream.Failed, "could not be reached")
	if text := log.String(); strings.Contains(text, "hunter2") || strings.Count(text, strings.TrimPrefix(gone.URL, "http://")) < 2 {
		t.Errorf("the log has\n%s", text)
	}
}

func TestARedirectIsNotFollowed(t *testing.T) {
	t.Parallel()
	followed := atomic.Bool{}
	c := server(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/evil" {
			followed.Store(true)
		}
		http.Redirect(w, r, "/evil", http.StatusTemporaryRedirect)
	})
	answer, err := c.Call(t.Context(), request())
	if err != nil || answer.Status != http.StatusTemporaryRedirect || followed.Load() {
		t.Errorf("got %+v %v", answer, err)
	}
}

// A call that got no answer is repeated under the same key; one that got one is not.
func TestCallsAreRepeatedUnderTheirKey(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		status, retries, want int
	}{{503, 2, 3}, {502, 0, 1}, {500, 2, 1}, {400, 2, 1}, {200, 2, 1}, {0, 1, 2}} {
		asked := atomic.Int64{}
		c := server(t, func(w http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			if r.Header.Get("Idempotency-Key") != "9f1c2d3e4b5a:2" {
				t.Errorf("key %q", r.Header.Get("Idempotency-Key"))
			}
			if test.status == 0 {
				panic(http.ErrAbortHandler)
			}
			w.WriteHeader(test.status)
		}, func(c *upstream.Config) { c.Retries = test.retries })
		_, _ = c.Call(t.Context(), request())
		if got := int(asked.Load()); got != test.want {
			t.Errorf("%d with %d retries: asked %d times, want %d", test.status, test.retries, got, test.want)
		}
		if got := c.Counts().Retries; int(got) != test.want-1 {
			t.Errorf("%d: %d retries counted", test.status, got)
		}
	}
}

// An event is told until it is taken.
func TestEventsAreRepeated(t *testing.T) {
	t.Parallel()
	asked := atomic.Int64{}
	c := server(t, func(w http.ResponseWriter, r *http.Request) {
		switch asked.Add(1) {
		case 1:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 2:
			panic(http.ErrAbortHandler)
		}
		if r.Header.Get("X-Hubstream-Sequence") != "7" {
			t.Errorf("sequence %q", r.Header.Get("X-Hubstream-Sequence"))
		}
	})
	r := request()
	r.Category, r.Event, r.Sequence = "connections", "disconnected", 7
	if answer, err := c.Call(t.Context(), r); err != nil || answer.Status != 200 || asked.Load() != 3 {
		t.Errorf("got %+v %v after %d", answer, err, asked.Load())
	}
	c = server(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
		func(c *upstream.Config) { c.EventPatience = 300 * time.Millisecond })
	if answer, err := c.Call(t.Context(), r); err != nil || answer.Status != 503 || c.Counts().Calls["connections"][upstream.Refused] != 1 {
		t.Errorf("given up: %+v %v %+v", answer, err, c.Counts())
	}
}

// An event that was not answered in time is told again, or nobody would; a message is not, as its time is over.
func TestAnEventThatTimesOutIsToldAgain(t *testing.T) {
	t.Parallel()
	var told atomic.Int32
	c := server(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // else nobody notices that the client has gone
		if told.Add(1) == 1 || r.URL.Path == "/chat/Send" {
			<-r.Context().Done()
		}
	}, func(c *upstream.Config) {
		c.Timeout, c.EventTimeout, c.EventPatience = time.Second, time.Second, time.Minute
	})
	event := request()
	event.Category, event.Event = "connections", "disconnected"
	if answer, err := c.Call(t.Context(), event); err != nil || answer.Status != http.StatusOK || told.Load() != 2 {
		t.Errorf("got %+v, %v after %d, want it taken the second time", answer, err, told.Load())
	}
	_, err := c.Call(t.Context(), request())
	wantError(t, err, upstream.TimedOut, "")
	if n := told.Load(); n != 3 {
		t.Errorf("the message was sent %d times, want once", n-2)
	}
}

// An upstream that keeps failing is left alone, and tried again after a while; others are not concerned.
func TestABrokenUpstreamIsLeftAlone(t *testing.T) {
	t.Parallel()
	asked, broken := atomic.Int64{}, atomic.Bool{}
	broken.Store(true)
	c := server(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if broken.Load() {
			panic(http.ErrAbortHandler)
		}
	})
	for range 10 {
		_, err := c.Call(t.Context(), request())
		wantError(t, err, upstream.Failed, "")
	}
	before := asked.Load()
	_, err := c.Call(t.Context(), request())
	wantError(t, err, upstream.Broken, "left alone")
	_, err = c.Stream(t.Context(), request())
	wantError(t, err, upstream.Broken, "left alone")
	if asked.Load() != before {
		t.Error("it was asked")
	}
	for _, n := range c.Counts().Broken {
		if n != 1 {
			t.Error("not counted as broken")
		}
	}
	broken.Store(false)
	time.Sleep(5200 * time.Millisecond)
	if _, err := c.Call(t.Context(), request()); err != nil {
		t.Errorf("after a while: %v", err)
	}
}

func TestCallsAreBounded(t *testing.T) {
	t.Parallel()
	open := make(chan struct{})
	c := server(t, func(http.ResponseWriter, *http.Request) { <-open }, func(c *upstream.Config) {
		c.MaxCalls, c.Timeout = 1, 300*time.Millisecond
	})
	done := make(chan error)
	for range 2 {
		go func() { _, err := c.Call(context.Background(), request()); done <- err }()
	}
	outcomes := map[upstream.Outcome]int{}
	for range 2 {
		var e *upstream.Error
		errors.As(<-done, &e)
		outcomes[e.Outcome]++
	}
	close(open)
	if outcomes[upstream.TimedOut]+outcomes[upstream.Busy] != 2 {
		t.Errorf("got %v", outcomes)
	}
}

func TestAStreamComesAsItIsMade(t *testing.T) {
	t.Parallel()
	next := make(chan struct{})
	c := server(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/x-ndjson")
		w.Header().Set("Trailer", upstream.ErrorHeader)
		for i := range 2 {
			fmt.Fprintln(w, i)
			_ = http.NewResponseController(w).Flush()
			<-next
		}
		w.Header().Set(upstream.ErrorHeader, "enough")
	})
	s, err := c.Stream(t.Context(), request())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	b := make([]byte, 10)
	if n, err := s.Body.Read(b); err != nil || string(b[:n]) != "0\n" {
		t.Errorf("got %q %v", b[:n], err)
	}
	close(next)
	if rest, err := io.ReadAll(s.Body); err != nil || string(rest) != "1\n" || s.Failure() != "enough" {
		t.Errorf("got %q %v %q", rest, err, s.Failure())
	}
}

func TestAnUploadIsSentAsItComes(t *testing.T) {
	t.Parallel()
	c := server(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = w.Write(body)
	})
	reader, writer := io.Pipe()
	r := request()
	r.Stream = reader
	go func() { fmt.Fprintln(writer, "1"); fmt.Fprintln(writer, "2"); writer.Close() }()
	s, err := c.Stream(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if b, _ := io.ReadAll(s.Body); string(b) != "1\n2\n" {
		t.Errorf("got %q", b)
	}
}

func TestNoRuleIsToldAtOnce(t *testing.T) {
	t.Parallel()
	c := client(t, "http://127.0.0.1:1")
	r := request()
	r.Category = "other"
	_, err := c.Call(t.Context(), r)
	wantError(t, err, upstream.NoRule, "no upstream takes it")
	r = request()
	r.Event = "../admin"
	_, err = c.Call(t.Context(), r)
	wantError(t, err, upstream.NoRule, "cannot be part")
}
