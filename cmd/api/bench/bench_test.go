package bench_test

import (
	"flag"
	"slices"
	"strings"
	"testing"
	"time"

	"hubstream/cmd/api/bench"
)

// options are those of a command line.
func options(t *testing.T, line string) (o bench.Options) {
	t.Helper()
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	o.Register(flags)
	if err := flags.Parse(strings.Fields(line)); err != nil {
		t.Fatal(err)
	}
	return o
}

func TestErrorsNameTheFlag(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		"-connections 0", "-connectors 0", "-transport Telegraphs", "-protocol xml", "-slow 1", "-slow NaN", "-hubs 0", "-hubs 101",
		"-groups -1", "-users 101", "-group-size 5", "-size 10", "-size 2000000", "-under-way -1", "-under-way 10000", "-rate -1", "-rate 1e-12",
		"-publishers 0", "-cut-share 2", "-cut-every -1s", "-cut-pause -1s", "-warm -1s", "-duration 0s", "-settle -1s",
		"-stateful -transport LongPolling", "-protocol messagepack -transport ServerSentEvents", "-groups 2 -users 2",
		"-group-size 101 -groups 2", "-groups 100100", "-under-way 8 -rate 8", "-under-way 8 -cut-every 1s",
	} {
		name, _, _ := strings.Cut(line, " ")
		if _, err := bench.Run(t.Context(), &bench.Service{}, "h", options(t, line)); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v, want an error that names %s", line, err, name)
		}
	}
}

func TestEachClientHearsItsTargets(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		line    string
		client  int
		want    []string
		streams int
	}{
		{"-publishers 16", 7, []string{"h as "}, 16},
		{"-hubs 10 -publishers 4", 17, []string{"h-7 as "}, 1},
		{"-users 20 -publishers 4", 25, []string{`h,"users":["user-5"] as user-5`}, 1},
		{"-groups 20 -publishers 40", 25, []string{`h,"groups":["group-5"] as `}, 2},
		{"-groups 200 -publishers 4", 25, []string{`h,"groups":["group-25"] as `, `h,"groups":["group-125"] as `}, 2},
		{"-groups 10 -group-size 30", 25, []string{`h,"groups":["group-0"] as `, `h,"groups":["group-4"] as `, `h,"groups":["group-7"] as `}, 5},
		{"-hubs 2 -users 3 -publishers 6", 8, []string{`h-0,"users":["user-1"] as user-1`}, 1},
	} {
		heard, streams, err := bench.Heard(options(t, c.line))
		if err != nil || !slices.Equal(heard[c.client], c.want) || streams[c.client] != c.streams {
			t.Errorf("%s: client %d: %v, got %q by %d streams, want %q by %d", c.line, c.client, err, heard[c.client], streams[c.client], c.want, c.streams)
		}
	}
}

func TestLedgerFindsFaults(t *testing.T) {
	t.Parallel()
	type faults struct{ lost, repeated, reordered, strays int64 }
	for name, c := range map[string]struct {
		happens  func(l bench.Ledger)
		accepted uint32
		want     faults
	}{
		"everything comes":                {func(l bench.Ledger) { l.Take(3, 1, 2, 3); l.Take(8, 1, 2, 3) }, 3, faults{}},
		"one in the middle is lost":       {func(l bench.Ledger) { l.Take(3, 1, 3); l.Take(8, 1, 2, 3) }, 3, faults{lost: 1}},
		"the last is lost":                {func(l bench.Ledger) { l.Take(3, 1, 2); l.Take(8, 1, 2, 3) }, 3, faults{lost: 1}},
		"all are lost":                    {func(bench.Ledger) {}, 3, faults{lost: 6}},
		"one comes twice":                 {func(l bench.Ledger) { l.Take(3, 1, 2, 2, 3, 1); l.Take(8, 1, 2, 3) }, 3, faults{repeated: 2}},
		"two change places":               {func(l bench.Ledger) { l.Take(3, 2, 1, 3); l.Take(8, 1, 2, 3) }, 3, faults{reordered: 1}},
		"late, and again":                 {func(l bench.Ledger) { l.Take(3, 2, 1, 1, 3); l.Take(8, 1, 2, 3) }, 3, faults{reordered: 1, repeated: 1}},
		"another's message":               {func(l bench.Ledger) { l.Take(3, 1); l.Take(4, 1); l.Take(8, 1) }, 1, faults{strays: 1}},
		"a send of unknown outcome":       {func(l bench.Ledger) { l.Take(3, 1, 9, 10); l.Take(8, 1, 10) }, 0, faults{lost: 14}}, // bench.Excused does not count
		"the same, and it comes late":     {func(l bench.Ledger) { l.Take(3, 1, 10, bench.Excused); l.Take(8, 1, 10) }, 0, faults{lost: 14}},
		"the same, and it comes twice":    {func(l bench.Ledger) { l.Take(3, 1, 10, bench.Excused, bench.Excused); l.Take(8, 1, 10) }, 0, faults{lost: 14, repeated: 1}},
		"away, and back":                  {func(l bench.Ledger) { l.Take(3, 1); l.Begin(5); l.Take(3, 6); l.Take(8, 6) }, 6, faults{}},
		"away, and back, and one is lost": {func(l bench.Ledger) { l.Take(3, 1); l.Begin(5); l.Take(3, 7); l.Take(8, 6, 7) }, 7, faults{lost: 1}},
		"away, and back, and one repeats": {func(l bench.Ledger) { l.Take(3, 1, 2); l.Begin(2); l.Take(3, 2, 3); l.Take(8, 3) }, 3, faults{repeated: 1}},
		"lost before it was away":         {func(l bench.Ledger) { l.Take(3, 1, 3); l.Begin(5); l.Take(3, 6); l.Take(8, 6) }, 6, faults{lost: 1}},
		"while it connects":               {func(l bench.Ledger) { l.Unbound(); l.Take(3, 4); l.Begin(5); l.Take(3, 6); l.Take(8, 6) }, 6, faults{}},
	} {
		l := bench.NewLedger(3, 8)
		c.happens(l)
		var got faults
		if got.lost, got.repeated, got.reordered, got.strays = l.Faults(c.accepted); got != c.want {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
}

func TestStamps(t *testing.T) {
	t.Parallel()
	if text, same := bench.Stamped(5, 3, 17, 1500*time.Microsecond, 24); text != `[5,3,17,1500,"xxxxxxxx"]` || !same {
		t.Errorf("got %s, read again: %v", text, same)
	}
	if text, same := bench.Stamped(1e9-1, 1<<20-1, 1<<32-1, 24*time.Hour, 48); len(text) != 48 || !same {
		t.Errorf("the largest: %s has %d bytes, read again: %v", text, len(text), same)
	}
}

func TestTimesAreNearTheTrueOnes(t *testing.T) {
	t.Parallel()
	var list []time.Duration
	for i := range 10_000 {
		list = append(list, time.Duration(i+1)*100*time.Microsecond)
	}
	got := bench.TimesOf(list...)
	for _, c := range []struct{ got, want float64 }{{got.P50, 500}, {got.P99, 990}, {got.P999, 999}, {got.Max, 1000}} {
		if c.got < c.want || c.got > c.want*17/16+1 {
			t.Errorf("got %v, want %v or up to a 16th more: %+v", c.got, c.want, got)
		}
	}
	if got := bench.TimesOf(3*time.Microsecond, -time.Second); got.Count != 2 || got.Max != 0.003 || got.P50 != 0.003 {
		t.Errorf("short ones: %+v", got)
	}
}
