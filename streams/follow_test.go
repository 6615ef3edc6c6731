package streams_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"hubstream/streams"
)

// The log is lost while a plain stream that comes back begins: where it goes on is looked at once more in the log that there is then.
func TestStreamThatComesBackWhileTheLogIsLostIsToldSo(t *testing.T) {
	t.Parallel()
	const hub = "hub"
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	store := &hookStore{Memory: streams.NewMemory(streams.MemoryConfig{})}
	first, second := streams.NewNode(store.Memory, streams.Config{Name: "n1"}), streams.NewNode(store, streams.Config{Name: "n2"})
	defer func() {
		cancel()
		first.Wait()
		second.Wait()
		store.Close()
	}()
	for _, n := range []*streams.Node{first, second} {
		if err := n.Start(ctx); err != nil {
			t.Fatal(err)
		}
	}
	r, err := first.Publish(ctx, hub, &streams.Entry{Kind: streams.KindMessage, Flags: streams.FlagAll, Body: []byte("1")})
	if err != nil {
		t.Fatal(err)
	}

	looks := 0
	lose := func(string) {
		if looks++; looks == 2 { // after where the stream goes on, and before the node reads from there
			_, err := store.Memory.Verify(ctx, hub, streams.VerifyRequest{Proof: r.Position, ProofEntry: "what another node had", Gen: r.Gen})
			if err != nil {
				t.Error(err)
			}
		}
	}
	store.onRange.Store(&lose)
	_, at, err := second.Follow(ctx, hub, streams.Audience{}, r, func() {})
	if !errors.Is(err, streams.ErrGeneration) {
		t.Errorf("it goes on with %v, want %v", err, streams.ErrGeneration)
	}
	if at.Gen == r.Gen {
		t.Error("where it may begin is in the log that is lost")
	}
}
