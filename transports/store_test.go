package transports_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"hubstream/streams"
)

// store is a store in memory that can be away, and whose steps can be held up or lose
// their replies.
type store struct {
	streams.Store
	away   atomic.Bool
	before atomic.Pointer[func(step string) error] // an error is returned instead of the step
	after  atomic.Pointer[func(step string) error] // and here instead of its reply

	mu    sync.Mutex
	tails []streams.Tail
}

func newStore() *store { return &store{Store: streams.NewMemory(streams.MemoryConfig{})} }

// goAway makes the store unreachable, comeBack reachable again.
func (s *store) goAway() {
	s.away.Store(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tails {
		t.Wake()
	}
}

func (s *store) comeBack() { s.away.Store(false) }

// onBefore calls f before every step, onAfter after it.
func (s *store) onBefore(f func(step string) error) { s.before.Store(&f) }
func (s *store) onAfter(f func(step string) error)  { s.after.Store(&f) }

// refuse has every step of a name fail before it is made, until undone.
func (s *store) refuse(name string, err error) (undo func()) {
	s.onBefore(func(step string) error {
		if step == name {
			return err
		}
		return nil
	})
	return func() { s.onBefore(func(string) error { return nil }) }
}

// onceAfterOpen calls f after the first Open from now on.
func (s *store) onceAfterOpen(f func()) {
	var opened atomic.Bool
	s.onAfter(func(step string) error {
		if step == "open" && opened.CompareAndSwap(false, true) {
			f()
		}
		return nil
	})
}

func step[T any](s *store, name string, f func() (T, error)) (reply T, err error) {
	if s.away.Load() {
		return reply, streams.ErrUnavailable
	}
	if hook := s.before.Load(); hook != nil {
		if err := (*hook)(name); err != nil {
			return reply, err
		}
	}
	reply, err = f()
	if hook := s.after.Load(); hook != nil && err == nil {
		if err := (*hook)(name); err != nil {
			var none T
			return none, err
		}
	}
	return reply, err
}

func (s *store) Open(ctx context.Context, hub string, r streams.OpenRequest) (streams.OpenReply, error) {
	return step(s, "open", func() (streams.OpenReply, error) { return s.Store.Open(ctx, hub, r) })
}

func (s *store) Lookup(ctx context.Context, hub, id string) (streams.OpenReply, error) {
	return step(s, "lookup", func() (streams.OpenReply, error) { return s.Store.Lookup(ctx, hub, id) })
}

func (s *store) Handshake(ctx context.Context, hub string, r streams.HandshakeRequest) (streams.HandshakeReply, error) {
	return step(s, "handshake", func() (streams.HandshakeReply, error) { return s.Store.Handshake(ctx, hub, r) })
}

func (s *store) Answer(ctx context.Context, hub string, r streams.AnswerRequest) (uint64, error) {
	return step(s, "answer", func() (uint64, error) { return s.Store.Answer(ctx, hub, r) })
}

func (s *store) Continue(ctx context.Context, hub string, r streams.ContinueRequest) (uint64, error) {
	return step(s, "continue", func() (uint64, error) { return s.Store.Continue(ctx, hub, r) })
}

func (s *store) Wrote(ctx context.Context, hub, id string, n uint64, ok bool) error {
	_, err := step(s, "wrote", func() (struct{}, error) { return struct{}{}, s.Store.Wrote(ctx, hub, id, n, ok) })
	return err
}

func (s *store) Abandon(ctx context.Context, hub, id string, ticket uint64) error {
	_, err := step(s, "abandon", func() (struct{}, error) { return struct{}{}, s.Store.Abandon(ctx, hub, id, ticket) })
	return err
}

func (s *store) Touch(ctx context.Context, hub string, items []streams.TouchItem) ([]string, error) {
	return step(s, "touch", func() ([]string, error) { return s.Store.Touch(ctx, hub, items) })
}

func (s *store) Finish(ctx context.Context, hub string, r streams.FinishRequest) (streams.Position, error) {
	return step(s, "finish", func() (streams.Position, error) { return s.Store.Finish(ctx, hub, r) })
}

func (s *store) Accept(ctx context.Context, hub string, r streams.AcceptRequest) (bool, error) {
	return step(s, "accept", func() (bool, error) { return s.Store.Accept(ctx, hub, r) })
}

// NextWork is the step "next", and "next finishing" if an item is finished. After "next refused" there is no reply to lose.
func (s *store) NextWork(ctx context.Context, hub string, r streams.NextRequest) (streams.NextReply, error) {
	name := "next"
	if r.Number > 0 {
		name = "next finishing"
	}
	reply, err := step(s, name, func() (streams.NextReply, error) { return s.Store.NextWork(ctx, hub, r) })
	if hook := s.after.Load(); hook != nil && errors.Is(err, streams.ErrOwner) {
		_ = (*hook)("next refused")
	}
	return reply, err
}

func (s *store) Reply(ctx context.Context, hub string, r streams.ReplyRequest) (streams.ReplyReply, error) {
	return step(s, "reply", func() (streams.ReplyReply, error) { return s.Store.Reply(ctx, hub, r) })
}

// Adopt is the step "adopt", and after it "adopted" if it has adopted something.
func (s *store) Adopt(ctx context.Context, hub string, r streams.AdoptRequest) (streams.AdoptReply, error) {
	reply, err := step(s, "adopt", func() (streams.AdoptReply, error) { return s.Store.Adopt(ctx, hub, r) })
	if hook := s.after.Load(); hook != nil && len(reply.IDs) > 0 {
		if err := (*hook)("adopted"); err != nil {
			return streams.AdoptReply{}, err
		}
	}
	return reply, err
}

func (s *store) End(ctx context.Context, hub string, r streams.EndRequest) (streams.EndReply, error) {
	return step(s, "end", func() (streams.EndReply, error) { return s.Store.End(ctx, hub, r) })
}

func (s *store) CloseConnection(ctx context.Context, hub, id string, entry []byte) (streams.Position, error) {
	return step(s, "close", func() (streams.Position, error) { return s.Store.CloseConnection(ctx, hub, id, entry) })
}

func (s *store) Join(ctx context.Context, hub string, r streams.JoinRequest) (streams.JoinReply, error) {
	return step(s, "join", func() (streams.JoinReply, error) { return s.Store.Join(ctx, hub, r) })
}

func (s *store) Append(ctx context.Context, hub string, entry []byte) (streams.Position, error) {
	return step(s, "append", func() (streams.Position, error) { return s.Store.Append(ctx, hub, entry) })
}

func (s *store) Range(ctx context.Context, hub string, after streams.Position, limit int) (streams.RangeReply, error) {
	return step(s, "range", func() (streams.RangeReply, error) { return s.Store.Range(ctx, hub, after, limit) })
}

func (s *store) Verify(ctx context.Context, hub string, r streams.VerifyRequest) (streams.VerifyReply, error) {
	return step(s, "verify", func() (streams.VerifyReply, error) { return s.Store.Verify(ctx, hub, r) })
}

func (s *store) Beat(ctx context.Context, bucket int, node string, lease time.Duration) (streams.BeatReply, error) {
	return step(s, "beat", func() (streams.BeatReply, error) { return s.Store.Beat(ctx, bucket, node, lease) })
}

func (s *store) Expired(ctx context.Context, hub string, limit int) ([]string, error) {
	return step(s, "expired", func() ([]string, error) { return s.Store.Expired(ctx, hub, limit) })
}

func (s *store) Trim(ctx context.Context, hub string, upTo streams.Position) (streams.TrimReply, error) {
	return step(s, "trim", func() (streams.TrimReply, error) { return s.Store.Trim(ctx, hub, upTo) })
}

func (s *store) Tail(bucket int) streams.Tail {
	t := s.Store.Tail(bucket)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tails = append(s.tails, t)
	return &tail{t.(streams.PromptTail), s}
}

type tail struct {
	streams.PromptTail
	store *store
}

func (t *tail) Take(after []streams.Cursor, limit int) ([]streams.Batch, bool) {
	if t.store.away.Load() {
		return nil, false
	}
	return t.PromptTail.Take(after, limit)
}

func (t *tail) Read(ctx context.Context, after []streams.Cursor, limit int, block time.Duration) ([]streams.Batch, error) {
	if t.store.away.Load() {
		return nil, streams.ErrUnavailable
	}
	batches, err := t.PromptTail.Read(ctx, after, limit, block)
	if t.store.away.Load() {
		return nil, streams.ErrUnavailable // what it has read is read again
	}
	return batches, err
}
