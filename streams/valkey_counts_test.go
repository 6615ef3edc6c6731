package streams_test

import (
	"errors"
	"testing"

	"hubstream/integration/valkeytest"
	"hubstream/streams"
)

// What Valkey fails to do is counted by how it failed: operators act differently on each.
func TestValkeyErrorsAreCountedByKind(t *testing.T) {
	t.Parallel()
	server := valkeytest.Start(t, valkeytest.Args())
	u := use(t, streams.ValkeyConfig{Addresses: []string{server.Addr}})
	node := streams.NewNode(u.Valkey, streams.Config{Name: "n1"})
	count := func(kind streams.StoreErrorKind) int64 { return node.Totals().StoreErrors[kind] }
	u.send("fine")
	for _, kind := range []streams.StoreErrorKind{streams.StoreFull, streams.StoreUnreachable, streams.StoreRefused} {
		if n := count(kind); n != 0 {
			t.Errorf("%s: %d before anything failed", kind, n)
		}
	}
	server.Do("CONFIG", "SET", "maxmemory", "1")
	if _, err := u.Append(t.Context(), hub, message("x")); !errors.Is(err, streams.ErrFull) {
		t.Fatalf("append to a full Valkey: %v", err)
	}
	if count(streams.StoreFull) == 0 {
		t.Error("that Valkey is full is not counted")
	}
	server.Do("CONFIG", "SET", "maxmemory", "0")
	server.Do("REPLICAOF", "127.0.0.1", "1")
	if _, err := u.Append(t.Context(), hub, message("x")); err == nil {
		t.Fatal("a replica takes writes")
	}
	if count(streams.StoreRefused) == 0 {
		t.Error("that Valkey refuses is not counted")
	}
	server.Kill()
	if _, err := u.Append(t.Context(), hub, message("x")); err == nil {
		t.Fatal("a dead Valkey takes writes")
	}
	if count(streams.StoreUnreachable) == 0 {
		t.Error("that Valkey is away is not counted")
	}
}
