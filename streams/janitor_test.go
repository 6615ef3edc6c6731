package streams_test

import (
	"context"
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
