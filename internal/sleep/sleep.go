// Package sleep waits for a time, or for the end of a context.
package sleep

import (
	"context"
	"time"
)

// For waits for d, or until ctx ends, whose error it returns then. Nothing, or less, is not waited for.
//
// That needs no timer, and must have none: two that are over from the start, looked at by two threads in one bubble of testing/synctest, end
// the process in the race detector (Go 1.26).
func For(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
