package streams_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"hubstream/integration/valkeytest"
	"hubstream/streams"
)

// While one script is on its way, those that come meanwhile wait, and are all made. Those that are given up before they were
// sent are not.
func TestValkeyScriptsThatWait(t *testing.T) {
	const callers, impatient = 150, 20
	server := valkeytest.Start(t, valkeytest.Args())
	u := use(t, streams.ValkeyConfig{Addresses: []string{server.Addr}, CallTimeout: 20 * time.Second})
	u.open(request(streams.OpenEvents, "c", "n1"))
	join := func(ctx context.Context, group string) error {
		_, err := u.Join(ctx, hub, streams.JoinRequest{ID: "c", Verb: streams.VerbJoin, Groups: []string{group}, Entry: message("join")})
		return err
	}

	server.Pause()
	var on sync.WaitGroup
	on.Go(func() { must(t, "the join on its way", join(t.Context(), "on its way")) })
	for i := range impatient {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		want(t, "a join that was given up", join(ctx, fmt.Sprint("given up ", i)), streams.ErrUnavailable)
		cancel()
	}
	for i := range callers {
		on.Go(func() { must(t, "a join that waits", join(t.Context(), fmt.Sprint("waiting ", i))) })
	}
	server.Resume()
	on.Wait()

	reply, err := u.Lookup(t.Context(), hub, "c")
	must(t, "look up", err)
	n := map[string]int{}
	for group := range reply.Record.Groups {
		n[strings.TrimRight(group, " 0123456789")]++
	}
	if n["on its way"] != 1 || n["waiting"] != callers {
		t.Errorf("%d and %d joins were made, want 1 and %d", n["on its way"], n["waiting"], callers)
	}
	if n["given up"] > 1 { // one, if nothing was on its way yet
		t.Errorf("%d joins that were given up were made all the same", n["given up"])
	}
}

// Everybody gets the answer to their own.
func TestValkeyScriptsThatGoTogether(t *testing.T) {
	const callers, each = 64, 100
	server := valkeytest.Start(t, valkeytest.Args())
	u := use(t, streams.ValkeyConfig{Addresses: []string{server.Addr}})
	for i := range callers {
		u.open(request(streams.OpenEvents, fmt.Sprint("c", i), "n1"))
	}
	before := reads(server)
	var running sync.WaitGroup
	for i := range callers {
		running.Go(func() {
			id := fmt.Sprint("c", i)
			for j := range each {
				owner := fmt.Sprint("n", j)
				reply, err := u.Open(t.Context(), hub, request(streams.OpenEvents, id, owner))
				if must(t, "open", err); reply.Record.ID != id || reply.Record.Owner != owner {
					t.Errorf("the answer to %s at %s is for %+v", id, owner, reply.Record)
				}
			}
		})
	}
	running.Wait()
	t.Logf("%d scripts in %d reads of the server", callers*each, reads(server)-before)
}
