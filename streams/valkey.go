package streams

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valkey-io/valkey-go"

	"hubstream/internal/sleep"
)

// ValkeyMode is how the servers are arranged.
type ValkeyMode string

// The modes. ValkeySentinel: Addresses are the sentinels', and MasterSet is set.
const (
	ValkeyStandalone ValkeyMode = "standalone"
	ValkeySentinel   ValkeyMode = "sentinel"
	ValkeyCluster    ValkeyMode = "cluster"
)

// ValkeyConfig configures a Valkey.
type ValkeyConfig struct {
	// Addresses are host:port, or URLs: valkey://user:password@host:port/db, and valkeys://
	// (or redis://, rediss://) for TLS. One for a standalone server; else some of the nodes, or the sentinels.
	Addresses []string
	// Mode is ValkeyStandalone if empty.
	Mode ValkeyMode
	// MasterSet is the name that the sentinels know the primary by.
	MasterSet string
	// Username and Password are those of the servers. A URL's are used where these are
	// empty, and for the sentinels, unless they refuse them: then they are asked without.
	Username, Password string
	// TLS, if not nil, is used for every connection.
	TLS *tls.Config
	// Prefix begins every key. If empty, "hs".
	Prefix string
	// CallTimeout bounds every call. If zero, 2 s.
	CallTimeout time.Duration
	// Durable is the number of replicas that must have an append before it succeeds.
	Durable int
	// DurableTimeout is how long an append waits for them, within CallTimeout. If zero, 50 ms.
	DurableTimeout time.Duration
	// Logger, if not nil, is told what an operator should change.
	Logger *slog.Logger
	// Waiting, if not nil, is told by NewValkey why it goes on trying.
	Waiting func(reason error)
}

// Check returns what is wrong with the configuration, which NewValkey would refuse. It asks no server.
func (c *ValkeyConfig) Check() error {
	_, err := c.clientOption()
	return err
}

// Secure tells whether an address is for TLS, which all connections have then. It fails if an address is none.
func (c *ValkeyConfig) Secure() (bool, error) {
	u, err := c.parseAddresses(&valkey.ClientOption{})
	return u.secure, err
}

const (
	defaultPrefix         = "hs"
	defaultCallTimeout    = 2 * time.Second
	defaultDurableTimeout = 50 * time.Millisecond
	// maxCalls limits the calls in flight. The rest wait for their turn within their own
	// deadlines. Half of what fits into a connection's queue, where those whose callers
	// have given up stay until they are answered.
	maxCalls = 512
	// connectPause is the time between attempts of NewValkey.
	connectPause = 100 * time.Millisecond
)

// Valkey is a Store in Valkey 7 or later (or Redis 7): standalone, with sentinels, or a
// cluster. A hub's log is a stream, a connection's record a hash. Every step is one
// command or one script, and all keys of a hub share a hash tag, so that a cluster
// keeps them together. Run is the primary's run ID.
//
// Appends are never repeated. Scripts are made so that repeating them is safe, and are
// repeated within the call's deadline when an answer is lost.
type Valkey struct {
	// static
	cfg   ValkeyConfig
	log   *slog.Logger
	keys  keyNames
	calls chan struct{}
	main  valkey.Client // pipelines everything but the tails
	tails valkey.Client // gives each tail a connection of its own

	mainConns, tailConns connections
	appenders            [Buckets]appender
	evaluators           [Buckets]evaluator
	bindings             bindings

	// noUnblock: operators were told that a server forbids CLIENT UNBLOCK.
	noUnblock    atomic.Bool
	unblockRetry time.Duration // static: how long until a tail asks again whether it does

	down   atomic.Bool // closed
	errors errorMeter

	mu         sync.Mutex
	open       map[*valkeyTail]struct{} // guarded by mu
	joined     bool                     // guarded by mu: background is waited for
	background sync.WaitGroup           // of tails
}

// NewValkey connects to Valkey. It tries until ctx ends, and then returns
// ErrUnavailable; what trying again would not mend (credentials, settings) it returns at once.
// It does not ask whether the store is fit for use: Ready does.
func NewValkey(ctx context.Context, cfg ValkeyConfig) (*Valkey, error) {
	v := &Valkey{cfg: cfg, log: cfg.Logger, calls: make(chan struct{}, maxCalls), open: map[*valkeyTail]struct{}{}, unblockRetry: unblockRetry}
	if v.log == nil {
		v.log = slog.New(slog.DiscardHandler)
	}
	v.cfg.CallTimeout = orDefault(cfg.CallTimeout, defaultCallTimeout)
	for i := range v.appenders {
		v.appenders[i].init(v)
		v.evaluators[i].init(v)
	}
	v.cfg.DurableTimeout = orDefault(cfg.DurableTimeout, defaultDurableTimeout)
	v.cfg.Prefix = orDefault(cfg.Prefix, defaultPrefix)
	v.keys = keyNames{prefix: v.cfg.Prefix}
	if err := v.keys.check(); err != nil {
		return nil, err
	}
	option, err := v.cfg.clientOption()
	if err != nil {
		return nil, err
	}
	if v.main, err = connect(ctx, mainOption(option, &v.mainConns), cfg.Waiting); err != nil {
		return nil, err
	}
	if v.tails, err = connect(ctx, tailOption(option, &v.tailConns), cfg.Waiting); err != nil {
		v.main.Close()
		return nil, err
	}
	return v, nil
}

func orDefault[T comparable](value, other T) T {
	var zero T
	if value == zero {
		return other
	}
	return value
}

// connect makes a client, which for a cluster and sentinels means to reach them.
func connect(ctx context.Context, option valkey.ClientOption, waiting func(reason error)) (valkey.Client, error) {
	var refused error // with the sentinels' password
	for {
		client, err := valkey.NewClient(option)
		if err == nil {
			return client, nil
		}
		if client != nil {
			client.Close()
		}
		switch {
		case refused != nil && hasReply(err, "NOAUTH "):
			err = refused // they need one, and it is another
		case withoutSentinelPassword(&option, err):
			refused = err
			continue
		}
		mapped, repeatable := classify(err)
		if !repeatable {
			return nil, fmt.Errorf("connect to Valkey: %w", mapped)
		}
		if waiting != nil {
			waiting(mapped)
		}
		if err := sleep.For(ctx, connectPause); err != nil {
			return nil, fmt.Errorf("connect to Valkey: %w", mapped)
		}
	}
}

// Close closes every connection and returns when the tails have ended. Later calls
// return ErrUnavailable. It may be called again.
func (v *Valkey) Close() error {
	v.down.Store(true)
	v.mu.Lock()
	tails := slices.Collect(maps.Keys(v.open))
	v.mu.Unlock()
	for _, t := range tails {
		t.Close()
	}
	v.mu.Lock()
	v.joined = true
	v.mu.Unlock()
	v.background.Wait()
	v.main.Close()
	v.tails.Close()
	return nil
}

var errStoreClosed = fmt.Errorf("%w: it is closed", ErrUnavailable)

// adopt lets Close close the tail; false when it has been called already.
func (v *Valkey) adopt(t *valkeyTail) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.open[t] = struct{}{}
	return !v.down.Load()
}

func (v *Valkey) forget(t *valkeyTail) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.open, t)
}

// inBackground runs f in a goroutine that Close waits for; after that, here.
func (v *Valkey) inBackground(f func()) {
	v.mu.Lock()
	joined := v.joined
	if !joined {
		v.background.Go(f)
	}
	v.mu.Unlock()
	if joined {
		f()
	}
}

// observe sees every error of the main client.
func (v *Valkey) observe(err error) {
	v.count(err)
	if isReadOnly(err) {
		// The server was demoted under its address, which may lead to another by now.
		v.mainConns.closeAll()
		v.tailConns.closeAll()
	}
	if errors.Is(err, context.DeadlineExceeded) {
		v.mainConns.closeStuck(v.cfg.CallTimeout * 3 / 4) // some of the call's time went before it was sent
	}
}

// count counts an error of any client.
func (v *Valkey) count(err error) {
	_, replied := valkey.IsValkeyErr(err)
	switch {
	case errors.Is(err, context.Canceled): // by the caller
	case !replied:
		v.errors.count(StoreUnreachable)
	case hasReply(err, "OOM "):
		v.errors.count(StoreFull)
	case !hasReply(err, "UNBLOCKED ") && !hasReply(err, "NOSCRIPT "):
		v.errors.count(StoreRefused)
	}
}

func (v *Valkey) errorCounts() map[StoreErrorKind]int64 { return v.errors.counts() }

var _ Store = (*Valkey)(nil)
