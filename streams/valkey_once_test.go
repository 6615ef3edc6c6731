package streams_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"hubstream/integration/valkeytest"
	"hubstream/streams"
)

// The hashes that keys of appends are remembered in; see batch.lua, and the prefix of the test.
var (
	keysHash  = fmt.Sprintf("{once:%d}:%s:keys", streams.Bucket(hub), hub)
	asideHash = keysHash + ":aside"
)

// left is how long a key of Valkey's lives on.
func left(server *valkeytest.Server, key string) time.Duration {
	var ms int
	fmt.Sscan(server.Do("PTTL", key), &ms)
	return time.Duration(ms) * time.Millisecond
}

// TestValkeyKeysArePutAsideInTime: no key is written to what expires before the key's time is over, and what holds keys whose time
// is not over is neither dropped nor written over, however little is left of its time.
func TestValkeyKeysArePutAsideInTime(t *testing.T) {
	server := valkeytest.Start(t, valkeytest.Args())
	u := use(t, streams.ValkeyConfig{Addresses: []string{server.Addr}, Prefix: "once"})
	const keep = time.Minute // of keyedAppend
	var sent []string
	positions := map[string]streams.Position{}
	send := func(key string) {
		t.Helper()
		p, replayed := u.sendOnce(key, key)
		if replayed {
			t.Errorf("%q is taken for a repetition", key)
		}
		sent, positions[key] = append(sent, key), p
		if now := left(server, keysHash); now < keep-10*time.Second || now > 2*keep {
			t.Errorf("%q is known for %v, want at least %v and at most twice that", key, now, keep)
		}
		for _, key := range sent {
			if p, replayed := u.sendOnce(key, key); !replayed || p != positions[key] {
				t.Errorf("%q again is at %v, replayed %v; want it known at %v", key, p, replayed, positions[key])
			}
			_, _, err := u.AppendOnce(t.Context(), hub, keyedAppend(key, "another body"))
			want(t, "another body with the key "+key, err, streams.ErrKeyReused)
		}
	}
	pass := func() { server.Do("PEXPIRE", keysHash, fmt.Sprint((keep - time.Second).Milliseconds())) }

	send("a")
	send("b")
	pass()
	send("c") // a and b are put aside
	if n := server.Do("HLEN", asideHash); n != "2" {
		t.Errorf("%s keys are aside, want 2", n)
	}
	pass()
	send("d") // there are some aside already, whose time is not over
	server.Do("DEL", asideHash)
	sent = []string{"c", "d"}
	pass()
	send("e") // now they are put aside
	if n := server.Do("HLEN", asideHash); n != "2" {
		t.Errorf("%s keys are aside, want 2", n)
	}
	send("a") // it is forgotten
}

// TestValkeyKeysAreForgottenInTurn appends for some periods, and appends again what is younger and what is much older than it is to be
// remembered.
func TestValkeyKeysAreForgottenInTurn(t *testing.T) {
	const keep = 400 * time.Millisecond
	server := valkeytest.Start(t, valkeytest.Args())
	u := use(t, streams.ValkeyConfig{Addresses: []string{server.Addr}})
	once := func(key string) bool {
		r := keyedAppend(key, key)
		r.Keep = keep
		_, replayed, err := u.AppendOnce(t.Context(), hub, r)
		must(t, "append", err)
		return replayed
	}
	var on sync.WaitGroup
	known, forgotten := make(chan bool, 1000), make(chan bool, 1000)
	begin := time.Now()
	for i := 0; time.Since(begin) < 5*keep; i++ {
		on.Go(func() {
			key, sent := fmt.Sprint(i), time.Now()
			once(key)
			time.Sleep(keep * 9 / 10)
			if replayed := once(key); time.Since(sent) < keep { // else the machine was too slow
				known <- replayed
			}
		})
		on.Go(func() {
			key := fmt.Sprint("old ", i)
			once(key)
			time.Sleep(keep * 5 / 2)
			forgotten <- !once(key)
		})
		time.Sleep(keep / 40)
	}
	on.Wait()
	for what, answers := range map[string]chan bool{"known until its time is over": known, "forgotten some time later": forgotten} {
		close(answers)
		n, right := 0, 0
		for yes := range answers {
			if n++; yes {
				right++
			}
		}
		if n < 10 || right < n {
			t.Errorf("of %d keys %d were %s", n, right, what)
		}
	}
}

// TestValkeyKeysOfAnyBytes: keys, and sums, are what they are.
func TestValkeyKeysOfAnyBytes(t *testing.T) {
	server := valkeytest.Start(t, valkeytest.Args())
	u := use(t, streams.ValkeyConfig{Addresses: []string{server.Addr}})
	for _, text := range []string{" ", "a b", "=", "!", "\n", "\x00", "a\x00b", "%", "\xff\xfe", strings.Repeat("\x00 \n", 50)} {
		r := streams.OnceRequest{Key: text, Sum: text, Entry: message(text), Keep: time.Minute}
		p, replayed, err := u.AppendOnce(t.Context(), hub, r)
		if err != nil || replayed {
			t.Errorf("the key %q: replayed %v, %v", text, replayed, err)
		}
		if again, replayed, err := u.AppendOnce(t.Context(), hub, r); err != nil || !replayed || again != p {
			t.Errorf("the key %q again: at %v instead of %v, replayed %v, %v", text, again, p, replayed, err)
		}
		r.Sum += "x"
		_, _, err = u.AppendOnce(t.Context(), hub, r)
		want(t, fmt.Sprintf("the key %q with another sum", text), err, streams.ErrKeyReused)
	}
}

// TestValkeyKeyedAppendAllocatesLittle: what a key costs a node, beside what an append costs.
func TestValkeyKeyedAppendAllocatesLittle(t *testing.T) {
	server := valkeytest.Start(t, valkeytest.Args())
	u := use(t, streams.ValkeyConfig{Addresses: []string{server.Addr}})
	const callers, each = 64, 100
	entry := message(body)
	keys := make([]string, 2*callers*each) // made before it is counted
	for i := range keys {
		keys[i] = fmt.Sprint("key ", i)
	}
	allocations := func(call func(key string) error) float64 {
		round := func() {
			var on sync.WaitGroup
			for i := range callers {
				on.Go(func() {
					for j := range each {
						must(t, "append", call(keys[i*each+j]))
					}
				})
			}
			on.Wait()
			keys = keys[callers*each:]
		}
		defer func(all []string) { keys = all }(keys)
		return testing.AllocsPerRun(1, round) / (callers * each) // twice: the first is not counted
	}
	plain := allocations(func(string) error {
		_, err := u.Append(t.Context(), hub, entry)
		return err
	})
	keyed := allocations(func(key string) error {
		_, _, err := u.AppendOnce(t.Context(), hub, streams.OnceRequest{Key: key, Sum: "0123456789abcdef", Entry: entry, Keep: time.Minute})
		return err
	})
	t.Logf("%.1f allocations without a key, %.1f with", plain, keyed)
	if keyed > plain+1 {
		t.Errorf("%.1f allocations for an append with a key, %.1f without", keyed, plain)
	}
}
