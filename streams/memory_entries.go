package streams

import (
	"slices"
	"sort"
)

// memoryEntries is what a log holds, oldest first. It is kept in segments, so that
// adding never copies what is there, and neither does dropping from the front.
type memoryEntries struct {
	segments []*memorySegment
	first    int   // of the oldest entry, in segments[0]
	count    int   // of entries
	bytes    int64 // of their data
}

// segmentEntries is small enough that thousands of idle hubs cost little.
const segmentEntries = 128

type memorySegment [segmentEntries]RawEntry

// at is the i-th entry, 0 being the oldest.
func (m *memoryEntries) at(i int) *RawEntry {
	i += m.first
	return &m.segments[i/segmentEntries][i%segmentEntries]
}

func (m *memoryEntries) add(e RawEntry) {
	if m.first+m.count == len(m.segments)*segmentEntries {
		m.segments = append(m.segments, new(memorySegment))
	}
	*m.at(m.count) = e
	m.count++
	m.bytes += int64(len(e.Data))
}

// after is the index of the oldest entry after p; count if there is none.
func (m *memoryEntries) after(p Position) int {
	return sort.Search(m.count, func(i int) bool { return m.at(i).Position.After(p) })
}

// find returns the entry at p.
func (m *memoryEntries) find(p Position) (data string, ok bool) {
	i := m.after(p)
	if i == 0 || m.at(i-1).Position != p {
		return "", false
	}
	return m.at(i - 1).Data, true
}

// appendTo appends at most limit entries from index i on.
func (m *memoryEntries) appendTo(dst []RawEntry, i, limit int) []RawEntry {
	n := min(m.count-i, limit)
	if n <= 0 {
		return dst
	}
	dst = slices.Grow(dst, n)
	for stop := i + n; i < stop; {
		k := m.first + i
		part := m.segments[k/segmentEntries][k%segmentEntries:]
		part = part[:min(len(part), stop-i)]
		dst, i = append(dst, part...), i+len(part)
	}
	return dst
}

// drop removes the n oldest entries.
func (m *memoryEntries) drop(n int) {
	for i := range n {
		e := m.at(i)
		m.bytes -= int64(len(e.Data))
		*e = RawEntry{} // so that its data can go although the segment stays
	}
	m.first += n
	m.count -= n
	empty := m.first / segmentEntries
	clear(m.segments[:empty])
	m.segments = m.segments[empty:]
	m.first %= segmentEntries
}
