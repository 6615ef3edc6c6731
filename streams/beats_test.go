package streams

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"time"
)

// restartedStore is another process than its log was verified in, to which one hub is broken.
type restartedStore struct {
	*Memory
	restarted, away bool
	refused         int // beats while it is away
	broken          string
	beaten          map[int]int    // by bucket
	verified        map[string]int // by hub
}

func (s *restartedStore) Beat(ctx context.Context, bucket int, node string, lease time.Duration) (BeatReply, error) {
	if s.away {
		s.refused++
		return BeatReply{}, ErrUnavailable
	}
	s.beaten[bucket]++
	reply, err := s.Memory.Beat(ctx, bucket, node, lease)
	if s.restarted {
		reply.Run = "another"
	}
	return reply, err
}

func (s *restartedStore) Verify(ctx context.Context, hub string, r VerifyRequest) (VerifyReply, error) {
	if hub == s.broken {
		return VerifyReply{}, errors.New("it is broken")
	}
	s.verified[hub]++
	reply, err := s.Memory.Verify(ctx, hub, r)
	if s.restarted {
		reply.Run = "another"
	}
	return reply, err
}

func restartable(t *testing.T) (*restartedStore, *Node, *bytes.Buffer) {
	store := &restartedStore{Memory: NewMemory(MemoryConfig{}), beaten: map[int]int{}, verified: map[string]int{}}
	t.Cleanup(func() { _ = store.Close() })
	log := &bytes.Buffer{}
	return store, NewNode(store, Config{Name: "n1", Logger: slog.New(slog.NewTextHandler(log, nil))}), log
}

// A hub that cannot be verified in a new process of the store keeps neither the node's leases in other buckets nor other hubs of its own from
// what is due to them; and operators are told, once, and when it is over.
func TestHubThatCannotBeVerifiedHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	store, n, log := restartable(t)
	hubs := SameBucket("broken", 3)
	buckets := map[int]bool{Bucket("broken"): true}
	for i := 0; len(hubs) < 8; i++ {
		if name := fmt.Sprint("hub", i); !buckets[Bucket(name)] {
			buckets[Bucket(name)] = true
			hubs = append(hubs, name)
		}
	}
	for _, hub := range append(hubs, "broken") {
		if _, err := n.Publish(t.Context(), hub, &Entry{Kind: KindMessage, Flags: FlagAll}); err != nil {
			t.Fatal(err)
		}
		h := n.acquire(hub)
		if err := h.verify(t.Context()); err != nil {
			t.Fatal(err)
		}
		h.release()
	}
	store.restarted, store.broken = true, "broken"
	clear(store.verified)
	n.beats(t.Context())
	for b := range buckets {
		if store.beaten[b] != 1 {
			t.Errorf("the lease in bucket %d was renewed %d times", b, store.beaten[b])
		}
	}
	for _, hub := range hubs {
		if store.verified[hub] != 1 {
			t.Errorf("hub %s was verified %d times", hub, store.verified[hub])
		}
	}
	n.beats(t.Context())
	if got := strings.Count(log.String(), "hub broken not verified: it is broken"); got != 1 {
		t.Errorf("told %d times: %s", got, log)
	}
	store.broken = ""
	n.beats(t.Context())
	if got := strings.Count(log.String(), "store usable again"); got != 1 || store.verified["broken"] != 1 {
		t.Errorf("verified %d times when it is mended, told %d times: %s", store.verified["broken"], got, log)
	}
}

// While the store does not answer it is asked once, and not for each bucket.
func TestBeatsEndWithAStoreThatIsAway(t *testing.T) {
	t.Parallel()
	store, n, log := restartable(t)
	for i := range 10 {
		n.acquire(fmt.Sprint("hub", i)).release()
	}
	store.away = true
	n.beats(t.Context())
	n.beats(t.Context())
	if got := strings.Count(log.String(), "store not usable"); got != 1 || store.refused != 2 {
		t.Errorf("told %d times, tried %d times: %s", got, store.refused, log)
	}
	store.away = false
	n.beats(t.Context())
	if len(store.beaten) < 5 || !strings.Contains(log.String(), "store usable again") {
		t.Errorf("beaten in %d buckets, told %s", len(store.beaten), log)
	}
}

// With many hubs, which are in all buckets, each is looked at once in a round of beats, and not once for each bucket.
func TestBeatsGoThroughHubsOnce(t *testing.T) {
	const hubs = 10_000
	store := NewMemory(MemoryConfig{})
	defer store.Close()
	n := NewNode(store, Config{Name: "n"})
	for i := range hubs {
		n.acquire(fmt.Sprint("hub", i)).release()
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	n.beats(t.Context())
	runtime.ReadMemStats(&after)
	if taken := after.TotalAlloc - before.TotalAlloc; taken > 100*hubs { // a list of them is 8 bytes each
		t.Errorf("a round of beats takes %d bytes of memory with %d hubs", taken, hubs)
	}
}
