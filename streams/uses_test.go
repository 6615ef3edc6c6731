package streams

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// A hub that is in use is followed: whatever is done in one, and however it ends, must not leave it so for ever.
func TestNothingThatHasEndedUsesItsHub(t *testing.T) {
	t.Parallel()
	ctx, n := memoryNode(t, Config{Name: "n"})
	message := func() *Entry { return &Entry{Kind: KindMessage, Flags: FlagAll, Body: []byte("1")} }
	late, lateEnds := context.WithCancel(ctx)
	lateEnds()
	for _, use := range []struct {
		name string
		f    func() error
		want error
	}{
		{"publish", func() error { _, err := n.Publish(ctx, "hub", message()); return err }, nil},
		{"publish in vain", func() error { _, err := n.Publish(late, "hub", message()); return err }, ErrUnavailable},
		{"publish once", func() error { _, _, err := n.PublishOnce(ctx, "hub", "k", "s", time.Hour, message()); return err }, nil},
		{"publish once with a used key", func() error { _, _, err := n.PublishOnce(ctx, "hub", "k", "other", time.Hour, message()); return err }, ErrKeyReused},
		{"publish all", func() error { return n.PublishAll(ctx, "hub", []Outgoing{{Entry: message()}})[0].Err }, nil},
		{"a receipt", func() error { n.ReceiptOf(ctx, "hub", Position{}); return nil }, nil},
		{"attach", func() error { return attachStateful(t, n, "c").Detach(ctx, time.Minute, LeavingSocket) }, nil},
		{"attach for which the tail is behind", func() error {
			opened, err := n.Lookup(ctx, "hub", "c")
			if err == nil {
				opened.Last = NewPosition(1<<60, 0)
				_, err = n.Attach(late, "hub", opened, opened.Record.Owner, time.Minute, func() {})
			}
			return err
		}, ErrUnavailable},
		{"open of who is unknown", func() error {
			_, err := n.Open(ctx, "hub", OpenRequest{Mode: OpenReattach, ID: "x", Owner: "n.1"})
			return err
		}, ErrGone},
		{"reopen of who is unknown", func() error {
			_, err := n.Reopen(ctx, "hub", OpenReply{Record: Record{ID: "x"}}, "n.1")
			return err
		}, ErrGone},
		{"follow", func() error {
			a, _, err := n.Follow(ctx, "hub", Audience{}, Receipt{}, func() {})
			if err == nil {
				err = a.Detach(ctx, 0, LeavingNone)
			}
			return err
		}, nil},
		{"follow from another log", func() error {
			_, _, err := n.Follow(ctx, "hub", Audience{}, Receipt{Gen: "another", Position: at(1)}, func() {})
			return err
		}, ErrGeneration},
		{"watch", func() error {
			release, err := n.Watch(ctx, "hub")
			if err == nil {
				release()
			}
			return err
		}, nil},
	} {
		if err := use.f(); use.want != nil && !errors.Is(err, use.want) || use.want == nil && err != nil {
			t.Errorf("%s: got %v, want %v", use.name, err, use.want)
		}
		for _, h := range n.allHubs() {
			h.mu.RLock()
			uses := h.uses
			h.mu.RUnlock()
			if uses != 0 {
				t.Fatalf("%s: the hub is in use %d times when it has ended", use.name, uses)
			}
		}
	}
}

// unheard is a store that has never heard of any client.
type unheard struct{ *Memory }

func (unheard) Open(context.Context, string, OpenRequest) (OpenReply, error) {
	return OpenReply{}, ErrUnheard
}

// Who waits for a record is counted, as the more there are the longer each pauses: those that have given up are not among them.
func TestWhoHasGivenUpDoesNotWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := NewNode(unheard{NewMemory(MemoryConfig{})}, Config{Name: "n"})
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := n.Open(short, "hub", OpenRequest{ID: "c", Owner: "n.1"}); !errors.Is(err, ErrUnavailable) {
			t.Errorf("without the time to wait: %v, want %v", err, ErrUnavailable)
		}
		if _, err := n.Open(t.Context(), "hub", OpenRequest{ID: "c", Owner: "n.1"}); !errors.Is(err, ErrGone) {
			t.Errorf("got %v, want %v", err, ErrGone)
		}
		if waiting := n.waiting.Load(); waiting != 0 {
			t.Errorf("%d wait", waiting)
		}
	})
}
