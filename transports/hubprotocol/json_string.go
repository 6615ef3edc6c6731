package hubprotocol

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// string reads a string and returns where it lies, without the quotes.
func (s *scanner) string() (span keySpan, err *MessageError) {
	start, escaped := s.pos+1, false
	for s.pos = start; ; {
		s.pos = skipPlain(s.src, s.pos)
		switch c := s.peek(); {
		case c == '"':
			span = keySpan{start: uint32(start), end: uint32(s.pos), escaped: escaped}
			s.pos++
			return span, nil
		case c == '\\':
			escaped = true
			if err := s.escape(); err != nil {
				return span, err
			}
		case c < ' ':
			return span, s.unexpected()
		default:
			if s.pos = skipUnicode(s.src, s.pos); s.pos < len(s.src) && s.src[s.pos] >= utf8.RuneSelf {
				return span, messageErrorf("invalid UTF-8 at byte %d", s.pos)
			}
		}
	}
}

// escape reads one escape sequence, or two that make a surrogate pair.
func (s *scanner) escape() *MessageError {
	s.pos++
	switch s.peek() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.pos++
		return nil
	case 'u':
		_, size, ok := decodeUnicodeEscape(s.src[s.pos-1:])
		if size == 0 {
			return messageErrorf("invalid escape at byte %d", s.pos-1)
		}
		if !ok && s.strict {
			return messageErrorf("lone surrogate %s", s.src[s.pos-1:s.pos-1+size])
		}
		s.pos += size - 1
		return nil
	}
	return s.unexpected()
}

const (
	lowBits  = 0x0101010101010101
	highBits = 0x8080808080808080
)

// skipPlain returns the first position from pos on with a byte that needs a look in a string: quote, backslash, control
// character or not ASCII. Eight bytes are tested at once: the high bit of such a byte comes out set. It may also come out set
// for bytes after it, through the borrow, so only the first is looked at.
func skipPlain(src []byte, pos int) int {
	for ; pos+8 <= len(src); pos += 8 {
		x := binary.LittleEndian.Uint64(src[pos:])
		quote := (x ^ lowBits*'"') - lowBits
		backslash := (x ^ lowBits*'\\') - lowBits
		control := x - lowBits*' '
		if found := (x | quote | backslash | control) & highBits; found != 0 {
			return pos + bits.TrailingZeros64(found)/8
		}
	}
	for pos < len(src) && src[pos] >= ' ' && src[pos] < utf8.RuneSelf && src[pos] != '"' && src[pos] != '\\' {
		pos++
	}
	return pos
}

// skipUnicode returns the first position from pos on with a byte that is ASCII or not UTF-8. Two bytes a character, as most
// alphabets have, need no call.
func skipUnicode(src []byte, pos int) int {
	for pos < len(src) && src[pos] >= utf8.RuneSelf {
		if c := src[pos]; c >= 0xC2 && c <= 0xDF && pos+1 < len(src) && src[pos+1]&0xC0 == 0x80 {
			pos += 2
			continue
		}
		r, size := utf8.DecodeRune(src[pos:])
		if r == utf8.RuneError && size == 1 {
			return pos
		}
		pos += size
	}
	return pos
}
