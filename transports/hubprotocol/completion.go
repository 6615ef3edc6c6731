package hubprotocol

// blankID is an invocation ID that no client has: official clients count from "0" or "1".
const blankID = "-"

// AppendCompletionError appends a Completion that fails the invocation (HubProtocol.md, "Completion and results").
func AppendCompletionError(dst []byte, p Protocol, invocationID, text string) []byte {
	if p == MessagePack {
		dst, at := reserve(dst)
		dst = appendItemsHeader(dst, 5, Completion)
		dst = appendString(dst, invocationID)
		dst = append(dst, resultError)
		dst = appendString(dst, text)
		return fillInFrame(dst, at)
	}
	dst = appendCompletion(dst, invocationID)
	dst = append(dst, `,"error":`...)
	dst = appendQuoted(dst, text)
	return append(dst, '}', RecordSeparator)
}

// AppendCompletionVoid appends a Completion without a result, the end of an invocation that returns nothing or of a stream
// (HubProtocol.md, "Completion and results").
func AppendCompletionVoid(dst []byte, p Protocol, invocationID string) []byte {
	if p == MessagePack {
		dst, at := reserve(dst)
		dst = appendItemsHeader(dst, 4, Completion)
		dst = appendString(dst, invocationID)
		dst = append(dst, resultVoid)
		return fillInFrame(dst, at)
	}
	dst = appendCompletion(dst, invocationID)
	return append(dst, '}', RecordSeparator)
}

// AppendBlank appends a message that stateful reconnect counts and that clients drop: the void Completion of an invocation that
// never was. It stands in for a message that must keep its number but cannot or may not be shown.
func AppendBlank(dst []byte, p Protocol) []byte {
	return AppendCompletionVoid(dst, p, blankID)
}

func appendCompletion(dst []byte, invocationID string) []byte {
	dst = append(dst, `{"type":3,"invocationId":`...)
	return appendQuoted(dst, invocationID)
}
