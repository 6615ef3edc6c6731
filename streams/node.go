package streams

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"
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
	heard chan struct{} // has one when a client was heard for the first time
	stats stats
	meter meter
	// How many entries a page holds and one read of a tail returns, at the most.
	pageEntries, tailEntries int

	windowBytes, pageBytes atomic.Int64
	clock                  storeClock
	contact                contact

	employed employed

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
		opens: make(chan struct{}, maxOpens), heard: make(chan struct{}, 1), employed: employed{
			buckets: map[int]time.Time{}, calls: map[string]chan<- *Entry{}, gone: map[string][]chan<- *Entry{},
		},
		hubs: map[string]*hub{}, tailers: map[int]*tailer{},
		pageEntries: pageEntries, tailEntries: tailEntries,
	}
}

// Start makes first contact with the store. It returns when the node can serve, and the
// node works until ctx ends; then Wait returns when everything has stopped.
func (n *Node) Start(ctx context.Context) error {
	if err := n.store.Ready(ctx); err != nil {
		return err
	}
	if err := n.beat(ctx, 0); err != nil {
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

// Ready returns nil if the store can be used; see Cluster.Ready.
func (n *Node) Ready(ctx context.Context) error { return n.store.Ready(ctx) }

// Secret returns the secret that all nodes share.
func (n *Node) Secret(ctx context.Context) ([]byte, error) {
	proposal := make([]byte, 32)
	rand.Read(proposal)
	return n.store.Secret(ctx, proposal)
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

const (
	// generationWait is how long a record of another generation is given to be carried over by the node that last served
	// it, which may find out later that the store has failed over, and is not quick when it has much to do.
	generationWait = 5 * time.Second
	// heardWait is how long a client is given to be noted as heard.
	heardWait = 2 * time.Second
	// recordPause is the pause between two looks at a record that is waited for.
	recordPause = 50 * time.Millisecond
)

// Open admits a request of a connection; see OpenRequest. It fills in Moved and
// Membership. ErrUnverified, ErrGeneration and ErrUnheard never leave it: a log of unknown state
// is verified, and a record that nobody carries over is ErrGone, as is that of a client that nothing was heard of.
func (n *Node) Open(ctx context.Context, hubName string, r OpenRequest) (OpenReply, error) {
	select {
	case n.opens <- struct{}{}:
		defer func() { <-n.opens }()
	case <-ctx.Done():
		return OpenReply{}, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	}
	h := n.acquire(hubName)
	defer h.release()
	r.Moved = AppendEntry(nil, &Entry{Kind: KindMoved, Connections: []string{r.ID}, Owner: r.Owner})
	wait := recordWait{hub: h, id: r.ID, owner: r.Owner}
	for {
		known := h.membership(r.ID)
		r.Membership, r.UserMembership = known.version, known.userVersion
		reply, err := n.store.Open(ctx, hubName, r)
		switch {
		case err == nil:
			if r.knows(&reply.Record) {
				reply.Record.Groups, reply.Record.UserGroups = known.groups, known.userGroups
			}
			h.remember(&reply, r.Owner)
			n.leaveDue(ctx, hubName, reply.Record.User, reply.Due)
			return reply, nil
		case errors.Is(err, ErrUnverified):
			wait.claimed = false
			if err := h.verify(ctx); err != nil {
				return OpenReply{}, err
			}
		case errors.Is(err, ErrGeneration):
			if err := wait.carriedOver(ctx, err); err != nil {
				return OpenReply{}, err
			}
		case errors.Is(err, ErrUnheard):
			if err := wait.pause(ctx, heardWait, err); err != nil {
				return OpenReply{}, err
			}
		default:
			return OpenReply{}, err
		}
	}
}

// recordWait is the wait for a record to be as an Open needs it.
type recordWait struct {
	hub       *hub
	id, owner string
	since     time.Time // zero: it is not waited for yet
	claimed   bool
}

// carriedOver waits for a record of another generation. It may be this very Open's: made, and its answer lost when the store failed over.
func (w *recordWait) carriedOver(ctx context.Context, err error) error {
	if !w.claimed && w.owner != "" {
		w.claimed = true
		return w.hub.claim(ctx, w.id, w.owner)
	}
	return w.pause(ctx, generationWait, err)
}

// pause waits a little, or returns ErrGone, for the reason err, if it has taken too long.
func (w *recordWait) pause(ctx context.Context, limit time.Duration, err error) error {
	if w.since.IsZero() {
		w.since = time.Now()
	}
	if time.Since(w.since) > limit {
		return fmt.Errorf("%w: %w", ErrGone, err)
	}
	if err := sleep(ctx, recordPause); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (h *hub) membership(id string) membership {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.memberships[id]
}

// remember notes that a connection is served here, and keeps a poller's groups, so that
// its next poll need not read them.
func (h *hub) remember(reply *OpenReply, owner string) {
	r := &reply.Record
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	if r.Owner != owner {
		owner = h.recent[r.ID].owner
	}
	if h.gen == "" {
		h.gen = reply.Gen
	}
	h.serve(r.ID, owner, r.Answers)
	known := h.recent[r.ID]
	known.gen = reply.Gen
	h.recent[r.ID] = known
	if r.Transport == TransportLongPolling && (r.Membership > 0 || !r.UserMembership.IsZero()) {
		h.memberships[r.ID] = membership{r.Membership, r.UserMembership, r.Groups, r.UserGroups, now}
	}
}

// errWindowMoved says that the window has moved on between the record's reading and
// the attach; reading the record again cures it.
var errWindowMoved = fmt.Errorf("%w: the window moved on", ErrUnavailable)

// Attach takes a connection into live service, as Open returned it. wake is called, from any
// goroutine, when Next may have more; Next must be called once at first. It must not block, nor take a lock that is held while something is
// published: whoever publishes may call it.
// The lease is what the node renews for the connection until Detach; zero renews none (long polling).
//
// Errors: ErrUnavailable, and those of Reopen.
func (n *Node) Attach(ctx context.Context, hubName string, reply OpenReply, owner string, lease time.Duration, wake func()) (*Attachment, error) {
	h := n.acquire(hubName)
	for tries := 0; ; tries++ {
		a := newAttachment(h, &reply, owner, lease, wake)
		err := h.attach(ctx, a, reply)
		if err == nil {
			return a, nil // the attachment holds the use of h until it leaves
		}
		if errors.Is(err, errWindowMoved) && tries < maxAttachTries {
			reply, err = n.Reopen(ctx, hubName, reply, owner)
		}
		if err != nil {
			h.release()
			return nil, err
		}
	}
}

// maxAttachTries bounds how often an attach reads the record again because the window moved on.
const maxAttachTries = 5

func newAttachment(h *hub, reply *OpenReply, owner string, lease time.Duration, wake func()) *Attachment {
	r := &reply.Record
	a := &Attachment{
		hub: h, id: r.ID, user: r.User, owner: owner, lease: lease, wake: wake,
		transport: r.Transport, stripe: h.node.meter.stripe(),
		filter:   newFilter(r, owner, reply.Last),
		cursor:   r.Cursor,
		behind:   true,
		waiting:  r.Transport == TransportWebSockets && r.Start.IsZero(),
		stateful: r.Stateful(),
		heard:    r.Heard,
		acks:     acks{cursor: r.Cursor, acked: r.Acked, sent: time.Now()},
		saved:    savedPair{r.Cursor, r.Acked, time.Now()},
	}
	if reply.Outcome == OpenRepeated {
		a.until = r.Sent
	}
	if r.Cursor.Before(reply.Floor) {
		// The record was read anew, and the floor had passed its cursor: the window or a page may hold what follows the cursor still, but
		// the record has forgotten the memberships of that time.
		a.err = ErrGap
	}
	return a
}

// Reopen reads the record of a connection that owner opened before, for another
// Attach; what the request was, and when it came (Outcome, Now), stays as it was opened. An Open in its place could displace a newer owner. ErrOwner if there is one,
// ErrGone if the connection has ended, ErrGap if the log no longer reaches back to its cursor.
func (n *Node) Reopen(ctx context.Context, hubName string, opened OpenReply, owner string) (OpenReply, error) {
	reply, err := n.reopen(ctx, hubName, opened, owner)
	if !errors.Is(err, ErrGeneration) {
		return reply, err
	}
	// The store may have failed over before this node knew that this attach owns it.
	h := n.acquire(hubName)
	defer h.release()
	if err := h.claim(ctx, opened.Record.ID, owner); err != nil {
		return OpenReply{}, err
	}
	return n.reopen(ctx, hubName, opened, owner)
}

func (n *Node) reopen(ctx context.Context, hubName string, opened OpenReply, owner string) (OpenReply, error) {
	reply, err := n.store.Lookup(ctx, hubName, opened.Record.ID)
	switch {
	case err != nil:
		return OpenReply{}, err
	case reply.Record.Owner != owner:
		return OpenReply{}, ErrOwner
	case reply.Record.Gen != reply.Gen:
		return OpenReply{}, fmt.Errorf("%w: %w", ErrUnavailable, ErrGeneration)
	case reply.Record.Cursor.Before(reply.Floor):
		return OpenReply{}, ErrGap // memberships that ended before the floor are forgotten
	}
	reply.Outcome, reply.Now = opened.Outcome, opened.Now
	return reply, nil
}

func (h *hub) attach(ctx context.Context, a *Attachment, reply OpenReply) error {
	if err := h.tail(ctx, reply.Gen, reply.Last); err != nil {
		return err
	}
	if err := h.wait(ctx, reply.Last); err != nil {
		return fmt.Errorf("%w: the tail is behind: %w", ErrUnavailable, err)
	}
	err := h.enter(a, reply.Gen, reply.Last)
	if errors.Is(err, ErrUnverified) {
		if err := h.verify(ctx); err != nil {
			return err
		}
		if err = h.enter(a, reply.Gen, reply.Last); errors.Is(err, ErrUnverified) {
			err = errWindowMoved // the record was read in an earlier generation
		}
	}
	return err
}

// Receipt is where an accepted entry is.
type Receipt struct {
	Gen      string
	Position Position
}

// String is the position as it is shown outside: opaque, "<generation>.<ms>-<seq>".
func (r Receipt) String() string { return r.Gen + "." + r.Position.String() }

// ErrTooLarge says that an entry is beyond MaxEntryBytes.
var ErrTooLarge = errors.New("the message and its audience are too large")

// Publish appends an entry. Errors: ErrTooLarge, ErrFull, and those of Log.Append.
func (n *Node) Publish(ctx context.Context, hubName string, e *Entry) (Receipt, error) {
	data := AppendEntry(nil, e)
	if len(data) > MaxEntryBytes {
		return Receipt{}, ErrTooLarge
	}
	h := n.acquire(hubName)
	defer h.release()
	if h.isFull() {
		return Receipt{}, fmt.Errorf("%w: the hub's log is at its limit", ErrFull)
	}
	p, err := n.store.Append(ctx, hubName, data)
	if err != nil {
		return Receipt{}, err
	}
	n.meter.sends.Add(1)
	gen, err := h.appended(ctx, RawEntry{p, textOf(data)})
	return Receipt{gen, p}, err
}

// PublishOnce is Publish with an idempotency key, which is remembered for at least
// keep. The same key again appends nothing: if sum, of what the producer sent, is the
// same too, the first receipt is returned and replayed is true, else the error is ErrKeyReused.
func (n *Node) PublishOnce(ctx context.Context, hubName, key, sum string, keep time.Duration, e *Entry) (r Receipt, replayed bool, err error) {
	data := AppendEntry(nil, e)
	if len(data) > MaxEntryBytes {
		return Receipt{}, false, ErrTooLarge
	}
	h := n.acquire(hubName)
	defer h.release()
	if h.isFull() {
		return Receipt{}, false, fmt.Errorf("%w: the hub's log is at its limit", ErrFull)
	}
	p, replayed, err := n.store.AppendOnce(ctx, hubName, OnceRequest{Key: key, Sum: sum, Entry: data, Keep: keep})
	if err != nil {
		return Receipt{}, false, err
	}
	if replayed { // what is there is not necessarily this entry
		gen, err := h.appended(ctx)
		return Receipt{gen, p}, true, err
	}
	n.meter.sends.Add(1)
	gen, err := h.appended(ctx, RawEntry{p, textOf(data)})
	return Receipt{gen, p}, false, err
}

// Outgoing is one entry of a PublishAll. Key and Sum are as in PublishOnce; without a Key it is as in Publish.
type Outgoing struct {
	Entry    *Entry
	Key, Sum string
	Keep     time.Duration
}

// Published is what became of one entry of a PublishAll.
type Published struct {
	Receipt  Receipt
	Replayed bool
	Err      error // as Publish and PublishOnce return it
}

// Limits of one step of a PublishAll: it holds up everybody else's.
const (
	publishedAtOnce = 128
	publishedBytes  = 1 << 20 // 1 MiB, and more for one entry
)

// PublishAll appends entries in their order, many in one step. An entry whose Err is set was not appended, or with ErrOutcomeUnknown maybe;
// the others were all the same.
func (n *Node) PublishAll(ctx context.Context, hubName string, entries []Outgoing) []Published {
	results := make([]Published, len(entries))
	h := n.acquire(hubName)
	defer h.release()
	most := min(len(entries), publishedAtOnce)
	items, places := make([]OnceRequest, 0, most), make([]int, 0, most)
	size := 0
	flush := func() {
		n.appendAll(ctx, h, items, places, results)
		items, places, size = items[:0], places[:0], 0
	}
	for i := range entries {
		e := &entries[i]
		data := AppendEntry(nil, e.Entry)
		if len(data) > MaxEntryBytes {
			results[i].Err = ErrTooLarge
			continue
		}
		if len(items) == publishedAtOnce || size > 0 && size+len(data) > publishedBytes {
			flush()
		}
		items, places = append(items, OnceRequest{Key: e.Key, Sum: e.Sum, Entry: data, Keep: e.Keep}), append(places, i)
		size += len(data)
	}
	flush()
	return results
}

func (n *Node) appendAll(ctx context.Context, h *hub, items []OnceRequest, places []int, results []Published) {
	if len(items) == 0 {
		return
	}
	var done []AppendResult
	err := error(nil)
	if h.isFull() {
		err = fmt.Errorf("%w: the hub's log is at its limit", ErrFull)
	} else {
		done, err = n.store.AppendAll(ctx, h.name, items)
	}
	if err != nil {
		for _, place := range places {
			results[place].Err = err
		}
		return
	}
	appended := make([]RawEntry, 0, len(items))
	for i, r := range done {
		if !r.Replayed && !r.KeyReused { // of a replay, what is there is not necessarily this entry
			appended = append(appended, RawEntry{r.Position, textOf(items[i].Entry)})
		}
	}
	n.meter.sends.Add(int64(len(appended)))
	gen, _ := h.appended(ctx, appended...)
	for i, r := range done {
		if result := &results[places[i]]; r.KeyReused {
			result.Err = ErrKeyReused
		} else {
			result.Receipt, result.Replayed = Receipt{gen, r.Position}, r.Replayed
		}
	}
}

// ParseReceipt reads what Receipt.String wrote. It returns ErrPosition for anything else.
func ParseReceipt(s string) (Receipt, error) {
	gen, position, ok := strings.Cut(s, ".")
	if !ok || gen == "" {
		return Receipt{}, ErrPosition
	}
	p, err := ParsePosition(position)
	return Receipt{gen, p}, err
}

func (h *hub) isFull() bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.full
}

// appended notes acknowledged appends, and returns the log's generation.
func (h *hub) appended(ctx context.Context, entries ...RawEntry) (string, error) {
	h.mu.Lock()
	for _, e := range entries {
		h.own.note(h, e)
	}
	gen := h.gen
	h.mu.Unlock()
	if gen != "" {
		return gen, nil
	}
	if err := h.verify(ctx); err != nil {
		return "", nil // accepted; only its name is incomplete
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.gen, nil
}

// ReceiptOf names a position with the log's generation.
func (n *Node) ReceiptOf(ctx context.Context, hubName string, p Position) Receipt {
	h := n.acquire(hubName)
	defer h.release()
	gen, _ := h.appended(ctx)
	return Receipt{gen, p}
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
	r.Worker, r.Bell = n.worker(hubName), bell(r.ID)
	reply, err := n.store.End(ctx, hubName, r)
	if err == nil && reply.Run {
		n.employed.tell(hubName, r.ID)
	}
	return reply, err
}

// Handshake, Answer, Wrote, Finish and Lookup are the store's; see Records.
func (n *Node) Handshake(ctx context.Context, hubName string, r HandshakeRequest) (HandshakeReply, error) {
	if r.Connected {
		r.Worker = n.worker(hubName)
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

// Pending returns at most limit matches of a connection after its saved cursor: what
// is buffered for it. Only stateful and long polling connections have a saved cursor.
func (n *Node) Pending(ctx context.Context, hubName, id string, limit int) (Record, []*Item, error) {
	reply, err := n.store.Lookup(ctx, hubName, id)
	if err != nil {
		return Record{}, nil, err
	}
	r := reply.Record
	if r.Transport != TransportLongPolling && !r.Stateful() {
		return r, nil, nil
	}
	filter := newFilter(&r, r.Owner, reply.Last)
	var items []*Item
	at := r.Cursor
	for at.Before(reply.Last) && len(items) < limit {
		slice, err := n.store.Range(ctx, hubName, at, n.pageEntries)
		if err != nil {
			return r, nil, err
		}
		if at.Before(slice.Floor) {
			return r, nil, ErrGap
		}
		if len(slice.Entries) == 0 {
			break
		}
		for _, raw := range slice.Entries {
			item, _ := newItem(raw)
			at = raw.Position
			switch filter.step(at, &item.Entry) {
			case skip:
			case deliver:
				items = append(items, item)
			default:
				return r, items, nil // it closes here
			}
			if len(items) == limit {
				break
			}
		}
	}
	return r, items, nil
}
