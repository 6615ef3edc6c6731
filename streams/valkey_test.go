package streams_test

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"hubstream/integration/valkeytest"
	"hubstream/streams"
	"hubstream/streams/streamstest"
)

// Both suites run as a user with no more rights than operators are told to give.
func TestValkey(t *testing.T) {
	server := valkeytest.Start(t)
	addresses := limit(t, []string{server.Addr}, documented(t, "~hs:*")...)
	streamstest.Run(t, func(t *testing.T) streams.Store {
		return openValkey(t, streams.ValkeyConfig{Addresses: addresses})
	})
}

func TestValkeyCluster(t *testing.T) {
	cluster := valkeytest.StartCluster(t)
	addresses := limit(t, cluster.Addrs(), append(documented(t, "~hs:*"), documented(t, "+cluster")...)...)
	streamstest.Run(t, func(t *testing.T) streams.Store {
		return openValkey(t, streams.ValkeyConfig{Addresses: addresses, Mode: streams.ValkeyCluster})
	})
}

var prefixes atomic.Int64

// openValkey opens a store with keys of its own, unless a prefix is given.
func openValkey(tb testing.TB, cfg streams.ValkeyConfig) *streams.Valkey {
	tb.Helper()
	if cfg.Prefix == "" {
		cfg.Prefix = fmt.Sprintf("t%d-%d", os.Getpid(), prefixes.Add(1))
	}
	ctx, cancel := context.WithTimeout(tb.Context(), 10*time.Second)
	defer cancel()
	v, err := streams.NewValkey(ctx, cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { v.Close() })
	return v
}
