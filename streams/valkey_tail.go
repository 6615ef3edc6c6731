package streams

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/valkey-io/valkey-go"
)

const (
	// unwakeableBlock is the longest that a read blocks where it cannot be unblocked.
	unwakeableBlock = time.Second
	// unblockRetry is how long such a tail takes it for granted that it cannot.
	unblockRetry = 30 * time.Second
	// wakePause is the first pause before a read is unblocked again, which may have been
	// about to begin; it doubles up to longestWakePause.
	wakePause        = time.Millisecond
	longestWakePause = 32 * time.Millisecond
)

// valkeyTail is a Tail of a Valkey: one connection that waits in XREAD for all of the
// bucket's hubs at once.
type valkeyTail struct {
	// static
	valkey *Valkey
	bucket int
	// anchor is a key of the bucket, which leads to the bucket's server.
	anchor string

	// owned by Read
	keys   map[string]string // hub -> its log's key
	logs   []string
	starts []string
	asked  time.Time // when the server was last asked whether it allows CLIENT UNBLOCK

	wake chan struct{} // a bell
	done chan struct{} // closed by Close

	mu sync.Mutex
	// guarded by mu
	conn    valkey.DedicatedClient // nil: none, or lost
	client  int64                  // conn's ID at the server
	blocked uint64                 // the number of the read that is blocked; 0: none
	reads   uint64
	waking  uint64 // the number of the read that is being unblocked
	forbids bool   // the server forbids CLIENT UNBLOCK: reads block for less time instead
	closed  bool
}

// Tail implements Log.
func (v *Valkey) Tail(bucket int) Tail {
	t := &valkeyTail{
		valkey: v,
		bucket: bucket,
		anchor: v.keys.nodes(bucket),
		keys:   map[string]string{},
		wake:   make(chan struct{}, 1),
		done:   make(chan struct{}),
	}
	if !v.adopt(t) {
		t.Close()
	}
	return t
}

// Read implements Tail.
func (t *valkeyTail) Read(ctx context.Context, after []Cursor, limit int, block time.Duration) ([]Batch, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if err := t.address(after); err != nil {
		return nil, err
	}
	conn, err := t.connected(ctx)
	if err != nil {
		return nil, err
	}
	if len(after) == 0 {
		return nil, t.pause(ctx, block)
	}
	t.askAgain(ctx, conn)
	block = t.begin(block)
	stop := context.AfterFunc(ctx, t.disconnect)
	reply, err := t.read(ctx, conn, limit, block)
	stop()
	t.end()
	if err != nil {
		t.disconnect()
		if t.isClosed() {
			return nil, errTailClosed
		}
		t.valkey.count(err)
		mapped, _ := classify(err)
		return nil, fmt.Errorf("tail of bucket %d: %w", t.bucket, mapped)
	}
	return t.batches(reply, after)
}

// address finds the keys of the hubs.
func (t *valkeyTail) address(after []Cursor) error {
	t.logs, t.starts = t.logs[:0], t.starts[:0]
	for _, c := range after {
		key, ok := t.keys[c.Hub]
		if !ok {
			if Bucket(c.Hub) != t.bucket {
				return fmt.Errorf("hub %q is not in bucket %d", c.Hub, t.bucket)
			}
			key = t.valkey.keys.hub(c.Hub).log()
			t.keys[c.Hub] = key
		}
		t.logs = append(t.logs, key)
		t.starts = append(t.starts, c.After.String())
	}
	return nil
}

// begin notes that a read begins, and returns how long it may block.
func (t *valkeyTail) begin(block time.Duration) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if rung(t.wake) || block <= 0 {
		return 0
	}
	if t.forbids {
		block = min(block, unwakeableBlock)
	}
	t.reads++
	t.blocked = t.reads
	return max(block, time.Millisecond)
}

// end notes that a read has returned. If it was blocked, a Wake has had its effect.
func (t *valkeyTail) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.blocked != 0 {
		t.blocked = 0
		rung(t.wake)
	}
}

func (t *valkeyTail) read(ctx context.Context, conn valkey.DedicatedClient, limit int, block time.Duration) (valkey.ValkeyResult, error) {
	ctx, cancel := context.WithTimeout(ctx, block+t.valkey.cfg.CallTimeout)
	defer cancel()
	var command valkey.Completed
	if count := conn.B().Xread().Count(int64(limit)); block > 0 {
		command = count.Block(block.Milliseconds()).Streams().Key(t.logs...).Id(t.starts...).Build()
	} else {
		command = count.Streams().Key(t.logs...).Id(t.starts...).Build()
	}
	result := conn.Do(ctx, command)
	if err := result.Error(); err != nil && !valkey.IsValkeyNil(err) {
		return result, err
	}
	return result, nil
}

// batches reads XREAD's answer: of each log that has something, its key and its
// entries, in the order of the request.
func (t *valkeyTail) batches(result valkey.ValkeyResult, after []Cursor) ([]Batch, error) {
	logs, err := result.ToArray()
	if valkey.IsValkeyNil(err) {
		return nil, nil
	}
	if err != nil {
		return nil, errAnswer
	}
	list := make([]Batch, 0, len(logs))
	next := 0 // of the request
	for i := range logs {
		pair, err := logs[i].ToArray()
		if err != nil || len(pair) != 2 {
			return nil, errAnswer
		}
		key, err := pair[0].ToString()
		if err != nil {
			return nil, errAnswer
		}
		for next < len(t.logs) && t.logs[next] != key {
			next++
		}
		if next == len(t.logs) {
			return nil, errAnswer
		}
		entries, stored, err := parseEntries(&pair[1], after[next].After)
		if err != nil {
			return nil, errAnswer
		}
		list = append(list, Batch{Hub: after[next].Hub, Entries: entries, Stored: stored})
		next++
	}
	return list, nil
}

// pause is a read of nothing.
func (t *valkeyTail) pause(ctx context.Context, block time.Duration) error {
	timeout := time.NewTimer(block)
	defer timeout.Stop()
	select {
	case <-timeout.C:
	case <-t.wake:
	case <-t.done:
		return errTailClosed
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	}
	return nil
}

// connected returns the connection, and makes it if there is none.
func (t *valkeyTail) connected(ctx context.Context) (valkey.DedicatedClient, error) {
	t.mu.Lock()
	conn, closed := t.conn, t.closed
	t.mu.Unlock()
	if closed {
		return nil, errTailClosed
	}
	if conn != nil {
		return conn, nil
	}
	conn, _ = t.valkey.tails.Dedicate()
	client, err := t.greet(ctx, conn)
	if err != nil {
		conn.Close()
		t.valkey.count(err)
		mapped, _ := classify(err)
		return nil, fmt.Errorf("connect the tail of bucket %d: %w", t.bucket, mapped)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		t.valkey.inBackground(conn.Close)
		return nil, errTailClosed
	}
	t.conn, t.client = conn, client
	return conn, nil
}

// greet leads a new connection to the bucket's server and returns its ID there.
func (t *valkeyTail) greet(ctx context.Context, conn valkey.DedicatedClient) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, t.valkey.cfg.CallTimeout)
	defer cancel()
	results := conn.DoMulti(ctx, conn.B().Exists().Key(t.anchor).Build(), conn.B().Hello().Build())
	if err := results[0].Error(); err != nil {
		return 0, err
	}
	hello, err := results[1].AsMap()
	if err != nil {
		return 0, err
	}
	id := hello["id"]
	client, err := id.AsInt64()
	if err != nil {
		return 0, errAnswer
	}
	role := hello["role"]
	if text, _ := role.ToString(); text == "replica" {
		return 0, errReplica
	}
	if err := t.ask(ctx, conn, client); !isForbidden(err) {
		return client, err
	}
	return client, nil
}

// ask unblocks the tail's connection, which is not blocked, so that nothing changes; but it tells whether it is allowed.
func (t *valkeyTail) ask(ctx context.Context, conn valkey.DedicatedClient, client int64) error {
	err := conn.Do(ctx, unblock(conn.B(), client)).Error()
	t.unblockable(err)
	t.asked = time.Now()
	return err
}

// askAgain asks now and then where it was forbidden: operators may have allowed it since.
func (t *valkeyTail) askAgain(ctx context.Context, conn valkey.DedicatedClient) {
	t.mu.Lock()
	forbids, client := t.forbids, t.client
	t.mu.Unlock()
	if !forbids || time.Since(t.asked) < t.valkey.unblockRetry {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, t.valkey.cfg.CallTimeout)
	defer cancel()
	_ = t.ask(ctx, conn, client) // the read fails as this does
}

func unblock(b valkey.Builder, client int64) valkey.Completed {
	return b.ClientUnblock().ClientId(client).Build()
}

// unblockable learns from an answer to CLIENT UNBLOCK whether it is allowed.
func (t *valkeyTail) unblockable(err error) {
	v, forbidden := t.valkey, isForbidden(err)
	if err != nil && !forbidden {
		return
	}
	t.mu.Lock()
	changed := t.forbids != forbidden
	t.forbids = forbidden
	t.mu.Unlock()
	switch {
	case forbidden && !v.noUnblock.Swap(true):
		v.log.Warn("Valkey forbids CLIENT UNBLOCK: hubs that a node comes to serve may wait a second; allow it with ACL +client|unblock")
	case changed && !forbidden && v.noUnblock.Swap(false):
		v.log.Info("Valkey allows CLIENT UNBLOCK again")
	}
}

// disconnect closes the connection; the next Read makes another.
func (t *valkeyTail) disconnect() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conn != nil {
		// Closing waits up to a second for a server that does not answer.
		t.valkey.inBackground(t.conn.Close)
		t.conn = nil
	}
}

// Wake implements Tail.
func (t *valkeyTail) Wake() {
	ring(t.wake)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.blocked == 0 || t.waking == t.blocked || t.closed || t.forbids {
		return
	}
	t.waking = t.blocked
	read, client := t.blocked, t.client
	t.valkey.inBackground(func() { t.unblock(read, client) })
}

// unblock makes a blocked read return. It repeats itself, because the server may get
// this before the read that it is for.
func (t *valkeyTail) unblock(read uint64, client int64) {
	v := t.valkey
	for pause := wakePause; t.isBlocked(read); pause = min(2*pause, longestWakePause) {
		ctx, cancel := context.WithTimeout(context.Background(), v.cfg.CallTimeout)
		// The first command leads the second to the bucket's server.
		results := v.main.DoMulti(ctx, v.main.B().Exists().Key(t.anchor).Build(), unblock(v.main.B(), client))
		cancel()
		err := results[1].Error()
		t.unblockable(err)
		if errors.Is(err, valkey.ErrClosing) || isForbidden(err) {
			return
		}
		time.Sleep(pause)
	}
}

func (t *valkeyTail) isBlocked(read uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.blocked == read && !t.closed
}

func (t *valkeyTail) isClosed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.closed
}

// Close implements Tail.
func (t *valkeyTail) Close() {
	t.mu.Lock()
	if !t.closed {
		t.closed = true
		close(t.done)
	}
	t.mu.Unlock()
	t.disconnect()
	t.valkey.forget(t)
}

var _ Tail = (*valkeyTail)(nil)
