package upstream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sony/gobreaker/v2"
)

// Outcome says how a call ended, for metrics.
type Outcome string

// The outcomes.
const (
	OK        Outcome = "ok"
	Refused   Outcome = "refused"   // a status other than 2xx
	TimedOut  Outcome = "timeout"   // no answer in time
	Failed    Outcome = "failed"    // not reached, or cut off
	TooLarge  Outcome = "too_large" // an answer beyond the limit
	Broken    Outcome = "broken"    // not even tried: the upstream keeps failing
	Busy      Outcome = "busy"      // not even tried: too much is under way
	Cancelled Outcome = "cancelled" // by the caller
	NoRule    Outcome = "no_rule"   // no rule matches, or the name cannot be part of the rule's URL
)

var outcomes = [...]Outcome{OK, Refused, TimedOut, Failed, TooLarge, Broken, Busy, Cancelled, NoRule}

// Error says why there is no answer. Its text is fit for clients.
type Error struct {
	Outcome Outcome
	text    string
	cause   error // for operators
}

func (e *Error) Error() string { return e.text }
func (e *Error) Unwrap() error { return e.cause }

// classify makes an Error of what the HTTP client, the breaker or a wait for one's turn has returned. parent is the
// caller's context, limit the time that the call had.
func classify(parent context.Context, err error, limit time.Duration) *Error {
	var known *Error
	switch {
	case errors.As(err, &known):
		return known
	case errors.Is(err, gobreaker.ErrOpenState), errors.Is(err, gobreaker.ErrTooManyRequests):
		return &Error{Broken, "Invocation failed: the upstream keeps failing and is left alone for a moment.", err}
	case parent.Err() != nil:
		return &Error{Cancelled, "Invocation failed: it was cancelled.", err}
	case errors.Is(err, context.DeadlineExceeded):
		return &Error{TimedOut, fmt.Sprintf("Invocation failed: the upstream did not answer within %v.", limit), err}
	default:
		return &Error{Failed, "Invocation failed: the upstream could not be reached, or cut off its answer.", err}
	}
}
