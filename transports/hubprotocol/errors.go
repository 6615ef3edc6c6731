package hubprotocol

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrIncomplete says that the bytes so far are the beginning of something whole: more are needed.
var ErrIncomplete = errors.New("incomplete")

// MessageError says why bytes are not a hub message, or not one that every protocol can carry.
type MessageError struct {
	Field  string // the place, such as "arguments[2].name"; "" for the message as a whole
	Reason string // never holds more of the message than a short literal
}

func (e *MessageError) Error() string {
	if e.Field == "" {
		return e.Reason
	}
	return e.Field + ": " + e.Reason
}

// TooLargeError is returned for a hub message longer than the connection may send.
type TooLargeError struct {
	Limit int // bytes of one hub message, its framing included
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("the maximum message size of %d bytes was exceeded", e.Limit)
}

func messageErrorf(format string, args ...any) *MessageError {
	return &MessageError{Reason: fmt.Sprintf(format, args...)}
}

func missing(property string) *MessageError {
	return messageErrorf("Missing required property '%s'.", property)
}

func expected(property, kind string) *MessageError {
	return messageErrorf("Expected '%s' to be of type %s.", property, kind)
}

// inElement and inMember put the error one level further out, so that the path is built only when something is wrong.
func (e *MessageError) inElement(index int) *MessageError {
	return e.in("[" + strconv.Itoa(index) + "]")
}

func (e *MessageError) inMember(key []byte) *MessageError {
	return e.in(clip(key))
}

func (e *MessageError) in(place string) *MessageError {
	if e.Field != "" && e.Field[0] != '[' {
		place += "."
	}
	field := place + e.Field
	if len(field) > maxPlace {
		field = strings.ToValidUTF8(field[:maxPlace], "")
	}
	return &MessageError{Field: field, Reason: e.Reason}
}

// maxPlace is as much as no message is too deep for. What lies deeper in a list keeps the beginning of its place: on the way out
// the whole of it is copied at every level.
const maxPlace = maxDepth * (maxQuoted + len("...."))

// maxQuoted keeps what errors repeat of a message short: they end up in answers and logs.
const maxQuoted = 40 // bytes

func clip(b []byte) string {
	if len(b) <= maxQuoted {
		return string(b)
	}
	return strings.ToValidUTF8(string(b[:maxQuoted]), "") + "..."
}
