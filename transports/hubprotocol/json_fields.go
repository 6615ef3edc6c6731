package hubprotocol

// fields are the members of a JSON hub message that mean something, as the text of their values; nil if absent, or null where
// that means the same: clients should not send "invocationId":null, but some do.
type fields struct {
	kind           MessageType
	invocationID   []byte
	target         []byte
	arguments      []byte
	streamIDs      []byte
	item           []byte
	result         []byte
	errorText      []byte
	allowReconnect bool
	sequenceID     uint64
	hasSequenceID  bool
}

// readFields reads one JSON hub message without its record separator (HubProtocol.md, "JSON Encoding"). Members may come in
// any order, and ones that are not known are skipped.
func (s *scanner) readFields() (f fields, err *MessageError) {
	hasType, wrong := false, (*MessageError)(nil)
	err = s.eachMember(func(name, raw []byte) *MessageError {
		if string(name) == "type" {
			hasType = true
			return f.setType(raw)
		}
		if bad := f.set(name, raw); wrong == nil {
			wrong = bad
		}
		return nil
	})
	switch {
	case err != nil:
		return f, err
	case !hasType:
		return f, missing("type")
	case !f.kind.known(): // it is to be ignored, and what its members are is not known either
		return f, nil
	}
	return f, wrong
}

func (f *fields) set(name, raw []byte) *MessageError {
	switch string(name) {
	case "invocationId":
		return setString(&f.invocationID, "invocationId", raw)
	case "target":
		return setString(&f.target, "target", raw)
	case "arguments":
		return setArray(&f.arguments, "arguments", raw)
	case "streamIds":
		return f.setStreamIDs(raw)
	case "item":
		f.item = raw
	case "result":
		f.result = raw
	case "error":
		return setString(&f.errorText, "error", raw)
	case "allowReconnect":
		return f.setAllowReconnect(raw)
	case "sequenceId":
		return f.setSequenceID(raw)
	}
	return nil
}

func (f *fields) setType(raw []byte) *MessageError {
	if !isNumber(raw) || !isInteger(raw) {
		return expected("type", "Number")
	}
	number, ok := smallInteger(raw)
	if !ok {
		number = -1 // it is none of ours, however large
	}
	f.kind = messageType(int64(number))
	return nil
}

// messageType is 0 for numbers that no message type has or will have soon.
func messageType(number int64) MessageType {
	if number < 0 || number > 0xFF {
		return 0
	}
	return MessageType(number)
}

func (f *fields) setAllowReconnect(raw []byte) *MessageError {
	f.allowReconnect = raw[0] == 't'
	if c := raw[0]; c != 't' && c != 'f' && c != 'n' {
		return expected("allowReconnect", "Boolean")
	}
	return nil
}

func (f *fields) setSequenceID(raw []byte) *MessageError {
	if raw[0]-'0' > 9 || !isInteger(raw) {
		return expected("sequenceId", "Number")
	}
	f.sequenceID, _, f.hasSequenceID = parseInteger(raw)
	if !f.hasSequenceID {
		return expected("sequenceId", "Number")
	}
	return nil
}

func (f *fields) setStreamIDs(raw []byte) *MessageError {
	if isNull(raw) {
		f.streamIDs = nil
		return nil
	}
	if err := setArray(&f.streamIDs, "streamIds", raw); err != nil {
		return err
	}
	strings := true
	eachElement(raw, func(element []byte) { strings = strings && element[0] == '"' })
	if !strings {
		return expected("streamIds", "Array of String")
	}
	return nil
}

func setString(field *[]byte, name string, raw []byte) *MessageError {
	if isNull(raw) {
		*field = nil
		return nil
	}
	if raw[0] != '"' {
		return expected(name, "String")
	}
	*field = raw
	return nil
}

func setArray(field *[]byte, name string, raw []byte) *MessageError {
	if raw[0] != '[' {
		return expected(name, "Array")
	}
	*field = raw
	return nil
}

// eachElement calls visit with each element of an array that was accepted before.
func eachElement(raw []byte, visit func(element []byte)) {
	s := scanner{src: raw, pos: 1}
	for s.space(); s.peek() != ']'; s.space() {
		if s.peek() == ',' {
			s.pos++
			continue
		}
		start := s.pos
		if s.value() != nil {
			return
		}
		visit(raw[start:s.pos])
	}
}

// check finds what a message of this type must have and has not (HubProtocol.md, one section a type).
func (f *fields) check() *MessageError {
	switch f.kind {
	case Invocation, StreamInvocation:
		switch {
		case f.kind == StreamInvocation && isEmpty(f.invocationID):
			return missing("invocationId")
		case isEmpty(f.target):
			return missing("target")
		case f.arguments == nil:
			return missing("arguments")
		}
	case StreamItem, Completion, CancelInvocation:
		switch {
		case isEmpty(f.invocationID):
			return missing("invocationId")
		case f.kind == StreamItem && f.item == nil:
			return missing("item")
		case f.kind == Completion && f.errorText != nil && f.result != nil && !isNull(f.result):
			return &MessageError{Reason: "The 'error' and 'result' properties are mutually exclusive."}
		}
	case Ack, Sequence:
		if !f.hasSequenceID {
			return missing("sequenceId")
		}
	}
	return nil
}

// isEmpty is for strings in quotes.
func isEmpty(raw []byte) bool {
	return len(raw) <= len(`""`)
}

// isNull is for values that were accepted before: nothing else begins like it.
func isNull(raw []byte) bool {
	return raw[0] == 'n'
}
