package streams_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hubstream/streams"
)

// What a node sent just before it ended, to a hub that nobody uses afterwards, was in the store for ever: with each replacement of
// the nodes the last two minutes of every such hub.
func TestLogsThatNobodyUsesAreTrimmed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := streams.NewMemory(streams.MemoryConfig{})
		start := func(name string) (node *streams.Node, stop func()) {
			ctx, cancel := context.WithCancel(context.Background())
			node = streams.NewNode(store, streams.Config{Name: name})
			must(t, "start", node.Start(ctx))
			return node, func() {
				cancel()
				node.Wait()
			}
		}
		kept := func() int {
			slice, err := store.Range(context.Background(), hub, streams.Position{}, 10)
			must(t, "range", err)
			return len(slice.Entries)
		}
		_, stop := start("n1")
		defer func() {
			stop()
			_ = store.Close()
		}()
		time.Sleep(time.Hour) // it has long been in contact

		sender, stopSender := start("n2")
		_, err := sender.Publish(context.Background(), hub, &streams.Entry{Kind: streams.KindMessage, Flags: streams.FlagAll, Body: []byte("m")})
		must(t, "publish", err)
		stopSender()
		time.Sleep(2*time.Minute - time.Second)
		if n := kept(); n != 2 {
			t.Errorf("%d entries before the retention has passed, want the log's first and the message", n)
		}
		time.Sleep(time.Hour)
		if n := kept(); n != 0 {
			t.Errorf("%d entries an hour after it", n)
		}
	})
}

// All the connections of a node that dies pass together. They are not there for minutes after it.
func TestConnectionsOfADeadNodeEndTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		store := streams.NewMemory(streams.MemoryConfig{})
		t.Cleanup(func() { _ = store.Close() })
		node := startNode(t, store, "n1")
		_, _, err := node.Follow(ctx, hub, streams.Audience{}, streams.Receipt{}, func() {})
		must(t, "follow", err)
		time.Sleep(time.Hour) // it has long been in contact

		const lease = 30 * time.Second
		for i := range 3000 {
			_, err := store.Open(ctx, hub, streams.OpenRequest{
				Mode: streams.OpenWebSocket, ID: fmt.Sprint(i), Owner: "n2.dead", NewLease: lease, Lease: lease,
				CreateUntil: time.Now().Add(time.Minute).UnixMilli(),
			})
			must(t, "open", err)
		}
		time.Sleep(lease + 11*time.Second)
		list, err := store.List(ctx, hub, "", 1)
		must(t, "list", err)
		if list.Total != 0 {
			t.Errorf("%d of them are there 11 s after their leases have passed", list.Total)
		}
	})
}

// Nothing is added to the hub any more, which would sweep a little.
func TestKeysOfAHubThatIsNotUsedAreForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		store := streams.NewFaultyMemory()
		t.Cleanup(func() { _ = store.Close() })
		node := startNode(t, store, "n1")
		for i := range 5000 {
			_, _, err := node.PublishOnce(ctx, hub, fmt.Sprint(i), "sum", 10*time.Minute, &streams.Entry{Kind: streams.KindMessage, Flags: streams.FlagAll})
			must(t, "publish", err)
		}
		time.Sleep(40 * time.Minute)
		if keys, _, _ := store.Held(hub); keys != 0 {
			t.Errorf("%d keys are there half an hour after their time", keys)
		}
	})
}

// touched counts the signs of life that a store is told.
type touched struct {
	*streams.Memory
	items atomic.Int64
}

func (s *touched) Touch(ctx context.Context, hub string, items []streams.TouchItem) ([]string, error) {
	s.items.Add(int64(len(items)))
	return s.Memory.Touch(ctx, hub, items)
}

// A client that is heard for the first time is noted at once, whoever else is there: with each that comes all would be gone through.
func TestWhoIsHeardIsNotedAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &touched{Memory: streams.NewMemory(streams.MemoryConfig{})}
		t.Cleanup(func() { _ = store.Close() })
		node := startNode(t, store, "n1")
		time.Sleep(500 * time.Millisecond) // between two looks at everybody
		for i := range 100 {
			attached(t, node, fmt.Sprint(i), "")
		}
		time.Sleep(9 * time.Second)
		one := attached(t, node, "one", "")
		one.att.Start(one.att.Cursor(), true)
		time.Sleep(1200 * time.Millisecond) // all others are due, and will be looked at in 300 ms
		before := store.items.Load()
		one.att.Heard()
		time.Sleep(100 * time.Millisecond)
		if n := store.items.Load() - before; n != 1 {
			t.Errorf("%d signs of life when one was heard", n)
		}
		time.Sleep(time.Second)
		if n := store.items.Load() - before; n < 101 {
			t.Errorf("%d signs of life, want one of each", n)
		}
	})
}
