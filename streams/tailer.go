package streams

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"hubstream/internal/reasons"
	"hubstream/internal/sleep"
)

const (
	tailEntries    = 512             // the most entries that one read of a hub returns
	fewEntries     = 8               // that are read while it is not known how large they are
	tailBytes      = 4 << 20         // 4 MiB; about the most that it returns of larger ones
	tailBlock      = 5 * time.Second // how long a read waits
	tailRetry      = time.Second     // the longest pause between attempts to reach the store, or to read
	firstTailRetry = 20 * time.Millisecond
	firstTailBlock = 20 * time.Millisecond // after one that failed
)

// tailer reads the ends of a bucket's hubs into their windows. Guarded by Node.mu but
// for what whoever reads alone uses.
type tailer struct {
	node   *Node
	bucket int
	tail   Tail
	hubs   map[string]*hub
	nodes  int     // that tail the bucket, as the last beat said
	prompt *prompt // nil: run alone reads; static
	blind  blindness
	stuck  bool              // it does not go on
	aside  map[string]*aside // the hubs that are not read

	// of run, or of whoever has the prompt's turn
	cursors []Cursor
	reading []*hub
	limit   int           // of the entries that a read returns of each hub
	silent  time.Time     // since when nothing came
	retry   time.Duration // the pause after the next read that fails; zero after one that did not
	told    reasons.Told  // why it has not gone on since it last did
	partial bool          // not all hubs are read
}

// tail makes sure that the hub is tailed, from position last on at the latest.
func (h *hub) tail(ctx context.Context, gen string, last Position) error {
	h.mu.RLock()
	tailing, known := h.tailing, h.gen
	h.mu.RUnlock()
	if tailing {
		return nil
	}
	if known != "" && known != gen {
		// What was served here in an earlier generation is carried over, or what was sent from here is missed.
		if err := h.verify(ctx); err != nil {
			return err
		}
	}
	// The entry at last is the proof that the log is still the same after a fault; if it is blank, the one before it, if that is next to it.
	reply, err := h.node.store.Range(ctx, h.name, last.previous().previous(), 2)
	if err != nil {
		return err
	}
	if reply.Gen != gen {
		if err := h.verify(ctx); err != nil {
			return err
		}
		return errWindowMoved // and that entry would prove nothing
	}
	h.node.mu.Lock()
	defer h.node.mu.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.tailing {
		return nil
	}
	ctx = h.node.ctx
	if ctx == nil || ctx.Err() != nil {
		return fmt.Errorf("%w: the node has stopped", ErrUnavailable)
	}
	accepted := h.proof
	h.gen, h.tailing, h.proof, h.own = gen, true, RawEntry{Position: last}, nil
	h.win.reset(last)
	if accepted.Position.After(last) { // meanwhile: the tail is still to read it
		h.own = own{accepted}
	}
	for _, e := range reply.Entries {
		if !e.Position.After(last) && (e.Position == last && h.proof.Data == "" || !isKind(e.Data, KindBlank)) {
			h.proof = e
		}
	}
	h.node.tailHub(ctx, h)
	return nil
}

// tailHub adds a hub to its bucket's tailer. Node.mu is held.
func (n *Node) tailHub(ctx context.Context, h *hub) {
	bucket := Bucket(h.name)
	t := n.tailers[bucket]
	if t == nil {
		t = &tailer{node: n, bucket: bucket, tail: n.store.Tail(bucket), hubs: map[string]*hub{}, nodes: 1, aside: map[string]*aside{}}
		t.begin()
		n.tailers[bucket] = t
		t.startPrompt()
		n.running.Go(func() { t.run(ctx) })
	}
	t.hubs[h.name] = h
	t.tail.Wake()
}

func (t *tailer) run(ctx context.Context) {
	defer t.tail.Close()
	stop := context.AfterFunc(ctx, t.tail.Wake)
	defer stop()
	if t.prompt != nil {
		t.runPrompt(ctx)
		return
	}
	for t.collect(ctx) {
		batches, err := t.tail.Read(ctx, t.cursors, t.limit, t.block())
		if ctx.Err() != nil {
			t.stopped()
			return
		}
		t.settle(ctx, batches, err)
		if err == nil && len(batches) > 0 {
			t.pace(ctx)
		}
	}
}

// begin is for before the first read, and the first after a repair: nothing is known of what comes.
func (t *tailer) begin() {
	t.silent = time.Now()
	t.limit = t.atMost(fewEntries)
}

// block is how long the next read waits: not for long while it is not known whether the tail can read again, or a hub is to be tried again.
func (t *tailer) block() time.Duration {
	switch {
	case t.told.Any():
		return firstTailBlock
	case t.partial:
		return asideRetry
	}
	return tailBlock
}

// settle delivers what was read, or else repairs what it cannot follow.
func (t *tailer) settle(ctx context.Context, batches []Batch, err error) {
	if err == nil {
		err = t.check(ctx, batches)
	}
	if err != nil {
		t.node.contact.broken()
		t.backOff(ctx)
		t.recover(ctx, err)
		t.begin()
		return
	}
	t.measure(batches)
	for _, b := range batches {
		if cause := t.deliver(b); cause != nil {
			t.interrupted(cause)
			err = cause
		}
	}
	if err != nil && !t.recover(ctx, err) {
		t.backOff(ctx)
		return
	}
	t.goesOn()
}

// backOff waits after what failed, the longer the more often it did in a row. A store that verifies, and yet lets nothing be read (it has all
// the connections that it takes), is not asked without end.
func (t *tailer) backOff(ctx context.Context) {
	_ = sleep.For(ctx, t.retry)
	t.retry = min(max(2*t.retry, firstTailRetry), tailRetry)
}

// check makes sure that what was read follows what was read before. A tail that is
// behind the floor goes on after it without a hint; it cannot be, unless it lags
// (a full batch) or is late.
func (t *tailer) check(ctx context.Context, batches []Batch) error {
	now := time.Now()
	late := now.Sub(t.silent) >= tailBlock
	if late {
		if err := t.verify(ctx); err != nil {
			return err
		}
	}
	if late || len(batches) > 0 {
		t.silent = now
	}
	for _, b := range batches {
		if late || b.Stored < t.limit {
			continue
		}
		if err := t.hub(b.Hub).verify(ctx); err != nil {
			return err
		}
	}
	return nil
}

// measure sets how many entries the next read returns, by the mean size of those that this one has: what a read returns is in
// memory as a whole. A blank one, which is often read by itself, says nothing of the size of the next.
func (t *tailer) measure(batches []Batch) {
	largest := 0
	for _, b := range batches {
		if slices.ContainsFunc(b.Entries, func(e RawEntry) bool { return !isKind(e.Data, KindBlank) }) {
			largest = max(largest, meanSize(b.Entries, b.Stored))
		}
	}
	if largest > 0 {
		t.limit = t.atMost(max(tailBytes/largest, fewEntries))
	}
}

// meanSize is that of the store's entries that some were in, of which there is at least one, in bytes.
func meanSize(entries []RawEntry, stored int) int {
	size := 0
	for i := range entries {
		size += len(entries[i].Data)
	}
	return size / stored
}

func (t *tailer) atMost(entries int) int { return min(entries, t.node.tailEntries) }

// collect lists the hubs to read. It returns false when there are none any more: the
// tailer has then left the node.
func (t *tailer) collect(ctx context.Context) bool {
	t.relist(ctx)
	t.node.mu.Lock()
	defer t.node.mu.Unlock()
	if len(t.hubs) == 0 {
		delete(t.node.tailers, t.bucket)
	}
	return len(t.hubs) > 0
}

// relist lists the hubs to read.
func (t *tailer) relist(ctx context.Context) {
	if t.partial {
		t.readmit(ctx)
	}
	t.node.mu.Lock()
	defer t.node.mu.Unlock()
	t.list("")
	t.partial = len(t.aside) > 0
}

// list lists the hubs to read: all, or the one with the name, if there is such. Node.mu is held.
func (t *tailer) list(name string) {
	t.cursors, t.reading = t.cursors[:0], t.reading[:0]
	if name != "" {
		if h := t.hubs[name]; h != nil {
			t.read(h)
		}
		return
	}
	for _, h := range t.hubs {
		t.read(h)
	}
}

// read adds a hub to those to read, unless it is set aside.
func (t *tailer) read(h *hub) {
	if t.aside[h.name] != nil {
		return
	}
	h.mu.RLock()
	after := h.win.end
	h.read = h.resets
	h.mu.RUnlock()
	t.cursors = append(t.cursors, Cursor{h.name, after})
	t.reading = append(t.reading, h)
}

func (t *tailer) stopped() {
	t.node.mu.Lock()
	defer t.node.mu.Unlock()
	delete(t.node.tailers, t.bucket)
}

// deliver returns an error if the log is not the one that was read before. Of a log with bundles a read may return a hundred thousand
// entries: they are taken a few at a time, for nobody else has the hub, and nothing leaves its window, meanwhile.
func (t *tailer) deliver(b Batch) error {
	h := t.hub(b.Hub)
	for entries := range slices.Chunk(b.Entries, t.node.tailEntries) {
		err := h.append(entries)
		if err == errReadBefore {
			t.tail.Wake() // to read it again
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

var (
	errEntryMissing    = errors.New("an entry that had been acknowledged is missing")
	errOtherGeneration = errors.New("the log has a generation that was not verified")
	errReadBefore      = errors.New("the window has begun anew since: what was read may be of a log that was lost")
)

// hub is one of those that are read.
func (t *tailer) hub(name string) *hub {
	i := slices.IndexFunc(t.reading, func(h *hub) bool { return h.name == name })
	return t.reading[i]
}

// pace waits after a read, the longer the more nodes read the bucket: together they
// make a bounded number of reads, and entries that come meanwhile are read together.
func (t *tailer) pace(ctx context.Context) {
	t.node.mu.Lock()
	pause := t.node.cfg.Pace * time.Duration(t.nodes)
	t.node.mu.Unlock()
	if pause > 0 {
		time.Sleep(pause)
	}
}

// recover waits until the store answers again and the hubs are verified, or set aside. It returns false if none of them can be verified, although
// the store answers, or if ctx ends.
func (t *tailer) recover(ctx context.Context, cause error) bool {
	t.interrupted(cause)
	pause := firstTailRetry
	for {
		err := t.verifyEach(ctx)
		if err == nil {
			t.cannotRead(cause)
			return true
		}
		if errors.Is(err, ErrRefused) || !errors.Is(err, ErrUnavailable) {
			t.interrupted(err)
		}
		if !errors.Is(err, ErrUnavailable) {
			t.cannotRead(err)
			return false
		}
		t.notBlind()
		if sleep.For(ctx, pause) != nil {
			return false
		}
		pause = min(2*pause, tailRetry)
		t.relist(ctx) // those that came meanwhile do not wait for those that were here
	}
}

// verify proves for each hub that its log is still the one that was read.
func (t *tailer) verify(ctx context.Context) error {
	for _, h := range t.reading {
		if err := h.verify(ctx); err != nil {
			return err
		}
	}
	return nil
}

// verify proves that the hub's log is still the one that this node knows, and learns
// its generation. With proof a new generation is taken over, with the records of the connections served here.
// Without, what the connections were sent may no longer be
// in the log, and none of them can be continued.
func (h *hub) verify(ctx context.Context) error {
	h.verifying.Lock()
	defer h.verifying.Unlock()
	h.mu.RLock()
	gen, mine, doubt, end := h.gen, slices.Clone(h.own), h.doubt, h.win.end
	r := VerifyRequest{Last: later(h.win.end, mine.last()), Proof: h.proof.Position, ProofEntry: h.proof.Data, Gen: gen}
	h.mu.RUnlock()
	reply, err := h.node.store.Verify(ctx, h.name, r)
	if err != nil {
		return err
	}
	if reply.Proven && gen != "" && (gen != reply.Gen || doubt) {
		if reply, err = h.verifyRest(ctx, r, reply, mine, end); err != nil {
			return err
		}
	}
	if gen != "" && !reply.Proven {
		h.lose(reply)
		return nil
	}
	if gen != "" && gen != reply.Gen {
		if err := h.carryOver(ctx, gen, reply.Gen); err != nil {
			return err
		}
	}
	h.mu.Lock()
	h.gen, h.run, h.doubt, h.verified = reply.Gen, reply.Run, false, reply.Last
	gap := h.tailing && h.win.end.Before(reply.Floor)
	var behind []*Attachment
	if gap {
		h.restart(reply.Last)
		behind = h.attached()
	}
	h.mu.Unlock()
	if gap {
		h.node.stats.Gaps.Add(1)
		h.node.log.Warn("tail behind the log's floor", "hub", h.name)
	}
	for _, a := range behind {
		a.fail(ErrGap)
	}
	return nil
}

// carryOver moves the records of the connections that this node serves, or served last,
// to a new generation. What another node has served since is that node's to prove.
func (h *hub) carryOver(ctx context.Context, from, to string) error {
	h.mu.Lock()
	h.carries++
	all := map[string][]RestampItem{}
	for id, attached := range h.conns {
		if _, again := h.recent[id]; !again {
			all[from] = append(all[from], RestampItem{ID: id, Owner: attached[len(attached)-1].owner})
		}
	}
	for id, known := range h.recent {
		// What was opened here may be of a later generation than this node had noticed.
		all[known.gen] = append(all[known.gen], RestampItem{ID: id, Owner: known.owner, Answers: known.answers})
	}
	h.mu.Unlock()
	for from, items := range all {
		for len(items) > 0 {
			n := min(len(items), touchBatch)
			if err := h.node.store.Restamp(ctx, h.name, h.node.cfg.Name, items[:n], from, to); err != nil {
				return err
			}
			items = items[n:]
		}
	}
	h.mu.Lock()
	for id, known := range h.recent {
		if _, carried := all[known.gen]; carried {
			known.gen = to
			h.recent[id] = known
		}
	}
	h.mu.Unlock()
	h.node.log.Info("generation carried over", "hub", h.name, "generation", to)
	return nil
}

// claim carries over a record that names an attach of this node: whatever else the node knows of it, it is as new as that.
func (h *hub) claim(ctx context.Context, id, owner string) error {
	if err := h.verify(ctx); err != nil {
		return err
	}
	h.mu.RLock()
	gen, item := h.gen, RestampItem{ID: id, Owner: owner, Answers: h.recent[id].answers}
	h.mu.RUnlock()
	return h.node.store.Restamp(ctx, h.name, h.node.cfg.Name, []RestampItem{item}, gen, gen)
}

const (
	// generationsKept is how many generations a log remembers that it continues without a loss: a node that was away
	// for more failovers closes its connections.
	generationsKept = 16
	// noGeneration is the generation of records that cannot be continued.
	noGeneration = "-"
)

// restart empties the window, which then begins after p. h.mu is held.
func (h *hub) restart(p Position) {
	h.node.windowBytes.Add(-int64(h.win.bytes))
	h.win.reset(p)
	h.resets++
	h.proof, h.own, h.forAll = RawEntry{}, nil, Position{}
	if h.advanced != nil {
		close(h.advanced)
		h.advanced = nil
	}
}
