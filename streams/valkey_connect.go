package streams

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valkey-io/valkey-go"
)

const (
	clientName = "hubstream"
	// connBuffer is the size of a connection's buffers. The library's own default, 512 KiB
	// each, is too much for one connection per tail.
	connBuffer = 64 << 10
	// tailRing is the scale of the queue of a tail's connection, which carries one command at a time.
	tailRing = 4
	// tailPool limits the tails' connections to one server.
	tailPool = 4 * Buckets
	// keepAlive is how long a silent connection is trusted; then it must answer a PING
	// within the call timeout.
	keepAlive = time.Second
	// dialsPerCall is the part of a call's time that connecting may take, and that the
	// greeting may take after it. Callers that need the same connection wait for it without
	// regard to their own deadlines, which it may overrun by as much.
	dialsPerCall = 4
)

// clientOption is what both clients have in common.
func (c *ValkeyConfig) clientOption() (valkey.ClientOption, error) {
	option := valkey.ClientOption{
		ClientName:          clientName,
		Dialer:              net.Dialer{Timeout: c.CallTimeout / dialsPerCall, KeepAlive: keepAlive},
		ConnWriteTimeout:    c.CallTimeout,
		TLSConfig:           c.TLS,
		ReadBufferEachConn:  connBuffer,
		WriteBufferEachConn: connBuffer,
		DisableCache:        true,
		// Even a read-only command is repeated by us, within the call's deadline, or not at all.
		DisableRetry: true,
	}
	u, err := c.parseAddresses(&option)
	if err != nil {
		return option, err
	}
	option.Username, option.Password = orDefault(c.Username, u.username), orDefault(c.Password, u.password)
	if u.secure && option.TLSConfig == nil {
		option.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	switch c.Mode {
	case "", ValkeyStandalone:
		option.ForceSingleClient = true
		if len(option.InitAddress) != 1 {
			return option, fmt.Errorf("a standalone Valkey has one address, not %d", len(option.InitAddress))
		}
	case ValkeySentinel:
		if c.MasterSet == "" {
			return option, errors.New("with sentinels the name of the master set is needed")
		}
		option.Sentinel = valkey.SentinelOption{
			MasterSet:  c.MasterSet,
			Username:   u.username,
			Password:   u.password,
			ClientName: clientName,
			Dialer:     option.Dialer,
			TLSConfig:  option.TLSConfig,
		}
	case ValkeyCluster:
		if option.SelectDB != 0 {
			return option, errors.New("a Valkey cluster has database 0 only")
		}
		option.ShuffleInit = true
	default:
		return option, fmt.Errorf("unknown Valkey mode %q", c.Mode)
	}
	return option, nil
}

// withoutSentinelPassword has the sentinels asked without a password, if it may be them that refused theirs: often the servers have one,
// and the sentinels none.
func withoutSentinelPassword(o *valkey.ClientOption, err error) bool {
	s := &o.Sentinel
	if s.Username+s.Password == "" || !hasReply(err, "WRONGPASS ") && !hasReply(err, "AUTH <password> called without any password") {
		return false
	}
	s.Username, s.Password = "", ""
	return true
}

// mainOption is for the client that pipelines the calls.
func mainOption(o valkey.ClientOption, conns *connections) valkey.ClientOption {
	o.DialCtxFn = conns.dial
	// Always through the pipeline's own goroutines: a caller that gives up early must not
	// take the connection, and other callers' answers, with it.
	o.AlwaysPipelining = true
	return o
}

// tailOption is for the client that the tails have their connections from. RESP 2
// answers XREAD with arrays, which are read without maps in between.
func tailOption(o valkey.ClientOption, conns *connections) valkey.ClientOption {
	o.DialCtxFn = conns.dial
	o.AlwaysRESP2 = true
	o.RingScaleEachConn = tailRing
	o.PipelineMultiplex = -1
	o.BlockingPoolSize = tailPool
	return o
}

// urlSettings is what the URLs among the addresses say beside the addresses.
type urlSettings struct {
	username, password string
	secure             bool
}

func (c *ValkeyConfig) parseAddresses(option *valkey.ClientOption) (s urlSettings, err error) {
	if len(c.Addresses) == 0 {
		return s, errors.New("no address of Valkey")
	}
	for _, address := range c.Addresses {
		if !strings.Contains(address, "://") {
			if strings.Contains(address, "@") {
				return s, errNoScheme
			}
			if err := checkHostPort(address); err != nil {
				return s, fmt.Errorf("address of Valkey: %w", err)
			}
			option.InitAddress = append(option.InitAddress, address)
			continue
		}
		u, err := url.Parse(address)
		if err != nil || strings.Contains(u.Path+"?"+u.RawQuery+"#"+u.Fragment, "@") {
			return s, errNotURL
		}
		if err := s.add(u, option); err != nil {
			return s, fmt.Errorf("address of Valkey %s: %w", (&url.URL{Scheme: u.Scheme, User: u.User, Host: u.Host, Path: u.Path}).Redacted(), err)
		}
	}
	return s, nil
}

// These do not show the address: what is wrong with it is where its password begins, or ends.
var (
	errNoScheme = errors.New("address of Valkey: with a user or a password it is a URL, valkey://user:password@host:port")
	errNotURL   = errors.New("address of Valkey: not a URL; of a password's characters all but A-Z a-z 0-9 - _ . ~ are written as %40 for @, %2F for /")
)

func checkHostPort(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("%s: its port is not from 1 to 65535", address)
	}
	if host == "" {
		return fmt.Errorf("%s: no host", address)
	}
	return nil
}

func (s *urlSettings) add(u *url.URL, option *valkey.ClientOption) error {
	switch u.Scheme {
	case "valkey", "redis":
	case "valkeys", "rediss":
		s.secure = true
	default:
		return fmt.Errorf("unknown scheme %q", u.Scheme)
	}
	if u.Hostname() == "" {
		return errors.New("no host")
	}
	if u.RawQuery != "" || u.Fragment != "" {
		return errors.New("what is behind ? or # means nothing; a database is written /1")
	}
	address := net.JoinHostPort(u.Hostname(), orDefault(u.Port(), "6379"))
	if err := checkHostPort(address); err != nil {
		return err
	}
	option.InitAddress = append(option.InitAddress, address)
	if u.User != nil {
		s.username = u.User.Username()
		s.password, _ = u.User.Password()
	}
	if db := strings.Trim(u.Path, "/"); db != "" {
		n, err := strconv.Atoi(db)
		if err != nil || n < 0 {
			return fmt.Errorf("not a database number: %q", db)
		}
		option.SelectDB = n
	}
	return nil
}

// connections knows the open connections of a client. It tells errors of a connection
// on which no command can have been sent yet from others, and closes those that do not
// answer: commands given up by their callers would fill the library's queues, where
// others would wait for longer than their deadlines.
type connections struct {
	mu   sync.Mutex
	open map[*connection]struct{} // guarded by mu
}

// notSentError says that nothing was sent. It hides its cause from errors.Is: a
// deadline inside it would be taken for the call's own.
type notSentError struct{ cause error }

func (e *notSentError) Error() string { return e.cause.Error() }

func (c *connections) dial(ctx context.Context, addr string, d *net.Dialer, cfg *tls.Config) (net.Conn, error) {
	var conn net.Conn
	var err error
	if cfg != nil {
		conn, err = (&tls.Dialer{NetDialer: d, Config: cfg}).DialContext(ctx, "tcp", addr)
	} else {
		conn, err = d.DialContext(ctx, "tcp", addr)
	}
	if err != nil {
		return nil, &notSentError{err}
	}
	t := &connection{Conn: conn, all: c}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == nil {
		c.open = make(map[*connection]struct{})
	}
	c.open[t] = struct{}{}
	return t, nil
}

// closeAll closes every connection; they are made anew when they are needed.
func (c *connections) closeAll() { c.close(func(*connection) bool { return true }) }

// closeStuck closes the connections that have not answered for some time.
func (c *connections) closeStuck(patience time.Duration) {
	before := time.Now().Add(-patience).UnixNano()
	c.close(func(t *connection) bool {
		since := t.waiting.Load()
		return since != 0 && since <= before
	})
}

func (c *connections) close(which func(*connection) bool) {
	var list []*connection
	c.mu.Lock()
	for t := range c.open {
		if which(t) {
			list = append(list, t)
			delete(c.open, t)
		}
	}
	c.mu.Unlock()
	for _, t := range list {
		_ = t.Conn.Close()
	}
}

// connection is one connection to a server.
type connection struct {
	net.Conn
	all *connections
	// answered: the server has answered. Before that only the greeting was sent.
	answered atomic.Bool
	// waiting is since when something was sent and nothing has come, ns; 0: nothing was.
	waiting atomic.Int64
}

// Read implements net.Conn.
func (t *connection) Read(b []byte) (int, error) {
	n, err := t.Conn.Read(b)
	if n > 0 {
		t.answered.Store(true)
		t.waiting.Store(0)
	}
	if err != nil && !t.answered.Load() {
		err = &notSentError{fmt.Errorf("no answer to the greeting: %w", err)}
	}
	return n, err
}

// Write implements net.Conn.
func (t *connection) Write(b []byte) (int, error) {
	if t.waiting.Load() == 0 {
		t.waiting.Store(time.Now().UnixNano())
	}
	return t.Conn.Write(b)
}

// Close implements net.Conn.
func (t *connection) Close() error {
	t.all.mu.Lock()
	delete(t.all.open, t)
	t.all.mu.Unlock()
	return t.Conn.Close()
}
