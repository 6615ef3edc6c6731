package streams

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"time"
)

// memoryWork is a connection's work; see Work and scripts/worklib.lua.
type memoryWork struct {
	context  string
	items    []string
	done     uint64            // number of the last item that was finished
	calls    map[string]uint64 // in the background -> number of the last reply
	accepted map[string]bool   // tokens of Accepts
	exec     string            // the worker; empty: none, and there is nothing to do
}

// nobody is the worker of a list that waits for one.
const nobody = "-"

// keep renews a worker's lease.
func (b *memoryBucket) keep(w Worker, now int64) {
	if w.Token == "" {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.workers == nil {
		b.workers = map[string]int64{}
	}
	maps.DeleteFunc(b.workers, func(_ string, until int64) bool { return until < now-time.Minute.Milliseconds() })
	b.workers[w.Token] = now + w.Lease.Milliseconds()
}

func (b *memoryBucket) works(worker string, now int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.workers[worker] > now
}

func (h *memoryHub) workOf(id string) *memoryWork {
	w := h.work[id]
	if w == nil {
		w = &memoryWork{calls: map[string]uint64{}, accepted: map[string]bool{}}
		h.work[id] = w
	}
	return w
}

// enqueue adds items to a connection's list and tells whether it is the worker's.
func (h *memoryHub) enqueue(id string, worker Worker, bell []byte, now int64, items ...string) bool {
	w := h.workOf(id)
	if w.exec != "" && w.exec != worker.Token && w.exec != nobody && bell != nil && len(w.items) == 0 {
		h.append(string(bell), now)
	}
	w.items = append(w.items, items...)
	if w.exec == "" || w.exec == nobody && worker.Token != "" {
		w.exec = orDefault(worker.Token, nobody)
	}
	h.bucket.keep(worker, now)
	return w.exec == worker.Token
}

// event counts an event of the hub.
func (h *memoryHub) event() string {
	h.events++
	return strconv.FormatInt(h.events, 10)
}

// settle gives the list up when there is nothing to do, and forgets all if the connection has ended.
func (h *memoryHub) settle(id string, w *memoryWork) {
	if len(w.items) > 0 || len(w.calls) > 0 {
		return
	}
	w.exec = ""
	if h.records[id] == nil {
		delete(h.work, id)
	}
}

// Accept implements Work.
func (m *Memory) Accept(ctx context.Context, hub string, r AcceptRequest) (run bool, err error) {
	err = m.update(ctx, hub, r.ID, func(h *memoryHub, rec *memoryRecord, now int64) error {
		if r.Owner == "" && rec.State != StateOpen {
			return ErrGone
		}
		if r.Owner != "" && rec.Owner != r.Owner {
			return ErrOwner
		}
		w := h.workOf(r.ID)
		again := w.accepted[r.Token]
		if r.Numbered {
			again = rec.Done == r.Done+r.Count && r.Count > 0
			if rec.Done != r.Done && !again {
				return ErrOwner
			}
		}
		if again {
			run = w.exec == r.Worker.Token
			return nil
		}
		if len(w.items) > 0 && len(r.Items) > 0 && len(w.items)+len(r.Items) > r.Limit {
			return ErrBusy
		}
		if len(r.Items) > 0 {
			items := make([]string, len(r.Items))
			for i, item := range r.Items {
				items[i] = string(WorkMessage) + item
			}
			run = h.enqueue(r.ID, r.Worker, r.Bell, now, items...)
		}
		if r.Numbered {
			rec.Done += r.Count
		} else if len(r.Items) > 0 {
			if len(w.accepted) > acceptsKept {
				clear(w.accepted) // nothing is repeated here but by tests
			}
			w.accepted[r.Token] = true
		}
		return nil
	})
	return run, err
}

const acceptsKept = 64

// mine returns the work of a connection, if the worker has it, within a step that end ends.
func (m *Memory) mine(ctx context.Context, hub, id, worker string) (h *memoryHub, w *memoryWork, end func(), err error) {
	if err := m.enter(ctx); err != nil {
		return nil, nil, nil, err
	}
	h = m.hub(hub)
	end = h.step()
	if w = h.work[id]; w == nil || w.exec != worker {
		end()
		return nil, nil, nil, ErrOwner
	}
	return h, w, end, nil
}

// NextWork implements Work.
func (m *Memory) NextWork(ctx context.Context, hub string, r NextRequest) (NextReply, error) {
	h, w, end, err := m.mine(ctx, hub, r.ID, r.Worker)
	if err != nil {
		return NextReply{}, err
	}
	defer end()
	now := m.now()
	if r.Number > 0 && r.Number != w.done {
		if r.Number != w.done+1 || len(w.items) == 0 {
			return NextReply{}, ErrOwner
		}
		if h.records[r.ID] != nil {
			for _, entry := range r.Entries {
				h.append(string(entry), now)
			}
		}
		w.items = w.items[1:]
		w.done = r.Number
		if r.Call != "" {
			w.calls[r.Call] = 0
		}
	}
	if r.Release {
		h.append(string(r.Bell), now)
		w.exec = nobody
		return NextReply{}, nil
	}
	reply := NextReply{Calls: slices.Collect(maps.Keys(w.calls))}
	if r.Number == 0 {
		reply.Context = w.context
	}
	if len(w.items) == 0 {
		h.settle(r.ID, w)
		return reply, nil
	}
	reply.Number, reply.Item = w.done+1, w.items[0]
	return reply, nil
}

// Reply implements Work.
func (m *Memory) Reply(ctx context.Context, hub string, r ReplyRequest) (ReplyReply, error) {
	h, w, end, err := m.mine(ctx, hub, r.ID, r.Worker)
	if err != nil {
		return ReplyReply{}, err
	}
	defer end()
	rec := h.records[r.ID]
	reply := ReplyReply{Ended: rec == nil}
	last, known := w.calls[r.Call]
	if known && last < r.Number {
		if rec != nil {
			for _, entry := range r.Entries {
				reply.Last = h.append(string(entry), m.now())
			}
		}
		w.calls[r.Call] = r.Number
		if r.Final {
			delete(w.calls, r.Call)
			h.settle(r.ID, w)
		}
	}
	if rec != nil {
		reply.Cursor = rec.Cursor
		if rec.Transport == TransportLongPolling {
			reply.Cursor = rec.Sent
		}
	}
	return reply, nil
}

// Adopt implements Work: the cursor is the last ID looked at.
func (m *Memory) Adopt(ctx context.Context, hub string, r AdoptRequest) (AdoptReply, error) {
	if err := m.enter(ctx); err != nil {
		return AdoptReply{}, err
	}
	h := m.find(hub)
	if h == nil {
		return AdoptReply{}, nil
	}
	defer h.step()()
	now := m.now()
	h.bucket.keep(r.Worker, now)
	var reply AdoptReply
	ids := []string{r.ID}
	if r.ID == "" {
		ids = slices.Sorted(maps.Keys(h.work))
		ids = slices.DeleteFunc(ids, func(id string) bool { return id <= r.Cursor })
		if len(ids) > r.Limit {
			ids = ids[:r.Limit]
			reply.Next = ids[r.Limit-1]
		}
	}
	for _, id := range ids {
		w := h.work[id]
		if w == nil || w.exec == "" || w.exec != r.Worker.Token && w.exec != nobody && h.bucket.works(w.exec, now) {
			continue
		}
		w.exec = r.Worker.Token
		reply.IDs = append(reply.IDs, id)
	}
	return reply, nil
}

// KeepWorker implements Work.
func (m *Memory) KeepWorker(ctx context.Context, bucket int, w Worker) error {
	if err := m.enter(ctx); err != nil {
		return err
	}
	m.buckets[bucket].keep(w, m.now())
	return nil
}
