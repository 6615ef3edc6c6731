package streams_test

import (
	"fmt"
	"testing"
	"time"

	"hubstream/integration/valkeytest"
	"hubstream/streams"
)

// Whoever is in many groups, and has left some lately, joins and leaves others without all of them being gone through, but once for each
// time that there is something to forget; and a user's time in one is renewed.
func TestValkeyChangesOfGroupsLookAtWhatChanges(t *testing.T) {
	t.Parallel()
	server := valkeytest.Start(t, valkeytest.Args())
	u := use(t, streams.ValkeyConfig{Addresses: []string{server.Addr}})
	u.open(request(streams.OpenWebSocket, "c", "n1"))
	change := func(verb streams.Verb, groups ...string) streams.Position {
		t.Helper()
		r, err := u.Join(t.Context(), hub, streams.JoinRequest{ID: "c", Verb: verb, Groups: groups, Entry: message("change")})
		must(t, "change of groups", err)
		return r.Position
	}
	enter := func(group string) {
		t.Helper()
		_, err := u.JoinUser(t.Context(), hub, streams.UserJoinRequest{User: "ann", Group: group, Keep: time.Minute, Entry: message("join")})
		must(t, "join of a user", err)
	}
	for i := range 50 {
		change(streams.VerbJoin, fmt.Sprint("g", i))
		enter(fmt.Sprint("g", i))
	}
	change(streams.VerbLeave, "g0")
	all := func(what string, want int, f func()) {
		t.Helper()
		server.Do("CONFIG", "RESETSTAT")
		f()
		if got := calls(server, "hgetall"); got != want {
			t.Errorf("%s: all groups were read %d times, want %d", what, got, want)
		}
	}
	all("joins and leaves", 0, func() {
		for range 10 {
			change(streams.VerbJoin, "other")
			change(streams.VerbLeave, "other")
		}
	})
	all("renewals", 0, func() {
		for range 10 {
			enter("g1")
		}
	})
	p := change(streams.VerbJoin, "other")
	_, err := u.Trim(t.Context(), hub, p)
	must(t, "trim", err)
	all("joins and leaves when the floor has come", 1, func() {
		for range 10 {
			change(streams.VerbLeave, "other")
			change(streams.VerbJoin, "other")
		}
	})
}
