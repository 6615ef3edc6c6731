package transports

import (
	"testing"
	"testing/synctest"
	"time"
)

// A poll's token may be renewed in the moment in which its time is over: the poll goes on, and ends at the later time.
func TestPollsTimeMayBeRenewedAsItPasses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		until := func() int64 { return time.Now().Add(10 * time.Second).UnixMilli() }
		e := expiry{own: until()}
		defer e.stop()
		<-e.due()
		e.own = until()
		if e.passed() {
			t.Error("the poll is ended although there is a newer token")
		}
		began := time.Now()
		<-e.due()
		if !e.passed() || time.Since(began) != 10*time.Second {
			t.Errorf("after %v the poll is not ended by the newer token", time.Since(began))
		}
	})
}
