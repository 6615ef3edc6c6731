package streams_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"hubstream/streams"
)

const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func TestOnlyMessagesHaveATraceContext(t *testing.T) {
	t.Parallel()
	for kind := streams.KindMessage; kind <= streams.KindWork; kind++ {
		sent := streams.Entry{Kind: kind, Groups: []string{"g"}, Body: []byte("{}")}
		sent.SetTrace(traceparent)
		got, err := streams.DecodeEntry(string(streams.AppendEntry(nil, &sent)))
		if err != nil {
			t.Fatal(err)
		}
		if traced := got.Trace() == traceparent; traced != (kind == streams.KindMessage) {
			t.Errorf("kind %d: the trace context is %q", kind, got.Trace())
		}
	}
}

// A version that knows nothing of traces reads the entry: it is of the format that it knows, with an owner, at which it does
// not look.
func TestTraceContextNeedsNoNewFormat(t *testing.T) {
	t.Parallel()
	e := streams.Entry{Kind: streams.KindMessage, Body: []byte("{}")}
	e.SetTrace(traceparent)
	data := streams.AppendEntry(nil, &e)
	if data[0] != 1 {
		t.Errorf("the format is %d", data[0])
	}
	if got, err := streams.DecodeEntry(string(data)); err != nil || got.Owner != traceparent || string(got.Body) != "{}" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestTracedMessagesAreShownBeforeTheyAreDelivered(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var told []string
	store := streams.NewMemory(streams.MemoryConfig{})
	node := streams.NewNode(store, streams.Config{Name: "n1", Traced: func(i *streams.Item) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, "read "+string(i.Body))
	}})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	if err := node.Start(ctx); err != nil {
		t.Fatal(err)
	}
	defer func() { cancel(); node.Wait(); _ = store.Close() }()
	woken := make(chan struct{}, 1)
	att, _, err := node.Follow(ctx, "chat", streams.Audience{}, streams.Receipt{}, func() {
		select {
		case woken <- struct{}{}:
		default:
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{"traced", "other"} {
		e := streams.Entry{Kind: streams.KindMessage, Flags: streams.FlagAll, Body: []byte(body)}
		if body == "traced" {
			e.SetTrace(traceparent)
		}
		if _, err := node.Publish(ctx, "chat", &e); err != nil {
			t.Fatal(err)
		}
	}
	var delivered []*streams.Item
	for len(delivered) < 2 {
		<-woken
		if delivered, err = att.Next(ctx, delivered, 1<<20); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		if len(delivered) > 0 && len(told) == 0 {
			t.Error("the message is delivered, and was not shown before")
		}
		mu.Unlock()
	}
	if got := delivered[0].Trace() + delivered[1].Trace(); got != traceparent {
		t.Errorf("what is delivered carries %q", got)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(told) != 1 || told[0] != "read traced" {
		t.Errorf("shown: %q", told)
	}
}
