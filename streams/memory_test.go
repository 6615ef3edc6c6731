package streams_test

import (
	"testing"

	"hubstream/streams"
	"hubstream/streams/streamstest"
)

func TestMemory(t *testing.T) {
	t.Parallel()
	streamstest.Run(t, func(t *testing.T) streams.Store {
		m := streams.NewMemory(streams.MemoryConfig{})
		t.Cleanup(func() { m.Close() })
		return m
	})
}
