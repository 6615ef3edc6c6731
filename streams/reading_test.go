package streams_test

import (
	"bytes"
	"context"
	"testing"
	"time"

	"hubstream/streams"
)

// weighed is a store that knows the most that was read of a log at once, and how often it was read.
type weighed struct {
	streams.Store
	most, reads int
}

func (s *weighed) Range(ctx context.Context, hub string, after streams.Position, limit int) (streams.RangeReply, error) {
	reply, err := s.Store.Range(ctx, hub, after, limit)
	size := 0
	for _, e := range reply.Entries {
		size += len(e.Data)
	}
	s.most, s.reads = max(s.most, size), s.reads+1
	return reply, err
}

// Whoever looks at what is buffered for one connection, or at the log, would else have all of it read at once; and of small entries
// many are read at once.
func TestALookReadsSomeMegabytesAtOnce(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ messages, size, reads int }{"large": {60, 1 << 20, 60}, "small": {3000, 100, 5}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := &weighed{Store: streams.NewMemory(streams.MemoryConfig{})}
			node := streams.NewNode(store, streams.Config{Name: "n1"})
			r := streams.OpenRequest{
				Mode: streams.OpenPoll, ID: "c", Owner: node.NewOwner(), CreateUntil: time.Now().Add(time.Hour).UnixMilli(), Lease: time.Minute, NewLease: time.Minute,
			}
			if _, err := node.Open(t.Context(), "chat", r); err != nil {
				t.Fatal(err)
			}
			answer := streams.Entry{Kind: streams.KindReply, Flags: streams.FlagHandshake, Connections: []string{"c"}, Protocol: 1, Version: 1}
			if _, err := node.Handshake(t.Context(), "chat", streams.HandshakeRequest{
				ID: "c", Protocol: 1, Version: 1, Reply: streams.AppendEntry(nil, &answer), Lease: time.Minute,
			}); err != nil {
				t.Fatal(err)
			}
			body := bytes.Repeat([]byte("x"), c.size)
			for range c.messages {
				if _, err := node.Publish(t.Context(), "chat", &streams.Entry{Kind: streams.KindMessage, Flags: streams.FlagAll, Body: body}); err != nil {
					t.Fatal(err)
				}
			}
			look := func(what string, f func() error) {
				store.most, store.reads = 0, 0
				if err := f(); err != nil {
					t.Errorf("%s: %v", what, err)
				}
				if store.most > 16<<20 || store.reads > c.reads {
					t.Errorf("%s: %d bytes were read at once, in %d reads", what, store.most, store.reads)
				}
			}
			look("the oldest", func() error {
				_, err := node.Pending(t.Context(), "chat", "c", func(*streams.Item) bool { return false })
				return err
			})
			seen := 0
			look("all", func() error {
				_, err := node.Pending(t.Context(), "chat", "c", func(*streams.Item) bool { seen++; return true })
				return err
			})
			if seen != 1+c.messages {
				t.Errorf("%d are buffered, want %d", seen, 1+c.messages)
			}
			look("the log", func() error {
				back, err := node.LookBack(t.Context(), "chat", streams.LookBack{Limit: 5000})
				held := 0
				for _, e := range back.Entries {
					held += e.Size
				}
				if more := c.size > 1000; back.More != more || held > 8<<20 {
					t.Errorf("a look back holds %d bytes, more: %v", held, back.More)
				}
				return err
			})
		})
	}
}
