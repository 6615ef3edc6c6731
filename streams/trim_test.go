package streams_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"hubstream/streams"
)

// sized is a node whose hubs' logs have a limit, and the store of them.
type sized struct {
	*testing.T
	ctx   context.Context
	store *streams.Memory
	node  *streams.Node
}

func newSized(t *testing.T, retentionBytes int64) *sized {
	store := streams.NewMemory(streams.MemoryConfig{})
	ctx, cancel := context.WithCancel(context.Background())
	s := &sized{t, ctx, store, streams.NewNode(store, streams.Config{Name: "n1", Retention: 2 * time.Minute, RetentionBytes: retentionBytes})}
	if err := s.node.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		s.node.Wait()
		_ = store.Close()
	})
	return s
}

// send sends n bytes to a hub that nobody is connected to.
func (s *sized) send(n int) error {
	_, err := s.node.Publish(s.ctx, "chat", &streams.Entry{Kind: streams.KindMessage, Flags: streams.FlagAll, Body: make([]byte, n)})
	return err
}

// bytes is the size of the hub's log.
func (s *sized) bytes() int64 {
	s.Helper()
	reply, err := s.store.Trim(s.ctx, "chat", streams.Position{}) // drops nothing
	if err != nil {
		s.Fatal(err)
	}
	return reply.Bytes
}

// A log that is younger than the retention is held to its limit, too: else a burst in its first two minutes would take all memory.
func TestAYoungLogBeyondItsLimitIsFull(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const size, limit = 100 << 10, 1 << 20
		s := newSized(t, limit)
		began := time.Now()
		for {
			err := s.send(size)
			if errors.Is(err, streams.ErrFull) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if time.Since(began) > 15*time.Second {
				t.Fatalf("%d bytes are in the log, the limit is %d, and sends are accepted", s.bytes(), limit)
			}
			time.Sleep(200 * time.Millisecond)
		}
		time.Sleep(20 * time.Second) // 15 s are kept however large the log is
		if err := s.send(size); err != nil {
			t.Fatalf("20 s later: %v", err)
		}
	})
}

// A log of which the limit holds less than the retention is cut again and again, and no send is refused.
func TestALogThatWasCutIsCutAgainWhenItHasGrown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const size, limit = 100 << 10, 2 << 20 // 15 s of it fit
		s := newSized(t, limit)
		for began := time.Now(); time.Since(began) < 10*time.Minute; time.Sleep(time.Second) {
			if err := s.send(size); err != nil {
				t.Fatalf("after %v: %v", time.Since(began), err)
			}
			if got := s.bytes(); got > limit+limit/2 { // it is looked at every 6 s at the least
				t.Fatalf("after %v the log has %d bytes, the limit is %d", time.Since(began), got, limit)
			}
		}
	})
}
