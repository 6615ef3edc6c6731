package streams

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// The context of a call is what context.WithTimeout makes, whether or not somebody waits for its end.
func TestCallContextEndsAsOneWithATimeout(t *testing.T) {
	for _, waitedFor := range []bool{false, true} {
		for name, test := range map[string]struct {
			caller func(context.Context) (context.Context, context.CancelFunc)
			lasts  time.Duration
			want   error
		}{
			"its time passes": {context.WithCancel, 2 * time.Second, context.DeadlineExceeded},
			"the caller's time passes": {func(ctx context.Context) (context.Context, context.CancelFunc) {
				return context.WithTimeout(ctx, time.Second)
			}, time.Second, context.DeadlineExceeded},
			"the caller gives up": {func(ctx context.Context) (context.Context, context.CancelFunc) {
				ctx, cancel := context.WithCancel(ctx)
				time.AfterFunc(time.Second, cancel)
				return ctx, cancel
			}, time.Second, context.Canceled},
		} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					caller, cancel := test.caller(t.Context())
					defer cancel()
					v := &Valkey{cfg: ValkeyConfig{CallTimeout: 2 * time.Second}, calls: make(chan struct{}, 1)}
					call, end, err := v.begin(caller)
					if err != nil {
						t.Fatal(err)
					}
					began := time.Now()
					want, _ := caller.Deadline()
					if other := began.Add(2 * time.Second); want.IsZero() || other.Before(want) {
						want = other
					}
					if got, ok := call.Deadline(); !ok || !got.Equal(want) {
						t.Errorf("deadline %v %v, want %v", got, ok, want)
					}
					if waitedFor {
						<-call.Done()
					} else {
						for call.Err() == nil {
							time.Sleep(100 * time.Millisecond)
						}
					}
					if got := time.Since(began); got < test.lasts || got > test.lasts+100*time.Millisecond {
						t.Errorf("ended after %v, want %v", got, test.lasts)
					}
					if err := call.Err(); err != test.want {
						t.Errorf("got %v, want %v", err, test.want)
					}
					if _, _, err := v.begin(call); !errors.Is(err, ErrUnavailable) {
						t.Errorf("a call of a context that has ended: %v", err)
					}
					end()
				})
			})
		}
	}
}

// A call that waits for others gives up at its deadline, and its place is free again.
func TestCallThatWaitsForItsTurnGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &Valkey{cfg: ValkeyConfig{CallTimeout: 2 * time.Second}, calls: make(chan struct{}, 1)}
		_, end, err := v.begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, _, err := v.begin(t.Context()); !errors.Is(err, ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 2*time.Second {
			t.Errorf("%v after %v, want ErrUnavailable after 2 s", err, time.Since(began))
		}
		end()
		_, end, err = v.begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		end()
	})
}

// A request that waits for others of its bucket gives up at its call's deadline or with its caller, and was not sent then.
func TestTurnThatIsWaitedForInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var turns turns[int]
		release, sent := make(chan struct{}), 0
		turns.timeout = time.Hour
		turns.fit = func([]*turn[int]) int { return 1 }
		turns.send = func(_ context.Context, batch []*turn[int]) {
			sent += len(batch)
			<-release
			time.Sleep(3 * time.Second)
		}
		v := &Valkey{cfg: ValkeyConfig{CallTimeout: 2 * time.Second}, calls: make(chan struct{}, 10)}
		wait := func(ctx context.Context) (error, time.Duration) {
			call, end, err := v.begin(ctx)
			if err != nil {
				return err, 0
			}
			defer end()
			began := time.Now()
			_, err = turns.wait(call, 1)
			return err, time.Since(began)
		}
		go wait(context.WithoutCancel(t.Context())) // is sent, and gets no answer
		synctest.Wait()
		var notSent *notSentError
		if err, took := wait(t.Context()); !errors.As(err, &notSent) || took != 2*time.Second {
			t.Errorf("%v after %v, want that it was not sent, after 2 s", err, took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err, took := wait(ctx); !errors.As(err, &notSent) || took != time.Second {
			t.Errorf("%v after %v, want that it was not sent, after 1 s", err, took)
		}
		if sent != 1 {
			t.Errorf("%d were sent, want 1", sent)
		}
		close(release)
		synctest.Wait()
		v.cfg.CallTimeout = 7 * time.Second
		if err, _ := wait(t.Context()); err != nil {
			t.Error(err)
		}
		// What is used again has no deadline of those before.
		if _, err := turns.wait(t.Context(), 1); err != nil {
			t.Error(err)
		}
	})
}
