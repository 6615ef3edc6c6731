package handlers

import (
	"mime"
	"net/http"
	"strings"

	"github.com/tinylib/msgp/msgp"

	"hubstream/streams"
	"hubstream/transports/hubprotocol"
)

// Media types of the bodies that Azure takes beside JSON.
const (
	mediaOctets  = "application/octet-stream"
	mediaMsgpack = "application/x-msgpack"
)

// readBinary takes a body in MessagePack: a map from names of hub protocols to whole hub messages in them, as Azure's SDKs write it when
// they know several protocols, or a map with target and arguments. A message in JSON is used where there is one, and one in
// MessagePack transcoded: every client is sent its own protocol's form of the same.
func (w *sendWork) readBinary() error {
	fields, err := mapOf(w.raw)
	if err != nil {
		return err
	}
	if message, ok := fields["json"]; ok {
		return w.readFramed(message, hubprotocol.JSON, "json")
	}
	if message, ok := fields["messagepack"]; ok {
		return w.readFramed(message, hubprotocol.MessagePack, "messagepack")
	}
	target, ok := fields["target"]
	if !ok {
		return invalid("target", "is missing; a body of MessagePack is a map with target and arguments, or with messages by protocol")
	}
	name, _, err := msgp.ReadStringBytes(target)
	if err != nil {
		return invalid("target", "must be a string")
	}
	return w.setMessage(name, fields["arguments"], hubprotocol.MessagePack)
}

// mapOf reads a map whose keys are strings in any case. The values are as they are.
func mapOf(raw []byte) (map[string][]byte, error) {
	n, rest, err := msgp.ReadMapHeaderBytes(raw)
	if err != nil {
		return nil, malformed("the body must be a map of MessagePack")
	}
	fields := map[string][]byte{}
	for range n {
		key, after, err := msgp.ReadStringBytes(rest)
		if err != nil {
			return nil, malformed("the body is not MessagePack: a key of its map is not a string")
		}
		if rest, err = msgp.Skip(after); err != nil {
			return nil, malformed("the body is not MessagePack: it ends too early")
		}
		fields[strings.ToLower(key)] = after[:len(after)-len(rest)]
	}
	if len(rest) > 0 {
		return nil, malformed("the body has trailing data")
	}
	return fields, nil
}

// readFramed takes one whole hub message with its framing.
func (w *sendWork) readFramed(value []byte, p hubprotocol.Protocol, field string) error {
	framed, _, err := msgp.ReadBytesZC(value)
	if err != nil {
		return invalid(field, "must be binary")
	}
	message, err := wholeMessage(framed, p, field)
	switch {
	case err != nil:
		return err
	case message.Type != hubprotocol.Invocation || message.InvocationID != "" || len(message.StreamIDs) > 0:
		return invalid(field, "must be an invocation that wants no answer")
	}
	return w.setMessage(message.Target, message.Arguments, p)
}

// wholeMessage reads the one hub message, with its framing, that a field must be.
func wholeMessage(framed []byte, p hubprotocol.Protocol, field string) (hubprotocol.Message, error) {
	parser := hubprotocol.NewParser(p, len(framed)+1)
	parser.Feed(framed)
	message, ok, err := parser.Next()
	switch {
	case err != nil:
		return message, invalid(field, "is no hub message: "+err.Error())
	case !ok || parser.Buffered() > 0:
		return message, invalid(field, "must be one whole hub message")
	}
	return message, nil
}

// setMessage makes the message of a target and arguments in a protocol.
func (w *sendWork) setMessage(target string, arguments []byte, p hubprotocol.Protocol) (err error) {
	switch {
	case target == "":
		return invalid("target", "is missing")
	case len(target) > streams.MaxIDBytes:
		return invalid("target", overLimit(len(target)))
	}
	if p == hubprotocol.MessagePack && len(arguments) > 0 {
		if arguments, err = hubprotocol.AppendJSON(nil, arguments); err != nil {
			return invalid("arguments", "cannot be sent: "+err.Error())
		}
	}
	if len(arguments) == 0 || string(arguments) == "null" {
		arguments = noArguments
	}
	if w.message, err = hubprotocol.AppendInvocation(w.message[:0], target, arguments); err != nil {
		return refuseMessage(err)
	}
	w.entry.Body = w.message
	return nil
}

// isBinary tells whether a send's body is said to be MessagePack, and refuses what is neither that nor JSON.
func isBinary(header http.Header) (bool, error) {
	switch mediaType, _, _ := mime.ParseMediaType(header.Get("Content-Type")); mediaType {
	case mediaOctets, mediaMsgpack:
		return true, nil
	}
	return false, checkContentType(header)
}
