package sleep_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"hubstream/internal/sleep"
)

func TestItWaitsForTheTimeOrTheContext(t *testing.T) {
	for _, test := range []struct {
		d, until, waits time.Duration
		err             error
	}{
		{time.Second, time.Minute, time.Second, nil},
		{time.Minute, time.Second, time.Second, context.DeadlineExceeded},
		{time.Second, 0, 0, context.DeadlineExceeded},
		{0, time.Second, 0, nil},
		{-time.Second, time.Second, 0, nil},
		{0, 0, 0, context.DeadlineExceeded},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), test.until)
			defer cancel()
			began := time.Now()
			if err := sleep.For(ctx, test.d); !errors.Is(err, test.err) || time.Since(began) != test.waits {
				t.Errorf("%+v: waited %v, %v", test, time.Since(began), err)
			}
		})
	}
}
