package negotiate

// Transport is the name of a transport as SignalR writes it on the wire.
type Transport string

// The transports of TransportProtocols.md.
const (
	WebSockets       Transport = "WebSockets"
	ServerSentEvents Transport = "ServerSentEvents"
	LongPolling      Transport = "LongPolling"
)

// TransferFormat is the name of a transfer format as SignalR writes it on the wire.
type TransferFormat string

// The transfer formats: JSON needs Text, MessagePack needs Binary.
const (
	Text   TransferFormat = "Text"
	Binary TransferFormat = "Binary"
)

// TransferFormats returns what the transport can carry, or nil for an unknown one. Server-sent events are text by
// definition (TransportProtocols.md, "Server-Sent Events").
func (t Transport) TransferFormats() []TransferFormat {
	switch t {
	case WebSockets, LongPolling:
		return []TransferFormat{Text, Binary}
	case ServerSentEvents:
		return []TransferFormat{Text}
	}
	return nil
}

// AvailableTransport is one element of a negotiate answer's availableTransports.
type AvailableTransport struct {
	Transport       Transport        `json:"transport"`
	TransferFormats []TransferFormat `json:"transferFormats"`
}
