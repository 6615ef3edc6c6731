package streams

import "testing"

// Every connection's filter is asked for entries that are not for everybody, or that were sent while it was behind.
func TestFilterAllocatesNothing(t *testing.T) {
	f := newFilter(&Record{
		ID: "c", User: "ann", Start: at(1),
		Groups:     Memberships{"g": {{Join: at(2)}}},
		UserGroups: Memberships{"ug": {{Join: at(2)}}},
	}, "n1.a", at(3))
	for _, test := range []struct {
		name  string
		entry Entry
		want  verdict
	}{
		{"to all", Entry{Flags: FlagAll}, deliver},
		{"to all but it", Entry{Flags: FlagAll, Excluded: []string{"c"}}, skip},
		{"to its connection", Entry{Connections: []string{"d", "c"}}, deliver},
		{"to its user", Entry{Users: []string{"bob", "ann"}}, deliver},
		{"to its group", Entry{Groups: []string{"h", "g"}}, deliver},
		{"to its user's group", Entry{Groups: []string{"ug"}}, deliver},
		{"to others", Entry{Groups: []string{"h"}, Users: []string{"bob"}, Connections: []string{"d"}}, skip},
		{"a reply to another", Entry{Kind: KindReply, Connections: []string{"d"}}, skip},
		{"a reply to it", Entry{Kind: KindReply, Connections: []string{"c"}}, deliver},
		{"another joins", Entry{Kind: KindControl, Verb: VerbJoin, Connections: []string{"d"}, Named: []string{"h"}}, skip},
		{"another moves", Entry{Kind: KindMoved, Owner: "n2.a", Connections: []string{"d"}}, skip},
		{"another ends", Entry{Kind: KindClose, Flags: FlagEnded, Connections: []string{"d"}}, skip},
	} {
		if test.entry.Kind == 0 {
			test.entry.Kind = KindMessage
		}
		if got := f.step(at(4), &test.entry); got != test.want {
			t.Errorf("%s: verdict %d, want %d", test.name, got, test.want)
		}
		if n := testing.AllocsPerRun(100, func() { f.step(at(4), &test.entry) }); n != 0 {
			t.Errorf("%s: %v allocations", test.name, n)
		}
	}
}

// A plain event stream is of no connection: nothing that ends connections, or changes their groups, means anything to it.
func TestPlainStreamsFilterStaysAsItIs(t *testing.T) {
	t.Parallel()
	f := newFollower(Audience{Groups: []string{"g"}, User: "ann"}, at(1))
	for i, e := range []Entry{
		{Kind: KindClose, Flags: FlagAll},
		{Kind: KindClose, Users: []string{"ann"}},
		{Kind: KindClose, Groups: []string{"g"}},
		{Kind: KindControl, Verb: VerbLeave, Users: []string{"ann"}, Named: []string{"g"}},
		{Kind: KindControl, Verb: VerbLeaveAll, Users: []string{"ann"}},
		{Kind: KindControl, Verb: VerbJoin, Users: []string{"ann"}, Named: []string{"h"}},
		{Kind: KindMessage, Groups: []string{"h"}},
	} {
		if got := f.step(at(uint64(2+i)), &e); got != skip {
			t.Errorf("%+v: verdict %d, want %d", e, got, skip)
		}
	}
	if got := f.step(at(10), &Entry{Kind: KindMessage, Groups: []string{"g"}}); got != deliver {
		t.Errorf("a message to its group: verdict %d, want %d", got, deliver)
	}
}
