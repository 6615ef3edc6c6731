package streams_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hubstream/streams"
)

// blindStore is a store whose tails cannot read, of the buckets for which that is said.
type blindStore struct {
	*streams.FaultyMemory
	reason atomic.Pointer[func(bucket int) error] // nil: they can
	full   atomic.Bool                            // Verify says so
	broken sync.Map                               // hub -> error: of Verify, and of each read with the hub in it
	reads  atomic.Int64
}

func (s *blindStore) blind(reason func(bucket int) error) { s.reason.Store(&reason) }

func (s *blindStore) Tail(bucket int) streams.Tail {
	return blindTail{s.FaultyMemory.Tail(bucket), s, bucket}
}

func (s *blindStore) Verify(ctx context.Context, hub string, r streams.VerifyRequest) (streams.VerifyReply, error) {
	if s.full.Load() {
		return streams.VerifyReply{}, streams.ErrFull
	}
	if err, broken := s.broken.Load(hub); broken {
		return streams.VerifyReply{}, err.(error)
	}
	return s.FaultyMemory.Verify(ctx, hub, r)
}

type blindTail struct {
	streams.Tail
	s      *blindStore
	bucket int
}

func (t blindTail) Read(ctx context.Context, after []streams.Cursor, limit int, block time.Duration) ([]streams.Batch, error) {
	if t.s.reads.Add(1) > 1000 {
		<-ctx.Done() // so that the test ends
	}
	if reason := t.s.reason.Load(); reason != nil {
		if err := (*reason)(t.bucket); err != nil {
			return nil, err
		}
	}
	for _, c := range after {
		if err, broken := t.s.broken.Load(c.Hub); broken {
			return nil, err.(error)
		}
	}
	return t.Tail.Read(ctx, after, limit, block)
}

var errBlind = fmt.Errorf("%w: no descriptors", streams.ErrUnavailable)

func everyBucket(int) error { return errBlind }

// blindNode is a node over a store whose tails may not be able to read, and what it logs.
func blindNode(t *testing.T) (*blindStore, *streams.Node, *bytes.Buffer) {
	t.Helper()
	store := &blindStore{FaultyMemory: streams.NewFaultyMemory()}
	log := new(bytes.Buffer)
	ctx, cancel := context.WithCancel(context.Background())
	node := streams.NewNode(store, streams.Config{Name: "n1", Logger: slog.New(slog.NewTextHandler(log, nil))})
	must(t, "start", node.Start(ctx))
	t.Cleanup(func() {
		cancel()
		node.Wait()
		_ = store.Close()
	})
	return store, node, log
}

func followHub(t *testing.T, node *streams.Node, hub string) *streams.Attachment {
	t.Helper()
	att, _, err := node.Follow(t.Context(), hub, streams.Audience{}, streams.Receipt{}, func() {})
	must(t, "follow "+hub, err)
	return att
}

// For as long as no tail can connect, although Valkey answers by the connections that there are, each of them logged a line a second.
func TestTailThatCannotReadSaysSoOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store, node, log := blindNode(t)
		followHub(t, node, hub)
		port := 40000
		store.blind(func(int) error {
			port++
			return fmt.Errorf("%w: read tcp 10.0.0.1:%d->10.0.0.2:6379: i/o timeout", streams.ErrUnavailable, port)
		})
		time.Sleep(20 * time.Second)
		store.blind(everyBucket)
		time.Sleep(20 * time.Second)
		want := func(interrupted, again int) {
			t.Helper()
			synctest.Wait()
			if n := strings.Count(log.String(), "tail interrupted"); n != interrupted {
				t.Errorf("it was logged %d times that the tail is interrupted, want %d:\n%s", n, interrupted, log)
			}
			if n := strings.Count(log.String(), "tail reads again"); n != again {
				t.Errorf("it was logged %d times that it reads again, want %d:\n%s", n, again, log)
			}
		}
		want(2, 0)
		store.reason.Store(nil)
		time.Sleep(1100 * time.Millisecond)
		want(2, 1)
		store.blind(everyBucket)
		time.Sleep(20 * time.Second)
		want(3, 1)
	})
}

// A balancer went on to send clients to a node at which nothing arrived.
func TestNodeWhoseTailsCannotReadIsNotReady(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		store, node, _ := blindNode(t)
		store.blind(everyBucket)
		time.Sleep(time.Minute)
		must(t, "ready without a hub", node.Ready(ctx))
		followHub(t, node, hub)
		time.Sleep(8 * time.Second)
		must(t, "ready while it may pass", node.Ready(ctx))
		time.Sleep(4 * time.Second)
		if err := node.Ready(ctx); err == nil || !strings.Contains(err.Error(), "no descriptors") {
			t.Errorf("ready: got %v, want the reason", err)
		}
		store.reason.Store(nil)
		time.Sleep(1100 * time.Millisecond)
		must(t, "ready when the tail reads again, although nothing comes", node.Ready(ctx))
	})
}

// What keeps one tail from reading may do so at every node. A balancer that has none left ends the service of all hubs.
func TestNodeOfWhoseTailsOneReadsIsReady(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store, node, log := blindNode(t)
		other := "other"
		if streams.Bucket(other) == streams.Bucket(hub) {
			t.Fatal("the hubs are in one bucket")
		}
		followHub(t, node, hub)
		followHub(t, node, other)
		store.blind(func(bucket int) error {
			if bucket == streams.Bucket(hub) {
				return errBlind
			}
			return nil
		})
		time.Sleep(time.Minute)
		must(t, "ready", node.Ready(t.Context()))
		if !strings.Contains(log.String(), fmt.Sprintf("bucket=%d", streams.Bucket(hub))) {
			t.Errorf("it was not logged that one of them does not read:\n%s", log)
		}
	})
}

// After an outage of the store all nodes would be without service for longer than it lasted.
func TestTimeThatTheStoreWasAwayIsNotHeldAgainstTails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		store, node, _ := blindNode(t)
		followHub(t, node, hub)
		store.blind(everyBucket)
		store.SetAvailable(false)
		time.Sleep(time.Minute)
		want(t, "ready without a store", node.Ready(ctx), streams.ErrUnavailable)
		store.SetAvailable(true)
		must(t, "ready when it is back", node.Ready(ctx))
		time.Sleep(8 * time.Second)
		must(t, "ready while the tail may come back", node.Ready(ctx))
		time.Sleep(4 * time.Second)
		want(t, "ready when it does not", node.Ready(ctx), errBlind)
	})
}

// A store that has no room for what follows a new generation answers, and what the tail has read cannot be taken: it was read again at once.
func TestTailThatCannotTakeWhatItReadsAsksByAndBy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		store, node, log := blindNode(t)
		att := followHub(t, node, hub)
		store.full.Store(true)
		store.ChangeRun()
		_, err := store.FaultyMemory.Verify(ctx, hub, streams.VerifyRequest{}) // by another node
		must(t, "verify", err)
		before := store.reads.Load()
		time.Sleep(20 * time.Second)
		if n := store.reads.Load() - before; n < 10 || n > 40 {
			t.Errorf("%d reads in 20 s", n)
		}
		if n := strings.Count(log.String(), "tail interrupted"); n > 2 {
			t.Errorf("it was logged %d times", n)
		}
		want(t, "ready", node.Ready(ctx), streams.ErrFull)
		store.full.Store(false)
		appendBroadcast(t, ctx, store, "m")
		time.Sleep(1100 * time.Millisecond)
		must(t, "ready", node.Ready(ctx))
		if items, err := att.Next(ctx, nil, 1<<20); err != nil || len(items) != 1 {
			t.Errorf("got %d messages, %v, when there was room again", len(items), err)
		}
	})
}

// A read is of all of a bucket's hubs. While one of them could not be verified, nothing arrived in the others.
func TestHubThatCannotBeVerifiedHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	for what, broken := range map[string]error{
		"wrong type": fmt.Errorf("%w: WRONGTYPE", streams.ErrRefused),
		"no room":    streams.ErrFull,
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { aHubIsBroken(t, broken) })
		})
	}
}

func aHubIsBroken(t *testing.T, broken error) {
	ctx := t.Context()
	store, node, log := blindNode(t)
	others := streams.SameBucket(hub, 2)
	first, it := followHub(t, node, others[0]), followHub(t, node, hub)
	wantNext := func(what string, att *streams.Attachment, n int) {
		t.Helper()
		synctest.Wait()
		if items, err := att.Next(ctx, nil, 1<<20); err != nil || len(items) != n {
			t.Errorf("%s: got %d messages, %v, want %d", what, len(items), err, n)
		}
	}
	send := func(hub string) {
		t.Helper()
		_, err := store.Append(ctx, hub, message("m"))
		must(t, "append", err)
	}
	store.broken.Store(hub, broken)
	for range 3 {
		time.Sleep(20 * time.Second)
		send(hub)
		send(others[0])
		time.Sleep(100 * time.Millisecond)
		wantNext("beside it", first, 1)
		wantNext("in it", it, 0)
	}
	second := followHub(t, node, others[1])
	send(others[1])
	time.Sleep(100 * time.Millisecond)
	wantNext("of a hub that came later", second, 1)
	must(t, "ready", node.Ready(ctx))
	if n := node.Totals().HubsUnread; n != 1 {
		t.Errorf("%d hubs are unread, want 1", n)
	}

	store.broken.Delete(hub)
	time.Sleep(1100 * time.Millisecond)
	wantNext("when it is mended", it, 3)
	if n := node.Totals().HubsUnread; n != 0 {
		t.Errorf("%d hubs are unread in the end", n)
	}
	for line, times := range map[string]int{"hub cannot be read": 1, "hub is read again": 1} {
		if n := strings.Count(log.String(), line); n != times {
			t.Errorf("%q was logged %d times, want %d:\n%s", line, n, times, log)
		}
	}
}

// The hub that was alone in its bucket kept those that came to it later from being read, too.
func TestHubThatComesBesideABrokenOneIsRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		store, node, _ := blindNode(t)
		followHub(t, node, hub)
		store.broken.Store(hub, fmt.Errorf("%w: WRONGTYPE", streams.ErrRefused))
		time.Sleep(20 * time.Second)
		if n := node.Totals().HubsUnread; n != 1 {
			t.Errorf("%d hubs are unread, want 1", n)
		}
		other := streams.SameBucket(hub, 1)[0]
		att := followHub(t, node, other)
		_, err := store.Append(ctx, other, message("m"))
		must(t, "append", err)
		time.Sleep(1100 * time.Millisecond)
		if items, err := att.Next(ctx, nil, 1<<20); err != nil || len(items) != 1 {
			t.Errorf("got %d messages, %v, want 1", len(items), err)
		}
		if n := node.Totals().HubsUnread; n != 1 {
			t.Errorf("%d hubs are unread, want 1", n)
		}
	})
}
