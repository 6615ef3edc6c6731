package hubprotocol

import "unicode/utf8"

// AppendInvocation appends the Invocation of target with arguments, a JSON array, as a complete JSON message that wants no
// answer (HubProtocol.md, "Invocations" and "Invocation Message Encoding"):
//
//	{"type":1,"target":"Send","arguments":[42]}␞
//
// The arguments are passed through as written, without their white space. The message is one that both protocols and all
// official clients can carry, so AppendMessagePack accepts it; otherwise the error is a *MessageError that names the place, and
// dst comes back as it was.
func AppendInvocation(dst []byte, target string, arguments []byte) ([]byte, error) {
	return AppendInvocationWithID(dst, "", target, arguments)
}

// AppendInvocationWithID is AppendInvocation for an invocation that the client is to answer with a Completion of the same ID
// (HubProtocol.md, "Invocations"). Without an ID, as clients refuse an empty one, it is the same.
func AppendInvocationWithID(dst []byte, invocationID, target string, arguments []byte) ([]byte, error) {
	if err := checkName("invocationId", invocationID); err != nil {
		return dst, err
	}
	if err := checkName("target", target); err != nil {
		return dst, err
	}
	if target == "" {
		return dst, &MessageError{Field: "target", Reason: "empty"}
	}
	const (
		escaped  = 6   // bytes at most for one: \u0000
		envelope = 100 // bytes are more than all the rest takes
	)
	if escaped*(len(invocationID)+len(target))+len(arguments) > maxPublished-envelope {
		return dst, errTooLong
	}
	next := append(dst, `{"type":1,`...)
	if invocationID != "" {
		next = append(next, `"invocationId":`...)
		next = append(appendQuoted(next, invocationID), ',')
	}
	next = append(next, `"target":`...)
	next = appendQuoted(next, target)
	next = append(next, `,"arguments":`...)
	next, err := appendArguments(next, arguments)
	if err != nil {
		return dst, err.inMember([]byte("arguments"))
	}
	return append(next, '}', RecordSeparator), nil
}

// maxPublished keeps the MessagePack form below maxVarInt. What grows most is 1e1 and its comma, from 4 bytes to 9.
const maxPublished = maxVarInt / 3 // bytes

var errTooLong = &MessageError{Reason: "the message is too long for MessagePack"}

// checkName refuses what appendQuoted would change.
func checkName(field, name string) error {
	if !utf8.ValidString(name) {
		return &MessageError{Field: field, Reason: "invalid UTF-8"}
	}
	return nil
}

// appendArguments appends a JSON array without its white space, checked for every protocol.
func appendArguments(dst, arguments []byte) ([]byte, *MessageError) {
	s := scanner{src: arguments, depth: 1, strict: true, compact: true, dst: dst} // depth: the message around them
	s.space()
	if s.peek() != '[' {
		return dst, &MessageError{Reason: "expected a JSON array"}
	}
	if err := s.array(); err != nil {
		return dst, err
	}
	if err := s.end(); err != nil {
		return dst, err
	}
	return append(s.dst, s.src[s.copied:]...), nil
}
