package streams

import (
	"context"
	"slices"
)

// Append implements Log. It never returns ErrOutcomeUnknown: no answer is lost here.
func (m *Memory) Append(ctx context.Context, hub string, entry []byte) (Position, error) {
	if err := m.enter(ctx); err != nil {
		return Position{}, err
	}
	h := m.hub(hub)
	h.mu.Lock()
	now := m.now()
	h.makeLog(*m.run.Load(), now)
	p := h.append(textOf(entry), now)
	h.endAppend()
	return p, nil
}

// memoryOnce is what became of an idempotency key.
type memoryOnce struct {
	lease    lease
	sum      string
	position Position
}

// AppendOnce implements Log.
func (m *Memory) AppendOnce(ctx context.Context, hub string, r OnceRequest) (p Position, replayed bool, err error) {
	if err := m.enter(ctx); err != nil {
		return Position{}, false, err
	}
	h := m.hub(hub)
	defer h.appendStep()()
	now := m.now()
	h.sweep(now)
	h.makeLog(*m.run.Load(), now) // where a key is known there is one
	return h.appendOnce(&r, now)
}

// appendOnce appends unless the key is known. There is a log if it is not.
func (h *memoryHub) appendOnce(r *OnceRequest, now int64) (p Position, replayed bool, err error) {
	if k := h.once[r.Key]; k != nil {
		if !k.lease.passed(now) {
			return k.replay(r.Sum)
		}
		h.keys.remove(&k.lease)
	}
	p = h.append(textOf(r.Entry), now)
	k := &memoryOnce{sum: r.Sum, position: p}
	k.lease = lease{name: r.Key, until: now + r.Keep.Milliseconds()}
	h.once[r.Key] = k
	h.keys.set(&k.lease)
	return p, false, nil
}

func (k *memoryOnce) replay(sum string) (Position, bool, error) {
	if k.sum != sum {
		return Position{}, false, ErrKeyReused
	}
	return k.position, true, nil
}

// AppendAll implements Log.
func (m *Memory) AppendAll(ctx context.Context, hub string, items []OnceRequest) ([]AppendResult, error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	h := m.hub(hub)
	defer h.appendStep()()
	now := m.now()
	h.sweep(now)
	h.makeLog(*m.run.Load(), now)
	results := make([]AppendResult, len(items))
	for i := range items {
		item := &items[i]
		if item.Key == "" {
			results[i].Position = h.append(textOf(item.Entry), now)
			continue
		}
		p, replayed, err := h.appendOnce(item, now)
		results[i] = AppendResult{p, replayed, err != nil}
	}
	return results, nil
}

// Range implements Log.
func (m *Memory) Range(ctx context.Context, hub string, after Position, limit int) (RangeReply, error) {
	if err := m.enter(ctx); err != nil {
		return RangeReply{}, err
	}
	h := m.find(hub)
	if h == nil {
		return RangeReply{}, nil
	}
	defer h.step()()
	entries := h.read(nil, after, limit)
	return RangeReply{Gen: h.gen, Floor: h.floor, Last: h.last, Entries: entries, Stored: len(entries)}, nil
}

// read appends at most limit entries after a position to dst.
func (h *memoryHub) read(dst []RawEntry, after Position, limit int) []RawEntry {
	if !h.last.After(after) {
		return dst // the common case of a tail; no search
	}
	return h.entries.appendTo(dst, h.entries.after(after), limit)
}

// Trim implements Log.
func (m *Memory) Trim(ctx context.Context, hub string, upTo Position) (TrimReply, error) {
	if err := m.enter(ctx); err != nil {
		return TrimReply{}, err
	}
	h := m.find(hub)
	if h == nil {
		return TrimReply{}, nil
	}
	defer h.step()()
	h.sweep(m.now())
	if n := h.entries.after(upTo); n > 0 {
		h.floor = h.entries.at(n - 1).Position
		h.entries.drop(n)
	}
	return TrimReply{Floor: h.floor, Entries: int64(h.entries.count), Bytes: h.entries.size()}, nil
}

// entryOverhead is what an entry takes beside its data: its place in a segment, and
// the rounding of its allocation.
const entryOverhead = 48

func (m *memoryEntries) size() int64 { return m.bytes + int64(m.count)*entryOverhead }

// Verify implements Log.
func (m *Memory) Verify(ctx context.Context, hub string, r VerifyRequest) (VerifyReply, error) {
	if err := m.enter(ctx); err != nil {
		return VerifyReply{}, err
	}
	h := m.hub(hub)
	defer h.step()()
	continues := h.continues(r.Gen)
	proven := h.proves(r)
	h.raise(r.Last)
	lost := !proven && continues && r.Gen != ""
	if run := *m.run.Load(); h.gen == "" || h.run != run || lost {
		// The caller's generation may be of a part that was lost, too, with the entry that told of a loss before it.
		unknown := r.Proof.IsZero() && !continues
		h.newGeneration(run, m.now(), !proven || unknown)
	}
	proven = proven && continues
	return VerifyReply{Gen: h.gen, Run: h.run, Floor: h.floor, Last: h.last, Proven: proven}, nil
}

// continues tells whether nobody has found a loss since a generation.
func (h *memoryHub) continues(gen string) bool {
	return gen == "" || h.gen == "" || gen == h.gen || slices.Contains(h.before, gen)
}

// proves tells whether the log holds the entry that the caller knows, or held it
// before it was trimmed. Asked before the log is raised: a raised log proves nothing.
func (h *memoryHub) proves(r VerifyRequest) bool {
	if r.Proof.IsZero() {
		return true
	}
	if !r.Proof.After(h.floor) && !h.floor.After(h.last) {
		return true
	}
	data, ok := h.entries.find(r.Proof)
	return ok && data == r.ProofEntry
}
