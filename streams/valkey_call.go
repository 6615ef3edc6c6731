package streams

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// begin is the beginning of every call: it gives it its deadline and waits for its
// turn. end must be called when it returned no error.
func (v *Valkey) begin(ctx context.Context) (_ context.Context, end func(), err error) {
	if v.down.Load() {
		return nil, nil, errStoreClosed
	}
	call := &callContext{Context: ctx, deadline: time.Now().Add(v.cfg.CallTimeout)}
	end = func() { <-v.calls; call.end() }
	if err = ctx.Err(); err == nil {
		select {
		case v.calls <- struct{}{}:
			return call, end, nil
		default:
		}
		select {
		case v.calls <- struct{}{}:
			return call, end, nil
		case <-call.Done():
			err = call.Err()
		}
	}
	call.end()
	return nil, nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// callContext is the caller's context with a deadline. There is a timer only when somebody waits for it by Done: most calls are
// answered before, together with others, and to make one is 1.5 us.
type callContext struct {
	context.Context // the caller's
	deadline        time.Time

	mu     sync.Mutex
	timed  context.Context // guarded by mu; nil before Done
	cancel func()
}

// Deadline implements context.Context.
func (c *callContext) Deadline() (time.Time, bool) {
	if callers, ok := c.Context.Deadline(); ok && callers.Before(c.deadline) {
		return callers, true
	}
	return c.deadline, true
}

// Done implements context.Context.
func (c *callContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timed == nil {
		c.timed, c.cancel = context.WithDeadline(c.Context, c.deadline)
	}
	return c.timed.Done()
}

// Err implements context.Context.
func (c *callContext) Err() error {
	c.mu.Lock()
	timed := c.timed
	c.mu.Unlock()
	if timed != nil {
		return timed.Err()
	}
	if err := c.Context.Err(); err != nil {
		return err
	}
	if !time.Now().Before(c.deadline) {
		return context.DeadlineExceeded
	}
	return nil
}

// end gives back what Done has made.
func (c *callContext) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cancel != nil {
		c.cancel()
	}
}
