package node

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"hubstream/cmd/api/command"
	"hubstream/handlers"
	"hubstream/internal/metrics"
	"hubstream/internal/traces"
	"hubstream/internal/upstream"
	"hubstream/negotiate/access"
	"hubstream/transports"
	"hubstream/web"
)

// Run is a node's life: it returns nil when ctx has ended and the node with it, or when help was asked for, and an error
// of one line when the node cannot start or go on. It leaves nothing behind and may be called many
// times at once in one process.
func Run(ctx context.Context, args []string, env func(string) string, stdout, stderr io.Writer) error {
	if len(args) > 0 {
		switch args[0] {
		case "check":
			return helpOr(check(stdout, args[1:], env), stdout)
		case "settings":
			return writeReference(stdout)
		case "version", "-version", "--version":
			return writeVersion(stdout)
		}
		if command.Is(args[0]) {
			return command.Run(ctx, args, env, stdout, stderr)
		}
	}
	cfg, err := Parse(args, env)
	if err != nil {
		return helpOr(err, stdout)
	}
	origins := handlers.LoopbackOrigins()
	if len(cfg.Origins) > 0 {
		if origins, err = handlers.ParseOrigins(cfg.Origins); err != nil {
			return err
		}
	}
	listener, err := listen(ctx, cfg.Listen)
	if err != nil {
		return fmt.Errorf("-listen: %w", err)
	}
	signal.Ignore(syscall.SIGPIPE) // who reads the log may go: that is no reason to end
	log, logged := newLog(cfg, stderr)
	defer logged.close()
	announced := newLines(stdout, func(int64) {})
	defer announced.close()
	profiler, err := startProfiler(cfg.Pprof)
	if err != nil {
		listener.Close()
		return fmt.Errorf("-pprof: %w", err)
	}
	defer profiler.stop()
	n := &node{cfg: cfg, log: log, logged: logged, stdout: announced, began: time.Now()}
	// Tokens are checked for as long as there are requests, which a drain may outlast.
	checking, stopChecking := context.WithCancel(context.WithoutCancel(ctx))
	defer n.watching.Wait()
	defer stopChecking()
	admins, shown := access.NewAdmins(cfg.AdminKeys), n.newMetrics()
	verifier, err := n.newAccess(checking)
	if err != nil {
		listener.Close()
		return err
	}
	if n.upstream, err = n.newUpstream(env); err != nil {
		listener.Close()
		return err
	}
	if n.upstream != nil {
		defer n.upstream.Close()
	}
	metricsServer, err := startMetrics(cfg.MetricsListen, shown)
	if err != nil {
		listener.Close()
		return fmt.Errorf("-metrics-listen: %w", err)
	}
	defer metricsServer.stop()
	if n.tracer, err = n.newTracer(ctx); err != nil {
		listener.Close()
		return fmt.Errorf("-trace-endpoint: %w", err)
	}
	if n.tracer != nil {
		defer n.tracer.Close(context.WithoutCancel(ctx))
	}
	n.handler = handlers.New(handlers.Config{
		Node: cfg.Node, Origins: origins, MaxSendBytes: int(cfg.MaxSendBytes), BodiesBytes: cfg.NodeSendBytes, Logger: log,
		Limits: handlers.Limits{
			ConnectRate: cfg.ConnectRate, SendRate: cfg.SendRate, UserConnections: cfg.MaxUserConnections,
			Addresses: cfg.MaxAddressConnections > 0, Proxies: cfg.TrustedProxies,
		},
		Access: verifier, Admins: admins, Metrics: shown, Console: web.New(n.consoleFor(admins), n.feed.Load),
	})
	return n.run(ctx, listener)
}

// helpOr writes the help if that is what was asked for.
func helpOr(err error, stdout io.Writer) error {
	if errors.Is(err, flag.ErrHelp) {
		return writeHelp(stdout)
	}
	return err
}

// node is a node that has its address.
type node struct {
	cfg     Config
	log     *slog.Logger
	logged  *lines
	stdout  io.Writer
	handler *handlers.Handler
	server  *http.Server

	began    time.Time
	watching sync.WaitGroup // of the file of access keys
	draining atomic.Bool
	metrics  *metrics.Node
	tracer   *traces.Tracer           // nil: nothing is traced
	feed     atomic.Pointer[web.Feed] // nil until the store is reached

	accessKeys atomic.Pointer[[]access.Key] // nil in development mode
	upstream   *upstream.Client             // nil if there is none
}

// Limits of HTTP connections. There is none for a whole request or answer: polls and event streams last. What is
// read and written within them has its own.
const (
	readHeaderTimeout = 10 * time.Second
	// readTimeout is how long a request may take to come, with a body that nobody asks for: net/http waits for that before it
	// sends a refusal. Who reads a body says how long that may take, and once a request is there the time counts no more.
	readTimeout = 30 * time.Second
	// writeTimeout is how long a client may not read its answer.
	writeTimeout   = 30 * time.Second
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 64 << 10 // 64 KiB; tokens are in addresses and headers
	// shutdownTimeout is how long requests that have nothing to wait for may take to end, once connections are
	// drained, and again when their contexts have ended.
	shutdownTimeout = time.Second
)

// announceTimeout is how long the announcement waits for the store, so that who has read it may send.
const announceTimeout = 2 * time.Second

func (n *node) run(ctx context.Context, listener net.Listener) error {
	keepRoom()
	// Requests end when the connections are drained, not when the node is asked to end.
	requests, endRequests := context.WithCancel(context.WithoutCancel(ctx))
	defer endRequests()
	n.server = newServer(requests, n.handler, n.log)
	thrifty, spend := context.WithCancel(context.WithoutCancel(ctx))
	var giving sync.WaitGroup
	giving.Go(func() { giveBack(thrifty) })
	defer giving.Wait()
	defer spend()
	ended := make(chan error, 1)
	go func() {
		ended <- n.server.Serve(transports.WholeAnswers(&accepting{Listener: listener, log: n.log}, writeTimeout))
	}()
	opened := n.open(ctx)

	services, err := n.serve(ctx, listener.Addr(), opened, ended)

	n.handler.Unready("stopping")
	n.draining.Store(true)
	if services != nil {
		n.drain(ctx, services)
		services.feed.Close() // its viewers would not end by themselves
	}
	n.shutdown(endRequests)
	if services != nil {
		services.close()
	}
	n.log.Info("stopped")
	return err
}

// newServer is the server for clients and backends, whose requests end with ctx.
func newServer(ctx context.Context, handler http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler: handler, ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ConnContext: transports.ConnContext,
		ErrorLog:    slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// serve returns when the node shall end, with the services if there are any, or cannot go on.
func (n *node) serve(ctx context.Context, address net.Addr, opened <-chan opening, ended <-chan error) (s *services, err error) {
	announce := time.NewTimer(announceTimeout)
	defer announce.Stop()
	announced := false
	for {
		select {
		case o := <-opened:
			if ctx.Err() != nil {
				return o.services, nil
			}
			if o.err != nil {
				return nil, o.err
			}
			s, opened = o.services, nil
			n.handler.Start(s.forHandlers)
			n.feed.Store(s.feed)
			n.metrics.Serve(s.streams, s.transports)
			n.log.Info("ready", "version", version(), "store", n.storeName())
			if !announced {
				n.announce(address)
				announced = true
			}
		case <-announce.C:
			if !announced {
				n.announce(address)
				announced = true
			}
		case err := <-ended:
			ended = nil
			err = fmt.Errorf("serve: %w", err)
			return n.lateServices(s, opened), err
		case <-ctx.Done():
			return n.lateServices(s, opened), nil
		}
	}
}

// announce tells people where the node is, and how to use it.
func (n *node) announce(address net.Addr) {
	at := "http://" + reachable(address)
	mode := "development mode: no authentication"
	if n.cfg.Authenticated() {
		mode = "access tokens are needed: hubstream token makes them"
	}
	fmt.Fprintf(n.stdout, "listening on %s (node %s, %s; %s)\n", at, n.cfg.Node, n.storeName(), mode)
	if n.cfg.Authenticated() {
		return
	}
	fmt.Fprintf(n.stdout, "curl -X POST %s/api/hubs/chat/send -H 'Content-Type: application/json' -d '{\"target\":\"hello\",\"arguments\":[\"world\"]}'\n", at)
}

// reachable is an address of the node's own machine.
func reachable(address net.Addr) string {
	tcp, ok := address.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return address.String()
	}
	return net.JoinHostPort("127.0.0.1", fmt.Sprint(tcp.Port))
}

// storeName says where the log is, without passwords.
func (n *node) storeName() string {
	if len(n.cfg.Valkey) == 0 {
		return "log in memory"
	}
	hosts := make([]string, len(n.cfg.Valkey))
	for i, address := range n.cfg.Valkey {
		hosts[i] = address
		if strings.Contains(address, "://") {
			u, err := url.Parse(address)
			if err != nil {
				u = &url.URL{}
			}
			hosts[i] = u.Host
		}
	}
	return "log in Valkey at " + strings.Join(hosts, ",")
}

// drain moves the connections elsewhere, when balancers have had the time to see that the node is not ready: until then they
// send it new ones.
func (n *node) drain(ctx context.Context, s *services) {
	n.log.Info("draining", "drain", n.cfg.Drain, "notice", n.cfg.DrainNotice)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), n.cfg.Drain)
	defer cancel()
	time.Sleep(n.cfg.DrainNotice)
	s.transports.Drain(ctx)
}

// shutdown ends HTTP: what is under way may finish, unless it takes long.
func (n *node) shutdown(endRequests context.CancelFunc) {
	if n.shutdownOnce() == nil {
		return
	}
	endRequests()
	if n.shutdownOnce() != nil {
		_ = n.server.Close()
	}
}

func (n *node) shutdownOnce() error {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	return n.server.Shutdown(ctx)
}
