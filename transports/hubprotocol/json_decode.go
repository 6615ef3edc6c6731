package hubprotocol

// decodeJSON reads one message from a client, without its record separator.
func decodeJSON(text []byte) (Message, *MessageError) {
	s := scanner{src: text}
	f, err := s.readFields()
	if err == nil {
		err = f.check()
	}
	if err != nil {
		return Message{}, err
	}
	return f.message(), nil
}

// message keeps of the fields those that the type has.
func (f *fields) message() Message {
	m := Message{Type: f.kind}
	switch f.kind {
	case Invocation, StreamInvocation:
		m.InvocationID, m.Target = text(f.invocationID), text(f.target)
		m.Arguments, m.StreamIDs = f.arguments, texts(f.streamIDs)
	case StreamItem:
		m.InvocationID, m.Item = text(f.invocationID), f.item
	case Completion:
		m.InvocationID, m.Error = text(f.invocationID), text(f.errorText)
		if f.errorText == nil && f.result != nil {
			m.Result, m.HasResult = f.result, true
		}
	case CancelInvocation:
		m.InvocationID = text(f.invocationID)
	case Close:
		m.Error, m.AllowReconnect = text(f.errorText), f.allowReconnect
	case Ack, Sequence:
		m.SequenceID = f.sequenceID
	}
	return m
}

func text(raw []byte) string {
	if raw == nil {
		return ""
	}
	return unquote(raw)
}

func texts(raw []byte) (list []string) {
	if raw == nil {
		return nil
	}
	eachElement(raw, func(element []byte) { list = append(list, unquote(element)) })
	return list
}
