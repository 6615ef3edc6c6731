package hubprotocol

import (
	"strconv"

	"github.com/tinylib/msgp/msgp"
)

// AppendPing appends a Ping, which keeps the connection alive and means nothing else (HubProtocol.md, "Ping").
func AppendPing(dst []byte, p Protocol) []byte {
	if p == MessagePack {
		return append(dst, 2, 0x91, byte(Ping))
	}
	return append(dst, `{"type":6}`+recordEnd...)
}

// recordEnd is RecordSeparator as a string.
const recordEnd = "\x1e"

// AppendClose appends a Close, after which nothing may follow (HubProtocol.md, "Close"). An empty errText is no error;
// allowReconnect makes clients with automatic reconnect come back.
func AppendClose(dst []byte, p Protocol, errText string, allowReconnect bool) []byte {
	if p == MessagePack {
		dst, at := reserve(dst)
		dst = appendItemsHeader(dst, 3, Close)
		dst = appendStringOrNil(dst, errText)
		dst = msgp.AppendBool(dst, allowReconnect)
		return fillInFrame(dst, at)
	}
	dst = append(dst, `{"type":7`...)
	if errText != "" {
		dst = append(dst, `,"error":`...)
		dst = appendQuoted(dst, errText)
	}
	if allowReconnect {
		dst = append(dst, `,"allowReconnect":true`...)
	}
	return append(dst, '}', RecordSeparator)
}

// AppendAck appends an Ack: the client may forget its messages up to number n. Only for hub protocol version 2; Java clients
// die of it.
func AppendAck(dst []byte, p Protocol, n uint64) []byte {
	return appendNumbered(dst, p, Ack, n)
}

// AppendSequence appends a Sequence: the next message is number n. Only for hub protocol version 2. n is the first message that
// the client has not acknowledged, not, as the specification's draft has it, the last one sent and one more.
func AppendSequence(dst []byte, p Protocol, n uint64) []byte {
	return appendNumbered(dst, p, Sequence, n)
}

func appendNumbered(dst []byte, p Protocol, t MessageType, n uint64) []byte {
	if p == MessagePack {
		dst, at := reserve(dst)
		dst = appendItemsHeader(dst, 2, t)
		dst = msgp.AppendUint64(dst, n)
		return fillInFrame(dst, at)
	}
	dst = append(dst, `{"type":`...)
	dst = strconv.AppendUint(dst, uint64(t), 10)
	dst = append(dst, `,"sequenceId":`...)
	dst = strconv.AppendUint(dst, n, 10)
	return append(dst, '}', RecordSeparator)
}

func appendStringOrNil(dst []byte, s string) []byte {
	if s == "" {
		return msgp.AppendNil(dst)
	}
	return appendString(dst, s)
}
