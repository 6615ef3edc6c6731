package hubprotocol

// RecordSeparator ends every JSON message and both sides of the handshake. It cannot occur inside JSON, where control
// characters are escaped (HubProtocol.md, "JSON Encoding").
const RecordSeparator = 0x1E

// MessageType is the number that says what a hub message is (HubProtocol.md, "JSON Encoding" and "MessagePack (MsgPack)
// encoding"). Other numbers may come; they are to be ignored.
type MessageType uint8

const (
	Invocation       MessageType = 1
	StreamItem       MessageType = 2
	Completion       MessageType = 3
	StreamInvocation MessageType = 4
	CancelInvocation MessageType = 5
	Ping             MessageType = 6
	Close            MessageType = 7
	Ack              MessageType = 8
	Sequence         MessageType = 9
)

// Trackable tells whether messages of this type are numbered in stateful reconnect. Both sides must agree on this to the
// message, or acknowledgements drift.
func (t MessageType) Trackable() bool {
	return t >= Invocation && t <= CancelInvocation
}

// known tells whether this package knows what a message of this type is.
func (t MessageType) known() bool { return t >= Invocation && t <= Sequence }

// Message is what a client sent, decoded as far as routing needs. Fields that its type does not have are zero.
//
// Arguments, Item, Result and Raw point into the bytes given to Parser.Feed, or into the parser's own; they hold until the
// next Feed and are still in the protocol's encoding. The strings are copies.
type Message struct {
	Type MessageType // 0 for a number that fits no message type at all

	InvocationID string // "" means none, so no answer is wanted; "0" is an ID like any other
	Target       string
	Arguments    []byte   // one array
	StreamIDs    []string // of the streams that the client will upload, in the order of the parameters

	Item      []byte // of a StreamItem, never empty there
	Result    []byte // of a Completion, if HasResult
	HasResult bool   // false for a void Completion or one with an Error
	Error     string // of a Completion or Close

	AllowReconnect bool   // of a Close
	SequenceID     uint64 // of an Ack or Sequence

	Raw []byte // the whole message with its framing
}
