package access

import (
	"slices"
	"time"

	"hubstream/negotiate"
)

// Identity is who a request is from, as its token says. The zero value is a caller of development mode, where nobody
// is asked who he is.
type Identity struct {
	// Authenticated: there was a token, and it is good.
	Authenticated bool
	// Key names the access key that has signed the token, or the identity provider's user, for those who count by it. It says nothing
	// about the key.
	Key string
	// Address is where the request is from; empty where nobody asks. It is not the token's, but the request's.
	Address string
	// User is empty for a token of nobody in particular.
	User string
	// Claims are what the token says about the user, sorted by name; shared, not to be written to.
	Claims []Claim
	// Groups are those that a plain event stream may follow.
	Groups []string
	// Expires is when the token is not accepted any more. Zero: never.
	Expires time.Time
	// CloseAt is when the token wants its connection to be closed. Zero: not.
	CloseAt time.Time
	// Transports are those that the token allows; nil: all.
	Transports []negotiate.Transport
	// HandshakeTimeout is how long the handshake may take; 0: what is usual.
	HandshakeTimeout time.Duration
}

// Allows tells whether the token allows a transport.
func (i *Identity) Allows(t negotiate.Transport) bool {
	return i.Transports == nil || slices.Contains(i.Transports, t)
}
