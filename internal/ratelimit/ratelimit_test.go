package ratelimit_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hubstream/internal/ratelimit"
)

func TestEachNameHasItsOwn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := ratelimit.New(10)
		for i := range 20 {
			if wait := k.Take("a"); wait != 0 {
				t.Fatalf("the %dth of twenty at once: wait %v", i+1, wait)
			}
		}
		if wait := k.Take("a"); wait != 100*time.Millisecond {
			t.Errorf("one more: wait %v, want 100ms", wait)
		}
		if wait := k.Take("b"); wait != 0 {
			t.Errorf("another name: wait %v", wait)
		}
		time.Sleep(100 * time.Millisecond)
		if wait := k.Take("a"); wait != 0 {
			t.Errorf("after that time: wait %v", wait)
		}
		if wait := k.Take("a"); wait == 0 {
			t.Error("there were two")
		}
	})
}

func TestNoLimit(t *testing.T) {
	t.Parallel()
	k := ratelimit.New(0)
	for range 1000 {
		if k.Take("a") != 0 || ratelimit.Take(ratelimit.Limiter(0)) != 0 {
			t.Fatal("limited")
		}
	}
}

func TestManyAtOnceTakeNoMoreThanThereIs(t *testing.T) {
	t.Parallel()
	k := ratelimit.New(50)
	var taken atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				if k.Take("a") == 0 {
					taken.Add(1)
				}
			}
		})
	}
	all.Wait()
	if n := taken.Load(); n < 100 || n > 150 {
		t.Errorf("%d were taken, want 100 and what a moment brings", n)
	}
}
