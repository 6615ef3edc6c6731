package hubprotocol

import "strings"

// Protocol is one of SignalR's two hub protocols. The zero value is neither.
type Protocol uint8

const (
	JSON        Protocol = 1
	MessagePack Protocol = 2
)

// TransferFormat says which frames carry a protocol, in the words of negotiation (TransportProtocols.md, "POST
// [endpoint-base]/negotiate request").
type TransferFormat string

const (
	Text   TransferFormat = "Text"
	Binary TransferFormat = "Binary"
)

// String is the protocol's name in the handshake, or "" for the zero value.
func (p Protocol) String() string {
	switch p {
	case JSON:
		return "json"
	case MessagePack:
		return "messagepack"
	}
	return ""
}

// TransferFormat is Text for JSON: JavaScript clients break on JSON in binary frames and on MessagePack in text frames.
func (p Protocol) TransferFormat() TransferFormat {
	if p == MessagePack {
		return Binary
	}
	return Text
}

// ParseProtocol finds a protocol by its name in the handshake. Like ASP.NET Core's server it does not mind the case.
func ParseProtocol(name string) (Protocol, bool) {
	for _, p := range [...]Protocol{JSON, MessagePack} {
		if strings.EqualFold(name, p.String()) {
			return p, true
		}
	}
	return 0, false
}
