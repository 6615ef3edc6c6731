package hubprotocol

import "bytes"

// Parser is the byte stream of one connection from the client. Bytes are fed as they come, messages are taken out: one may
// arrive in pieces and several may arrive at once. Use by one goroutine at a time.
//
//	parser.Feed(frame)
//	for {
//		message, ok, err := parser.Next()
//		if err != nil || !ok {
//			return err
//		}
//		...
//	}
//
// Between messages it holds no memory but its own few words.
type Parser struct {
	protocol   Protocol
	maxMessage int

	pending  []byte // fed and not yet returned
	owned    bool   // pending is ours alone, and may grow in place
	searched int    // so many bytes of pending hold no record separator
	err      error
}

// NewParser returns a parser for what comes after the handshake. A message of more than maxMessage bytes, framing included, is
// an error, and is so before the rest of it has come.
func NewParser(p Protocol, maxMessage int) *Parser {
	return &Parser{protocol: p, maxMessage: max(maxMessage, 0)}
}

// Feed adds bytes to the stream. They are not copied unless a message ends beyond them, so they must stay unchanged until
// Next returns no message; what earlier messages point to is no longer valid.
func (p *Parser) Feed(b []byte) {
	switch {
	case p.err != nil || len(b) == 0:
	case len(p.pending) == 0:
		p.pending, p.owned = b, false
	case p.owned:
		p.pending = append(p.pending, b...)
	default:
		p.pending, p.owned = append(bytes.Clone(p.pending), b...), true
	}
}

// Next returns the next whole message; ok is false when the stream so far has no more. Errors are a *MessageError or a
// *TooLargeError and final: where the next message begins is no longer certain.
func (p *Parser) Next() (m Message, ok bool, err error) {
	if p.err != nil {
		return Message{}, false, p.err
	}
	prefix, size, err := p.frame()
	if err == nil && size > 0 {
		m, err = p.decode(p.pending[prefix:size])
		m.Raw = p.pending[:size:size]
		p.consume(size)
	}
	if err != nil {
		*p = Parser{err: err}
		return Message{}, false, err
	}
	if size == 0 {
		p.keep()
	}
	return m, size > 0, nil
}

// Buffered is the number of bytes fed that belong to no message returned. After Next returned none, more than 0 means that a
// message has begun and not ended.
func (p *Parser) Buffered() int {
	return len(p.pending)
}

// frame returns the length of the next message with its framing, and of the framing before it; 0 if it has not all come.
func (p *Parser) frame() (prefix, size int, err error) {
	if p.protocol == MessagePack {
		return p.binaryFrame()
	}
	return p.textFrame()
}

func (p *Parser) textFrame() (prefix, size int, err error) {
	within := p.pending[:min(len(p.pending), p.maxMessage)]
	if i := bytes.IndexByte(within[p.searched:], RecordSeparator); i >= 0 {
		return 0, p.searched + i + 1, nil
	}
	if len(within) == p.maxMessage {
		return 0, 0, &TooLargeError{Limit: p.maxMessage}
	}
	p.searched = len(within)
	return 0, 0, nil
}

func (p *Parser) binaryFrame() (prefix, size int, err error) {
	length, prefix, ok := readVarInt(p.pending)
	switch {
	case !ok:
		return 0, 0, &MessageError{Reason: "the length prefix is beyond 2 GiB"}
	case prefix == 0:
		return 0, 0, nil
	case length == 0: // JavaScript clients close on one, too
		return 0, 0, &MessageError{Reason: "the message is empty"}
	case length > p.maxMessage-prefix:
		return 0, 0, &TooLargeError{Limit: p.maxMessage}
	case len(p.pending) < prefix+length:
		return 0, 0, nil
	}
	return prefix, prefix + length, nil
}

func (p *Parser) decode(frame []byte) (Message, error) {
	m, err := Message{}, (*MessageError)(nil)
	if p.protocol == MessagePack {
		m, err = decodeMessagePack(frame)
	} else {
		m, err = decodeJSON(frame[:len(frame)-1])
	}
	if err != nil {
		return Message{}, err
	}
	return m, nil
}

// consume drops a message. What is left shares the array with it, so it no longer grows in place: keep gives it its own.
func (p *Parser) consume(size int) {
	p.pending, p.owned, p.searched = p.pending[size:], false, 0
	if len(p.pending) == 0 {
		p.pending = nil
	}
}

// keep carries the beginning of a message over to the next Feed, in memory of its own size.
func (p *Parser) keep() {
	if len(p.pending) > 0 && !p.owned {
		p.pending, p.owned = bytes.Clone(p.pending), true
	}
}
