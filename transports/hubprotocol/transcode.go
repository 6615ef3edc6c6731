package hubprotocol

import (
	"bytes"
	"strconv"

	"github.com/tinylib/msgp/msgp"
)

// AppendMessagePack appends the MessagePack form, with its length prefix, of one complete JSON message that goes to clients:
// Invocation, StreamItem, Completion or Close (HubProtocol.md, "MessagePack (MsgPack) encoding"). Numbers written without
// fraction and exponent become the smallest integers, all others float64; objects become maps in the order written. What
// AppendInvocation has made is always accepted; otherwise the error is a *MessageError and dst comes back as it was.
func AppendMessagePack(dst []byte, jsonMessage []byte) ([]byte, error) {
	f, err := readPublished(jsonMessage)
	if err != nil {
		return dst, err
	}
	next, at := reserve(dst)
	next = f.appendItems(next)
	return fillInFrame(next, at), nil
}

func readPublished(message []byte) (f fields, err error) {
	text, complete := bytes.CutSuffix(message, []byte{RecordSeparator})
	if !complete {
		return f, &MessageError{Reason: "the message has no record separator"}
	}
	if len(text) > maxPublished {
		return f, errTooLong
	}
	s := scanner{src: text, strict: true}
	f, bad := s.readFields()
	if bad == nil {
		bad = f.check()
	}
	if bad != nil {
		return f, bad
	}
	switch f.kind {
	case Invocation, StreamItem, Completion, Close:
		return f, nil
	}
	return f, messageErrorf("messages of type %d do not go to clients", f.kind)
}

func (f *fields) appendItems(dst []byte) []byte {
	switch f.kind {
	case Invocation: // .NET and Java send all six items, so all clients take them
		dst = appendItemsHeader(dst, 6, f.kind)
		dst = appendTextOrNil(dst, f.invocationID)
		dst = appendValue(dst, f.target)
		dst = appendValue(dst, f.arguments)
		if f.streamIDs == nil {
			return msgp.AppendArrayHeader(dst, 0)
		}
		return appendValue(dst, f.streamIDs)
	case StreamItem:
		dst = appendItemsHeader(dst, 4, f.kind)
		dst = appendValue(dst, f.invocationID)
		return appendValue(dst, f.item)
	case Completion:
		return f.appendCompletionItems(dst)
	default:
		dst = appendItemsHeader(dst, 3, f.kind)
		dst = appendTextOrNil(dst, f.errorText)
		return msgp.AppendBool(dst, f.allowReconnect)
	}
}

func (f *fields) appendCompletionItems(dst []byte) []byte {
	kind, value := byte(resultVoid), []byte(nil)
	switch {
	case f.errorText != nil:
		kind, value = resultError, f.errorText
	case f.result != nil:
		kind, value = resultValue, f.result
	}
	if value == nil {
		dst = appendItemsHeader(dst, 4, f.kind)
		dst = appendValue(dst, f.invocationID)
		return append(dst, kind)
	}
	dst = appendItemsHeader(dst, 5, f.kind)
	dst = appendValue(dst, f.invocationID)
	return appendValue(append(dst, kind), value)
}

// appendTextOrNil takes an empty string for none, like clients do.
func appendTextOrNil(dst, raw []byte) []byte {
	if isEmpty(raw) {
		return msgp.AppendNil(dst)
	}
	return appendValue(dst, raw)
}

func appendValue(dst, raw []byte) []byte {
	t := transcoder{src: raw, dst: dst}
	t.value()
	return t.dst
}

// transcoder turns JSON that a strict scanner has accepted into MessagePack. Nothing can go wrong any more.
type transcoder struct {
	src []byte
	pos int
	dst []byte
}

func (t *transcoder) value() {
	switch t.src[t.pos] {
	case '"':
		t.string()
	case '{':
		t.object()
	case '[':
		t.array()
	case 't':
		t.dst = msgp.AppendBool(t.dst, true)
		t.pos += len("true")
	case 'f':
		t.dst = msgp.AppendBool(t.dst, false)
		t.pos += len("false")
	case 'n':
		t.dst = msgp.AppendNil(t.dst)
		t.pos += len("null")
	default:
		t.number()
	}
}

func (t *transcoder) array() {
	var at int
	t.dst, at = reserve(t.dst)
	n := uint32(0)
	for t.pos++; t.more(']'); n++ {
		t.value()
	}
	t.dst = fillInArray(t.dst, at, n)
}

func (t *transcoder) object() {
	var at int
	t.dst, at = reserve(t.dst)
	n := uint32(0)
	for t.pos++; t.more('}'); n++ {
		t.string()
		t.skip() // the colon and space around it
		t.value()
	}
	t.dst = fillInMap(t.dst, at, n)
}

// more goes to the next element or member, or past the end of the array or object.
func (t *transcoder) more(end byte) bool {
	t.skip()
	if t.src[t.pos] == end {
		t.pos++
		return false
	}
	return true
}

// skip passes over white space and what stands between values, which is known to be in its place.
func (t *transcoder) skip() {
	for c := t.src[t.pos]; c == ',' || c == ':' || isSpace(c); c = t.src[t.pos] {
		t.pos++
	}
}

func (t *transcoder) string() {
	start := t.pos + 1
	end := start + bytes.IndexByte(t.src[start:], '"')
	if bytes.IndexByte(t.src[start:end], '\\') < 0 {
		t.dst = msgp.AppendStringFromBytes(t.dst, t.src[start:end])
		t.pos = end + 1
		return
	}
	for end = start; t.src[end] != '"'; end++ {
		if t.src[end] == '\\' {
			end++
		}
	}
	var at int
	t.dst, at = reserve(t.dst)
	t.dst = appendUnescaped(t.dst, t.src[start:end])
	t.dst = fillInString(t.dst, at)
	t.pos = end + 1
}

func (t *transcoder) number() {
	start := t.pos
	for t.pos < len(t.src) && isNumeric(t.src[t.pos]) {
		t.pos++
	}
	literal := t.src[start:t.pos]
	if !isInteger(literal) {
		f, _ := strconv.ParseFloat(string(literal), 64)
		t.dst = msgp.AppendFloat64(t.dst, f)
		return
	}
	magnitude, negative, _ := parseInteger(literal)
	if negative {
		t.dst = msgp.AppendInt64(t.dst, -int64(magnitude))
		return
	}
	t.dst = msgp.AppendUint64(t.dst, magnitude)
}

func isNumeric(c byte) bool {
	return c-'0' <= 9 || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E'
}
