package streams_test

import (
	"testing"
	"testing/synctest"

	"hubstream/streams"
)

// An entry that cannot be read, be it broken or of a later format, is for nobody, and does not hold up what follows.
func TestEntryThatCannotBeReadIsForNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := follow(t)
		f.publish("1")
		f.send("what no version has written")
		later := streams.AppendEntry(nil, &streams.Entry{Kind: streams.KindMessage, Flags: streams.FlagAll, Body: []byte("2")})
		later[0] = streams.EntryFormat + 1
		f.send(string(later))
		f.send("")
		f.publish("3")
		f.takes("13")
		if n := f.node.Figures().Undecodable; n != 3 {
			t.Errorf("%d entries are counted, want 3", n)
		}
	})
}
