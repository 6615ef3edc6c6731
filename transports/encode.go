package transports

import (
	"bytes"

	"github.com/gobwas/ws"

	"hubstream/streams"
	"hubstream/transports/hubprotocol"
)

// Slots of an item's encodings: each is made once per node, whoever needs it first.
const (
	encodedMessagePack = iota
	encodedFrame       // a WebSocket text frame of the JSON
	encodedBinaryFrame // a WebSocket binary frame of the MessagePack
	encodedEvent       // a server-sent event of the JSON
)

// message returns the hub message of an item in a protocol, or nothing if it cannot be
// shown. What is published is checked for every protocol before, so that is a bug.
func message(i *streams.Item, p hubprotocol.Protocol) []byte {
	if p == hubprotocol.JSON || i.Flags&streams.FlagHandshake != 0 {
		return i.Body
	}
	return i.Encoding(encodedMessagePack, func(i *streams.Item) []byte {
		b, err := hubprotocol.AppendMessagePack(nil, i.Body)
		if err != nil {
			return nil
		}
		return b
	})
}

// frame returns an item as a WebSocket frame. A message that cannot be shown becomes a blank one, which
// clients count and drop: the numbers of what follows must not shift.
func frame(i *streams.Item, p hubprotocol.Protocol) []byte {
	if p == hubprotocol.JSON {
		return i.Encoding(encodedFrame, func(i *streams.Item) []byte { return textFrame(i.Body) })
	}
	return i.Encoding(encodedBinaryFrame, func(i *streams.Item) []byte {
		b := message(i, p)
		if b == nil {
			b = hubprotocol.AppendBlank(nil, p)
		}
		return binaryFrame(b)
	})
}

// protocolFrame returns a frame of finished messages in the protocol's opcode. JSON
// must leave in text frames: the JavaScript client fails on anything else.
func protocolFrame(payload []byte, p hubprotocol.Protocol) []byte {
	if p == hubprotocol.MessagePack {
		return binaryFrame(payload)
	}
	return textFrame(payload)
}

func textFrame(payload []byte) []byte   { return ws.MustCompileFrame(ws.NewTextFrame(payload)) }
func binaryFrame(payload []byte) []byte { return ws.MustCompileFrame(ws.NewBinaryFrame(payload)) }

// event returns an item as a server-sent event.
func event(i *streams.Item) []byte {
	return i.Encoding(encodedEvent, func(i *streams.Item) []byte { return appendEvent(nil, i.Body) })
}

// appendEvent frames hub messages as one event (TransportProtocols.md, "Server-Sent
// Events"): only data lines, ended by CRLF; older .NET clients fail on anything else.
func appendEvent(dst, data []byte) []byte {
	for line := range bytes.SplitSeq(data, []byte("\n")) {
		dst = append(dst, "data: "...)
		dst = append(dst, bytes.TrimSuffix(line, []byte("\r"))...)
		dst = append(dst, "\r\n"...)
	}
	return append(dst, "\r\n"...)
}
