package streams

import (
	"errors"
	"slices"
	"testing"
)

// A connection is woken for what is for its groups, for as long as it is in them on its own or through its user, and nothing of it is kept
// when it has left.
func TestIndexFollowsMembershipsAndForgetsWhoLeaves(t *testing.T) {
	t.Parallel()
	l := newListeners(t, 1<<20)
	record := Record{
		ID: "a", User: "ann", Start: at(0), Cursor: at(0), Transport: TransportServerSentEvents,
		Groups: Memberships{"own": {{Join: at(0)}}}, UserGroups: Memberships{"users": {{Join: at(0)}}},
	}
	change := func(verb Verb, groups ...string) Entry {
		return Entry{Kind: KindControl, Verb: verb, Connections: []string{"a"}, Named: groups}
	}
	changeUser := func(verb Verb, groups ...string) Entry {
		return Entry{Kind: KindControl, Verb: verb, Users: []string{"ann"}, Named: groups}
	}
	// These came between the reading of the record and the attach.
	l.append(change(VerbJoin, "since"), changeUser(VerbJoin, "users since"), change(VerbJoin, "both"), changeUser(VerbJoin, "both"))
	woken := 0
	enter := func(wake func()) *Attachment {
		t.Helper()
		a := newAttachment(l.hub, &OpenReply{Record: record, Last: at(0)}, "owner", 0, wake)
		if err := l.hub.enter(a, "", at(0)); err != nil {
			t.Fatal(err)
		}
		return a
	}
	before, a, after := enter(func() {}), enter(func() { woken++ }), enter(func() {}) // that it is left by, and that it leaves
	l.hub.leave(before)
	wakesFor := func(what string, groups ...string) {
		t.Helper()
		for _, group := range []string{"own", "users", "since", "users since", "both"} {
			l.take(a, bracketed, 1<<10)
			woken = 0
			l.append(Entry{Kind: KindMessage, Groups: []string{group}, Body: []byte(group)})
			if got, want := woken == 1, slices.Contains(groups, group); got != want {
				t.Errorf("%s: woken for %q: %v, want %v", what, group, got, want)
			}
		}
	}
	wakesFor("at first", "own", "users", "since", "users since", "both")
	l.append(change(VerbLeave, "own", "both"))
	wakesFor("after it has left two on its own", "users", "since", "users since", "both")
	l.append(changeUser(VerbLeave, "both"))
	wakesFor("after its user has left one, too", "users", "since", "users since")
	l.append(changeUser(VerbLeaveAll))
	wakesFor("after its user has left all", "since")
	l.append(change(VerbJoin, "own"), changeUser(VerbJoin, "both"))
	wakesFor("after both have joined again", "own", "since", "both")

	for _, known := range []Position{at(l.last + 1), {}} {
		if known.IsZero() {
			l.hub.win.start = at(1) // which it was read before
		}
		if err := l.hub.reindex(a, "", known); !errors.Is(err, ErrUnavailable) {
			t.Errorf("of a record as of %v: got %v, want %v", known, err, ErrUnavailable)
		}
	}
	if err := l.hub.reindex(a, "another", at(l.last)); !errors.Is(err, ErrUnavailable) {
		t.Errorf("of another log's record: got %v, want %v", err, ErrUnavailable)
	}

	l.hub.leave(after)
	wakesFor("after another has left", "own", "since", "both")
	l.hub.leave(a)
	if err := l.hub.reindex(a, "", at(l.last)); err != nil {
		t.Errorf("of who has left: %v", err)
	}
	if h := l.hub; len(h.conns) > 0 || len(h.users) > 0 || len(h.groups) > 0 || len(h.live()) > 0 {
		t.Errorf("when all have left there are %d connections, %d users, %d groups and %d attachments", len(h.conns), len(h.users), len(h.groups), len(h.live()))
	}
}
