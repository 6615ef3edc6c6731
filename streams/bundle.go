package streams

import (
	"encoding/binary"
	"slices"
)

// A bundle is several entries of a batch in one entry of the stream: most of what an entry costs is that it is one. Its stream ID is
// the position of its last entry; those before it have the sequence numbers just before. So positions are what they are without bundles,
// and whoever reads after a position in the midst of a bundle finds it, and passes over its beginning.
//
//	format                 one byte, bundleFormat
//	number of entries      4 bytes, big-endian, as scripts read it
//	each: length, entry    4 bytes, big-endian; bytes
//
// The last entry of a batch is in no bundle: see blank.go.
const (
	bundleFormat = 'B' // where entries have EntryFormat
	bundleHeader = 5
	bundleLength = 4
	// bundleBytes limits a bundle: so many of the stream's entries are read at once, whatever is in them. With what Valkey keeps beside
	// it, a bundle is 8 KiB: to one that is larger its allocator gives 10.
	bundleBytes = 8<<10 - 64
)

// inBundles are the entries of a batch as the stream is to hold them.
func inBundles(batch scriptedBatch) []string {
	stored := make([]string, 0, 4+len(batch)/8)
	size := 0
	for _, r := range batch {
		size += bundleLength + len(r.entry)
	}
	buffer := make([]byte, 0, size+bundleHeader*(2+size/(bundleBytes/2)))
	for i := 0; i < len(batch); {
		n := 1
		if i > 0 {
			n = bundled(batch[i : len(batch)-1])
		}
		if n < 2 {
			stored = append(stored, batch[i].entry)
			i++
			continue
		}
		begin := len(buffer)
		buffer = append(buffer, bundleFormat)
		buffer = binary.BigEndian.AppendUint32(buffer, uint32(n))
		for _, r := range batch[i : i+n] {
			buffer = binary.BigEndian.AppendUint32(buffer, uint32(len(r.entry)))
			buffer = append(buffer, r.entry...)
		}
		stored = append(stored, textOf(buffer[begin:]))
		i += n
	}
	if len(batch[len(batch)-1].entry) >= largeBytes {
		stored = append(stored, blankEntry)
	}
	return stored
}

// bundled is how many of the entries go into one bundle.
func bundled(batch scriptedBatch) int {
	n, size := 0, bundleHeader
	for n < len(batch) && size+bundleLength+len(batch[n].entry) <= bundleBytes {
		size += bundleLength + len(batch[n].entry)
		n++
	}
	return n
}

// unbundle appends to dst what is in an entry of the stream, after a position: the entries of a bundle, or itself. What looks like a
// bundle and is none is left as it is: nobody can read it.
func unbundle(dst []RawEntry, stored RawEntry, after Position) []RawEntry {
	before, data := len(dst), stored.Data
	if len(data) < bundleHeader || data[0] != bundleFormat {
		return append(dst, stored)
	}
	n, rest := bigEndian(data[1:]), data[bundleHeader:]
	if n == 0 || n > stored.Position.seq || n > uint64(len(rest)/bundleLength) { // another entry is before it, and each takes its length
		return append(dst, stored)
	}
	dst = slices.Grow(dst, int(n))
	p := Position{stored.Position.ms, stored.Position.seq - n}
	for range n {
		entry, left, ok := cutEntry(rest)
		if !ok {
			return append(dst[:before], stored)
		}
		if p.seq++; p.After(after) {
			dst = append(dst, RawEntry{p, entry})
		}
		rest = left
	}
	if rest != "" {
		return append(dst[:before], stored)
	}
	return dst
}

// cutEntry takes the first entry off what is left of a bundle. It returns false if there is none.
func cutEntry(rest string) (entry, left string, ok bool) {
	if len(rest) < bundleLength || uint64(len(rest)-bundleLength) < bigEndian(rest) {
		return "", "", false
	}
	end := bundleLength + bigEndian(rest)
	return rest[bundleLength:end], rest[end:], true
}

func bigEndian(data string) uint64 {
	return uint64(data[0])<<24 | uint64(data[1])<<16 | uint64(data[2])<<8 | uint64(data[3])
}
