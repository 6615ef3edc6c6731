// Package jsclient drives the official, unmodified JavaScript clients: a Node process (integration/clients/driver.js)
// hosts many connections, and each of them is a Conn here.
//
//	js := jsclient.Start(t)
//	conn := js.Open(t, jsclient.Options{URL: proxy + "/hubs/chat", Transport: jsclient.LongPolling})
//	conn.Expect("news", 1, "two")          // the next message, in order
//	conn.Requests()                        // which node served which request
package jsclient

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"hubstream/integration/internal/proc"
)

// The transports and protocols, as the clients name them.
const (
	WebSockets       = "WebSockets"
	ServerSentEvents = "ServerSentEvents"
	LongPolling      = "LongPolling"

	JSON        = "json"
	MessagePack = "messagepack"
)

// Patience is how long a Conn waits for what it expects. It is generous: the machine may be busy.
const Patience = 20 * time.Second

// Client is one Node process.
type Client struct {
	proc     *proc.Proc
	stdin    io.WriteCloser
	done     chan struct{} // closed when standard output has ended
	patience time.Duration // with a command

	mu      sync.Mutex // guards the rest, and writing to stdin
	seq     int
	ids     int
	waiting map[int]chan reply
	conns   map[string]*Conn
	faults  []string
}

type reply struct {
	value json.RawMessage
	err   error
}

// Start runs a Node process until the test ends.
func Start(tb testing.TB) *Client {
	tb.Helper()
	c, err := Run()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := c.Close(); err != nil {
			tb.Error(err)
		}
	})
	return c
}

// Run is Start for callers without a test; they call Close.
func Run() (*Client, error) {
	dir := clientsDir()
	if _, err := os.Stat(filepath.Join(dir, "node_modules")); err != nil {
		return nil, fmt.Errorf("this test needs the npm packages of integration/clients (scripts/setup installs them): %w", err)
	}
	bin, err := exec.LookPath("node")
	if err != nil {
		return nil, fmt.Errorf("this test needs Node on the PATH: %w", err)
	}
	cmd := exec.Command(bin, "driver.js")
	cmd.Dir = dir
	in, stdin, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	stdout, out, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdin, cmd.Stdout = in, out
	p, err := proc.Start(cmd)
	in.Close()
	out.Close()
	if err != nil {
		return nil, err
	}
	c := &Client{proc: p, stdin: stdin, done: make(chan struct{}), patience: 2 * Patience, waiting: map[int]chan reply{}, conns: map[string]*Conn{}}
	go c.read(stdout)
	return c, nil
}

func clientsDir() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..", "clients")
}

// Close ends the process. It returns an error if the clients ever threw something that nobody caught.
func (c *Client) Close() error {
	c.stdin.Close()
	select {
	case <-c.proc.Done():
	case <-time.After(5 * time.Second):
		_ = c.proc.Kill()
	}
	<-c.done
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.faults) > 0 {
		return fmt.Errorf("in the JavaScript client: %q\n%s", c.faults, c.proc.Output())
	}
	return nil
}

// Freeze stops the process without closing anything (SIGSTOP), or lets it go on (SIGCONT).
func (c *Client) Freeze(on bool) {
	signal := syscall.SIGCONT
	if on {
		signal = syscall.SIGSTOP
	}
	_ = c.proc.Signal(signal)
}

// event is one line from the driver, all kinds in one.
type event struct {
	Ev    string
	At    int64
	Seq   int
	Value json.RawMessage
	Error string

	ID           string
	ConnectionID string
	Transport    string
	Target       string
	Args         json.RawMessage

	Method, Kind, Node string
	Status             int
}

func (c *Client) read(stdout io.ReadCloser) {
	defer close(c.done)
	defer stdout.Close()
	lines := bufio.NewReader(stdout)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			c.fail(errors.New("the Node process has ended"))
			return
		}
		var e event
		if err := json.Unmarshal(line, &e); err != nil {
			c.fail(fmt.Errorf("line %q: %w", line, err))
			continue
		}
		c.dispatch(e)
	}
}

func (c *Client) dispatch(e event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch e.Ev {
	case "reply":
		r := reply{value: e.Value}
		if e.Error != "" {
			r.err = errors.New(e.Error)
		}
		c.waiting[e.Seq] <- r // has room for it
		delete(c.waiting, e.Seq)
	case "fault":
		c.faults = append(c.faults, e.Error)
	default:
		if conn := c.conns[e.ID]; conn != nil {
			conn.happened(e)
		}
	}
}

func (c *Client) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for seq, waiting := range c.waiting {
		waiting <- reply{err: err}
		delete(c.waiting, seq)
	}
}

// do sends one command and waits for its reply.
func (c *Client) do(command map[string]any) (json.RawMessage, error) {
	answer := make(chan reply, 1)
	if err := c.send(command, answer); err != nil {
		return nil, err
	}
	select {
	case r := <-answer:
		return r.value, r.err
	case <-time.After(c.patience):
		return nil, fmt.Errorf("%v: no end of it within %v", command["cmd"], c.patience)
	case <-c.done:
		return nil, errors.New("the Node process has ended")
	}
}

// send sends one command; answer, which has room for it, gets the reply.
func (c *Client) send(command map[string]any, answer chan reply) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seq++
	command["seq"] = c.seq
	line, err := json.Marshal(command)
	if err == nil {
		_, err = c.stdin.Write(append(line, '\n'))
	}
	if err == nil {
		c.waiting[c.seq] = answer
	}
	return err
}

// Options say how a connection is opened.
type Options struct {
	URL             string   // of the hub; its query is kept on every request
	Version         string   // major version of the client: 10 (the default), 8, 7, 3 or 1
	Transport       string   // empty: the client chooses, and falls back
	Protocol        string   // JSON (the default) or MessagePack
	SkipNegotiation bool     // WebSockets only
	Targets         []string // the methods that it listens to; default "message"
	// Results are what its methods return to a server that asks, by target.
	Results map[string]any
	// Reconnect are the delays of automatic reconnect; nil is none.
	Reconnect []time.Duration
	// Stateful asks for stateful reconnect, with a send buffer of BufferSize (0: the client's default).
	Stateful   bool
	BufferSize int
	// ServerTimeout and KeepAlive are the client's own timers; 0 is its default.
	ServerTimeout, KeepAlive time.Duration
	AccessToken              string
	Trace                    bool // the client's log to standard error
	// Observer, if set, is told what happens instead of the Conn, which then keeps nothing.
	Observer *Observer
}

// Observer is for connections that receive more than fits in memory. Its functions are called one at a time, in the
// order of the events, and must not block or call the Conn.
type Observer struct {
	Message func(Message)
	Event   func(Event)
	Request func(Request)
}

// Open opens a connection, and stops it when the test ends. A start that fails ends the test.
func (c *Client) Open(tb testing.TB, o Options) *Conn {
	tb.Helper()
	conn, err := c.TryOpen(tb, o)
	if err != nil {
		tb.Fatalf("start over %q with %q: %v", o.Transport, o.Protocol, err)
	}
	return conn
}

// TryOpen is Open for a start that may fail. The Conn is usable for its Requests even then.
func (c *Client) TryOpen(tb testing.TB, o Options) (*Conn, error) {
	tb.Helper()
	conn, err := c.Dial(o)
	conn.tb = tb
	if err == nil {
		tb.Cleanup(func() { _ = conn.Stop() })
	}
	return conn, err
}

// Dial is TryOpen for callers without a test; they call Stop, and none of the methods that wait. A connection whose start failed,
// or lasted too long, is stopped; its observer is told nothing after Dial's return.
func (c *Client) Dial(o Options) (*Conn, error) {
	if o.Targets == nil {
		o.Targets = []string{"message"}
	}
	c.mu.Lock()
	c.ids++
	conn := &Conn{client: c, id: strconv.Itoa(c.ids), changed: make(chan struct{}, 1), observer: o.Observer}
	c.conns[conn.id] = conn
	c.mu.Unlock()
	command := map[string]any{
		"cmd": "open", "id": conn.id, "url": o.URL, "version": o.Version, "transport": o.Transport, "protocol": o.Protocol,
		"skipNegotiation": o.SkipNegotiation, "targets": o.Targets, "results": o.Results, "stateful": o.Stateful,
		"bufferSize": o.BufferSize, "serverTimeout": o.ServerTimeout.Milliseconds(), "keepAlive": o.KeepAlive.Milliseconds(),
		"accessToken": o.AccessToken, "trace": o.Trace,
	}
	if o.Reconnect != nil {
		delays := []int64{}
		for _, d := range o.Reconnect {
			delays = append(delays, d.Milliseconds())
		}
		command["reconnect"] = delays
	}
	value, err := c.do(command)
	if err == nil {
		return conn, json.Unmarshal(value, &conn.Started)
	}
	if conn.observer != nil {
		c.mu.Lock()
		delete(c.conns, conn.id)
		c.mu.Unlock()
	}
	// It may only have lasted too long.
	_ = c.send(map[string]any{"cmd": "stop", "id": conn.id}, make(chan reply, 1))
	return conn, err
}
