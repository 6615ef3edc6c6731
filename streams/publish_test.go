package streams_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"hubstream/streams"
)

// stepCounter notes what each step of a PublishAll takes.
type stepCounter struct {
	*streams.Memory
	steps [][]streams.OnceRequest
}

func (c *stepCounter) AppendAll(ctx context.Context, hub string, items []streams.OnceRequest) ([]streams.AppendResult, error) {
	c.steps = append(c.steps, append([]streams.OnceRequest(nil), items...))
	return c.Memory.AppendAll(ctx, hub, items)
}

// What is published together takes as many steps as keep everybody else's waiting short, and of each entry it is told what became of it.
func TestManyArePublishedInTheirOrderInStepsThatAreNotLarge(t *testing.T) {
	t.Parallel()
	store := &stepCounter{Memory: streams.NewMemory(streams.MemoryConfig{})}
	defer store.Close()
	node := startNode(t, store, "n")
	const entries, tooLarge, again = 300, 140, 290
	body := func(i int) string {
		switch {
		case i == tooLarge:
			return strings.Repeat("x", streams.MaxEntryBytes)
		case i >= 200 && i < 210:
			return fmt.Sprint(i, strings.Repeat("x", 300<<10))
		}
		return fmt.Sprint(i)
	}
	var all []streams.Outgoing
	var want []string
	for i := range entries {
		e := streams.Outgoing{Entry: &streams.Entry{Kind: streams.KindMessage, Flags: streams.FlagAll, Body: []byte(body(i))}}
		if i == 10 || i == again { // the second time in another step
			e.Key, e.Sum, e.Keep = "key", "sum", time.Hour
		}
		if all = append(all, e); i != tooLarge && i != again {
			want = append(want, body(i))
		}
	}
	results := node.PublishAll(t.Context(), "chat", all)

	last := streams.Position{}
	for i, r := range results {
		switch {
		case i == tooLarge:
			if !errors.Is(r.Err, streams.ErrTooLarge) {
				t.Errorf("the entry that is too large: %v", r.Err)
			}
		case i == again:
			if r.Err != nil || !r.Replayed || r.Receipt != results[10].Receipt {
				t.Errorf("the one that is repeated: %+v, want the receipt of the first, %v", r, results[10].Receipt)
			}
		case r.Err != nil || r.Replayed || !r.Receipt.Position.After(last):
			t.Fatalf("entry %d: %+v, after %v", i, r, last)
		default:
			last = r.Receipt.Position
		}
	}
	for _, step := range store.steps {
		size := 0
		for _, item := range step {
			size += len(item.Entry)
		}
		if len(step) > 128 || size > 1<<20 && len(step) > 1 {
			t.Errorf("a step of %d entries with %d bytes", len(step), size)
		}
	}
	back, err := node.LookBack(t.Context(), "chat", streams.LookBack{Limit: 2 * entries, Body: func([]byte) bool { return true }})
	for err == nil && back.More {
		var rest streams.LookBackReply
		rest, err = node.LookBack(t.Context(), "chat", streams.LookBack{After: back.Next, Limit: 2 * entries, Body: func([]byte) bool { return true }})
		rest.Entries = append(back.Entries, rest.Entries...)
		back = rest
	}
	noError(t, err)
	var got []string
	for _, e := range back.Entries {
		got = append(got, string(e.Body))
	}
	if len(got) != len(want) {
		t.Fatalf("the log has %d messages, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("message %d of the log is %.20q, want %.20q", i, got[i], want[i])
		}
	}
}

// An entry that is too large for the log is refused before anything is asked of the store.
func TestTooLargeEntriesAreRefused(t *testing.T) {
	t.Parallel()
	store := streams.NewMemory(streams.MemoryConfig{})
	defer store.Close()
	node := startNode(t, store, "n")
	large := &streams.Entry{Kind: streams.KindMessage, Flags: streams.FlagAll, Body: make([]byte, streams.MaxEntryBytes)}
	if _, err := node.Publish(t.Context(), "chat", large); !errors.Is(err, streams.ErrTooLarge) {
		t.Errorf("got %v, want %v", err, streams.ErrTooLarge)
	}
	if _, _, err := node.PublishOnce(t.Context(), "chat", "key", "sum", time.Hour, large); !errors.Is(err, streams.ErrTooLarge) {
		t.Errorf("with a key: got %v, want %v", err, streams.ErrTooLarge)
	}
}
