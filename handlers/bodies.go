package handlers

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"time"
)

// DefaultBodiesBytes limits the bodies of backends' requests that a node holds at once, unless configured.
const DefaultBodiesBytes = 256 << 20 // 256 MiB

// bodies counts the memory that the bodies of requests take which are under way: without a limit, backends that send much at
// once would take the node from the clients.
type bodies struct {
	limit int64
	held  atomic.Int64
}

// take counts n bytes more, or refuses the request that needs them.
func (b *bodies) take(n int) error {
	if b.held.Add(int64(n)) <= b.limit {
		return nil
	}
	b.held.Add(-int64(n))
	return &refusal{
		status: http.StatusServiceUnavailable, retryIn: time.Second, Code: codeUnavailable,
		Message: fmt.Sprintf("the node holds requests of %d bytes together, which is the limit; nothing was changed", b.limit),
	}
}

func (b *bodies) give(n int) { b.held.Add(-int64(n)) }
