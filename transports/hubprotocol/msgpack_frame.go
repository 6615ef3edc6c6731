package hubprotocol

import (
	"math"
	"strings"

	"github.com/tinylib/msgp/msgp"
)

// Lengths stand before what they count, and how many bytes one takes is known only afterwards. So one byte is left for it,
// which is enough for what is short, and fillIn makes room for more.

// reserve leaves the byte; at is where.
func reserve(dst []byte) (next []byte, at int) {
	return append(dst, 0), len(dst)
}

// fillIn puts header in place of the byte reserved at at.
func fillIn(dst []byte, at int, header []byte) []byte {
	if extra := len(header) - 1; extra > 0 {
		dst = append(dst, header[1:]...)
		copy(dst[at+len(header):], dst[at+1:len(dst)-extra])
	}
	copy(dst[at:], header)
	return dst
}

// fillInFrame completes a message with its length prefix.
func fillInFrame(dst []byte, at int) []byte {
	var header [5]byte
	return fillIn(dst, at, appendVarInt(header[:0], len(dst)-at-1))
}

func fillInArray(dst []byte, at int, n uint32) []byte {
	var header [5]byte
	return fillIn(dst, at, msgp.AppendArrayHeader(header[:0], n))
}

func fillInMap(dst []byte, at int, n uint32) []byte {
	var header [5]byte
	return fillIn(dst, at, msgp.AppendMapHeader(header[:0], n))
}

// fillInString counts what has been written since at.
func fillInString(dst []byte, at int) []byte {
	var header [5]byte
	return fillIn(dst, at, appendStringHeader(header[:0], uint32(len(dst)-at-1)))
}

// appendStringHeader is what msgp has for arrays and maps only.
func appendStringHeader(dst []byte, n uint32) []byte {
	switch {
	case n < 32:
		return append(dst, 0xA0|byte(n))
	case n <= math.MaxUint8:
		return append(dst, 0xD9, byte(n))
	case n <= math.MaxUint16:
		return append(dst, 0xDA, byte(n>>8), byte(n))
	}
	return append(dst, 0xDB, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
}

// appendString replaces what is not UTF-8, as appendQuoted does.
func appendString(dst []byte, s string) []byte {
	return msgp.AppendString(dst, strings.ToValidUTF8(s, "\uFFFD"))
}

// appendItemsHeader begins a message of so many items with its type and its headers, which the trackable types have. They are
// always an empty map: nil breaks .NET clients.
func appendItemsHeader(dst []byte, n uint32, t MessageType) []byte {
	dst = msgp.AppendArrayHeader(dst, n)
	dst = append(dst, byte(t))
	if t.Trackable() {
		dst = msgp.AppendMapHeader(dst, 0)
	}
	return dst
}
