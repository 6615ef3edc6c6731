package streams_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
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

// TestValkeyAppendsShareRoundTrips counts how often the server has to read.
func TestValkeyAppendsShareRoundTrips(t *testing.T) {
	const callers, each = 64, 200
	server := valkeytest.Start(t, valkeytest.Args())
	u := use(t, streams.ValkeyConfig{Addresses: []string{server.Addr}})
	u.send("first")
	before := reads(server)
	var running sync.WaitGroup
	for i := range callers {
		running.Go(func() {
			last := streams.Position{}
			for j := range each {
				p := u.send(fmt.Sprintf("%d of %d", j, i))
				if !p.After(last) {
					t.Errorf("a caller's append %v is not after its one before, %v", p, last)
				}
				last = p
			}
		})
	}
	running.Wait()
	trips := reads(server) - before
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
	t.Logf("%d appends in %d reads", callers*each, trips)
	if trips > callers*each/8 {
		t.Errorf("%d appends of %d callers took %d reads of the server", callers*each, callers, trips)
	}
}
