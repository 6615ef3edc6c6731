package hubprotocol

import (
	"unicode/utf8"

	"github.com/tinylib/msgp/msgp"
)

// Kinds of result in a MessagePack Completion (HubProtocol.md, "Completion Message Encoding").
const (
	resultError = 1
	resultVoid  = 2
	resultValue = 3
)

// decodeMessagePack reads one message from a client, without its length prefix (HubProtocol.md, "MessagePack (MsgPack)
// encoding"). Items beyond those that the type has are skipped, and JavaScript clients leave out the stream IDs if there are none.
func decodeMessagePack(payload []byte) (Message, *MessageError) {
	r := openItems(payload)
	m := Message{Type: messageType(r.signed("type"))}
	switch m.Type {
	case Invocation, StreamInvocation:
		r.skip("headers")
		m.InvocationID = r.text("invocationId")
		m.Target = r.required("target")
		m.Arguments = r.array("arguments")
		if r.left > 0 {
			m.StreamIDs = r.texts("streamIds")
		}
		if m.Type == StreamInvocation && m.InvocationID == "" {
			r.fail(missing("invocationId"))
		}
	case StreamItem:
		r.skip("headers")
		m.InvocationID = r.required("invocationId")
		m.Item = r.skip("item")
	case Completion:
		r.skip("headers")
		m.InvocationID = r.required("invocationId")
		r.result(&m)
	case CancelInvocation:
		r.skip("headers")
		m.InvocationID = r.required("invocationId")
	case Close: // the specification has two items, ASP.NET Core sends three
		if r.left > 0 {
			m.Error = r.text("error")
		}
		if r.left > 0 {
			m.AllowReconnect = r.boolean("allowReconnect")
		}
	case Ack, Sequence:
		m.SequenceID = r.unsigned("sequenceId")
	}
	if err := r.close(); err != nil {
		return Message{}, err
	}
	return m, nil
}

// items are those of the array that is the message. The first error stays and makes what follows read as nothing, so that a
// message is read straight down.
type items struct {
	rest []byte
	left uint32 // items not yet read
	err  *MessageError
}

func openItems(payload []byte) items {
	n, rest, err := msgp.ReadArrayHeaderBytes(payload)
	if err != nil {
		return items{err: &MessageError{Reason: "expected a MessagePack array"}}
	}
	return items{rest: rest, left: n}
}

// next tells whether there is one more item to read.
func (r *items) next(name string) bool {
	if r.err == nil && r.left == 0 {
		r.fail(missing(name))
	}
	if r.err != nil {
		return false
	}
	r.left--
	return true
}

func (r *items) fail(err *MessageError) {
	if r.err == nil {
		r.err, r.left = err, 0
	}
}

// took moves on to what follows an item.
func (r *items) took(name string, rest []byte, err error) {
	if err != nil {
		r.fail(&MessageError{Field: name, Reason: err.Error()})
		return
	}
	r.rest = rest
}

func (r *items) signed(name string) (value int64) {
	if r.next(name) {
		v, rest, err := msgp.ReadInt64Bytes(r.rest)
		r.took(name, rest, err)
		value = v
	}
	return value
}

func (r *items) unsigned(name string) (value uint64) {
	if r.next(name) {
		v, rest, err := msgp.ReadUint64Bytes(r.rest)
		r.took(name, rest, err)
		value = v
	}
	return value
}

func (r *items) boolean(name string) (value bool) {
	if r.next(name) {
		v, rest, err := msgp.ReadBoolBytes(r.rest)
		r.took(name, rest, err)
		value = v
	}
	return value
}

// text reads a string, or nil as the empty one.
func (r *items) text(name string) string {
	if !r.next(name) {
		return ""
	}
	if msgp.IsNil(r.rest) {
		r.rest = r.rest[1:]
		return ""
	}
	return r.readString(name)
}

func (r *items) required(name string) string {
	value := r.text(name)
	if value == "" {
		r.fail(missing(name))
	}
	return value
}

func (r *items) readString(name string) string {
	value, rest, err := msgp.ReadStringBytes(r.rest)
	r.took(name, rest, err)
	if err == nil && !utf8.ValidString(value) {
		r.fail(&MessageError{Field: name, Reason: "invalid UTF-8"})
	}
	return value
}

// texts reads an array of strings, or nil as an empty one.
func (r *items) texts(name string) (list []string) {
	if !r.next(name) {
		return nil
	}
	if msgp.IsNil(r.rest) {
		r.rest = r.rest[1:]
		return nil
	}
	n, rest, err := msgp.ReadArrayHeaderBytes(r.rest)
	r.took(name, rest, err)
	for ; n > 0 && r.err == nil; n-- { // n is the client's word: nothing is made to its size
		list = append(list, r.readString(name))
	}
	return list
}

// array returns an array as it came.
func (r *items) array(name string) []byte {
	if r.err == nil && r.left > 0 && msgp.NextType(r.rest) != msgp.ArrayType {
		r.fail(expected(name, "Array"))
	}
	return r.skip(name)
}

// skip returns an item of any type as it came.
func (r *items) skip(name string) []byte {
	if !r.next(name) {
		return nil
	}
	item := r.rest
	rest, err := skipValue(item, maxDepth-1)
	r.took(name, rest, err)
	size := len(item) - len(rest)
	return item[:size:size]
}

func (r *items) result(m *Message) {
	switch kind := r.signed("resultKind"); kind {
	case resultError: // .NET sends an exception's text, which may be empty, and it is an error all the same
		if m.Error = r.text("error"); m.Error == "" {
			m.Error = "An error without a text."
		}
	case resultVoid:
	case resultValue:
		m.Result, m.HasResult = r.skip("result"), true
	default:
		r.fail(messageErrorf("Invalid invocation result kind %d.", kind))
	}
}

// close skips surplus items and makes sure that the message ends with its last one.
func (r *items) close() *MessageError {
	for r.err == nil && r.left > 0 {
		r.skip("surplus item")
	}
	if r.err == nil && len(r.rest) > 0 {
		r.fail(messageErrorf("%d bytes follow the message's array", len(r.rest)))
	}
	return r.err
}

var errDepth = messageErrorf("nested deeper than %d levels", maxDepth)

// skipValue returns what follows one value that nests at most depth arrays and maps.
func skipValue(b []byte, depth int) (rest []byte, err error) {
	var n uint64
	switch msgp.NextType(b) {
	case msgp.ArrayType:
		size, after, err := msgp.ReadArrayHeaderBytes(b)
		if err != nil {
			return b, err
		}
		n, rest = uint64(size), after
	case msgp.MapType:
		size, after, err := msgp.ReadMapHeaderBytes(b)
		if err != nil {
			return b, err
		}
		n, rest = 2*uint64(size), after
	default:
		return msgp.Skip(b)
	}
	if depth == 0 {
		return b, errDepth
	}
	for ; n > 0; n-- {
		if rest, err = skipValue(rest, depth-1); err != nil {
			return b, err
		}
	}
	return rest, nil
}
