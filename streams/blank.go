package streams

import "github.com/valkey-io/valkey-go"

// Scripts learn the end of a log from its last entry, all of which Valkey copies for them, into a reply and into a value of Lua:
// of 64 KiB that is 0.1 ms, of 1 MiB 1.8, where all else that it takes to open a connection, or to answer a poll, is 0.02. So after a
// large entry comes a blank one, which says nothing.
//
// Both are one transaction, or one script: each tail reads them at once, where it would else be woken twice, for 0.015 ms each; and a
// replica has both or none. A script would be copied what it appends.

// largeBytes is the size from which on a blank entry costs less than copies of a large one, as scripts/blank.lua has it, too.
const largeBytes = 4 << 10 // 4 KiB

var blankEntry = string(AppendEntry(nil, &Entry{Kind: KindBlank}))

// xadds appends to dst the commands that make an append; see addedBy.
func (v *Valkey) xadds(dst []valkey.Completed, r *oneAppend) []valkey.Completed {
	add := v.xadd(r.hub, r.entry)
	if len(r.entry) < largeBytes {
		return append(dst, add)
	}
	b := v.main.B()
	return append(dst, b.Multi().Build(), add, v.xadd(r.hub, blankEntry), b.Exec().Build())
}

// addedBy is what became of an append, by the answers to its commands, which are one or a transaction. In that nothing is done if any of
// them is refused.
func (v *Valkey) addedBy(results []valkey.ValkeyResult) (Position, error) {
	last := results[len(results)-1]
	if len(results) == 1 {
		return v.added(last.ToMessage())
	}
	for _, r := range results {
		if err := r.Error(); err != nil {
			return v.added(valkey.ValkeyMessage{}, err)
		}
	}
	made, err := last.ToArray()
	if err != nil || len(made) != len(results)-2 {
		return Position{}, errAnswer
	}
	return v.added(made[0], made[0].Error())
}
