package streams

import "sync/atomic"

// maxFormats is the number of formats that there may be.
const maxFormats = 6

// Format is a form in which entries go out. An entry is encoded once for each, not once per receiver.
type Format struct {
	slot   int
	encode func(dst []byte, i *Item) []byte
}

var formats atomic.Int32

// NewFormat returns a format; encode appends an entry's encoding. It is for package variables: there is
// room for a few, and it panics beyond.
func NewFormat(encode func(dst []byte, i *Item) []byte) *Format {
	f := &Format{slot: int(formats.Add(1)) - 1, encode: encode}
	if f.slot >= maxFormats {
		panic("streams: too many formats")
	}
	return f
}

// Encoding returns the item in a format, making it on first need. The result must not be written to, nor appended to.
func (i *Item) Encoding(f *Format) []byte {
	if b := i.encodings[f.slot].Load(); b != nil {
		return *b
	}
	b := f.encode(nil, i)
	return i.share(f, &b)
}

// share makes b the item's encoding, unless another receiver was faster: all share one.
func (i *Item) share(f *Format, b *[]byte) []byte {
	if i.encodings[f.slot].CompareAndSwap(nil, b) {
		return *b
	}
	return *i.encodings[f.slot].Load()
}
