package streams

import "github.com/valkey-io/valkey-go"

// Scripts learn the end of a log from its last entry, all of which Valkey copies for them, into a reply and into a value of Lua:
// of 64 KiB that is 0.1 ms, of 1 MiB 1.8, where all else that it takes to open a connection, or to answer a poll, is 0.02. So after a
// large entry comes a blank one, which says nothing. Who comes between the two only waits for the copy.

// largeBytes is the size from which on a blank entry costs less than copies of a large one, as scripts/blank.lua has it, too.
const largeBytes = 4 << 10 // 4 KiB

var blankEntry = string(AppendEntry(nil, &Entry{Kind: KindBlank}))

// xadds appends to dst the commands that make an append, of which the first one's answer counts.
func (v *Valkey) xadds(dst []valkey.Completed, r *oneAppend) []valkey.Completed {
	dst = append(dst, v.xadd(r.hub, r.entry))
	if len(r.entry) >= largeBytes {
		dst = append(dst, v.xadd(r.hub, blankEntry))
	}
	return dst
}
