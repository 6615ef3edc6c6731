package streams_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hubstream/integration/valkeytest"
	"hubstream/streams"
)

// reads is how often the server has read from its clients' connections.
func reads(server *valkeytest.Server) (n int) {
	for line := range strings.Lines(server.Do("INFO", "stats")) {
		if value, ok := strings.CutPrefix(line, "total_reads_processed:"); ok {
			fmt.Sscan(value, &n)
		}
	}
	return n
}

// TestValkeyAppendsThatWait: while one append is on its way, those that come meanwhile wait, and are all made. One that is
// given up before it was sent is not, and its caller knows it.
func TestValkeyAppendsThatWait(t *testing.T) {
	const callers = 100
	server := valkeytest.Start(t, valkeytest.Args())
	u := use(t, streams.ValkeyConfig{Addresses: []string{server.Addr}, CallTimeout: 20 * time.Second})
	u.send("first")

	server.Pause()
	var on sync.WaitGroup
	on.Go(func() { u.send("on its way") })
	refused := ""
	for i := 0; refused == "" && i < 100; i++ {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		body := fmt.Sprint("given up ", i)
		if _, err := u.Append(ctx, hub, message(body)); errors.Is(err, streams.ErrUnavailable) {
			refused = body
		} else { // nothing was on its way yet
			want(t, "an append that was sent and given up", err, streams.ErrOutcomeUnknown)
		}
		cancel()
	}
	if refused == "" {
		t.Error("no append has waited behind the one that is on its way")
	}
	for i := range callers {
		on.Go(func() { u.send(fmt.Sprint("waiting ", i)) })
	}
	server.Resume()
	on.Wait()

	n := 0
	for _, body := range u.log() {
		if strings.HasPrefix(body, "waiting ") {
			n++
		}
		if body == refused {
			t.Errorf("%q is in the log, and its caller was told that it is not", body)
		}
	}
	if n != callers {
		t.Errorf("%d of %d appends are in the log", n, callers)
	}
}

// TestValkeyAppendsShareRoundTrips counts how often the server has to read, how often it runs a script, and how many entries of the
// stream those without keys are.
func TestValkeyAppendsShareRoundTrips(t *testing.T) {
	const callers, each = 64, 200
	keyed := func(u user, key, body string) streams.Position {
		p, replayed := u.sendOnce(key, body)
		if replayed {
			t.Errorf("the first append with the key %q was taken for a repetition", key)
		}
		return p
	}
	for _, c := range []struct {
		name string
		send func(u user, key string, caller int) streams.Position
	}{
		{"plain", func(u user, key string, _ int) streams.Position { return u.send(key) }},
		{"keyed", func(u user, key string, _ int) streams.Position { return keyed(u, key, key) }},
		{"both", func(u user, key string, caller int) streams.Position {
			if caller%2 == 0 {
				return u.send(key)
			}
			return keyed(u, key, key)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := valkeytest.Start(t, valkeytest.Args())
			u := use(t, streams.ValkeyConfig{Addresses: []string{server.Addr}})
			u.send("first")
			before, scripts, keys := reads(server), calls(server, "eval", "evalsha"), calls(server, keyCommands...)
			var running sync.WaitGroup
			for i := range callers {
				running.Go(func() {
					last := streams.Position{}
					for j := range each {
						p := c.send(u, fmt.Sprintf("%d of %d", j, i), i)
						if !p.After(last) {
							t.Errorf("a caller's append %v is not after its one before, %v", p, last)
						}
						last = p
					}
				})
			}
			running.Wait()
			trips, scripts := reads(server)-before, calls(server, "eval", "evalsha")-scripts
			keys = calls(server, keyCommands...) - keys
			n, after := 0, streams.Position{}
			for {
				page, err := u.Range(t.Context(), hub, after, 1000)
				must(t, "range", err)
				if len(page.Entries) == 0 {
					break
				}
				n += len(page.Entries)
				after = page.Entries[len(page.Entries)-1].Position
			}
			if n != 2+callers*each { // the log's first entry, too
				t.Errorf("%d entries in the log, want %d", n, 2+callers*each)
			}
			added := calls(server, "xadd")
			t.Logf("%d appends in %d reads, %d scripts, %d commands for keys and %d XADD", callers*each, trips, scripts, keys, added)
			if c.name == "plain" && added > callers*each/4 {
				t.Errorf("%d appends are %d entries of the stream", callers*each, added)
			}
			if trips > callers*each/8 || scripts > callers*each/8 || keys > callers*each/2 {
				t.Errorf("%d appends of %d callers took %d reads of the server, %d scripts and %d commands for keys", callers*each, callers, trips, scripts, keys)
			}
		})
	}
}

// keyCommands are those that look for keys and remember them.
var keyCommands = []string{"get", "mget", "set", "hget", "hmget", "hset", "exists", "pttl", "expire", "pexpire", "rename"}

// calls is how often the server has run commands, by scripts or not.
func calls(server *valkeytest.Server, commands ...string) (n int) {
	for line := range strings.Lines(server.Do("INFO", "commandstats")) {
		for _, command := range commands {
			if stats, ok := strings.CutPrefix(line, "cmdstat_"+command+":calls="); ok {
				var calls int
				fmt.Sscan(strings.Split(stats, ",")[0], &calls)
				n += calls
			}
		}
	}
	return n
}

func keyedAppend(key, body string) streams.OnceRequest {
	return streams.OnceRequest{Key: key, Sum: "sum of " + body, Entry: message(body), Keep: time.Minute}
}

func (u user) sendOnce(key, body string) (streams.Position, bool) {
	u.t.Helper()
	p, replayed, err := u.AppendOnce(u.t.Context(), hub, keyedAppend(key, body))
	if err != nil {
		u.t.Errorf("append %q with the key %q: %v", body, key, err)
	}
	return p, replayed
}

// together runs calls while the server stands still, so that they wait behind the first, which is on its way, and go together.
func together(server *valkeytest.Server, calls ...func()) {
	server.Pause()
	var started, on sync.WaitGroup
	for _, call := range calls {
		started.Add(1)
		on.Go(func() {
			started.Done()
			call()
		})
	}
	started.Wait()
	server.Resume()
	on.Wait()
}

// wantOnce checks that the log holds each of the bodies once.
func (u user) wantOnce(bodies ...string) {
	u.t.Helper()
	got := u.log()
	slices.Sort(got)
	slices.Sort(bodies)
	if !slices.Equal(got, bodies) {
		u.t.Errorf("the log holds %q, want each of %q once", got, bodies)
	}
}

// TestValkeyKeysOfOneBatch: of those that come with one key at once, one is appended; the others are its repetitions, or, with
// another body, refused.
func TestValkeyKeysOfOneBatch(t *testing.T) {
	const callers = 50
	server := valkeytest.Start(t, valkeytest.Args())
	u := use(t, streams.ValkeyConfig{Addresses: []string{server.Addr}, CallTimeout: 20 * time.Second})
	u.send("first")
	u.sendOnce("before", "before") // the server knows the script

	bodies := []string{"this", "that"}
	var mu sync.Mutex
	positions, made := map[string]streams.Position{}, map[string]int{} // guarded by mu
	all := make([]func(), 0, callers)
	for i := range callers {
		body := bodies[i%len(bodies)]
		all = append(all, func() {
			p, replayed, err := u.AppendOnce(t.Context(), hub, keyedAppend("k", body))
			mu.Lock()
			defer mu.Unlock()
			if errors.Is(err, streams.ErrKeyReused) {
				return
			}
			must(t, "append", err)
			if !replayed {
				made[body]++
			}
			if other, ok := positions[body]; ok && other != p {
				t.Errorf("%q is told to be at %v and at %v", body, p, other)
			}
			positions[body] = p
		})
	}
	all = append(all, func() { u.sendOnce("another", "another") })
	scripts := calls(server, "eval", "evalsha")
	together(server, all...)
	if n := calls(server, "eval", "evalsha") - scripts; n > callers/2 {
		t.Errorf("%d calls took %d scripts: the test tests nothing", len(all), n)
	}
	if len(positions) != 1 || len(made) != 1 {
		t.Fatalf("accepted at %v, of which were appended %v; want one body", positions, made)
	}
	for body, n := range made {
		if n != 1 {
			t.Errorf("%d calls were told that they have appended %q", n, body)
		}
		u.wantOnce("first", "before", body, "another")
	}
}

// TestValkeyKeyedAppendGivenUp: who gives up before it was sent changes nothing, and takes nobody with it; who gives up after that
// is told that the outcome is unknown, and finds it out with the same key.
func TestValkeyKeyedAppendGivenUp(t *testing.T) {
	server := valkeytest.Start(t, valkeytest.Args())
	u := use(t, streams.ValkeyConfig{Addresses: []string{server.Addr}, CallTimeout: 20 * time.Second})
	u.sendOnce("first", "first")
	held := []string{"first", "others"}
	giveUp := func(key string) error {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		_, _, err := u.AppendOnce(ctx, hub, keyedAppend(key, key))
		return err
	}
	refused, sent := "", []string{}
	server.Pause()
	var on sync.WaitGroup
	on.Go(func() { u.sendOnce("others", "others") })
	for i := 0; refused == "" && i < 100; i++ {
		key := fmt.Sprint("given up ", i)
		if err := giveUp(key); errors.Is(err, streams.ErrUnavailable) {
			refused = key
		} else { // nothing was on its way yet
			want(t, "a keyed append that was sent and given up", err, streams.ErrOutcomeUnknown)
			sent = append(sent, key)
		}
	}
	if refused == "" {
		t.Error("no append has waited behind the one that is on its way")
	}
	for i := range 20 {
		key := fmt.Sprint("waiting ", i)
		held = append(held, key)
		on.Go(func() { u.sendOnce(key, key) })
	}
	server.Resume()
	on.Wait()
	u.wantOnce(append(held, sent...)...)
	for _, key := range sent {
		if _, replayed := u.sendOnce(key, key); !replayed {
			t.Errorf("%q was appended again", key)
		}
	}
	if _, replayed := u.sendOnce(refused, refused); replayed {
		t.Errorf("%q is taken for a repetition, and was never sent", refused)
	}
}

// TestValkeyKeyedAppendsAreRepeated loses answers while many append: those with a key are made once, those without may be told that
// nobody knows.
func TestValkeyKeyedAppendsAreRepeated(t *testing.T) {
	const callers, each, losses = 16, 60, 5
	server := valkeytest.Start(t, valkeytest.Args())
	r := startRelay(t, server.Addr)
	u := use(t, streams.ValkeyConfig{Addresses: []string{r.addr()}, CallTimeout: 20 * time.Second})
	u.send("first")
	wanted := []string{}
	var on sync.WaitGroup
	var made atomic.Int32
	for i := range callers {
		for j := range each {
			wanted = append(wanted, fmt.Sprintf("%d of %d", j, i))
		}
		on.Go(func() {
			for j := range each {
				u.sendOnce(fmt.Sprintf("%d of %d", j, i), fmt.Sprintf("%d of %d", j, i))
				if made.Add(1)%(callers*each/(losses+1)) == 0 {
					r.loseAnswer()
				}
				_, err := u.Append(t.Context(), hub, message("plain"))
				if err != nil && !errors.Is(err, streams.ErrUnavailable) { // the connection was gone already
					want(t, "a plain append", err, streams.ErrOutcomeUnknown)
				}
			}
		})
	}
	on.Wait()
	r.mu.Lock()
	lost := r.lost
	r.mu.Unlock()
	if lost == 0 {
		t.Error("no answer was lost: the test tests nothing")
	}
	var got []string
	page, err := u.Range(t.Context(), hub, streams.Position{}, 10000)
	must(t, "range", err)
	for _, e := range page.Entries {
		entry, err := streams.DecodeEntry(e.Data)
		must(t, "decode", err)
		if body := string(entry.Body); strings.Contains(body, " of ") {
			got = append(got, body)
		}
	}
	slices.Sort(got)
	slices.Sort(wanted)
	if !slices.Equal(got, wanted) {
		t.Errorf("%d keyed appends are in the log, want each of %d once", len(got), len(wanted))
	}
}

// TestValkeyBatchOfAppendsNeedsTheScriptAndTheLog: the server may have forgotten the script, or the log, when a batch comes.
func TestValkeyBatchOfAppendsNeedsTheScriptAndTheLog(t *testing.T) {
	for what, forget := range map[string][]string{
		"the script": {"SCRIPT", "FLUSH"},
		"the log":    {"FLUSHALL"},
		"nothing":    {"PING"},
	} {
		t.Run(what, func(t *testing.T) {
			server := valkeytest.Start(t, valkeytest.Args())
			u := use(t, streams.ValkeyConfig{Addresses: []string{server.Addr}, CallTimeout: 20 * time.Second})
			u.sendOnce("before", "before")
			server.Do(forget...)
			var calls []func()
			var bodies []string
			if what != "the log" {
				bodies = append(bodies, "before")
			}
			for i := range 20 {
				keyed, plain := fmt.Sprint("keyed ", i), fmt.Sprint("plain ", i)
				bodies = append(bodies, keyed, plain)
				calls = append(calls, func() { u.sendOnce(keyed, keyed) }, func() { u.send(plain) })
			}
			together(server, calls...)
			u.wantOnce(bodies...)
			for _, body := range bodies {
				if !strings.HasPrefix(body, "keyed") {
					continue
				}
				if _, replayed := u.sendOnce(body, body); !replayed {
					t.Errorf("%q was appended again", body)
				}
			}
		})
	}
}
