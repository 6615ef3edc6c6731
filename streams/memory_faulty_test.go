package streams

import (
	"context"
	"maps"
	"slices"
	"sync/atomic"
	"time"
)

// FaultyMemory is a Memory that suffers what a Valkey can, when a test says so: its
// process is replaced, the log's tail is lost with or without the records, the clock
// steps, it goes away, an answer is lost.
type FaultyMemory struct {
	*Memory
	skew atomic.Int64 // of the clock, ns
	lose atomic.Bool  // the next Append's answer
}

// NewFaultyMemory returns a store without faults.
func NewFaultyMemory() *FaultyMemory {
	f := new(FaultyMemory)
	f.Memory = NewMemory(MemoryConfig{Clock: func() time.Time {
		return time.Now().Add(time.Duration(f.skew.Load()))
	}})
	return f
}

// StepClock steps the store's clock, back if d is negative.
func (f *FaultyMemory) StepClock(d time.Duration) { f.skew.Add(int64(d)) }

// ChangeRun replaces the store's process by one that has its data: a clean failover.
func (f *FaultyMemory) ChangeRun() {
	run := randomName()
	f.run.Store(&run)
}

// Disconnect breaks the tails' connections, as the end of the store's process does.
func (f *FaultyMemory) Disconnect() {
	for i := range f.buckets {
		f.buckets[i].lose()
	}
}

// Empty loses all that the store has of a hub, as a restart without data does.
func (f *FaultyMemory) Empty(hub string) {
	h := f.hub(hub)
	defer h.step()()
	fresh := newMemoryHub(hub, h.bucket)
	h.gen, h.run, h.before, h.floor, h.last, h.entries = "", "", nil, Position{}, Position{}, memoryEntries{}
	h.records, h.live, h.graves, h.buried, h.once, h.keys = fresh.records, nil, fresh.graves, nil, fresh.once, nil
	h.work, h.users = fresh.work, fresh.users
}

// SetAvailable lets every call return ErrUnavailable from now on, and blocked reads
// at once, or lets them work again.
func (f *FaultyMemory) SetAvailable(yes bool) {
	f.down.Store(!yes)
	if !yes {
		f.Disconnect()
	}
}

// LoseNextAnswer lets the next Append add its entry and return ErrOutcomeUnknown.
func (f *FaultyMemory) LoseNextAnswer() { f.lose.Store(true) }

// Append is the Memory's, but for LoseNextAnswer.
func (f *FaultyMemory) Append(ctx context.Context, hub string, entry []byte) (Position, error) {
	p, err := f.Memory.Append(ctx, hub, entry)
	if err == nil && f.lose.CompareAndSwap(true, false) {
		return Position{}, ErrOutcomeUnknown
	}
	return p, err
}

// RollBack loses the entries after a position, as a failover to a replica that lags
// does to the log; the records stay. Positions after it may be given again.
func (f *FaultyMemory) RollBack(hub string, to Position) {
	h := f.hub(hub)
	defer h.step()()
	h.rollBack(to)
}

// Checkpoint remembers a hub. What it returns rolls the hub back, records and all.
func (f *FaultyMemory) Checkpoint(hub string) (restore func()) {
	h := f.hub(hub)
	defer h.step()()
	last, gen, run, before := h.last, h.gen, h.run, slices.Clone(h.before)
	records := cloneRecords(h.records)
	graves, once, users := maps.Clone(h.graves), maps.Clone(h.once), cloneUsers(h.users)
	return func() {
		defer h.step()()
		h.rollBack(last)
		h.gen, h.run, h.before = gen, run, slices.Clone(before)
		h.records, h.live = cloneRecords(records), nil
		for _, rec := range h.records {
			h.live.set(&rec.lease)
		}
		h.graves, h.buried = maps.Clone(graves), nil
		for _, g := range h.graves {
			h.buried.set(&g.lease)
		}
		h.users = cloneUsers(users)
		h.once, h.keys = maps.Clone(once), nil
		for _, k := range h.once {
			h.keys.set(&k.lease)
		}
	}
}

func (h *memoryHub) rollBack(to Position) {
	n := h.entries.after(to)
	for i := n; i < h.entries.count; i++ {
		h.entries.bytes -= int64(len(h.entries.at(i).Data))
		*h.entries.at(i) = RawEntry{}
	}
	h.entries.count = n
	h.last = to
	if h.floor.After(to) {
		h.floor = to
	}
}

func cloneRecords(records map[string]*memoryRecord) map[string]*memoryRecord {
	clone := make(map[string]*memoryRecord, len(records))
	for id, rec := range records {
		c := *rec
		c.Groups = rec.Groups.clone()
		clone[id] = &c
	}
	return clone
}

func cloneUsers(users map[string]*memoryUser) map[string]*memoryUser {
	clone := make(map[string]*memoryUser, len(users))
	for name, u := range users {
		c := *u
		c.groups, c.until = u.groups.clone(), maps.Clone(u.until)
		clone[name] = &c
	}
	return clone
}

// Held tells how many idempotency keys and tombstones a hub holds, and how many
// segments its log takes.
func (f *FaultyMemory) Held(hub string) (keys, graves, segments int) {
	h := f.hub(hub)
	defer h.step()()
	return len(h.once), len(h.graves), len(h.entries.segments)
}

var _ Store = (*FaultyMemory)(nil)
