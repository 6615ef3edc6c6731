package streams_test

import (
	"context"
	"testing"

	"hubstream/streams"
)

// trimmedStore is a store whose log is trimmed up to a position after each read of it.
type trimmedStore struct {
	*streams.Memory
	upTo streams.Position
}

func (s *trimmedStore) Range(ctx context.Context, hub string, after streams.Position, limit int) (streams.RangeReply, error) {
	reply, err := s.Memory.Range(ctx, hub, after, limit)
	if err == nil && !s.upTo.IsZero() {
		_, err = s.Trim(ctx, hub, s.upTo)
	}
	return reply, err
}

// A look back is made of several reads. What was trimmed between two of them was missing without a word, and a trim of what had been read
// was told as if it was missing.
func TestLookBackTellsOfWhatIsTrimmedMeanwhile(t *testing.T) {
	t.Parallel()
	const entries = 5000
	ctx := t.Context()
	for what, c := range map[string]struct {
		after, upTo int // of the entries
		gap         bool
	}{
		"behind what was read":        {upTo: 12, after: 10},
		"behind what was read of all": {upTo: 3, after: -1},
		"beyond what was read":        {upTo: 4000, after: 10, gap: true},
		"beyond what was read of all": {upTo: 4000, after: -1, gap: true},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			store := &trimmedStore{Memory: streams.NewMemory(streams.MemoryConfig{})}
			t.Cleanup(func() { _ = store.Close() })
			node := streams.NewNode(store, streams.Config{Name: "n1"})
			var at []streams.Position
			for range entries {
				at = append(at, appendBroadcast(t, ctx, store, "m"))
			}
			r := streams.LookBack{Limit: 2 * entries}
			if c.after >= 0 {
				r.After = at[c.after]
			}
			store.upTo = at[c.upTo]
			back, err := node.LookBack(ctx, hub, r)
			must(t, "look back", err)
			if back.Gap != c.gap {
				t.Errorf("a gap is told: %v, of %d entries", back.Gap, len(back.Entries))
			}
		})
	}
}

// Blank entries say nothing to people, either.
func TestLookBackPassesOverWhatIsBlank(t *testing.T) {
	t.Parallel()
	store := streams.NewMemory(streams.MemoryConfig{})
	t.Cleanup(func() { _ = store.Close() })
	before := appendBroadcast(t, t.Context(), store, "m")
	_, err := store.Append(t.Context(), hub, streams.AppendEntry(nil, &streams.Entry{Kind: streams.KindBlank}))
	must(t, "append a blank entry", err)
	back, err := streams.NewNode(store, streams.Config{Name: "n1"}).LookBack(t.Context(), hub, streams.LookBack{Limit: 10, After: before})
	must(t, "look back", err)
	if len(back.Entries) != 0 || back.Next != back.Last {
		t.Errorf("looked back at %d entries, and on to %v of %v", len(back.Entries), back.Next, back.Last)
	}
}
