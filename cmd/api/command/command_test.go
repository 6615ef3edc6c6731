package command_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"hubstream/cmd/api/node"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

const key = "hunter2-access-key-of-the-tests"

// output is what a command prints, for several goroutines.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// until waits until a condition holds of what was printed.
func (o *output) until(t *testing.T, what string, holds func(text string) bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(o.String()); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s; it has printed:\n%s", what, o.String())
		}
	}
}

func none(string) string { return "" }

// startNode runs a node until the test ends, and returns its address.
func startNode(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var out output
	ended := make(chan error, 1)
	go func() {
		ended <- node.Run(ctx, append([]string{"-listen", "127.0.0.1:0", "-drain", "1s"}, args...), none, &out, io.Discard)
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	address := regexp.MustCompile(`listening on (http://\S+)`)
	out.until(t, "it listens", address.MatchString)
	return address.FindStringSubmatch(out.String())[1]
}

// cli runs the command line.
type cli struct {
	t   *testing.T
	env map[string]string
}

// guarded is the command line for a node that needs tokens, which is started; open for one that needs none.
func guarded(t *testing.T) *cli {
	t.Helper()
	url := startNode(t, "-access-keys", key)
	return &cli{t, map[string]string{"HUBSTREAM_CONNECTION_STRING": "Endpoint=" + url + ";AccessKey=" + key + ";Version=1.0;"}}
}

func (c *cli) start(ctx context.Context, args ...string) (out, errs *output, ended chan error) {
	out, errs, ended = new(output), new(output), make(chan error, 1)
	go func() {
		ended <- node.Run(ctx, args, func(name string) string { return c.env[name] }, out, errs)
	}()
	return out, errs, ended
}

// run runs a command to its end.
func (c *cli) run(args ...string) (string, error) {
	c.t.Helper()
	out, errs, ended := c.start(c.t.Context(), args...)
	err := <-ended
	if err == nil && errs.String() != "" {
		c.t.Errorf("%v: it complains: %s", args, errs)
	}
	if err != nil && (strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "\n")) {
		c.t.Errorf("%v: the error has a secret, or several lines: %v", args, err)
	}
	return out.String(), err
}

func (c *cli) want(pattern string, args ...string) string {
	c.t.Helper()
	out, err := c.run(args...)
	if err != nil || !regexp.MustCompile(pattern).MatchString(out) {
		c.t.Fatalf("%v: got %q, %v, want %s", args, out, err, pattern)
	}
	return strings.TrimSpace(out)
}

func (c *cli) refused(word string, args ...string) {
	c.t.Helper()
	if out, err := c.run(args...); err == nil || !strings.Contains(err.Error(), word) {
		c.t.Errorf("%v: got %q, %v, want an error with %q", args, out, err, word)
	}
}

const position = `^[0-9a-f]+\.[0-9]+-[0-9]+\n$`

func TestSendAndTail(t *testing.T) {
	t.Parallel()
	c := guarded(t)
	first := c.want(position, "send", "-hub", "chat", "hello", "world", "1", `{"a":null}`, `"2"`)
	ctx, stop := context.WithCancel(t.Context())
	out, errs, ended := c.start(ctx, "tail", "-hub", "chat", "-groups", "red", "-from", first)
	c.want(position, "send", "-hub", "chat", "-group", "red", "-group", "blue", "to-red")
	c.want(position, "send", "-hub", "chat", "-group", "green", "to-green")
	c.want(position, "send", "-hub", "chat", "-user", "ann", "to-ann", "-1", `"-group"`, "-", "--", "-other")
	second := c.want(position, "send", "-hub", "chat", "-id", "x", "last", "é")
	if again := c.want(`sent before`, "send", "-hub", "chat", "-id", "x", "last", "é"); !strings.HasPrefix(again, second) {
		t.Errorf("sent again: %s, before: %s", again, second)
	}
	out.until(t, "the last message", func(text string) bool { return strings.Contains(text, "last") })
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	want := `{"type":1,"target":"to-red","arguments":[]}` + "\n" + `{"type":1,"target":"last","arguments":["é"]}` + "\n"
	if out.String() != want || errs.String() != "" {
		t.Errorf("got\n%s%s\nwant\n%s", out, errs, want)
	}
}

func TestTailSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	c := guarded(t)
	ctx, stop := context.WithCancel(t.Context())
	_, errs, ended := c.start(ctx, "tail", "-hub", "chat", "-from", "0.1-1")
	errs.until(t, "the gap", func(text string) bool { return strings.Contains(text, "something is missing") })
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestTailComesBack(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	c := &cli{t, nil}
	_, errs, ended := c.start(ctx, "tail", "-hub", "chat", "-node", "http://127.0.0.1:1") // nobody is there
	errs.until(t, "a second attempt", func(text string) bool { return strings.Count(text, "connecting again") > 1 })
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A node that ends may cut off the message that it writes.
func TestTailPrintsWholeMessagesOnly(t *testing.T) {
	t.Parallel()
	var asked []string
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Header.Get("Last-Event-ID"))
		w.Header().Set("Content-Type", "text/event-stream")
		if len(asked) == 1 {
			fmt.Fprint(w, ":\r\nid: g.1-0\r\n\r\ndata: {\"n\":1}\r\nid: g.2-10\r\n\r\ndata: {\"n\":2}\r\nid: g.3-1") // of g.3-10
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
		fmt.Fprint(w, ":\r\nid: g.2-10\r\n\r\ndata: {\"n\":2}\r\nid: g.3-10\r\n\r\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	node.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(node.Close)
	ctx, stop := context.WithCancel(t.Context())
	out, _, ended := (&cli{t, nil}).start(ctx, "tail", "-hub", "chat", "-node", node.URL)
	out.until(t, "the last message", func(text string) bool { return strings.HasSuffix(text, "{\"n\":2}\n") })
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	node.Close()
	if want := "{\"n\":1}\n{\"n\":2}\n"; out.String() != want || len(asked) != 2 || asked[1] != "g.2-10" {
		t.Errorf("it has printed %q, want %q, and come back after %q", out, want, asked)
	}
}

func TestTailAsAClient(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]*cli{"with a key": guarded(t), "in development mode": {t, map[string]string{"HUBSTREAM_CONNECTION_STRING": ""}}} {
		args := []string{}
		if c.env["HUBSTREAM_CONNECTION_STRING"] == "" {
			args = []string{"-node", startNode(t)}
		}
		run := func(words ...string) []string {
			return append([]string{words[0], "-hub", "chat"}, append(args, words[1:]...)...)
		}
		ctx, stop := context.WithCancel(t.Context())
		out, _, ended := c.start(ctx, run("tail", "-connect", "-user", "ann")...)
		list := new(output)
		list.until(t, "it is connected", func(string) bool {
			text, err := c.run(run("connections")...)
			return err == nil && strings.Contains(text, "WebSockets") && strings.Contains(text, `"ann"`) && strings.Contains(text, "open")
		})
		c.want(position, run("send", "-user", "ann", "hello", "1")...)
		out.until(t, name+": the message", func(text string) bool { return text == `{"type":1,"target":"hello","arguments":[1]}`+"\n" })
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	c := guarded(t)
	const jwt = `^eyJ[\w-]+\.[\w-]+\.[\w-]+\n$`
	c.want(jwt, "token", "-hub", "chat", "-user", "ann", "-group", "red", "-claim", "role=admin", "-claim", `level=3`, "-lifetime", "1m")
	c.want(jwt, "token", "-hub", "chat", "-backend")
	c.want(jwt, "token", "-hub", "chat", "-path", "/api/hubs/chat/:send")
	c.refused("at least 1s", "token", "-hub", "chat", "-lifetime", "0s")
	c.refused("begins with /", "token", "-hub", "chat", "-path", "api/hubs/chat/:send")
	c.refused("is not NAME=VALUE", "token", "-hub", "chat", "-claim", "role")
	c.refused("unexpected argument", "token", "-hub", "chat", "x")
	for claim, flag := range map[string]string{
		"exp=4102444800": "-lifetime", "aud=http://elsewhere": "-backend", "iat=1": "when the token is made", "nbf=1": "when the token is made",
		"nameid=bob": "-user", `hubstream.groups=["blue"]`: "-group",
	} { // they were replaced without a word
		c.refused(flag, "token", "-hub", "chat", "-user", "ann", "-group", "red", "-claim", claim)
	}
	c.want(jwt, "token", "-hub", "chat", "-claim", "nameid=bob", "-claim", `hubstream.groups=["blue"]`)
	(&cli{t, nil}).refused("a token is made with an access key", "token", "-hub", "chat")
}

func TestBadCalls(t *testing.T) {
	t.Parallel()
	c := guarded(t)
	for word, args := range map[string][]string{
		"-hub is missing":         {"send", "hello"},
		"-hub: invalid hub name":  {"send", "-hub", "a b", "hello"},
		"the target is missing":   {"send", "-hub", "chat"},
		"flag provided but not":   {"send", "-hub", "chat", "-nothing", "x"},
		"-group after the target": {"send", "-hub", "chat", "hello", "-group", "red"}, // it was sent to all
		"--to=u3XnW after the":    {"send", "-hub", "chat", "hello", "world", "--to=u3XnW"},
		"400 invalid":             {"send", "-hub", "chat", ""},
		"-groups and -from":       {"tail", "-hub", "chat", "-connect", "-groups", "red"},
		"connection string":       {"connections", "-hub", "chat", "-connection", "Endpoint=x;AccessKey=hunter2"},
		"-node":                   {"connections", "-hub", "chat", "-node", "nowhere"},
		"connection refused":      {"connections", "-hub", "chat", "-node", "http://127.0.0.1:1"},
		"unexpected argument":     {"connections", "-hub", "chat", "x"},
		"401 token_invalid":       {"connections", "-hub", "chat", "-connection", strings.Replace(c.env["HUBSTREAM_CONNECTION_STRING"], "hunter2", "another-key", 1)},
		"401 token_audience: the": {"tail", "-hub", "chat", "-connection", "Endpoint=http://localhost:1;AccessKey=" + key, "-node", strings.TrimSuffix(strings.TrimPrefix(c.env["HUBSTREAM_CONNECTION_STRING"], "Endpoint="), ";AccessKey="+key+";Version=1.0;")},
	} {
		c.refused(word, args...)
	}
	c.env = nil
	c.refused("401", "tail", "-hub", "chat", "-connect", "-node", startNode(t, "-access-keys", key))
}

func TestHelp(t *testing.T) {
	t.Parallel()
	c := &cli{t, nil}
	for _, name := range []string{"token", "send", "tail", "connections", "bench"} {
		c.want(`(?s)^hubstream `+name+` -hub HUB.*-connection`, name, "-help")
	}
	c.want(`(?s)hubstream tail -hub HUB`, "-help")
	if err := node.CheckEnvironment([]string{"HUBSTREAM_CONNECTION_STRING=x"}); err != nil {
		t.Error(err)
	}
}
