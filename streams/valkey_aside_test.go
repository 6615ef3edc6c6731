package streams_test

import (
	"context"
	"fmt"
	"testing"

	"hubstream/integration/valkeytest"
	"hubstream/streams"
)

// Who has written something else over a hub's log, or over what is kept of it, ended the deliveries of all hubs of its bucket.
func TestValkeyKeyOfAnotherTypeHoldsUpItsHubAlone(t *testing.T) {
	t.Parallel()
	server := valkeytest.Start(t, valkeytest.Args())
	u := use(t, streams.ValkeyConfig{Addresses: []string{server.Addr}, Prefix: "aside"})
	ctx, cancel := context.WithCancel(t.Context())
	node := streams.NewNode(u.Valkey, streams.Config{Name: "n1"})
	must(t, "start", node.Start(ctx))
	t.Cleanup(func() {
		cancel()
		node.Wait()
	})
	other := streams.SameBucket(hub, 1)[0]
	broken, beside := followHub(t, node, hub), followHub(t, node, other)
	arrives := func(what string, att *streams.Attachment, hub string, n int) {
		t.Helper()
		if hub != "" {
			_, err := u.Append(ctx, hub, message("m"))
			must(t, "append", err)
		}
		got := 0
		eventually(t, what, func() error {
			items, err := att.Next(ctx, nil, 1<<20)
			if got += len(items); err != nil || got != n {
				return fmt.Errorf("got %d messages, %v, want %d", got, err, n)
			}
			return nil
		})
	}
	unread := func(n int) {
		t.Helper()
		eventually(t, "hubs that are not read", func() error {
			if got := node.Totals().HubsUnread; got != n {
				return fmt.Errorf("%d, want %d", got, n)
			}
			return nil
		})
	}
	arrives("before", broken, hub, 1)
	for _, key := range []string{"log", "meta"} {
		key := fmt.Sprintf("{aside:%d}:%s:%s", streams.Bucket(hub), hub, key)
		server.Do("RENAME", key, key+".moved")
		server.Do("SET", key, "something else")
		arrives("beside "+key, beside, other, 1)
		unread(1)
		arrives("beside it later", beside, other, 1)
		server.Do("RENAME", key+".moved", key)
		arrives("when it is mended", broken, hub, 1)
		unread(0)
	}
}
