package hubprotocol

import "bytes"

// Texts of handshake errors that need no more than the text.
const (
	// HandshakeFailed answers a handshake that cannot be read.
	HandshakeFailed = "An unexpected error occurred during connection handshake."
	// HandshakeCanceled answers one that is too late or too long.
	HandshakeCanceled = "Handshake was canceled."
)

// maxVersion is the hub protocol with stateful reconnect. Clients send 2 only when they have it on, else 1; a Python client
// sends 0.
const maxVersion = 2

// HandshakeRequest is the first thing a client says (HubProtocol.md, "HandshakeRequest Message Encoding"). It is JSON
// whatever the protocol asked for.
type HandshakeRequest struct {
	Protocol string
	Version  int
}

// ParseHandshake reads the first bytes of a connection and returns what follows the request, a part of b: clients may send
// messages along with it. Without a record separator the error is ErrIncomplete; how long to go on is for the caller to limit.
// Any other error is a *MessageError, to be answered with HandshakeFailed.
func ParseHandshake(b []byte) (req HandshakeRequest, rest []byte, err error) {
	end := bytes.IndexByte(b, RecordSeparator)
	if end < 0 {
		return req, nil, ErrIncomplete
	}
	req, bad := parseHandshakeRequest(b[:end])
	if bad != nil {
		return HandshakeRequest{}, nil, bad
	}
	return req, b[end+1:], nil
}

func parseHandshakeRequest(text []byte) (req HandshakeRequest, err *MessageError) {
	s := scanner{src: text}
	var hasProtocol, hasVersion bool
	err = s.eachMember(func(name, raw []byte) *MessageError {
		switch string(name) {
		case "protocol":
			if raw[0] != '"' {
				return expected("protocol", "String")
			}
			req.Protocol, hasProtocol = unquote(raw), true
		case "version":
			version, ok := smallInteger(raw)
			if !ok {
				return expected("version", "Number")
			}
			req.Version, hasVersion = version, true
		}
		return nil
	})
	switch {
	case err != nil:
		return req, err
	case !hasProtocol:
		return req, missing("protocol")
	case !hasVersion:
		return req, missing("version")
	}
	return req, nil
}

// Check decides on the request. The error's text is the one to answer with; clients show it to their users. binaryAllowed is
// false on transports that carry text only: server-sent events.
func (r HandshakeRequest) Check(binaryAllowed bool) (Protocol, error) {
	p, ok := ParseProtocol(r.Protocol)
	if !ok {
		return 0, messageErrorf("The protocol '%s' is not supported.", clip([]byte(r.Protocol)))
	}
	if r.Version < 0 || r.Version > maxVersion {
		return 0, messageErrorf("The server does not support version %d of the '%s' protocol.", r.Version, p)
	}
	if p.TransferFormat() == Binary && !binaryAllowed {
		return 0, messageErrorf("Cannot use the '%s' protocol on the current transport. "+
			"The transport does not support '%s' transfer format.", p, Binary)
	}
	return p, nil
}

// HandshakeResponse accepts the handshake, or refuses it if errText is not empty (HubProtocol.md, "HandshakeResponse Message
// Encoding"). It must go out before anything else and not along with other messages.
func HandshakeResponse(errText string) []byte {
	b := []byte{'{'}
	if errText != "" {
		b = append(b, `"error":`...)
		b = appendQuoted(b, errText)
	}
	return append(b, '}', RecordSeparator)
}
