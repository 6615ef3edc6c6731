package hubprotocol

import (
	"bytes"
	"encoding/base64"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/tinylib/msgp/msgp"
)

// AppendJSON appends the JSON form of one MessagePack value. Binary becomes text in base64, as .NET writes byte arrays in JSON; floats keep a
// fraction or an exponent. What JSON has no form for is refused: extension types, keys that are no strings, NaN and infinities.
// The error is a *MessageError that names the place, and dst comes back as it was.
func AppendJSON(dst, value []byte) ([]byte, error) {
	t := jsonWriter{dst: dst}
	if err := t.whole(value); err != nil {
		return dst, err
	}
	return t.dst, nil
}

type jsonWriter struct {
	dst   []byte
	loose bool // see ToJSON
}

// whole writes a value that nothing follows.
func (t *jsonWriter) whole(value []byte) error {
	rest, err := t.value(value, 0)
	switch {
	case err != nil:
		return err
	case len(rest) > 0:
		return messageErrorf("%d bytes follow the value", len(rest))
	}
	return nil
}

var errCutOff = &MessageError{Reason: "the MessagePack value is cut off or malformed"}

func (t *jsonWriter) value(b []byte, depth int) (rest []byte, bad *MessageError) {
	if depth > maxDepth {
		return b, errDepth
	}
	var err error
	switch msgp.NextType(b) {
	case msgp.NilType:
		t.dst = append(t.dst, "null"...)
		rest, err = msgp.ReadNilBytes(b)
	case msgp.BoolType:
		var v bool
		v, rest, err = msgp.ReadBoolBytes(b)
		t.dst = strconv.AppendBool(t.dst, v)
	case msgp.IntType:
		var v int64
		v, rest, err = msgp.ReadInt64Bytes(b)
		t.dst = strconv.AppendInt(t.dst, v, 10)
	case msgp.UintType:
		var v uint64
		v, rest, err = msgp.ReadUint64Bytes(b)
		t.dst = strconv.AppendUint(t.dst, v, 10)
	case msgp.Float32Type:
		var v float32
		v, rest, err = msgp.ReadFloat32Bytes(b)
		bad = t.float(float64(v), 32)
	case msgp.Float64Type:
		var v float64
		v, rest, err = msgp.ReadFloat64Bytes(b)
		bad = t.float(v, 64)
	case msgp.StrType:
		rest, bad = t.string(b)
	case msgp.BinType:
		var v []byte
		v, rest, err = msgp.ReadBytesZC(b)
		t.dst = append(base64.StdEncoding.AppendEncode(append(t.dst, '"'), v), '"')
	case msgp.ArrayType:
		rest, bad = t.array(b, depth)
	case msgp.MapType:
		rest, bad = t.object(b, depth)
	case msgp.InvalidType:
		return b, errCutOff
	default:
		rest, bad = t.extension(b)
	}
	if err != nil {
		return b, errCutOff
	}
	return rest, bad
}

var errExtension = &MessageError{Reason: "MessagePack's extension types have no form in JSON"}

func (t *jsonWriter) extension(b []byte) (rest []byte, bad *MessageError) {
	if !t.loose {
		return b, errExtension
	}
	rest, err := msgp.Skip(b)
	if err != nil {
		return b, errCutOff
	}
	var text bytes.Buffer
	if _, err := msgp.UnmarshalAsJSON(&text, b[:len(b)-len(rest)]); err != nil {
		return b, errExtension
	}
	t.dst = append(t.dst, text.Bytes()...)
	return rest, nil
}

func (t *jsonWriter) float(v float64, bits int) *MessageError {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return messageErrorf("NaN and infinities have no form in JSON")
	}
	start := len(t.dst)
	t.dst = strconv.AppendFloat(t.dst, v, 'g', -1, bits)
	if isInteger(t.dst[start:]) {
		t.dst = append(t.dst, ".0"...) // so that it is a float for MessagePack clients, too
	}
	return nil
}

func (t *jsonWriter) string(b []byte) (rest []byte, bad *MessageError) {
	v, rest, err := msgp.ReadStringZC(b)
	if err != nil {
		return b, errCutOff
	}
	if !t.loose && !utf8.Valid(v) {
		return b, messageErrorf("invalid UTF-8")
	}
	t.dst = appendQuoted(t.dst, string(v))
	return rest, nil
}

func (t *jsonWriter) array(b []byte, depth int) (rest []byte, bad *MessageError) {
	n, rest, err := msgp.ReadArrayHeaderBytes(b)
	if err != nil {
		return b, errCutOff
	}
	t.dst = append(t.dst, '[')
	for i := range int(n) { // n is the caller's word: nothing is made to its size
		if i > 0 {
			t.dst = append(t.dst, ',')
		}
		if rest, bad = t.value(rest, depth+1); bad != nil {
			return b, bad.inElement(i)
		}
	}
	t.dst = append(t.dst, ']')
	return rest, nil
}

func (t *jsonWriter) object(b []byte, depth int) (rest []byte, bad *MessageError) {
	n, rest, err := msgp.ReadMapHeaderBytes(b)
	if err != nil {
		return b, errCutOff
	}
	t.dst = append(t.dst, '{')
	for i := range int(n) {
		if i > 0 {
			t.dst = append(t.dst, ',')
		}
		start := len(t.dst)
		if rest, bad = t.key(rest); bad != nil {
			return b, bad
		}
		key := t.dst[start:]
		t.dst = append(t.dst, ':')
		if rest, bad = t.value(rest, depth+1); bad != nil {
			return b, bad.inMember([]byte(unquote(key)))
		}
	}
	t.dst = append(t.dst, '}')
	return rest, nil
}

func (t *jsonWriter) key(b []byte) (rest []byte, bad *MessageError) {
	switch kind := msgp.NextType(b); {
	case kind == msgp.StrType:
		return t.string(b)
	case t.loose && (kind == msgp.IntType || kind == msgp.UintType):
		t.dst = append(t.dst, '"')
		rest, bad = t.value(b, 0)
		t.dst = append(t.dst, '"')
		return rest, bad
	}
	return b, messageErrorf("a key is not a string")
}
