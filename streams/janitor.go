package streams

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"hubstream/internal/reasons"
	"hubstream/internal/sleep"
)

const (
	beatInterval  = 3 * time.Second
	beatLease     = 10 * time.Second
	touchInterval = time.Second
	heardDelay    = 20 * time.Millisecond
	touchBatch    = 100 // connections that one touch renews
	trimInterval  = time.Second
	sweepInterval = 5 * time.Second
	sweepBatch    = 500 // connections that are looked at together
	// sweepBatches is how many batches of a hub one sweep ends: all connections of a node that has died pass together.
	sweepBatches = 10
	// recentTime is how long a connection may be between two requests, at the most.
	recentTime = 2 * time.Minute
	// minRetention is kept however large the log is.
	minRetention = 15 * time.Second
	// maxClockStep is how far the store's clock and this node's may drift apart between two
	// beats before leases are not trusted.
	maxClockStep = 2 * time.Second
	// clockKept is how long a process of the store is remembered that does not answer any more.
	clockKept = 10 * time.Minute
)

// stats counts what operators must see.
type stats struct {
	Gaps, Losses, Undecodable atomic.Int64
}

func (n *Node) undecodable(hub string, p Position, err error) {
	n.stats.Undecodable.Add(1)
	n.log.Error("entry not decodable: it matches nobody", "hub", hub, "position", p, "error", err)
}

// storeClock follows the store's clock. It is read at every write, so reading it waits for nobody.
type storeClock struct {
	reading atomic.Pointer[clockReading]
}

type clockReading struct {
	at   time.Time // monotonic
	then int64     // the store's clock at that time, ms
}

func (c *storeClock) now() int64 {
	r := c.reading.Load()
	if r == nil {
		return 0
	}
	return r.then + time.Since(r.at).Milliseconds()
}

func (c *storeClock) set(now int64) { c.reading.Store(&clockReading{time.Now(), now}) }

// contact knows since when the store has been in reach without a break: leases that
// passed while nobody could renew them mean nothing.
type contact struct {
	mu    sync.Mutex
	since time.Time
	// clocks are those of the store's processes, by their runs: a cluster has several.
	clocks map[string]clockReading
}

// made notes an answer of one of the store's processes. One that is new, or whose clock has stepped, breaks the contact.
func (c *contact) made(run string, clock int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	last, known := c.clocks[run]
	step := time.Duration(clock-last.then)*time.Millisecond - now.Sub(last.at)
	if c.since.IsZero() || !known || step.Abs() > maxClockStep {
		c.since = now
	}
	if c.clocks == nil {
		c.clocks = map[string]clockReading{}
	}
	c.clocks[run] = clockReading{now, clock}
	for other, reading := range c.clocks {
		if now.Sub(reading.at) > clockKept {
			delete(c.clocks, other)
		}
	}
}

func (c *contact) broken() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.since = time.Time{}
}

func (c *contact) lasts(d time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.since.IsZero() && time.Since(c.since) >= d
}

// beats renews the node's leases in the buckets that it uses.
func (n *Node) beats(ctx context.Context) {
	buckets := n.byBucket()
	if len(buckets) == 0 {
		buckets[0] = nil // the clock and the contact
	}
	whole := true
	for b, hubs := range buckets {
		err := n.beat(ctx, b, hubs)
		if err == nil {
			continue
		}
		whole = false
		n.contact.broken()
		if reason, fresh := n.away.Add(err); fresh && ctx.Err() == nil {
			n.log.Warn("store not usable", "error", reason)
		}
		if !errors.Is(err, errUnverified) { // the other buckets' leases are not held up for the sake of a hub
			return
		}
	}
	if whole && n.away.Any() {
		n.away = reasons.Told{}
		n.log.Info("store usable again")
	}
}

// byBucket returns the hubs that are used here, by their buckets, and those buckets that are tailed.
func (n *Node) byBucket() map[int][]*hub {
	n.mu.Lock()
	defer n.mu.Unlock()
	buckets := map[int][]*hub{}
	for b := range n.tailers {
		buckets[b] = nil
	}
	for name, h := range n.hubs {
		b := Bucket(name)
		buckets[b] = append(buckets[b], h)
	}
	return buckets
}

// beat renews the lease in a bucket, of which these hubs are used here.
func (n *Node) beat(ctx context.Context, bucket int, hubs []*hub) error {
	reply, err := n.store.Beat(ctx, bucket, n.cfg.Name, beatLease)
	if err != nil {
		return err
	}
	n.contact.made(reply.Run, reply.Now)
	n.clock.set(reply.Now)
	n.mu.Lock()
	if t := n.tailers[bucket]; t != nil {
		t.nodes = max(1, reply.Nodes)
	}
	n.mu.Unlock()
	return verifyUntailed(ctx, hubs, reply.Run)
}

// errUnverified says that the store has answered, and that a hub could not be verified nevertheless.
var errUnverified = errors.New("not verified")

// verifyUntailed verifies those of a bucket's hubs that are not tailed here, when the store's process has changed: what was sent from
// here, or the records of the connections that were served here, may be known to nobody else.
func verifyUntailed(ctx context.Context, hubs []*hub, run string) (failed error) {
	for _, h := range hubs {
		h.mu.RLock()
		due := !h.tailing && h.gen != "" && h.run != run
		h.mu.RUnlock()
		if !due {
			continue
		}
		if err := h.verify(ctx); err != nil {
			failed = errors.Join(failed, fmt.Errorf("hub %s %w: %w", h.name, errUnverified, err))
		}
	}
	return failed
}

// touches renews leases now and then, and soon after a client was heard for the first time: until that is noted it can
// return at no other node.
func (n *Node) touches(ctx context.Context) {
	ticker := time.NewTicker(touchInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			n.touch(ctx)
		case <-n.heard.bell:
			if sleep.For(ctx, heardDelay) != nil { // for others that come with it
				return
			}
			n.touchHeard(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// heard are the attachments whose clients were heard for the first time, until that is noted: each time that one is, nobody else is looked at.
type heard struct {
	bell chan struct{} // has one when there are some
	mu   sync.Mutex
	list []*Attachment
}

func (h *heard) add(a *Attachment) {
	h.mu.Lock()
	h.list = append(h.list, a)
	h.mu.Unlock()
	select {
	case h.bell <- struct{}{}:
	default: // it is under way
	}
}

func (h *heard) take() []*Attachment {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := h.list
	h.list = nil
	return list
}

// touchHeard notes who was heard. What fails touch repeats.
func (n *Node) touchHeard(ctx context.Context) {
	byHub := map[*hub][]*Attachment{}
	for _, a := range n.heard.take() {
		byHub[a.hub] = append(byHub[a.hub], a)
	}
	for h, live := range byHub {
		h.touchAll(ctx, h.inService(live))
	}
}

// touch renews the leases, and saves the cursors, that are due.
func (n *Node) touch(ctx context.Context) {
	var lag time.Duration
	for _, h := range n.allHubs() {
		live := h.live()
		lag = n.measureLag(live, lag)
		h.touchAll(ctx, live)
	}
	n.meter.lag.Store(lag.Milliseconds())
}

// touchAll is touchSome for all of them.
func (h *hub) touchAll(ctx context.Context, live []*Attachment) {
	for len(live) > 0 {
		live = h.touchSome(ctx, live)
	}
}

func (h *hub) touchSome(ctx context.Context, live []*Attachment) (rest []*Attachment) {
	var items []TouchItem
	byID := map[string]*Attachment{}
	for len(live) > 0 && len(items) < touchBatch {
		a := live[0]
		if byID[a.id] != nil {
			break // taken over on this very node: whom the store refuses is told by ID
		}
		live = live[1:]
		if a.lease == 0 {
			continue
		}
		if item, due := a.touchItem(false); due {
			items = append(items, item)
			byID[a.id] = a
		}
	}
	if len(items) == 0 {
		return live
	}
	refused, err := h.node.store.Touch(ctx, h.name, items)
	if err == nil && len(refused) > 0 {
		err = h.verify(ctx) // their records may be lost with the log, which the tail is still to find out
	}
	if err != nil {
		for _, a := range byID {
			a.touchFailed()
		}
		return live
	}
	for _, id := range refused {
		byID[id].refused()
	}
	return live
}

// trimSamples are positions that were the log's end at a time.
type trimSamples struct {
	samples []trimSample
	trimmed Position
	sized   Position // the log's end when its size was last looked at
	next    time.Time
}

type trimSample struct {
	at  time.Time
	end Position
}

// trim drops from the logs what is older than the retention: what this node saw as
// the end that long ago, by its own clock. Clocks of different machines are never compared.
func (n *Node) trim(ctx context.Context) {
	now := time.Now()
	for _, h := range n.allHubs() {
		if upTo, due := h.trimDue(now); due {
			reply, err := n.store.Trim(ctx, h.name, upTo)
			if err == nil {
				n.meter.trims.Add(1)
				h.trimmed(now, upTo, reply)
			}
		}
	}
}

// trimDue samples the log's end and returns what may go: perhaps nothing. A log that has grown is asked for its size all the same: while it is
// younger than the retention, and after a log that was too large has been cut, there is nothing to drop for long.
func (h *hub) trimDue(now time.Time) (upTo Position, due bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := &h.trims
	end := later(h.win.end, h.proof.Position)
	if n := len(s.samples); !end.IsZero() && (n == 0 || s.samples[n-1].end != end) {
		s.samples = append(s.samples, trimSample{now, end})
	}
	if now.Before(s.next) {
		return Position{}, false
	}
	retention := h.node.cfg.Retention
	if h.pressed {
		retention = min(retention, minRetention)
	}
	upTo = s.older(now.Add(-retention))
	return upTo, upTo.After(s.trimmed) || end != s.sized || h.pressed
}

// older returns the newest end seen at or before t, and forgets what came before it.
func (s *trimSamples) older(t time.Time) Position {
	i := 0
	for i < len(s.samples) && !s.samples[i].at.After(t) {
		i++
	}
	if i == 0 {
		return s.trimmed
	}
	s.samples = s.samples[i-1:]
	return s.samples[0].end
}

// trimmed notes what a trim left.
func (h *hub) trimmed(now time.Time, upTo Position, reply TrimReply) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.trims.trimmed = upTo
	if n := len(h.trims.samples); n > 0 {
		h.trims.sized = h.trims.samples[n-1].end // trimDue's
	}
	// All nodes that use a hub trim it; some disorder keeps them from doing so together.
	h.trims.next = now.Add(4*time.Second + rand.N(2*time.Second))
	over := reply.Bytes > h.node.cfg.RetentionBytes
	full := over && h.pressed // trimming to the shortest retention did not help
	if over {
		h.trims.next = now.Add(trimInterval)
	}
	if full != h.full {
		h.node.log.Warn("hub's log at its limit", "hub", h.name, "full", full, "bytes", reply.Bytes)
	}
	h.pressed, h.full = over, full
}

// sweep ends the connections whose lease has passed, and takes work that nobody does, in the hubs that are used here
// and, one bucket at a time, in those that nobody uses any more, whose logs it trims.
func (n *Node) sweep(ctx context.Context) {
	names := map[string]bool{}
	for _, h := range n.allHubs() {
		names[h.name] = true
		delete(n.left, h.name)
		n.adoptWork(ctx, h.name) // needs less contact
	}
	if !n.contact.lasts(n.cfg.Contact) {
		clear(n.left) // what was a log's end may be beyond what is new in it: by another process, or clock
		return
	}
	first := rand.IntN(Buckets)
	for i := range sweepBuckets {
		abandoned, err := n.store.Hubs(ctx, (first+i*Buckets/sweepBuckets)%Buckets)
		if err != nil {
			break
		}
		for _, name := range abandoned {
			if !names[name] {
				names[name] = true
				_, _ = n.sweepUsersOf(ctx, name) // the next sweep repeats it
				n.trimLeft(ctx, name)
				n.adoptWork(ctx, name)
			}
		}
	}
	for name := range names {
		n.sweepHub(ctx, name)
	}
}

// leftLog is a log that is not used here, and what was its end when this node looked.
type leftLog struct {
	gen string
	trimSample
}

// trimLeft drops from a log that is not used here what is older than the retention: all that used it may have died before they could.
func (n *Node) trimLeft(ctx context.Context, name string) {
	now := time.Now()
	log, err := n.store.Range(ctx, name, Position{}, 1)
	if err != nil {
		return
	}
	seen, known := n.left[name]
	switch {
	case len(log.Entries) == 0:
		delete(n.left, name)
		return
	case known && seen.gen == log.Gen && now.Sub(seen.at) < n.cfg.Retention:
		return
	case known && seen.gen == log.Gen:
		if _, err := n.store.Trim(ctx, name, seen.end); err != nil {
			return
		}
		n.meter.trims.Add(1)
	}
	n.left[name] = leftLog{log.Gen, trimSample{now, log.Last}}
}

// sweepBuckets is how many of the buckets that nobody uses a sweep looks at.
const sweepBuckets = 4

func (n *Node) sweepHub(ctx context.Context, name string) {
	for range sweepBatches {
		ids, err := n.store.Expired(ctx, name, sweepBatch)
		if err != nil || len(ids) == 0 {
			return
		}
		// By a clock that has stepped since the last beat all of them may seem to have passed.
		bucket := Bucket(name)
		if err := n.beat(ctx, bucket, n.byBucket()[bucket]); err != nil || !n.contact.lasts(n.cfg.Contact) {
			return
		}
		for _, id := range ids {
			if _, err := n.end(ctx, name, EndRequest{ID: id, OnlyExpired: true, Reason: "The client was not heard of in time."}); err != nil {
				return
			}
		}
		if len(ids) < sweepBatch {
			return
		}
	}
}

// retire stops tailing hubs that have not been used for a while, and forgets them when
// nothing of theirs is left to trim.
func (n *Node) retire(ctx context.Context) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	for name, h := range n.hubs {
		h.mu.Lock()
		for id, m := range h.memberships {
			if now.Sub(m.at) > n.cfg.Linger {
				delete(h.memberships, id)
			}
		}
		for id, p := range h.polled {
			if now.Sub(p.at) > pollMemory {
				delete(h.polled, id)
			}
		}
		for id, known := range h.recent {
			if now.Sub(known.at) > recentTime {
				delete(h.recent, id)
			}
		}
		if h.uses == 0 && now.Sub(h.idle) > n.cfg.Linger && h.tailing {
			h.tailing = false
			proof := h.proof // what is known of the log stays known
			h.restart(Position{})
			h.proof = proof
			h.pages.clear()
			if t := n.tailers[Bucket(name)]; t != nil {
				delete(t.hubs, name)
				delete(t.aside, name)
				t.tail.Wake()
			}
		}
		if h.uses == 0 && !h.tailing && now.Sub(h.idle) > 2*n.cfg.Retention+n.cfg.Linger {
			delete(n.hubs, name)
		}
		h.mu.Unlock()
	}
}
