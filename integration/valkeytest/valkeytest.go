// Package valkeytest gives tests a real Valkey that they may stop, kill, freeze and start again: in a container when a
// Docker engine answers, else as a process of the valkey-server on the PATH. A test that asks for Valkey never skips:
// without either, it fails and says what to install.
//
//	server := valkeytest.Start(t)          // one for this test, gone at its end
//	server := valkeytest.Shared(t)         // one for all tests of the binary that leave it alone
//	server.Kill(); server.Start()          // SIGKILL, then again on the same address and data
//	server.Pause(); server.Resume()        // a machine that hangs
//	cluster := valkeytest.StartCluster(t)  // three primaries
//	group := valkeytest.StartSentinel(t, 3)
package valkeytest

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// readyTimeout bounds the wait for a started server's first answer.
const readyTimeout = 20 * time.Second

// Server is one Valkey server. It is stopped, and its data removed, when the test that started it ends. Methods that
// fail end that test; they must not be called concurrently with each other.
type Server struct {
	// Addr is its host:port, the same after every Start.
	Addr string

	tb      testing.TB
	machine machine
}

// machine is where a server runs.
type machine interface {
	start() error           // from stopped, at the same address and data; returns when it answers
	stop(force bool) error  // returns when it has ended; stopping a stopped one is no error
	freeze(on bool) error   // neither answers nor closes connections while frozen
	discard() error         // stops it and removes its data; nothing follows
	describe() (log string) // its output so far
}

type config struct {
	args        []string
	processOnly bool
}

// Option changes how a server is started. Any option makes it a process on this machine, never a container.
type Option func(*config)

// Args adds arguments of valkey-server, such as "--maxmemory", "1mb".
func Args(args ...string) Option {
	return func(c *config) {
		c.processOnly = true
		c.args = append(c.args, args...)
	}
}

// AppendOnly makes every write durable before it is answered, so that the data outlives Kill.
func AppendOnly() Option { return Args("--appendonly", "yes", "--appendfsync", "always") }

// ReplicaOf makes the server a replica of primary. It is ready before it has synchronised: see WaitReplica.
func ReplicaOf(primary *Server) Option {
	host, port, _ := net.SplitHostPort(primary.Addr)
	return Args("--replicaof", host, port, "--repl-diskless-sync-delay", "0")
}

// Start runs a server for the time of the test. Without options it keeps nothing on disk: after Stop or Kill and
// Start it is empty.
func Start(tb testing.TB, opts ...Option) *Server {
	tb.Helper()
	s, err := start(opts)
	if err != nil {
		tb.Fatal(err)
	}
	s.tb = tb
	tb.Cleanup(func() {
		if err := s.machine.discard(); err != nil {
			tb.Errorf("valkey %s: %v", s.Addr, err)
		}
	})
	return s
}

func start(opts []Option) (*Server, error) {
	var c config
	for _, o := range opts {
		o(&c)
	}
	var derr error
	if c.processOnly {
		derr = fmt.Errorf("not used for a server with options")
	} else {
		s, err := startContainer()
		if err == nil {
			return s, nil
		}
		derr = err
	}
	s, perr := startProcess(c.args)
	if perr != nil {
		return nil, fmt.Errorf("these tests need Valkey: start a Docker engine, or put valkey-server on the PATH (scripts/setup does)\n"+
			"\tdocker: %v\n\tpath: %v", derr, perr)
	}
	return s, nil
}

// Start runs the server again after Stop or Kill, at the same address, and returns when it answers.
func (s *Server) Start() { s.must("start", s.machine.start()) }

// Stop ends the server as an operator would, with SIGTERM, and returns when it has ended.
func (s *Server) Stop() { s.must("stop", s.machine.stop(false)) }

// Kill ends the server with SIGKILL and returns when it has ended.
func (s *Server) Kill() { s.must("kill", s.machine.stop(true)) }

// Pause freezes the server: connections stay open and nothing is answered.
func (s *Server) Pause() { s.must("pause", s.machine.freeze(true)) }

// Resume ends Pause.
func (s *Server) Resume() { s.must("resume", s.machine.freeze(false)) }

// Do sends one command on a connection of its own and returns the reply as text, arrays one element a line.
// An error reply ends the test.
func (s *Server) Do(args ...string) string {
	s.tb.Helper()
	reply, err := s.Try(args...)
	s.must(fmt.Sprint(args), err)
	return reply
}

// Try is Do for commands that may fail. It may be called concurrently.
func (s *Server) Try(args ...string) (string, error) { return do(s.Addr, commandTimeout, args...) }

// Ask is Try for a server that is known by its address only, such as a sentinel.
func Ask(addr string, args ...string) (string, error) { return do(addr, commandTimeout, args...) }

// Info returns a field of a section of INFO.
func (s *Server) Info(section, field string) string {
	s.tb.Helper()
	value, err := infoField(s.Addr, section, field)
	s.must("INFO "+section, err)
	return value
}

// CPU is the time that the server has spent on commands so far, those that scripts call included.
func (s *Server) CPU() time.Duration {
	s.tb.Helper()
	var total float64
	for line := range strings.Lines(s.Do("INFO", "cpu")) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if key == "used_cpu_sys_main_thread" || key == "used_cpu_user_main_thread" {
			seconds, err := strconv.ParseFloat(value, 64)
			s.must("read its CPU time", err)
			total += seconds
		}
	}
	return time.Duration(total * float64(time.Second))
}

func (s *Server) must(what string, err error) {
	s.tb.Helper()
	if err != nil {
		s.tb.Fatalf("valkey %s: %s: %v\n%s", s.Addr, what, err, s.machine.describe())
	}
}

var shared struct {
	mu     sync.Mutex
	server *Server
}

// Shared returns one server for the whole test binary, started at the first call. Tests that use it must keep to key
// names of their own and must not stop it. TestMain should call StopShared after m.Run; if it does not, the server
// ends with the test binary all the same.
func Shared(tb testing.TB) *Server {
	tb.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.server == nil {
		s, err := start(nil)
		if err != nil {
			tb.Fatal(err)
		}
		shared.server = s
	}
	return &Server{Addr: shared.server.Addr, tb: tb, machine: shared.server.machine}
}

// StopShared stops the server that Shared started, if any.
func StopShared() {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.server != nil {
		_ = shared.server.machine.discard()
		shared.server = nil
	}
}

// eventually asks until ask returns nil, or the time is over, and then returns its last error.
func eventually(timeout time.Duration, ask func() error) error {
	pause := 2 * time.Millisecond
	for end := time.Now().Add(timeout); ; {
		err := ask()
		if err == nil || time.Now().After(end) {
			return err
		}
		time.Sleep(pause)
		pause = min(2*pause, 50*time.Millisecond)
	}
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
