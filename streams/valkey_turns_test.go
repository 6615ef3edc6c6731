package streams

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// slowTurns are turns whose batches take a time.
func slowTurns(d time.Duration) *turns[int] {
	return &turns[int]{
		send: func(_ context.Context, batch []*turn[int]) {
			time.Sleep(d)
			for _, w := range batch {
				w.request *= 10
			}
		},
		fit: func(waiting []*turn[int]) int { return len(waiting) }, timeout: time.Hour,
	}
}

func callOf(ctx context.Context, patience time.Duration) *callContext {
	return &callContext{Context: ctx, deadline: time.Now().Add(patience)}
}

// A call waits no longer than its own deadline, whether its request was sent, when nobody knows what came of it, or not.
func TestWhoWaitsForATurnDoesNotWaitForLong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow := slowTurns(10 * time.Second)
		began := time.Now()
		gives := func(what string, sent bool) {
			t.Helper()
			_, err := slow.wait(callOf(t.Context(), time.Second), 1)
			if took := time.Since(began); took != time.Second {
				t.Errorf("%s: it waited for %v", what, took)
			}
			var notSent *notSentError
			if errors.As(err, &notSent) == sent || errors.Is(err, context.DeadlineExceeded) != sent {
				t.Errorf("%s: got %v", what, err)
			}
		}
		go gives("sent", true)
		synctest.Wait()
		gives("not sent", false)
		time.Sleep(20 * time.Second)
		if !slow.begin() {
			t.Error("some are on their way still")
		}
	})
}

// What is left of a call is used for the next: its deadline must not end one that has none.
func TestDeadlineOfATurnIsItsOwn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow := slowTurns(time.Second)
		for range 20 {
			if _, err := slow.wait(callOf(t.Context(), 1500*time.Millisecond), 1); err != nil {
				t.Fatalf("within its time: %v", err)
			}
			if got, err := slow.wait(t.Context(), 2); got != 20 || err != nil {
				t.Fatalf("got %d, %v", got, err)
			}
		}
	})
}
