// Package nodes starts whole Hubstream nodes: in the test's own process, which is quick and shows up in the race
// detector, or as processes of a binary that is built once per test binary, which can be killed.
//
//	server := valkeytest.Start(t)
//	all := nodes.Three(t, server.Addr)
//	all[0].URL       // http://127.0.0.1:...
//	all[0].Drain()   // SIGTERM, as an orchestrator would
package nodes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"hubstream/cmd/api/node"
	"hubstream/integration/internal/proc"
)

const (
	// DefaultDrain is the drain time of nodes that do not set one.
	DefaultDrain = 500 * time.Millisecond
	readyTimeout = 30 * time.Second
	// stopSlack is how much longer than its drain time a node may take to end.
	stopSlack = 10 * time.Second
)

// Options say how a node is started.
type Options struct {
	Name   string        // its X-Hubstream-Node; default n1
	Valkey string        // host:port, several separated by commas; empty is the log in memory
	Drain  time.Duration // default DefaultDrain
	Args   []string      // further flags
	Env    []string      // further settings, NAME=value
	Log    io.Writer     // gets what a process prints, too
	Binary string        // what a process runs, instead of what is here
	Fast   bool          // a process without the race detector, which takes several times less processor time
}

func (o Options) args() []string {
	args := []string{"-listen", "127.0.0.1:0", "-node", o.Name, "-drain", o.Drain.String(), "-log-level", "debug"}
	if o.Valkey != "" {
		args = append(args, "-valkey", o.Valkey)
	}
	return append(args, o.Args...)
}

func (o Options) withDefaults() Options {
	if o.Name == "" {
		o.Name = "n1"
	}
	if o.Drain == 0 {
		o.Drain = DefaultDrain
	}
	return o
}

// Node is a running node. It is drained when the test that started it ends.
type Node struct {
	Name string
	URL  string // http://host:port
	Addr string // host:port

	output *output
	drain  func()        // asks it to end; may be called again
	done   chan struct{} // closed when it has ended
	err    error         // how it ended; set before done is closed
	kill   func()        // nil in process
	limit  time.Duration
	proc   *proc.Proc
}

// Start runs a node inside the test's process.
func Start(tb testing.TB, o Options) *Node {
	tb.Helper()
	n, err := Run(o)
	return forTest(tb, n, err)
}

// StartProcess runs a node as a process.
func StartProcess(tb testing.TB, o Options) *Node {
	tb.Helper()
	n, err := RunProcess(o)
	return forTest(tb, n, err)
}

// Three starts n1, n2 and n3 on one Valkey, in process.
func Three(tb testing.TB, valkey string) []*Node {
	tb.Helper()
	return several(tb, Start, valkey)
}

// ThreeProcesses starts n1, n2 and n3 on one Valkey, as processes.
func ThreeProcesses(tb testing.TB, valkey string) []*Node {
	tb.Helper()
	return several(tb, StartProcess, valkey)
}

func several(tb testing.TB, start func(testing.TB, Options) *Node, valkey string) []*Node {
	tb.Helper()
	var all []*Node
	for _, name := range []string{"n1", "n2", "n3"} {
		all = append(all, start(tb, Options{Name: name, Valkey: valkey}))
	}
	return all
}

// Addrs are the nodes' addresses, for a proxy.
func Addrs(all []*Node) []string {
	var addrs []string
	for _, n := range all {
		addrs = append(addrs, n.Addr)
	}
	return addrs
}

func forTest(tb testing.TB, n *Node, err error) *Node {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := n.Stop(); err != nil {
			tb.Errorf("node %s: %v", n.Name, err)
		}
		if tb.Failed() {
			tb.Logf("node %s:\n%s", n.Name, n.Output())
		}
	})
	return n
}

// Run is Start for callers without a test; they call Stop.
func Run(o Options) (*Node, error) {
	o = o.withDefaults()
	ctx, cancel := context.WithCancel(context.Background())
	n := &Node{Name: o.Name, output: newOutput(), drain: cancel, done: make(chan struct{}), limit: o.Drain + stopSlack}
	env := func(name string) string {
		for _, setting := range o.Env {
			if value, ok := strings.CutPrefix(setting, name+"="); ok {
				return value
			}
		}
		return "" // never the real environment: it may have settings of its own
	}
	go func() {
		n.err = node.Run(ctx, o.args(), env, n.output, n.output)
		close(n.done)
	}()
	return n, n.awaitReady()
}

// RunProcess is StartProcess for callers without a test; they call Stop.
func RunProcess(o Options) (*Node, error) {
	o = o.withDefaults()
	bin := o.Binary
	if bin == "" {
		var err error
		if bin, err = binary(o.Fast); err != nil {
			return nil, err
		}
	}
	n := &Node{Name: o.Name, output: newOutput(), done: make(chan struct{}), limit: o.Drain + stopSlack}
	cmd := exec.Command(bin, o.args()...)
	cmd.Env = append([]string{"HOME=" + os.TempDir(), "GORACE=halt_on_error=1"}, o.Env...)
	cmd.Stdout, cmd.Stderr = n.output, n.output
	if o.Log != nil {
		cmd.Stderr = io.MultiWriter(n.output, o.Log)
	}
	p, err := proc.Start(cmd)
	if err != nil {
		return nil, err
	}
	n.proc = p
	n.drain = func() { _ = p.Signal(syscall.SIGTERM) }
	n.kill = func() { _ = p.Kill() }
	go func() {
		n.err = p.Err()
		close(n.done)
	}()
	return n, n.awaitReady()
}

func (n *Node) awaitReady() error {
	select {
	case n.URL = <-n.output.url:
	case <-n.done:
		return fmt.Errorf("node %s ended at its start: %v\n%s", n.Name, n.err, n.Output())
	case <-time.After(readyTimeout):
		n.drain()
		return fmt.Errorf("node %s said no address within %v:\n%s", n.Name, readyTimeout, n.Output())
	}
	u, err := url.Parse(n.URL)
	if err != nil {
		return err
	}
	n.Addr = u.Host
	return nil
}

// Drain asks the node to end, as SIGTERM does, and does not wait.
func (n *Node) Drain() { n.drain() }

// Done is closed when the node has ended.
func (n *Node) Done() <-chan struct{} { return n.done }

// Stop drains the node and waits for its end. It returns an error if the node ends with one, or too late.
func (n *Node) Stop() error {
	n.drain()
	select {
	case <-n.done:
	case <-time.After(n.limit):
		if n.kill != nil {
			n.kill()
		}
		return fmt.Errorf("it did not end within %v of being asked to", n.limit)
	}
	var exit *exec.ExitError
	if errors.As(n.err, &exit) && exit.ProcessState.Sys().(syscall.WaitStatus).Signaled() {
		return nil // by Kill
	}
	return n.err
}

// Signal sends a signal to a node that is a process.
func (n *Node) Signal(sig os.Signal) { _ = n.proc.Signal(sig) }

// Kill ends a node that is a process with SIGKILL.
func (n *Node) Kill() { n.kill() }

// Freeze stops a node that is a process without closing anything (SIGSTOP), or lets it go on (SIGCONT).
func (n *Node) Freeze(on bool) {
	signal := syscall.SIGCONT
	if on {
		signal = syscall.SIGSTOP
	}
	_ = n.proc.Signal(signal)
}

// Output is what the node has printed so far.
func (n *Node) Output() string { return n.output.String() }

var build struct {
	mu   sync.Mutex
	dir  string
	bins map[bool]string // by fast
}

// binary builds the service, with the race detector unless it shall be fast, at the first call.
func binary(fast bool) (string, error) {
	build.mu.Lock()
	defer build.mu.Unlock()
	if bin := build.bins[fast]; bin != "" {
		return bin, nil
	}
	if build.dir == "" {
		var err error
		if build.dir, err = os.MkdirTemp("", "hubstream-"); err != nil {
			return "", err
		}
		build.bins = map[bool]string{}
	}
	bin := filepath.Join(build.dir, fmt.Sprintf("hubstream-fast-%v", fast))
	args := []string{"build", "-o", bin}
	if !fast {
		args = append(args, "-race")
	}
	if out, err := exec.Command("go", append(args, "hubstream/cmd/api")...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	build.bins[fast] = bin
	return bin, nil
}

// RemoveBinary removes what StartProcess built; TestMain calls it last.
func RemoveBinary() {
	build.mu.Lock()
	defer build.mu.Unlock()
	if build.dir != "" {
		os.RemoveAll(build.dir)
	}
}

// output keeps what a node prints, and finds its address in it.
type output struct {
	url chan string

	mu    sync.Mutex
	text  bytes.Buffer
	found bool
}

func newOutput() *output { return &output{url: make(chan string, 1)} }

const (
	readyMark   = "listening on "
	outputLimit = 4 << 20 // 4 MiB
)

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.text.Len() < outputLimit {
		o.text.Write(p)
	}
	if !o.found {
		o.find()
	}
	return len(p), nil
}

func (o *output) find() {
	_, after, ok := strings.Cut(o.text.String(), readyMark)
	if !ok {
		return
	}
	line, _, whole := strings.Cut(after, "\n")
	if words := strings.Fields(line); whole && len(words) > 0 {
		o.found = true
		o.url <- strings.TrimRight(words[0], ".,;")
	}
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

var _ io.Writer = (*output)(nil)
