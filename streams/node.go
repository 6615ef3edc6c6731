package streams

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"hubstream/internal/reasons"
)

// Config is a node's share of the settings. Zero values mean the defaults.
type Config struct {
	// Name identifies the node among all nodes that share the store. Required.
	Name string
	// Retention is how long entries stay in the log. Default 2 minutes.
	Retention time.Duration
	// RetentionBytes limits a hub's log in the store: beyond it entries go earlier, but
	// not before 15 s, and beyond that sends are refused. Default 256 MiB.
	RetentionBytes int64
	// WindowBytes limits a hub's window on this node (default 64 MiB), NodeWindowBytes
	// all windows together (default 512 MiB); each limits the pages that are read again for who is behind the window, too.
	WindowBytes     int
	NodeWindowBytes int64
	// Linger is how long a hub is still tailed after its last local use. Default 60 s.
	Linger time.Duration
	// Pace is the pause after each read of a tail, for each node that tails the bucket:
	// it bounds the reads that all nodes together make. Zero means none.
	Pace time.Duration
	// Contact is how long the store must have been reachable without a break, its clock and this
	// node's agreeing, before this node ends connections whose lease has passed. Default 60 s.
	Contact time.Duration
	// Tombstone is how long an ended connection's token is refused: longer than
	// a token may create a connection. Default 2 minutes.
	Tombstone time.Duration
	// LossSpread is the time over which connections are closed after a part of their hub's log was lost, but for those that
	// cannot go on at all. Zero: all at once.
	LossSpread time.Duration
	// Traced is called with each message of a hub's log that has a trace context, as soon as it is read and before it is
	// delivered, maybe by whoever has published it. It must not wait, nor call the node. Nil: nobody looks.
	Traced func(i *Item)
	// Logger gets what operators should know; nil means none.
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	setDefault(&c.Retention, 2*time.Minute)
	setDefault(&c.RetentionBytes, 256<<20)
	setDefault(&c.WindowBytes, 64<<20)
	setDefault(&c.NodeWindowBytes, 512<<20)
	setDefault(&c.Linger, time.Minute)
	setDefault(&c.Contact, time.Minute)
	setDefault(&c.Tombstone, 2*time.Minute)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// maxOpens bounds the Opens under way on a node: after a crash thousands of clients
// return at once, and sends must not starve behind them.
const maxOpens = 256

// Node is one node's view of the store: it tails the hubs that are used here and
// serves the connections that are attached here. It keeps nothing that another node
// would miss. Safe for concurrent use.
type Node struct {
	cfg   Config
	store Store
	log   *slog.Logger
	opens chan struct{}
	heard heard
	stats stats
	meter meter
	// How many entries a page holds and one read of a tail returns, at the most.
	pageEntries, tailEntries int

	waiting                atomic.Int64 // Opens whose records are waited for
	windowBytes, pageBytes atomic.Int64
	clock                  storeClock
	contact                contact

	employed employed
	left     map[string]leftLog // of sweep alone
	away     reasons.Told       // why beats fail; of beats alone

	mu      sync.Mutex
	hubs    map[string]*hub
	tailers map[int]*tailer
	ctx     context.Context // of Run; nil before
	running sync.WaitGroup
}

// NewNode returns a node over a store. Run makes it work.
func NewNode(store Store, cfg Config) *Node {
	cfg = cfg.withDefaults()
	return &Node{
		cfg: cfg, store: store, log: cfg.Logger,
		opens: make(chan struct{}, maxOpens), heard: heard{bell: make(chan struct{}, 1)}, employed: employed{
			buckets: map[int]time.Time{}, calls: map[string]chan<- *Entry{}, gone: map[string][]chan<- *Entry{},
		},
		left: map[string]leftLog{}, hubs: map[string]*hub{}, tailers: map[int]*tailer{},
		pageEntries: pageEntries, tailEntries: tailEntries,
	}
}

// Start makes first contact with the store. It returns when the node can serve, and the
// node works until ctx ends; then Wait returns when everything has stopped.
func (n *Node) Start(ctx context.Context) error {
	if err := n.store.Ready(ctx); err != nil {
		return err
	}
	if err := n.beat(ctx, 0, nil); err != nil {
		return err
	}
	n.mu.Lock()
	n.ctx = ctx
	n.mu.Unlock()
	n.every(ctx, beatInterval, n.beats)
	n.running.Go(func() { n.touches(ctx) })
	n.every(ctx, trimInterval, n.trim)
	n.every(ctx, sweepInterval, n.sweep)
	n.every(ctx, beatInterval, n.keepWorker)
	n.every(ctx, userSweepInterval, n.sweepUsers)
	n.every(ctx, time.Second, n.retire)
	return nil
}

// begin runs f until the node stops; false: it does not work.
func (n *Node) begin(f func(context.Context)) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	ctx := n.ctx
	if ctx == nil || ctx.Err() != nil {
		return false
	}
	n.running.Go(func() { f(ctx) })
	return true
}

// Wait returns when everything that Start started has stopped.
func (n *Node) Wait() { n.running.Wait() }

// every calls f again and again until ctx ends.
func (n *Node) every(ctx context.Context, interval time.Duration, f func(context.Context)) {
	n.running.Go(func() {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				f(ctx)
			case <-ctx.Done():
				return
			}
		}
	})
}

// Now is the store's clock in milliseconds, as far as this node knows it.
func (n *Node) Now() int64 { return n.clock.now() }

// Ready returns nil if the store can be used, see Cluster.Ready, and what it has can be read here.
func (n *Node) Ready(ctx context.Context) error {
	if err := n.store.Ready(ctx); err != nil {
		return err
	}
	return n.blind()
}

// Secret returns the secret that all nodes share: if the store has none, held, the one that this node has had from it, or else a new one.
func (n *Node) Secret(ctx context.Context, held []byte) ([]byte, error) {
	if held == nil {
		held = make([]byte, 32)
		rand.Read(held)
	}
	return n.store.Secret(ctx, held)
}

// Report tells the other nodes data of this one, and returns what all nodes have told within keep; see Cluster.Report.
func (n *Node) Report(ctx context.Context, data []byte, keep time.Duration) ([]NodeReport, error) {
	return n.store.Report(ctx, n.cfg.Name, data, keep)
}

// NewOwner returns a token for one attach by this node.
func (n *Node) NewOwner() string { return n.cfg.Name + "." + random64() }

func random64() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// acquire returns a hub, which stays in use until release.
func (n *Node) acquire(name string) *hub {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.hubs[name]
	if h == nil {
		h = newHub(n, name)
		n.hubs[name] = h
	}
	h.mu.Lock()
	h.use()
	h.mu.Unlock()
	return h
}

func (h *hub) release() {
	h.mu.Lock()
	h.unuse()
	h.mu.Unlock()
}

func (n *Node) allHubs() []*hub {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := make([]*hub, 0, len(n.hubs))
	for _, h := range n.hubs {
		list = append(list, h)
	}
	return list
}

// Join changes memberships of one connection; see JoinRequest.
func (n *Node) Join(ctx context.Context, hubName, id string, verb Verb, groups ...string) (JoinReply, error) {
	entry := AppendEntry(nil, &Entry{Kind: KindControl, Verb: verb, Connections: []string{id}, Named: groups})
	if len(entry) > MaxEntryBytes {
		return JoinReply{}, ErrTooLarge
	}
	return n.store.Join(ctx, hubName, JoinRequest{ID: id, Verb: verb, Groups: groups, Entry: entry})
}

// CloseConnection closes one connection in order: it is sent everything before, then
// the reason. ErrGone if there is none.
func (n *Node) CloseConnection(ctx context.Context, hubName, id, reason string, allowReconnect bool) (Position, error) {
	e := Entry{Kind: KindClose, Connections: []string{id}, Body: []byte(reason)}
	if allowReconnect {
		e.Flags |= FlagReconnect
	}
	return n.store.CloseConnection(ctx, hubName, id, AppendEntry(nil, &e))
}

// End ends a connection now, if owner still owns it (any owner, if empty).
func (n *Node) End(ctx context.Context, hubName, id, owner string) (EndReply, error) {
	return n.end(ctx, hubName, EndRequest{ID: id, Owner: owner})
}

// EndFor is End of a connection that this node has served, with a reason for the event "disconnected". It cannot be created anew, even if
// its record was lost.
func (n *Node) EndFor(ctx context.Context, hubName, id, owner, reason string) (EndReply, error) {
	return n.end(ctx, hubName, EndRequest{ID: id, Owner: owner, Reason: reason, Bury: true})
}

func (n *Node) end(ctx context.Context, hubName string, r EndRequest) (EndReply, error) {
	r.Token = random64()
	r.Tombstone = n.cfg.Tombstone
	r.Entry = AppendEntry(nil, &Entry{Kind: KindClose, Flags: FlagEnded, Connections: []string{r.ID}})
	r.Worker, r.Bell = n.taker(hubName), bell(r.ID)
	reply, err := n.store.End(ctx, hubName, r)
	if err == nil && reply.Run {
		n.employed.tell(hubName, r.ID)
	}
	return reply, err
}

// Handshake, Answer, Wrote, Finish and Lookup are the store's; see Records.
func (n *Node) Handshake(ctx context.Context, hubName string, r HandshakeRequest) (HandshakeReply, error) {
	if r.Connected {
		r.Worker = n.taker(hubName)
	}
	reply, err := n.store.Handshake(ctx, hubName, r)
	if err == nil && reply.Run {
		n.employed.tell(hubName, r.ID)
	}
	return reply, err
}

// Answer commits a poll's answer.
func (n *Node) Answer(ctx context.Context, hubName string, r AnswerRequest) (uint64, error) {
	h := n.acquire(hubName)
	defer h.release()
	carries := h.carriedOver()
	number, err := n.store.Answer(ctx, hubName, r)
	if err == nil && !h.stands(r.ID, number, carries) {
		return 0, ErrUnavailable // repeated, it is made or found
	}
	return number, err
}

// Abandon notes that a socket's client has left the connection; see Records.Abandon.
func (n *Node) Abandon(ctx context.Context, hubName, id string, ticket uint64) error {
	return n.store.Abandon(ctx, hubName, id, ticket)
}

// Wrote tells whether answer number's bytes were written.
func (n *Node) Wrote(ctx context.Context, hubName, id string, number uint64, ok bool) error {
	return n.store.Wrote(ctx, hubName, id, number, ok)
}

// Finish counts processed messages of a stateful client and appends the replies.
func (n *Node) Finish(ctx context.Context, hubName string, r FinishRequest) (Position, error) {
	return n.store.Finish(ctx, hubName, r)
}

// Lookup reads a record.
func (n *Node) Lookup(ctx context.Context, hubName, id string) (OpenReply, error) {
	return n.store.Lookup(ctx, hubName, id)
}

// Pending calls visit with the matches of a connection after its saved cursor, in order, until it returns false: what is
// buffered for it. Only stateful and long polling connections have a saved cursor. Nothing is kept of what was visited.
func (n *Node) Pending(ctx context.Context, hubName, id string, visit func(*Item) bool) (Record, error) {
	reply, err := n.store.Lookup(ctx, hubName, id)
	if err != nil {
		return Record{}, err
	}
	r := reply.Record
	if r.Transport != TransportLongPolling && !r.Stateful() {
		return r, nil
	}
	filter := newFilter(&r, r.Owner, reply.Last)
	at, read := r.Cursor, reading{most: n.pageEntries}
	for at.Before(reply.Last) {
		slice, err := n.store.Range(ctx, hubName, at, read.size())
		if err != nil {
			return r, err
		}
		if at.Before(slice.Floor) {
			return r, ErrGap
		}
		if len(slice.Entries) == 0 {
			break
		}
		read.note(&slice)
		for _, raw := range slice.Entries {
			item, _ := newItem(raw)
			at = raw.Position
			switch filter.step(at, &item.Entry) {
			case skip:
			case deliver:
				if !visit(item) {
					return r, nil
				}
			default:
				return r, nil // it closes here
			}
		}
	}
	return r, nil
}
