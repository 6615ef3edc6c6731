package streams

import (
	"strconv"

	"github.com/tinylib/msgp/msgp"
	"github.com/valkey-io/valkey-go"
)

// Scripts pack hashes into one string with cmsgpack: by RESP each element is a reply of its own, which Valkey makes, and we read, for
// as long as all the rest of a small script takes.

// texts are the strings of a packed list, in order. Numbers are their texts, and what there was not is empty.
type texts struct {
	rest []string
	err  error
}

func (t *texts) text() string {
	if len(t.rest) == 0 {
		t.err = errAnswer
		return ""
	}
	s := t.rest[0]
	t.rest = t.rest[1:]
	return s
}

func (t *texts) position() Position { return parseStored(t.text(), &t.err) }

func (t *texts) int() int64 {
	s := t.text()
	if s == "" {
		return 0
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.err = errAnswer
	}
	return n
}

func (t *texts) uint() uint64 { return uint64(t.int()) }

// packed reads a string with one or two packed lists.
func (a *answer) packed() (first, second []string) {
	first, rest, err := unpack(a.text())
	if err == nil {
		second, _, err = unpack(rest)
	}
	if err != nil {
		a.err = err
	}
	return first, second
}

// unpack reads the packed list that an element is.
func (a *answer) unpack(m *valkey.ValkeyMessage) []string {
	var list []string
	packed, err := m.ToString()
	if err == nil {
		list, _, err = unpack(packed)
	}
	if err != nil {
		a.err = errAnswer
	}
	return list
}

// unpack returns the strings of the list that a packed string begins with, which are parts of it, and what follows. An empty string is an
// empty list.
func unpack(packed string) (list []string, rest string, err error) {
	if packed == "" {
		return nil, "", nil
	}
	b := []byte(packed)
	n, b, err := msgp.ReadArrayHeaderBytes(b)
	if err != nil || int64(n) > int64(len(b)) {
		return nil, "", errAnswer
	}
	list = make([]string, n)
	for i := range list {
		switch msgp.NextType(b) {
		case msgp.StrType:
			var s []byte
			if s, b, err = msgp.ReadStringZC(b); err == nil {
				end := len(packed) - len(b)
				list[i] = packed[end-len(s) : end]
			}
		case msgp.IntType, msgp.UintType:
			var number int64
			if number, b, err = msgp.ReadInt64Bytes(b); err == nil {
				list[i] = strconv.FormatInt(number, 10)
			}
		case msgp.BoolType: // false, which stands for nil
			_, b, err = msgp.ReadBoolBytes(b)
		default:
			err = errAnswer
		}
		if err != nil {
			return nil, "", errAnswer
		}
	}
	return list, packed[len(packed)-len(b):], nil
}
