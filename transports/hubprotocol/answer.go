package hubprotocol

import (
	"bytes"
	"unicode/utf8"
)

// Unframe returns a message without its framing: the record separator, or the length prefix.
func Unframe(p Protocol, raw []byte) []byte {
	if p == MessagePack {
		if _, prefix, ok := readVarInt(raw); ok {
			return raw[prefix:]
		}
		return raw
	}
	return bytes.TrimSuffix(raw, []byte{RecordSeparator})
}

// ParseCompletion reads what should be one Completion and nothing else, with or without its framing. The error is a
// *MessageError.
func ParseCompletion(p Protocol, b []byte) (Message, error) {
	m, err := Message{}, (*MessageError)(nil)
	if p == MessagePack {
		// A message may begin with bytes that would be its own length, as that of 407 bytes does: that it has framing is certain only
		// once it cannot be read without.
		m, err = decodeMessagePack(b)
		if length, prefix, ok := readVarInt(b); err != nil && ok && prefix > 0 && length == len(b)-prefix {
			m, err = decodeMessagePack(b[prefix:])
		}
	} else {
		m, err = decodeJSON(bytes.TrimSuffix(bytes.TrimSpace(b), []byte{RecordSeparator}))
	}
	if err == nil && m.Type != Completion {
		err = messageErrorf("it is of type %d, not a Completion", m.Type)
	}
	if err != nil {
		return Message{}, err
	}
	return m, nil
}

// AppendCompletionResult appends the Completion of an invocation with a result, which is JSON and comes from outside: it is
// checked for every protocol, and passed through without its white space. The error is a *MessageError, and then dst comes back
// as it was.
func AppendCompletionResult(dst []byte, invocationID string, result []byte) ([]byte, error) {
	next, err := appendChecked(append(appendCompletion(dst, invocationID), `,"result":`...), result)
	if err != nil {
		return dst, err.inMember([]byte("result"))
	}
	return append(next, '}', RecordSeparator), nil
}

// AppendStreamItem appends an item of a stream; see AppendCompletionResult.
func AppendStreamItem(dst []byte, invocationID string, item []byte) ([]byte, error) {
	next := append(dst, `{"type":2,"invocationId":`...)
	next = append(appendQuoted(next, invocationID), `,"item":`...)
	next, err := appendChecked(next, item)
	if err != nil {
		return dst, err.inMember([]byte("item"))
	}
	return append(next, '}', RecordSeparator), nil
}

// appendChecked appends one JSON value without its white space, checked for every protocol.
func appendChecked(dst, value []byte) ([]byte, *MessageError) {
	if len(value) > maxPublished/2 {
		return dst, errTooLong
	}
	if !utf8.Valid(value) {
		return dst, &MessageError{Reason: "invalid UTF-8"}
	}
	s := scanner{src: value, depth: 1, strict: true, compact: true, dst: dst}
	s.space()
	if err := s.value(); err != nil {
		return dst, err
	}
	if err := s.end(); err != nil {
		return dst, err
	}
	return append(s.dst, s.src[s.copied:]...), nil
}

// AppendMessagePackResult is AppendCompletionResult for a result that is MessagePack, and goes to a client of that protocol.
func AppendMessagePackResult(dst []byte, invocationID string, result []byte) ([]byte, error) {
	if err := checkValue(result); err != nil {
		return dst, err
	}
	dst, at := reserve(dst)
	dst = appendItemsHeader(dst, 5, Completion)
	dst = appendString(dst, invocationID)
	dst = append(dst, resultValue)
	return fillInFrame(append(dst, result...), at), nil
}

// AppendMessagePackItem is AppendStreamItem for an item that is MessagePack, and goes to a client of that protocol.
func AppendMessagePackItem(dst []byte, invocationID string, item []byte) ([]byte, error) {
	if err := checkValue(item); err != nil {
		return dst, err
	}
	dst, at := reserve(dst)
	dst = appendItemsHeader(dst, 4, StreamItem)
	dst = appendString(dst, invocationID)
	return fillInFrame(append(dst, item...), at), nil
}

func checkValue(value []byte) error {
	rest, err := skipValue(value, maxDepth-1)
	if err != nil {
		return messageErrorf("it is not MessagePack: %v", err)
	}
	if len(rest) > 0 {
		return messageErrorf("%d bytes follow it", len(rest))
	}
	return nil
}

// ToJSON returns a value of a client's message as JSON: as it is, or made of MessagePack as AppendJSON makes it, but that what has no
// form in JSON gets one where that can be: extension types theirs (times are text), keys that are integers text, and what is no UTF-8
// in a string U+FFFD. The error is a *MessageError.
func ToJSON(p Protocol, value []byte) ([]byte, error) {
	if p != MessagePack {
		return value, nil
	}
	t := jsonWriter{loose: true}
	if err := t.whole(value); err != nil {
		return nil, err
	}
	return t.dst, nil
}

// AppendDisconnected appends the body that tells an upstream of a connection's end: no hub message, but alike. An empty reason is
// none.
func AppendDisconnected(dst []byte, reason string) []byte {
	dst = append(dst, `{"type":11`...)
	if reason != "" {
		dst = append(dst, `,"error":`...)
		dst = appendQuoted(dst, reason)
	}
	return append(dst, '}')
}
