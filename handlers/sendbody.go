package handlers

import (
	"bytes"
	"fmt"
	"net/http"
	"unicode/utf8"

	"hubstream/negotiate"
	"hubstream/streams"
)

// sendField is a field of a send's body.
type sendField uint8

// The lists come first: the number of one is its index in sendBody.lists.
const (
	fieldGroups sendField = iota
	fieldUsers
	fieldConnections
	fieldExcluded
	fieldTarget
	fieldID
	fieldOp // in batches only
	fieldArguments
	fieldUnknown

	lists = int(fieldTarget)
)

var sendFieldNames = [...]string{"groups", "users", "connections", "excluded", "target", "id", "op", "arguments"}

func (f sendField) String() string { return sendFieldNames[f] }

// sendBody is the body of a send, taken apart in one pass over its bytes and without reflection. It is used again and again:
// parse overwrites all of it.
//
//	{"target":"message","arguments":["hello"],"groups":["a","b"],"excluded":["u3XnW..."]}
type sendBody struct {
	target string
	id     string // idempotency key; empty: none
	// arguments is a part of the body, as written. It ends where an array that begins there can only end; what is between
	// is for hubprotocol to check.
	arguments []byte
	lists     [lists][]string
	given     uint8 // a bit for each field

	// batched: it is an operation of a batch, and may say so.
	batched bool

	src []byte
	pos int
	// names holds the target, the id and all names of all lists, one after the other, so that they become strings
	// together; ends says where each ends, and what it belongs to.
	names []byte
	ends  []nameEnd
}

type nameEnd struct {
	end   int
	field sendField
}

// parse takes src apart. The error is a *refusal that names the field. The body refers to src
// until the next parse.
func (b *sendBody) parse(src []byte) error {
	b.reset(src)
	if err := b.object(); err != nil {
		return err
	}
	if b.space(); b.pos < len(b.src) {
		return malformed(fmt.Sprintf("the body has trailing data at byte %d", b.pos))
	}
	if !b.has(fieldTarget) {
		return invalid("target", "is missing")
	}
	if !b.has(fieldArguments) {
		b.arguments = noArguments
	}
	b.makeStrings()
	return b.checkAudience()
}

var noArguments = []byte("[]")

func (b *sendBody) reset(src []byte) {
	b.src, b.pos, b.given = src, 0, 0
	b.target, b.id, b.arguments = "", "", nil
	b.names, b.ends = b.names[:0], b.ends[:0]
	for i := range b.lists {
		clear(b.lists[i])
		b.lists[i] = b.lists[i][:0]
	}
}

func (b *sendBody) has(f sendField) bool { return b.given&(1<<f) != 0 }

// toAll tells whether the audience is everybody: no list says who.
func (b *sendBody) toAll() bool {
	return b.given&(1<<fieldGroups|1<<fieldUsers|1<<fieldConnections) == 0
}

// checkAudience refuses lists that are given and name nobody: a backend that looked for receivers and found none
// does not mean everybody, and silence would hide that nobody is told.
func (b *sendBody) checkAudience() error {
	if b.toAll() || len(b.lists[fieldGroups])+len(b.lists[fieldUsers])+len(b.lists[fieldConnections]) > 0 {
		return nil
	}
	for f := range fieldExcluded {
		if b.has(f) {
			return invalid(f.String(), "must not be empty; without any such list the message is for all")
		}
	}
	return nil
}

// makeStrings makes all names with one allocation.
func (b *sendBody) makeStrings() {
	text := string(b.names)
	start := 0
	for _, n := range b.ends {
		name := text[start:n.end]
		start = n.end
		switch n.field {
		case fieldTarget:
			b.target = name
		case fieldID:
			b.id = name
		case fieldOp: // it is known
		default:
			b.lists[n.field] = append(b.lists[n.field], name)
		}
	}
}

func (b *sendBody) object() error {
	if b.space(); b.peek() != '{' {
		return malformed("the body must be a JSON object")
	}
	b.pos++
	for first := true; ; first = false {
		b.space()
		if b.peek() == '}' && first {
			break
		}
		if err := b.member(); err != nil {
			return err
		}
		b.space()
		if b.peek() == '}' {
			break
		}
		if b.peek() != ',' {
			return b.unexpected()
		}
		b.pos++
	}
	b.pos++
	return nil
}

func (b *sendBody) member() error {
	if b.peek() != '"' {
		return b.unexpected()
	}
	f, err := b.field()
	if err != nil {
		return err
	}
	if b.space(); b.peek() != ':' {
		return b.unexpected()
	}
	b.pos++
	b.space()
	switch f {
	case fieldTarget, fieldID, fieldOp:
		return b.name(f, -1)
	case fieldArguments:
		return b.skipArguments()
	default:
		return b.list(f)
	}
}

// field reads a member's name.
func (b *sendBody) field() (sendField, error) {
	start := len(b.names)
	if err := b.string(); err != nil {
		return fieldUnknown, err
	}
	name := b.names[start:]
	b.names = b.names[:start]
	f := sendFieldOf(name)
	if f == fieldUnknown || f == fieldOp && !b.batched {
		text := clip(name)
		return f, &refusal{status: http.StatusBadRequest, Code: codeInvalid, Target: text, Message: fmt.Sprintf("unknown field %q", text)}
	}
	if b.has(f) {
		return f, invalid(f.String(), "is given twice")
	}
	b.given |= 1 << f
	return f, nil
}

func sendFieldOf(name []byte) sendField {
	switch string(name) {
	case "groups":
		return fieldGroups
	case "users":
		return fieldUsers
	case "connections":
		return fieldConnections
	case "excluded":
		return fieldExcluded
	case "target":
		return fieldTarget
	case "id":
		return fieldID
	case "op":
		return fieldOp
	case "arguments":
		return fieldArguments
	default:
		return fieldUnknown
	}
}

func (b *sendBody) list(f sendField) error {
	if b.peek() != '[' {
		return invalid(f.String(), "must be an array of strings")
	}
	b.pos++
	for i := 0; ; i++ {
		b.space()
		if b.peek() == ']' && i == 0 {
			break
		}
		if i == streams.MaxTargets {
			return invalid(f.String(), fmt.Sprintf("has more than %d elements, which is the limit", streams.MaxTargets))
		}
		if err := b.name(f, i); err != nil {
			return err
		}
		b.space()
		if b.peek() == ']' {
			break
		}
		if b.peek() != ',' {
			return b.unexpected()
		}
		b.pos++
	}
	b.pos++
	return nil
}

// maxConnectionBytes is the most that a connection is named with: its ID or, by clients of negotiate version 0, its token.
const maxConnectionBytes = max(streams.MaxIDBytes, negotiate.MaxTokenLength)

// name reads the target or the id, with i below 0, or element i of a list.
func (b *sendBody) name(f sendField, i int) error {
	if b.peek() != '"' {
		return invalid(place(f, i), "must be a string")
	}
	start := len(b.names)
	if err := b.string(); err != nil {
		return err
	}
	if reason := badName(f, b.names[start:]); reason != "" {
		return invalid(place(f, i), reason)
	}
	b.ends = append(b.ends, nameEnd{len(b.names), f})
	return nil
}

func badName(f sendField, name []byte) (reason string) {
	limit := streams.MaxIDBytes
	switch f {
	case fieldConnections, fieldExcluded:
		limit = maxConnectionBytes
	case fieldGroups, fieldUsers:
		limit = streams.MaxNameBytes
		if streams.NameTooLong(name) {
			return nameOverLimit(name)
		}
	}
	switch {
	case len(name) == 0:
		return "must not be empty"
	case len(name) > limit:
		return overLimit(len(name))
	case !utf8.Valid(name):
		return "is not valid UTF-8"
	}
	return ""
}

func overLimit(size int) string {
	return fmt.Sprintf("has %d bytes, the limit is %d", size, streams.MaxIDBytes)
}

func nameOverLimit(name []byte) string {
	return fmt.Sprintf("has %d characters, the limit is %d", utf8.RuneCount(name), streams.MaxNameLength)
}

// place names the target or the id, with i below 0, or element i of a list.
func place(f sendField, i int) string {
	if i < 0 {
		return f.String()
	}
	return fmt.Sprintf("%s[%d]", f, i)
}

// skipArguments finds the end of an array without looking at what is in it, except to tell strings and brackets.
func (b *sendBody) skipArguments() error {
	if b.peek() != '[' {
		return invalid("arguments", "must be an array")
	}
	start := b.pos
	for depth := 0; b.pos < len(b.src); b.pos++ {
		switch b.src[b.pos] {
		case '"':
			b.skipString()
		case '[', '{':
			depth++
		case ']', '}':
			if depth--; depth == 0 {
				b.pos++
				b.arguments = b.src[start:b.pos:b.pos]
				return nil
			}
		}
	}
	return b.unexpected()
}

// skipString goes from a string's first quote to its last, or beyond the end.
func (b *sendBody) skipString() {
	for at := b.pos + 1; ; {
		size := bytes.IndexByte(b.src[min(at, len(b.src)):], '"')
		if size < 0 {
			b.pos = len(b.src)
			return
		}
		quote := at + size
		for at < quote {
			escape := bytes.IndexByte(b.src[at:quote], '\\')
			if escape < 0 {
				at = quote
				break
			}
			at += escape + 2 // and what is escaped
		}
		if at == quote {
			b.pos = quote
			return
		}
		// The quote was escaped, and at is behind it.
	}
}

func (b *sendBody) space() {
	for b.pos < len(b.src) {
		switch b.src[b.pos] {
		case ' ', '\n', '\r', '\t':
			b.pos++
		default:
			return
		}
	}
}

// peek is the next byte, or 0, which is never valid, at the end.
func (b *sendBody) peek() byte {
	if b.pos < len(b.src) {
		return b.src[b.pos]
	}
	return 0
}

func (b *sendBody) unexpected() error {
	if b.pos >= len(b.src) {
		return malformed("the body is not JSON: it ends too early")
	}
	return malformed(fmt.Sprintf("the body is not JSON: unexpected %q at byte %d", b.src[b.pos:b.pos+1], b.pos))
}

// maxQuoted keeps what errors repeat of a body short: they end up in logs.
const maxQuoted = 40 // bytes

func clip(name []byte) string {
	if len(name) <= maxQuoted {
		return string(bytes.ToValidUTF8(name, []byte("?")))
	}
	return string(bytes.ToValidUTF8(name[:maxQuoted], nil)) + "..."
}
