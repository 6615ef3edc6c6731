// Package ratelimit bounds how often something may happen, for each of many names.
package ratelimit

import (
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"
)

// maxNames is how many names are remembered; one that was not seen for that long begins anew.
const maxNames = 20_000

// Keyed is a limit for each name. A nil Keyed has none. It may be used concurrently.
type Keyed struct {
	perSecond int
	limiters  *lru.Cache[string, *rate.Limiter]
}

// New returns a limit of so many a second, of which twice as many may come at once; nil if it is 0.
func New(perSecond int) *Keyed {
	if perSecond <= 0 {
		return nil
	}
	limiters, _ := lru.New[string, *rate.Limiter](maxNames) // fails for sizes below 1 only
	return &Keyed{perSecond: perSecond, limiters: limiters}
}

// Take takes one for a name. It returns 0, or, if there is none left, after what time there is one again.
func (k *Keyed) Take(name string) time.Duration {
	if k == nil {
		return 0
	}
	limiter, ok := k.limiters.Get(name)
	if !ok {
		limiter = Limiter(k.perSecond)
		if earlier, had, _ := k.limiters.PeekOrAdd(name, limiter); had {
			limiter = earlier
		}
	}
	return Take(limiter)
}

// Limiter returns one limit of so many a second, of which twice as many may come at once; nil if it is 0.
func Limiter(perSecond int) *rate.Limiter {
	if perSecond <= 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(perSecond), 2*perSecond)
}

// Take is Keyed.Take for one limit.
func Take(limiter *rate.Limiter) time.Duration {
	if limiter == nil || limiter.Allow() { // which costs no allocation
		return 0
	}
	r := limiter.Reserve()
	wait := r.Delay()
	if wait > 0 {
		r.Cancel()
	}
	return wait
}
