package streams

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// Position is the place of an entry in its hub's log. Positions of one hub are
// totally ordered; they are compared, never subtracted, and say nothing about time.
// The zero Position is before every entry.
type Position struct {
	ms, seq uint64
}

// lastPosition is after every other.
var lastPosition = Position{math.MaxUint64, math.MaxUint64}

// ErrPosition says that a text is not a position.
var ErrPosition = errors.New("not a position")

// NewPosition returns the position of the stream ID <ms>-<seq>.
func NewPosition(ms, seq uint64) Position { return Position{ms, seq} }

// ParsePosition reads what String wrote. It returns ErrPosition for anything else.
func ParsePosition(s string) (Position, error) {
	ms, seq, ok := strings.Cut(s, "-")
	if !ok {
		return Position{}, ErrPosition
	}
	m, err := parseDecimal(ms)
	if err != nil {
		return Position{}, ErrPosition
	}
	q, err := parseDecimal(seq)
	if err != nil {
		return Position{}, ErrPosition
	}
	return Position{m, q}, nil
}

func parseDecimal(s string) (uint64, error) {
	if s == "" || s[0] == '+' || (len(s) > 1 && s[0] == '0') {
		return 0, ErrPosition
	}
	return strconv.ParseUint(s, 10, 64)
}

// String is the stream ID, "<ms>-<seq>".
func (p Position) String() string { return string(p.Append(nil)) }

// Append appends the stream ID to dst.
func (p Position) Append(dst []byte) []byte {
	dst = strconv.AppendUint(dst, p.ms, 10)
	dst = append(dst, '-')
	return strconv.AppendUint(dst, p.seq, 10)
}

// IsZero tells whether p is before every entry.
func (p Position) IsZero() bool { return p == Position{} }

// Compare is negative when p is before q, zero when they are equal, else positive.
func (p Position) Compare(q Position) int {
	switch {
	case p == q:
		return 0
	case p.ms < q.ms || (p.ms == q.ms && p.seq < q.seq):
		return -1
	default:
		return 1
	}
}

// Before tells whether p comes before q.
func (p Position) Before(q Position) bool { return p.Compare(q) < 0 }

// After tells whether p comes after q.
func (p Position) After(q Position) bool { return p.Compare(q) > 0 }

// next is the smallest position after p.
func (p Position) next() Position {
	if p.seq == math.MaxUint64 {
		return Position{p.ms + 1, 0}
	}
	return Position{p.ms, p.seq + 1}
}

// previous is the largest position before p; the zero Position's is itself.
func (p Position) previous() Position {
	switch {
	case p.seq > 0:
		return Position{p.ms, p.seq - 1}
	case p.ms > 0:
		return Position{p.ms - 1, math.MaxUint64}
	default:
		return p
	}
}

func later(p, q Position) Position {
	if p.After(q) {
		return p
	}
	return q
}
