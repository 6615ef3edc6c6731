package streams

import (
	"context"
	"errors"
	"strings"
	"time"
)

// Receipt is where an accepted entry is.
type Receipt struct {
	Gen      string
	Position Position
}

// String is the position as it is shown outside: opaque, "<generation>.<ms>-<seq>".
func (r Receipt) String() string { return r.Gen + "." + r.Position.String() }

// ErrTooLarge says that an entry is beyond MaxEntryBytes.
var ErrTooLarge = errors.New("the message and its audience are too large")

// Publish appends an entry. Errors: ErrTooLarge, ErrLogFull, and those of Log.Append.
func (n *Node) Publish(ctx context.Context, hubName string, e *Entry) (Receipt, error) {
	data := AppendEntry(nil, e)
	if len(data) > MaxEntryBytes {
		return Receipt{}, ErrTooLarge
	}
	h := n.acquire(hubName)
	defer h.release()
	if err := h.accepts(); err != nil {
		return Receipt{}, err
	}
	p, err := n.store.Append(ctx, hubName, data)
	if err != nil {
		return Receipt{}, err
	}
	n.meter.sent(e)
	return Receipt{h.appended(ctx, RawEntry{p, textOf(data)}), p}, nil
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
	if err := h.accepts(); err != nil {
		return Receipt{}, false, err
	}
	p, replayed, err := n.store.AppendOnce(ctx, hubName, OnceRequest{Key: key, Sum: sum, Entry: data, Keep: keep})
	if err != nil {
		return Receipt{}, false, err
	}
	if replayed { // what is there is not necessarily this entry
		return Receipt{h.appended(ctx), p}, true, nil
	}
	n.meter.sent(e)
	return Receipt{h.appended(ctx, RawEntry{p, textOf(data)}), p}, false, nil
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
	err := h.accepts()
	if err == nil {
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
	gen := h.appended(ctx, appended...)
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

// accepts returns ErrLogFull if the hub's log is.
func (h *hub) accepts() error {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.full {
		return ErrLogFull
	}
	return nil
}

// appended notes acknowledged appends, and returns the log's generation, or "" if the store cannot be asked for it: they are accepted all the same.
func (h *hub) appended(ctx context.Context, entries ...RawEntry) string {
	h.mu.Lock()
	for _, e := range entries {
		h.own.note(h, e)
	}
	gen := h.gen
	h.mu.Unlock()
	if gen != "" {
		return gen
	}
	if err := h.verify(ctx); err != nil {
		return ""
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.gen
}

// ReceiptOf names a position with the log's generation.
func (n *Node) ReceiptOf(ctx context.Context, hubName string, p Position) Receipt {
	h := n.acquire(hubName)
	defer h.release()
	return Receipt{h.appended(ctx), p}
}
