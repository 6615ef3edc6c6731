package streams

import (
	"fmt"
	"time"

	"hubstream/internal/reasons"
)

// blindLimit is how long a node's tails may be unable to read before the node is not ready. What passes by itself takes less: a tail that
// cannot connect tries four times in it, however long each attempt takes.
const blindLimit = 10 * time.Second

// blindness is that of a tail which cannot read although its store answers. Guarded by Node.mu.
type blindness struct {
	since  time.Time // zero: it can, as far as is known
	reason error
}

// interrupted tells operators why the tail does not go on.
func (t *tailer) interrupted(err error) {
	t.node.mu.Lock()
	t.stuck = true
	t.node.mu.Unlock()
	if reason, fresh := t.told.Add(err); fresh {
		t.node.log.Warn("tail interrupted", "bucket", t.bucket, "error", reason)
	}
}

// cannotRead notes that the store answers, and since when the tail cannot read nevertheless.
func (t *tailer) cannotRead(reason error) {
	t.node.mu.Lock()
	defer t.node.mu.Unlock()
	if t.blind.since.IsZero() {
		t.blind.since = time.Now()
	}
	t.blind.reason = reason
}

// notBlind notes that the tail reads, or that its store does not answer. That is another reason not to be ready, and what a tail needs
// to read again after it is not held against it.
func (t *tailer) notBlind() {
	t.node.mu.Lock()
	defer t.node.mu.Unlock()
	t.blind = blindness{}
}

// goesOn notes that the tail has read, and that what it read was delivered.
func (t *tailer) goesOn() {
	t.retry = 0
	if !t.told.Any() {
		return
	}
	t.told = reasons.Told{}
	t.node.mu.Lock()
	t.blind, t.stuck = blindness{}, false
	t.node.mu.Unlock()
	t.node.log.Info("tail reads again", "bucket", t.bucket)
}

// blind returns an error if none of the node's tails could read for some time. While some can the node is ready: what keeps the others
// from it may do so at every node, and then all hubs would be without service for the sake of one.
func (n *Node) blind() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	var reason error
	for _, t := range n.tailers {
		if t.blind.since.IsZero() || time.Since(t.blind.since) < blindLimit {
			return nil
		}
		reason = t.blind.reason
	}
	if reason == nil {
		return nil
	}
	return fmt.Errorf("the hubs' logs cannot be read: %w", reason)
}
