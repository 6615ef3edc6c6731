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

// rangeCounter counts the reads of the log.
type rangeCounter struct {
	*streams.Memory
	ranges atomic.Int64
}

func (c *rangeCounter) Range(ctx context.Context, hub string, after streams.Position, limit int) (streams.RangeReply, error) {
	c.ranges.Add(1)
	return c.Memory.Range(ctx, hub, after, limit)
}

// TestManyReturnAfterFewReads: connections that come back to a node that does not know what they have missed read the log
// once for all of them, although each return makes the log longer.
func TestManyReturnAfterFewReads(t *testing.T) {
	const clients, missed = 200, 50
	store := &rangeCounter{Memory: streams.NewMemory(streams.MemoryConfig{})}
	ctx, cancel := context.WithCancel(t.Context())
	nodes := [2]*streams.Node{}
	for i := range nodes {
		nodes[i] = streams.NewNode(store, streams.Config{Name: fmt.Sprint("n", i)})
		must(t, "start", nodes[i].Start(ctx))
	}
	defer func() {
		cancel()
		nodes[0].Wait()
		nodes[1].Wait()
		_ = store.Close()
	}()
	open := func(n *streams.Node, r streams.OpenRequest) streams.OpenReply {
		t.Helper()
		r.CreateUntil = time.Now().Add(time.Minute).UnixMilli()
		r.Lease, r.NewLease = time.Minute, time.Minute
		reply, err := n.Open(ctx, hub, r)
		must(t, "open", err)
		return reply
	}
	for i := range clients {
		id := fmt.Sprint("c", i)
		open(nodes[0], streams.OpenRequest{Mode: streams.OpenWebSocket, ID: id, Owner: "n0." + id})
		_, err := nodes[0].Handshake(ctx, hub, streams.HandshakeRequest{ID: id, Owner: "n0." + id, Protocol: 1, Version: 2, Lease: time.Minute})
		must(t, "handshake", err)
		_, err = store.Touch(ctx, hub, []streams.TouchItem{{ID: id, Owner: "n0." + id, Lease: time.Minute, Heard: true}})
		must(t, "touch", err)
	}
	for i := range missed {
		_, err := nodes[0].Publish(ctx, hub, &streams.Entry{Kind: streams.KindMessage, Flags: streams.FlagAll, Body: []byte(fmt.Sprint(i))})
		must(t, "publish", err)
	}
	store.ranges.Store(0)
	for i := range clients {
		id := fmt.Sprint("c", i)
		ticket := open(nodes[1], streams.OpenRequest{Mode: streams.OpenWebSocket, ID: id, Owner: "n1." + id}).Record.Tickets
		reply := open(nodes[1], streams.OpenRequest{Mode: streams.OpenReattach, ID: id, Owner: "n1." + id, Ticket: ticket})
		a, err := nodes[1].Attach(ctx, hub, reply, "n1."+id, time.Minute, func() {})
		must(t, "attach", err)
		var got []*streams.Item
		for {
			n := len(got)
			got, err = a.Next(ctx, got, 1<<20)
			must(t, "next", err)
			if len(got) == n {
				break
			}
		}
		if len(got) != missed || string(got[0].Body) != "0" || string(got[missed-1].Body) != fmt.Sprint(missed-1) {
			t.Fatalf("%s got %d messages, want the %d that it missed", id, len(got), missed)
		}
		defer a.Detach(ctx, 0, streams.LeavingNone)
	}
	if n := store.ranges.Load(); n > 10 {
		t.Errorf("%d clients that missed the same messages read the log %d times", clients, n)
	}
}

// What the tail has not read may be lost without the node's noticing: nobody is sent it.
func TestPagesEndWhereTheTailDoes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &heldStore{Memory: streams.NewMemory(streams.MemoryConfig{})}
		ctx, cancel := context.WithCancel(context.Background())
		node := streams.NewNode(store, streams.Config{Name: "n1", WindowBytes: 1}) // all is read from pages
		must(t, "start", node.Start(ctx))
		defer func() {
			cancel()
			node.Wait()
			_ = store.Close()
		}()
		att, _, err := node.Follow(ctx, hub, streams.Audience{}, streams.Receipt{}, func() {})
		must(t, "follow", err)
		send := func(body string) {
			t.Helper()
			_, err := store.Append(ctx, hub, streams.AppendEntry(nil, &streams.Entry{Kind: streams.KindMessage, Flags: streams.FlagAll, Body: []byte(body)}))
			must(t, "append", err)
			synctest.Wait()
		}
		gets := func(want string) {
			t.Helper()
			got := ""
			for more := true; more; {
				items, err := att.Next(ctx, nil, 1<<20)
				must(t, "next", err)
				for _, i := range items {
					got += string(i.Body)
				}
				more = len(items) > 0
			}
			if got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
		send("1")
		send("2")
		hold := make(chan struct{})
		store.hold.Store(&hold)
		send("3")
		gets("12")
		store.hold.Store(nil)
		close(hold)
		synctest.Wait()
		gets("3")
	})
}
