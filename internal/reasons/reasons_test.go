package reasons_test

import (
	"errors"
	"fmt"
	"testing"

	"hubstream/internal/reasons"
)

func TestEachReasonIsToldOnce(t *testing.T) {
	t.Parallel()
	var told reasons.Told
	if told.Any() {
		t.Error("there are reasons before the first")
	}
	for _, c := range []struct {
		err    string
		reason string
		fresh  bool
	}{
		{"read tcp 10.0.0.1:40001->10.0.0.2:6379: i/o timeout", "read tcp 10.0.0.2:6379: i/o timeout", true},
		{"read tcp 10.0.0.1:40002->10.0.0.2:6379: i/o timeout", "read tcp 10.0.0.2:6379: i/o timeout", false},
		{"connection refused", "connection refused", true},
		{"expired: current time 2026-11-27T10:00:00Z is after", "expired: current time 2026-11-27T10:00:00Z is after", true},
		{"expired: current time 2026-11-27T10:00:01Z is after", "expired: current time 2026-11-27T10:00:01Z is after", false},
		{"connection refused", "connection refused", false},
	} {
		if reason, fresh := told.Add(errors.New(c.err)); reason != c.reason || fresh != c.fresh {
			t.Errorf("%s: got %q, %t, want %q, %t", c.err, reason, fresh, c.reason, c.fresh)
		}
	}
	if !told.Any() {
		t.Error("there are no reasons")
	}
}

func TestReasonsWithoutEndAreNotKept(t *testing.T) {
	t.Parallel()
	var told reasons.Told
	n := 0
	for i := range 1000 {
		if _, fresh := told.Add(fmt.Errorf("reason %d", i)); fresh {
			n++
		}
	}
	if n < 10 || n > 100 {
		t.Errorf("%d of 1,000 reasons were told", n)
	}
}
