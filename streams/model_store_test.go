package streams

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// simStore is one simulated node's way to the store. It fails when the node is
// dead, and holds up what the run wants held up.
type simStore struct {
	*Memory
	mu     sync.Mutex
	dead   bool
	away   bool            // the store cannot be reached
	stall  map[string]bool // the next call of a method waits
	waits  []*stalled
	gate   gate
	bells  []chan struct{}
	frozen bool // tails do not even time out: the process is paused
	prompt bool // whoever appends reads the tails; static
	// calls counts those in one instant. A node that goes round and round makes very many: time stands still for it, and the run
	// would wait for ever. It is cut off, and spins says why.
	instant time.Time
	calls   int
	spins   bool
}

// spinning is more calls than a node makes in one instant.
const spinning = 20_000

// stalled is a call that waits, before it is made or before its answer arrives.
type stalled struct {
	method string
	resume chan struct{}
}

// gate limits how many entries the node's tails may still read.
type gate struct{ allow int }

func newSimStore(m *Memory, prompt bool) *simStore {
	return &simStore{Memory: m, prompt: prompt, stall: map[string]bool{}, gate: gate{math.MaxInt}}
}

// stallable marks the contexts of calls that the run does not wait for: only they stall.
type stallable struct{}

var errSim = fmt.Errorf("%w: simulated", ErrUnavailable)

func (s *simStore) enter(ctx context.Context, method string) error {
	s.mu.Lock()
	var w *stalled
	if s.stall[method] && ctx.Value(stallable{}) != nil && !isVerify() {
		delete(s.stall, method)
		w = &stalled{method, make(chan struct{})}
		s.waits = append(s.waits, w)
	}
	s.mu.Unlock()
	if w != nil {
		select {
		case <-w.resume:
		case <-ctx.Done():
			return errSim
		}
	}
	return s.usable()
}

// isVerify tells whether the call is a part of a Verify: the run itself may be waiting for that.
func isVerify() bool {
	callers := make([]uintptr, 12)
	frames := runtime.CallersFrames(callers[:runtime.Callers(1, callers)])
	for {
		frame, more := frames.Next()
		if strings.HasSuffix(frame.Function, ".verify") {
			return true
		}
		if !more {
			return false
		}
	}
}

func (s *simStore) usable() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); !now.Equal(s.instant) {
		s.instant, s.calls = now, 0
	}
	if s.calls++; s.calls > spinning {
		s.spins, s.dead = true, true
	}
	if s.dead || s.away {
		return errSim
	}
	return nil
}

func (s *simStore) hasSpun() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.spins
}

// set changes the node's state and lets its tails see it.
func (s *simStore) set(f func()) {
	s.mu.Lock()
	f()
	bells := s.bells
	s.mu.Unlock()
	for _, bell := range bells {
		ring(bell)
	}
}

// release lets the stalled calls go on; only one of them with all false.
func (s *simStore) release(all bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.waits) > 0 {
		close(s.waits[0].resume)
		s.waits = s.waits[1:]
		if !all {
			return
		}
	}
}

func simCall[T any](ctx context.Context, s *simStore, method string, f func() (T, error)) (T, error) {
	var none T
	if err := s.enter(ctx, method); err != nil {
		return none, err
	}
	reply, err := f()
	if err2 := s.enter(ctx, method+" answer"); err2 != nil {
		return none, err2
	}
	return reply, err
}

func (s *simStore) Append(ctx context.Context, hub string, entry []byte) (Position, error) {
	return simCall(ctx, s, "Append", func() (Position, error) { return s.Memory.Append(ctx, hub, entry) })
}

func (s *simStore) Range(ctx context.Context, hub string, after Position, limit int) (RangeReply, error) {
	return simCall(ctx, s, "Range", func() (RangeReply, error) { return s.Memory.Range(ctx, hub, after, limit) })
}

func (s *simStore) Trim(ctx context.Context, hub string, upTo Position) (TrimReply, error) {
	return simCall(ctx, s, "Trim", func() (TrimReply, error) { return s.Memory.Trim(ctx, hub, upTo) })
}

func (s *simStore) Verify(ctx context.Context, hub string, r VerifyRequest) (VerifyReply, error) {
	return simCall(ctx, s, "Verify", func() (VerifyReply, error) { return s.Memory.Verify(ctx, hub, r) })
}

func (s *simStore) Open(ctx context.Context, hub string, r OpenRequest) (OpenReply, error) {
	return simCall(ctx, s, "Open", func() (OpenReply, error) { return s.Memory.Open(ctx, hub, r) })
}

func (s *simStore) Lookup(ctx context.Context, hub, id string) (OpenReply, error) {
	return simCall(ctx, s, "Lookup", func() (OpenReply, error) { return s.Memory.Lookup(ctx, hub, id) })
}

func (s *simStore) Handshake(ctx context.Context, hub string, r HandshakeRequest) (HandshakeReply, error) {
	return simCall(ctx, s, "Handshake", func() (HandshakeReply, error) { return s.Memory.Handshake(ctx, hub, r) })
}

func (s *simStore) Answer(ctx context.Context, hub string, r AnswerRequest) (uint64, error) {
	return simCall(ctx, s, "Answer", func() (uint64, error) { return s.Memory.Answer(ctx, hub, r) })
}

func (s *simStore) Continue(ctx context.Context, hub string, r ContinueRequest) (uint64, error) {
	return simCall(ctx, s, "Continue", func() (uint64, error) { return s.Memory.Continue(ctx, hub, r) })
}

func (s *simStore) Wrote(ctx context.Context, hub, id string, n uint64, ok bool) error {
	_, err := simCall(ctx, s, "Wrote", func() (int, error) { return 0, s.Memory.Wrote(ctx, hub, id, n, ok) })
	return err
}

func (s *simStore) Abandon(ctx context.Context, hub, id string, ticket uint64) error {
	_, err := simCall(ctx, s, "Abandon", func() (int, error) { return 0, s.Memory.Abandon(ctx, hub, id, ticket) })
	return err
}

func (s *simStore) Touch(ctx context.Context, hub string, items []TouchItem) ([]string, error) {
	return simCall(ctx, s, "Touch", func() ([]string, error) { return s.Memory.Touch(ctx, hub, items) })
}

func (s *simStore) Finish(ctx context.Context, hub string, r FinishRequest) (Position, error) {
	return simCall(ctx, s, "Finish", func() (Position, error) { return s.Memory.Finish(ctx, hub, r) })
}

func (s *simStore) Join(ctx context.Context, hub string, r JoinRequest) (JoinReply, error) {
	return simCall(ctx, s, "Join", func() (JoinReply, error) { return s.Memory.Join(ctx, hub, r) })
}

func (s *simStore) JoinUser(ctx context.Context, hub string, r UserJoinRequest) (UserJoinReply, error) {
	return simCall(ctx, s, "JoinUser", func() (UserJoinReply, error) { return s.Memory.JoinUser(ctx, hub, r) })
}

func (s *simStore) LeaveUser(ctx context.Context, hub string, r UserLeaveRequest) (JoinReply, error) {
	return simCall(ctx, s, "LeaveUser", func() (JoinReply, error) { return s.Memory.LeaveUser(ctx, hub, r) })
}

func (s *simStore) DueUsers(ctx context.Context, hub string, limit int) (DueReply, error) {
	return simCall(ctx, s, "DueUsers", func() (DueReply, error) { return s.Memory.DueUsers(ctx, hub, limit) })
}

func (s *simStore) TidyUser(ctx context.Context, hub, user string) error {
	_, err := simCall(ctx, s, "TidyUser", func() (int, error) { return 0, s.Memory.TidyUser(ctx, hub, user) })
	return err
}

func (s *simStore) CloseConnection(ctx context.Context, hub, id string, entry []byte) (Position, error) {
	return simCall(ctx, s, "Close", func() (Position, error) { return s.Memory.CloseConnection(ctx, hub, id, entry) })
}

func (s *simStore) End(ctx context.Context, hub string, r EndRequest) (EndReply, error) {
	return simCall(ctx, s, "End", func() (EndReply, error) { return s.Memory.End(ctx, hub, r) })
}

func (s *simStore) Expired(ctx context.Context, hub string, limit int) ([]string, error) {
	return simCall(ctx, s, "Expired", func() ([]string, error) { return s.Memory.Expired(ctx, hub, limit) })
}

func (s *simStore) Beat(ctx context.Context, bucket int, node string, lease time.Duration) (BeatReply, error) {
	return simCall(ctx, s, "Beat", func() (BeatReply, error) { return s.Memory.Beat(ctx, bucket, node, lease) })
}

func (s *simStore) Hubs(ctx context.Context, bucket int) ([]string, error) {
	return simCall(ctx, s, "Hubs", func() ([]string, error) { return s.Memory.Hubs(ctx, bucket) })
}

// simTail is a tail whose progress the run decides.
type simTail struct {
	*memoryTail
	s    *simStore
	bell chan struct{}
}

func (s *simStore) Tail(bucket int) Tail {
	t := &simTail{s.Memory.Tail(bucket).(*memoryTail), s, make(chan struct{}, 1)}
	s.mu.Lock()
	s.bells = append(s.bells, t.bell)
	s.mu.Unlock()
	if s.prompt {
		return t
	}
	return struct{ Tail }{t} // nobody else reads it
}

// Take implements PromptTail.
func (t *simTail) Take(after []Cursor, limit int) ([]Batch, bool) {
	if t.s.usable() != nil || t.s.isFrozen() || t.isOver() {
		return nil, false
	}
	return t.read(after, limit), true
}

// Wait implements PromptTail.
func (t *simTail) Wait(block time.Duration) {
	timeout := time.NewTimer(block)
	defer timeout.Stop()
	expired, lost := timeout.C, t.lost
	if t.s.isFrozen() {
		expired, lost = nil, nil
	}
	select {
	case <-t.news:
	case <-t.bell:
	case <-t.wake:
	case <-expired:
	case <-lost:
	case <-t.closed:
	}
}

func (t *simTail) Read(ctx context.Context, after []Cursor, limit int, block time.Duration) ([]Batch, error) {
	timeout := time.NewTimer(block)
	defer timeout.Stop()
	for {
		if err := t.s.usable(); err != nil {
			return nil, err
		}
		frozen := t.s.isFrozen()
		if frozen { // it does not notice that its connection is lost, either
			if err := ctx.Err(); err != nil {
				return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
			}
		} else if err := t.usable(ctx); err != nil {
			return nil, err
		}
		rung(t.news)
		if batches := t.read(after, limit); len(batches) > 0 || block <= 0 && !frozen {
			return batches, nil
		}
		expired, lost := timeout.C, t.lost
		if frozen {
			expired, lost = nil, nil
		}
		select {
		case <-t.news:
		case <-t.bell:
		case <-t.wake:
			return nil, nil
		case <-expired:
			return nil, nil
		case <-lost:
			return nil, errTailLost
		case <-t.closed:
			return nil, errTailClosed
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
		}
	}
}

// read reads as much as the gate allows.
func (t *simTail) read(after []Cursor, limit int) (batches []Batch) {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	if t.s.frozen {
		return nil
	}
	for _, c := range after {
		n := min(limit, t.s.gate.allow)
		if n <= 0 {
			break
		}
		for _, b := range t.collect([]Cursor{c}, n) {
			if t.s.gate.allow != math.MaxInt {
				t.s.gate.allow -= len(b.Entries)
			}
			b.Entries = slices.Clone(b.Entries) // the next collect overwrites it
			batches = append(batches, b)
		}
	}
	return batches
}

func (s *simStore) isFrozen() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.frozen
}

var _ Store = (*simStore)(nil)
