// Package proxytest puts real proxies in front of nodes: HAProxy and nginx as plain round robin, without any affinity,
// and in the variants that break naive servers. Each runs as a foreground child with everything in a directory of its
// own, and ends with the test. A test that asks for a proxy never skips: without the program it fails and says so.
//
// Every answer that passes carries Header with the address of the node that gave it.
package proxytest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"hubstream/integration/internal/proc"
)

// Header names the node of an answer by its host:port; answers of the proxy itself lack it.
const Header = "X-Test-Upstream"

const (
	readyTimeout = 10 * time.Second
	startTries   = 5
)

// Proxy is a running proxy.
type Proxy struct {
	// URL is http://host:port.
	URL string

	proc *proc.Proc
	dir  string
}

// Log is one line per answered request: status, method, URI, and the node's host:port. HAProxy writes it as the answer
// begins, nginx when it has ended.
func (p *Proxy) Log() []string {
	var lines []string
	for line := range strings.Lines(p.proc.Output()) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), logMark); ok {
			lines = append(lines, strings.TrimSpace(rest))
		}
	}
	return lines
}

// Stop ends the proxy and removes its files. It is called at the end of the test that started it.
func (p *Proxy) Stop() error {
	err := p.proc.Stop()
	os.RemoveAll(p.dir)
	return err
}

const logMark = "request:"

type config struct {
	// What the proxy does to requests.
	refuseUpgrades bool
	stripUpgrades  bool
	buffer         bool
	ignoreHeaders  bool
	retryPolls     bool
	retries        int
	checkHealth    bool
	steady         bool
	idle           time.Duration

	// Where it is.
	program string
	port    int
	dir     string
	nodes   []string
}

// Option changes a proxy from plain round robin.
type Option func(*config)

// RefuseWebSockets answers upgrades with 403.
func RefuseWebSockets() Option { return func(c *config) { c.refuseUpgrades = true } }

// StripWebSockets removes the Upgrade header: an upgrade arrives as a plain GET.
func StripWebSockets() Option { return func(c *config) { c.stripUpgrades = true } }

// Buffer makes nginx talk HTTP/1.0 to the nodes and buffer answers, unless they say X-Accel-Buffering: no.
func Buffer() Option { return func(c *config) { c.buffer = true } }

// BufferAlways is Buffer, whatever the answers say.
func BufferAlways() Option { return func(c *config) { c.buffer, c.ignoreHeaders = true, true } }

// CutIdle sets after how much silence a connection is cut; the default is 100 s.
func CutIdle(d time.Duration) Option { return func(c *config) { c.idle = d } }

// RetryPolls makes HAProxy send a GET again, to another node, when its node refuses, dies or answers with an error.
func RetryPolls() Option { return func(c *config) { c.retryPolls = true } }

// Retries sets how often RetryPolls sends a request again; the default is 3.
func Retries(n int) Option { return func(c *config) { c.retries = n } }

// Steady makes HAProxy send the requests of a connection to one node, for as long as that is there.
func Steady() Option { return func(c *config) { c.steady = true } }

// CheckHealth makes HAProxy ask each node's /readyz and leave out those that do not answer 200.
func CheckHealth() Option { return func(c *config) { c.checkHealth = true } }

// HAProxy starts one in front of nodes, each a host:port.
func HAProxy(tb testing.TB, nodes []string, opts ...Option) *Proxy {
	tb.Helper()
	return forTest(tb, RunHAProxy, nodes, opts)
}

// Nginx starts one in front of nodes, each a host:port.
func Nginx(tb testing.TB, nodes []string, opts ...Option) *Proxy {
	tb.Helper()
	return forTest(tb, RunNginx, nodes, opts)
}

func forTest(tb testing.TB, run func([]string, ...Option) (*Proxy, error), nodes []string, opts []Option) *Proxy {
	tb.Helper()
	p, err := run(nodes, opts...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := p.Stop(); err != nil {
			tb.Error(err)
		}
		if tb.Failed() {
			tb.Logf("%s:\n%s", p.URL, p.proc.Output())
		}
	})
	return p
}

// RunHAProxy is HAProxy for callers without a test; they call Stop.
func RunHAProxy(nodes []string, opts ...Option) (*Proxy, error) {
	return run(nodes, opts, "haproxy", haproxyConfig, func(bin, file, _ string) *exec.Cmd {
		return exec.Command(bin, "-db", "-f", file)
	})
}

// RunNginx is Nginx for callers without a test; they call Stop.
func RunNginx(nodes []string, opts ...Option) (*Proxy, error) {
	return run(nodes, opts, "nginx", nginxConfig, func(bin, file, dir string) *exec.Cmd {
		return exec.Command(bin, "-p", dir, "-c", file, "-e", "stderr")
	})
}

func run(nodes []string, opts []Option, program string, write func(*config) string, command func(bin, file, dir string) *exec.Cmd) (*Proxy, error) {
	bin, err := find(program)
	if err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		c := &config{program: program, nodes: nodes, idle: 100 * time.Second, retries: 3}
		for _, o := range opts {
			o(c)
		}
		if c.port, err = proc.FreePort(); err != nil {
			return nil, err
		}
		if c.dir, err = os.MkdirTemp("", "proxytest-"); err != nil {
			return nil, err
		}
		file := filepath.Join(c.dir, program+".conf")
		if err := os.WriteFile(file, []byte(write(c)), 0o644); err != nil {
			return nil, err
		}
		p, err := proc.Start(command(bin, file, c.dir))
		if err != nil {
			return nil, err
		}
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(c.port))
		err = ready(p, addr)
		if err == nil {
			return &Proxy{URL: "http://" + addr, proc: p, dir: c.dir}, nil
		}
		_ = p.Kill()
		os.RemoveAll(c.dir)
		if try == startTries {
			return nil, fmt.Errorf("%s: %w\n%s", program, err, p.Output())
		}
	}
}

// find looks in the administrator's folders too, which a plain user's PATH may lack.
func find(program string) (string, error) {
	if bin, err := exec.LookPath(program); err == nil {
		return bin, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin"} {
		if bin, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
			return bin, nil
		}
	}
	return "", fmt.Errorf("this test needs %s on the PATH (scripts/setup installs it)", program)
}

func ready(p *proc.Proc, addr string) error {
	for end := time.Now().Add(readyTimeout); ; time.Sleep(5 * time.Millisecond) {
		select {
		case <-p.Done():
			return fmt.Errorf("ended at its start: %w", p.Err())
		default:
		}
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			return conn.Close()
		}
		if time.Now().After(end) {
			return err
		}
	}
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) + "ms" }
