package streams

import (
	"testing"
	"testing/synctest"
	"time"
)

// Leases that passed while nobody could renew them, or by a clock that has stepped, mean nothing: who trusts them ends all connections. And who
// never trusts them again, none that has gone.
func TestContactIsTrustedOnlyWithoutABreak(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const long = 10 * time.Second
		var c contact
		want := func(lasts bool, when string) {
			t.Helper()
			if got := c.lasts(long); got != lasts {
				t.Errorf("%s: it lasts: %v, want %v", when, got, lasts)
			}
		}
		clock := func() int64 { return time.Now().UnixMilli() }
		again := func(when string) {
			t.Helper()
			want(false, when)
			time.Sleep(long - time.Millisecond)
			want(false, when+", a little later")
			time.Sleep(time.Millisecond)
			want(true, when+", later")
		}
		want(false, "before it is made")
		c.made("a", clock())
		again("made")
		c.made("a", clock())
		want(true, "made again")
		c.made("a", clock()+maxClockStep.Milliseconds())
		want(true, "a clock that drifts")
		c.broken()
		c.made("a", clock())
		again("broken")
		for _, step := range []time.Duration{maxClockStep + 2*time.Millisecond, -time.Hour} {
			c.made("b", clock())
			time.Sleep(long)
			c.made("b", clock()+step.Milliseconds())
			again("a clock that has stepped")
			c.made("b", clock()) // back, which is a step as well
			again("a clock that has stepped back")
		}
		c.made("c", clock())
		again("another process")
		c.made("b", clock())
		want(true, "one that is known")
		time.Sleep(clockKept + time.Second)
		c.made("c", clock())
		c.made("b", clock())
		again("one that is forgotten")
	})
}
