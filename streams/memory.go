package streams

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Memory is a Store in process memory: the single-server mode. It makes the same
// steps as the scripts do in Valkey, each under its hub's mutex. Everything is lost
// with the process, so its Run never changes while it lives.
//
// A hub's log stays for as long as the Memory, even when it is empty: its last
// position is what keeps positions from being given twice.
type Memory struct {
	// static
	clock   func() time.Time
	run     atomic.Pointer[string] // changes only in tests of a replaced store
	buckets [Buckets]memoryBucket

	down atomic.Bool // closed

	mu      sync.RWMutex
	hubs    map[string]*memoryHub   // guarded by mu
	secret  []byte                  // guarded by mu
	reports map[string]memoryReport // guarded by mu
}

// MemoryConfig configures a Memory. The zero value is complete.
type MemoryConfig struct {
	// Clock is the store's clock. If nil, time.Now.
	Clock func() time.Time
}

// NewMemory returns an empty store.
func NewMemory(cfg MemoryConfig) *Memory {
	m := &Memory{clock: cfg.Clock, hubs: make(map[string]*memoryHub)}
	if m.clock == nil {
		m.clock = time.Now
	}
	run := randomName()
	m.run.Store(&run)
	return m
}

// Close makes every later call return ErrUnavailable, and every blocked read.
func (m *Memory) Close() error {
	m.down.Store(true)
	for i := range m.buckets {
		m.buckets[i].lose()
	}
	return nil
}

// enter is the beginning of every step.
func (m *Memory) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if m.down.Load() {
		return fmt.Errorf("%w: it is closed", ErrUnavailable)
	}
	return nil
}

// now is the store's clock, ms.
func (m *Memory) now() int64 { return m.clock().UnixMilli() }

// find returns the hub, or nil: asking about a hub must not make one.
func (m *Memory) find(hub string) *memoryHub {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.hubs[hub]
}

// hub returns the hub and makes its place if there is none yet; its log is made by
// the first step that needs it.
func (m *Memory) hub(name string) *memoryHub {
	if h := m.find(name); h != nil {
		return h
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.hubs[name]
	if h == nil {
		h = newMemoryHub(name, &m.buckets[Bucket(name)])
		m.hubs[name] = h
	}
	return h
}

// randomName returns 64 random bits, for a run or a generation.
func randomName() string {
	var b [8]byte
	rand.Read(b[:]) // never fails: see crypto/rand
	return hex.EncodeToString(b[:])
}

var _ Store = (*Memory)(nil)
