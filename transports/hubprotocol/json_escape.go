package hubprotocol

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// unquote decodes a JSON string that the scanner has accepted, given with its quotes. Lone surrogates become U+FFFD.
func unquote(raw []byte) string {
	inner := raw[1 : len(raw)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return string(inner)
	}
	return string(appendUnescaped(nil, inner))
}

// appendUnescaped appends what is between the quotes of an accepted JSON string with its escapes resolved. The result is never
// longer than the source.
func appendUnescaped(dst, inner []byte) []byte {
	for {
		i := bytes.IndexByte(inner, '\\')
		if i < 0 {
			return append(dst, inner...)
		}
		dst, inner = append(dst, inner[:i]...), inner[i:]
		if inner[1] == 'u' {
			r, size, _ := decodeUnicodeEscape(inner)
			dst, inner = utf8.AppendRune(dst, r), inner[size:]
			continue
		}
		dst, inner = append(dst, shortEscape(inner[1])), inner[2:]
	}
}

func shortEscape(c byte) byte {
	switch c {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return c
}

// decodeUnicodeEscape reads \uXXXX, or two that make a surrogate pair. size is 0 if that is not what b begins with; ok is false
// for a surrogate alone, which stands for no character: r is then U+FFFD.
func decodeUnicodeEscape(b []byte) (r rune, size int, ok bool) {
	r, valid := hexEscape(b)
	switch {
	case !valid:
		return 0, 0, false
	case !utf16.IsSurrogate(r):
		return r, 6, true
	}
	if low, valid := hexEscape(b[6:]); valid {
		if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
			return pair, 12, true
		}
	}
	return utf8.RuneError, 6, false
}

func hexEscape(b []byte) (r rune, ok bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	for _, c := range b[2:6] {
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
	return r, true
}

// appendQuoted appends text as a JSON string. Invalid UTF-8 becomes U+FFFD.
func appendQuoted(dst []byte, text string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r < ' ':
			dst = append(dst, '\\', 'u', '0', '0', hex[r>>4], hex[r&0xF])
		case r < utf8.RuneSelf:
			dst = append(dst, byte(r))
		default:
			dst = utf8.AppendRune(dst, r)
		}
	}
	return append(dst, '"')
}
