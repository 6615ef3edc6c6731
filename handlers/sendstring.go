package handlers

import (
	"unicode/utf16"
	"unicode/utf8"
)

// string reads a JSON string and appends what it means to names.
func (b *sendBody) string() error {
	b.pos++
	start := b.pos
	for b.pos < len(b.src) {
		switch c := b.src[b.pos]; {
		case c == '"':
			b.names = append(b.names, b.src[start:b.pos]...)
			b.pos++
			return nil
		case c == '\\':
			b.names = append(b.names, b.src[start:b.pos]...)
			if err := b.escape(); err != nil {
				return err
			}
			start = b.pos
		case c < ' ':
			return b.unexpected()
		default:
			b.pos++
		}
	}
	return b.unexpected()
}

// escape reads one escape sequence, or two that make a surrogate pair. A lone surrogate is no character,
// and no client could have a name with one.
func (b *sendBody) escape() error {
	b.pos++
	c := b.peek()
	if c == 'u' {
		return b.unicodeEscape()
	}
	plain, ok := escapes[c]
	if !ok {
		return b.unexpected()
	}
	b.names = append(b.names, plain)
	b.pos++
	return nil
}

var escapes = map[byte]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

func (b *sendBody) unicodeEscape() error {
	r, ok := b.hex4()
	if !ok {
		return b.unexpected()
	}
	if utf16.IsSurrogate(r) {
		if b.peek() != '\\' {
			return b.unexpected()
		}
		b.pos++
		low, ok := b.hex4()
		if r = utf16.DecodeRune(r, low); !ok || r == utf8.RuneError {
			return b.unexpected()
		}
	}
	b.names = utf8.AppendRune(b.names, r)
	return nil
}

// hex4 reads the u of an escape sequence and the four digits after it. Without them pos stays.
func (b *sendBody) hex4() (r rune, ok bool) {
	if len(b.src)-b.pos < 5 || b.src[b.pos] != 'u' {
		return 0, false
	}
	for _, c := range b.src[b.pos+1 : b.pos+5] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	b.pos += 5
	return r, true
}
