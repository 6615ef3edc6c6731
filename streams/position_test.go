package streams_test

import (
	"math"
	"slices"
	"testing"

	"hubstream/streams"
)

func TestPositionsAreOrderedByTimeThenNumber(t *testing.T) {
	t.Parallel()
	ordered := []streams.Position{
		{},
		streams.NewPosition(0, 1),
		streams.NewPosition(0, math.MaxUint64),
		streams.NewPosition(1, 0),
		streams.NewPosition(9, 10),
		streams.NewPosition(10, 9), // not as texts are
		streams.NewPosition(10, 10),
		streams.NewPosition(math.MaxUint64, 0),
		streams.NewPosition(math.MaxUint64, math.MaxUint64),
	}
	for i, p := range ordered {
		for j, q := range ordered {
			if got, want := p.Compare(q), sign(i-j); got != want {
				t.Errorf("%v compared to %v: got %d, want %d", p, q, got, want)
			}
			if p.Before(q) != (i < j) || p.After(q) != (i > j) {
				t.Errorf("%v before or after %v is not what their order says", p, q)
			}
		}
		if p.IsZero() != (i == 0) {
			t.Errorf("%v: IsZero is %t", p, p.IsZero())
		}
	}
}

func sign(n int) int { return max(-1, min(1, n)) }

func TestPositionsAreReadAsWritten(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"0-0", "1-0", "1732396800000-12", "18446744073709551615-18446744073709551615"} {
		p, err := streams.ParsePosition(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if got := p.String(); got != text {
			t.Errorf("got %q, want %q", got, text)
		}
		if got := p.Append([]byte("id: ")); !slices.Equal(got, []byte("id: "+text)) {
			t.Errorf("appended: got %q, want %q", got, "id: "+text)
		}
	}
}

func TestWhatIsNoPositionIsRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "-", "1", "1-", "-1", "1-2-3", "a-1", "1-a", "1 -2", " 1-2", "1-2 ", "+1-2", "1-+2", "-1-2", "1--2",
		"01-2", "1-02", "00-0", "1_0-2", "0x1-2", "1.0-2", "$", "18446744073709551616-0", "0-18446744073709551616", "1-2\n", "1-2\x00",
	} {
		if p, err := streams.ParsePosition(text); err != streams.ErrPosition {
			t.Errorf("%q: got %v, %v, want ErrPosition", text, p, err)
		}
	}
}

func FuzzParsePosition(f *testing.F) {
	for _, seed := range []string{"0-0", "1732396800000-12", "01-2", "1-2-3", "18446744073709551616-0"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := streams.ParsePosition(text)
		if err == nil && p.String() != text {
			t.Errorf("%q was read as %q: two texts for one position", text, p)
		}
	})
}

func BenchmarkPositionCompare(b *testing.B) {
	p, q := streams.NewPosition(1732396800000, 1), streams.NewPosition(1732396800000, 2)
	for b.Loop() {
		if p.After(q) {
			b.Fatal("wrong order")
		}
	}
}
