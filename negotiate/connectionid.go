package negotiate

import (
	"crypto/rand"
	"encoding/base64"
)

const (
	connectionIDBytes  = 16
	connectionIDLength = 22 // base64url without padding
)

// encoding is strict, so that one value has one text. No client escapes the token when it writes "?id=<token>", so its
// alphabet must survive a query string as it is: A-Z a-z 0-9 _ -.
var encoding = base64.RawURLEncoding.Strict()

// NewConnectionID returns a new public connection ID: 22 characters of A-Z a-z 0-9 _ - made of 16 random bytes.
func NewConnectionID() string {
	var id [connectionIDBytes]byte
	rand.Read(id[:]) // never fails: the program is stopped where the system has no randomness
	return encoding.EncodeToString(id[:])
}

// appendConnectionID appends the bytes behind a connection ID and reports whether the ID is one that NewConnectionID makes.
func appendConnectionID(b []byte, id string) ([]byte, bool) {
	if len(id) != connectionIDLength {
		return b, false
	}
	var raw [connectionIDBytes]byte
	// The decoder skips line ends, so a short result is a refusal too.
	n, err := encoding.Decode(raw[:], []byte(id))
	return append(b, raw[:]...), err == nil && n == connectionIDBytes
}
