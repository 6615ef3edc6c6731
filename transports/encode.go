package transports

import (
	"bytes"
	"encoding/binary"
	"math"

	"github.com/gobwas/ws"

	"hubstream/streams"
	"hubstream/transports/hubprotocol"
)

// Formats in which items go out: each encoding is made once per node, whoever needs it first.
var (
	messagePackFormat = streams.NewFormat(func(dst []byte, i *streams.Item) []byte {
		b, err := hubprotocol.AppendMessagePack(dst, i.Body)
		if err != nil {
			return nil
		}
		return b
	})
	textFormat = streams.NewFormat(func(dst []byte, i *streams.Item) []byte {
		return appendFrame(dst, ws.OpText, i.Body)
	})
	binaryFormat = streams.NewFormat(func(dst []byte, i *streams.Item) []byte {
		b := message(i, hubprotocol.MessagePack)
		if b == nil {
			b = hubprotocol.AppendBlank(nil, hubprotocol.MessagePack)
		}
		return appendFrame(dst, ws.OpBinary, b)
	})
	eventFormat = streams.NewFormat(func(dst []byte, i *streams.Item) []byte { return appendEvent(dst, i.Body) })
	// eventChunkFormat is an event in a chunk of its own: chunks can be joined, as frames can.
	eventChunkFormat = streams.NewFormat(func(dst []byte, i *streams.Item) []byte {
		return appendChunk(dst, appendEvent(nil, i.Body), true)
	})
)

// message returns the hub message of an item in a protocol, or nothing if it cannot be
// shown. What is published is checked for every protocol before, so that is a bug.
func message(i *streams.Item, p hubprotocol.Protocol) []byte {
	if p == hubprotocol.JSON || i.Flags&streams.FlagHandshake != 0 {
		return i.Body
	}
	if i.Kind == streams.KindReply && hubprotocol.Protocol(i.Protocol) == p {
		return i.Body // to one client, in its own protocol
	}
	return i.Encoding(messagePackFormat)
}

// frameOf is the format of frames in a protocol. A message that cannot be shown becomes a blank one, which
// clients count and drop: the numbers of what follows must not shift.
func frameOf(p hubprotocol.Protocol) *streams.Format {
	if p == hubprotocol.MessagePack {
		return binaryFormat
	}
	return textFormat
}

// protocolFrame returns a frame of finished messages in the protocol's opcode. JSON
// must leave in text frames: the JavaScript client fails on anything else.
func protocolFrame(payload []byte, p hubprotocol.Protocol) []byte {
	if p == hubprotocol.MessagePack {
		return binaryFrame(payload)
	}
	return textFrame(payload)
}

func textFrame(payload []byte) []byte   { return appendFrame(nil, ws.OpText, payload) }
func binaryFrame(payload []byte) []byte { return appendFrame(nil, ws.OpBinary, payload) }

// appendFrame appends an unmasked WebSocket frame (RFC 6455, section 5.2).
func appendFrame(dst []byte, op ws.OpCode, payload []byte) []byte {
	const fin = 0x80
	if dst == nil {
		dst = make([]byte, 0, ws.MaxHeaderSize+len(payload))
	}
	dst = append(dst, fin|byte(op))
	switch n := len(payload); {
	case n < 126:
		dst = append(dst, byte(n))
	case n <= math.MaxUint16:
		dst = binary.BigEndian.AppendUint16(append(dst, 126), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, 127), uint64(n))
	}
	return append(dst, payload...)
}

// appendEvent frames hub messages as one event (TransportProtocols.md, "Server-Sent
// Events"): only data lines, ended by CRLF; older .NET clients fail on anything else.
func appendEvent(dst, data []byte) []byte { return append(appendData(dst, data), "\r\n"...) }

// appendData appends an event's data alone.
func appendData(dst, data []byte) []byte {
	for line := range bytes.SplitSeq(data, []byte("\n")) {
		dst = append(dst, "data: "...)
		dst = append(dst, bytes.TrimSuffix(line, []byte("\r"))...)
		dst = append(dst, "\r\n"...)
	}
	return dst
}
