package streams

import "testing"

// Whoever counts its messages and was sent what is gone ends at once, whatever it was sent it by; who was not has time.
func TestWhoWasSentWhatIsGoneEndsAtOnce(t *testing.T) {
	t.Parallel()
	l := newListeners(t, 1<<20)
	enter := func(id string, version uint8) *Attachment {
		record := Record{
			ID: id, User: "user of " + id, Start: at(0), Cursor: at(0), Transport: TransportWebSockets, Version: version,
			Groups: Memberships{"group of " + id: {{Join: at(0)}}},
		}
		a := newAttachment(l.hub, &OpenReply{Record: record, Last: at(0)}, "owner", 0, func() {})
		if err := l.hub.enter(a, "", at(0)); err != nil {
			t.Fatal(err)
		}
		return a
	}
	all := []*Attachment{enter("a", 2), enter("b", 2), enter("c", 1)}
	for what, gone := range map[string]struct {
		entry Entry
		now   string
	}{
		"to a connection": {Entry{Kind: KindMessage, Connections: []string{"a", "c"}}, "a"},
		"to a user":       {Entry{Kind: KindMessage, Users: []string{"user of b", "user of c"}}, "b"},
		"to a group":      {Entry{Kind: KindMessage, Groups: []string{"group of a", "group of c"}}, "a"},
		"to all":          {Entry{Kind: KindMessage, Flags: FlagAll}, "ab"},
		"a change":        {Entry{Kind: KindControl, Connections: []string{"c"}}, "c"},
		"a user's change": {Entry{Kind: KindControl, Users: []string{"user of b"}}, "b"},
	} {
		now, later := l.hub.divide(all, []*Item{{Entry: gone.entry}})
		ids := ""
		for _, a := range now {
			ids += a.id
		}
		if ids != gone.now || len(now)+len(later) != len(all) {
			t.Errorf("%s: %q end at once and %d later, want %q", what, ids, len(later), gone.now)
		}
	}
	if now, _ := l.hub.divide(all, nil); len(now) != 2 {
		t.Errorf("%d end at once where nobody knows what is gone, want both that count", len(now))
	}
}
