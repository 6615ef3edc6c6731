package streams

import (
	"strings"
	"testing"
)

// Whether an entry is for many is seen without decoding it, however long its header is.
func TestWhatIsForManyIsSeenUndecoded(t *testing.T) {
	t.Parallel()
	long := make([]string, MaxTargets)
	for i := range long {
		long[i] = strings.Repeat("x", 200)
	}
	for _, groups := range [][]string{nil, {""}, {"g"}, long} {
		for _, users := range [][]string{nil, {"u"}, long} {
			for _, flags := range []Flags{0, FlagAll, FlagReconnect, FlagAll | FlagReconnect} {
				e := Entry{Kind: KindMessage, Flags: flags, Groups: groups, Users: users, Named: []string{"n"}, Body: []byte("body")}
				data := string(AppendEntry(nil, &e))
				want := flags&FlagAll != 0 || len(groups) > 0
				if got := forMany(data); got != want {
					t.Errorf("flags %b, %d groups, %d users: %v", flags, len(groups), len(users), got)
				}
				for n := range min(len(data), 300) {
					if forMany(data[:n]) && !want {
						t.Errorf("flags %b, %d groups, %d users: its first %d bytes are", flags, len(groups), len(users), n)
					}
				}
			}
		}
	}
	if forMany("") || forMany("\x01\x01\x00\x00\x00\x00\xff\xff\xff\xff") {
		t.Error("what is no entry is for many")
	}
}
