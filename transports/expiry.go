package transports

import (
	"errors"
	"math"
	"time"

	"hubstream/negotiate/access"
	"hubstream/streams"
)

// errExpired ends a connection whose access token wants it closed at its expiry, unless it was renewed.
var errExpired = errors.New("the access token of the connection has expired")

// closeAt is when a token wants its connection closed, in milliseconds since 1970; 0: not.
func closeAt(who *access.Identity) int64 {
	if who.CloseAt.IsZero() {
		return 0
	}
	return who.CloseAt.UnixMilli()
}

// closesAt is when a connection closes: at what its token said when it came, or at what was renewed since. 0: not.
func closesAt(own int64, att *streams.Attachment) int64 {
	renewed := int64(0)
	if att != nil {
		renewed = att.Renewed()
	}
	if latest := max(own, renewed); latest != math.MaxInt64 {
		return latest
	}
	return 0
}

// expires closes the socket if its time is over.
func (c *webSocket) expires(now int64) bool {
	if at := closesAt(c.closeAt, c.att.Load()); at == 0 || now < at || !c.ready.Load() || c.over.Load() {
		return false
	}
	if c.expired.CompareAndSwap(false, true) {
		go c.close(closingFor(errExpired))
	}
	return true
}

// expiry tells a poll when its time is over.
type expiry struct {
	own   int64
	att   *streams.Attachment
	at    int64 // what timer is set for; 0: it is not
	timer *time.Timer
}

func newExpiry(who *access.Identity, att *streams.Attachment) *expiry {
	return &expiry{own: closeAt(who), att: att}
}

// due ticks when the time may be over; it is asked for anew after each wake.
func (e *expiry) due() <-chan time.Time {
	at := closesAt(e.own, e.att)
	if at != e.at || at == 0 {
		e.stop()
		e.at, e.timer = at, nil
		if at != 0 {
			e.timer = time.NewTimer(time.Until(time.UnixMilli(at)))
		}
	}
	if e.timer == nil {
		return nil
	}
	return e.timer.C
}

// over tells whether the time is over.
func (e *expiry) over() bool {
	at := closesAt(e.own, e.att)
	return at != 0 && time.Now().UnixMilli() >= at
}

// passed is over after due has ticked: the time may have been renewed since.
func (e *expiry) passed() bool {
	if e.over() {
		return true
	}
	e.at = 0 // the timer has ticked: due sets it anew
	return false
}

func (e *expiry) stop() {
	if e.timer != nil {
		e.timer.Stop()
	}
}
