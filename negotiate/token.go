package negotiate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"
)

// MaxUserLength is the longest user ID that a token carries, in characters: Azure's limit. It keeps the token, which is part of
// every URL of a connection, below the limits of proxies: with the longest of them 5,700 characters.
const MaxUserLength = 1024

// maxUserBytes is the most bytes that a user ID has.
const maxUserBytes = utf8.UTFMax * MaxUserLength

// UserTooLong tells whether a user ID is over MaxUserLength.
func UserTooLong(user string) bool {
	return len(user) > MaxUserLength && utf8.RuneCountInString(user) > MaxUserLength
}

// The versions of the negotiate protocol (TransportProtocols.md, "POST [endpoint-base]/negotiate request").
// With version 0 the connection token itself is sent as the connection ID.
const (
	version0      = 0
	version1      = 1
	latestVersion = version1
)

// Token is what a connection token says once it has been opened.
type Token struct {
	ConnectionID      string // public; as NewConnectionID makes them
	Hub               string // as HubName returns it
	User              string // at most MaxUserLength; empty for a connection without a user
	Deadline          int64  // last millisecond, by Valkey's clock, at which the token may create its connection
	NegotiateVersion  int    // 0 or 1
	StatefulReconnect bool   // asked for by the client and allowed
}

// MayCreate reports whether the token may still create its connection at now, in milliseconds of Valkey's clock. An
// existing connection accepts its token for as long as it lives.
func (t Token) MayCreate(now int64) bool {
	return now <= t.Deadline
}

// The content of a token, sealed by a Keyring:
//
//	connection ID  16 bytes
//	flags          1 byte
//	deadline       uvarint, milliseconds
//	hub            uvarint length, bytes
//	user           uvarint length, bytes
//
// A change of this layout, or of what a flag means, is a new tokenVersion.
const (
	maxContentBytes = connectionIDBytes + 1 + binary.MaxVarintLen64 + 2 + MaxHubNameBytes + 2 + maxUserBytes
	minContentBytes = connectionIDBytes + 1 + 1 + 1 + 1 + 1
)

const (
	flagStatefulReconnect = 1 << iota
	flagVersion0
	knownFlags = flagStatefulReconnect | flagVersion0
)

// appendContent appends t's content. It returns an error if a field is outside what a token carries.
func appendContent(b []byte, t Token) ([]byte, error) {
	if err := t.check(); err != nil {
		return nil, err
	}
	b, ok := appendConnectionID(b, t.ConnectionID)
	if !ok {
		return nil, errors.New("connection ID is not one of ours")
	}
	b = append(b, t.flags())
	b = binary.AppendUvarint(b, uint64(t.Deadline))
	b = binary.AppendUvarint(b, uint64(len(t.Hub)))
	b = append(b, t.Hub...)
	b = binary.AppendUvarint(b, uint64(len(t.User)))
	return append(b, t.User...), nil
}

func (t Token) check() error {
	switch {
	case len(t.Hub) == 0 || len(t.Hub) > MaxHubNameBytes:
		return fmt.Errorf("hub name has %d bytes, the limits are 1 and %d", len(t.Hub), MaxHubNameBytes)
	case UserTooLong(t.User):
		return fmt.Errorf("user ID has %d characters, the limit is %d", utf8.RuneCountInString(t.User), MaxUserLength)
	case t.Deadline < 0:
		return errors.New("deadline is negative")
	case t.NegotiateVersion != version0 && t.NegotiateVersion != version1:
		return fmt.Errorf("negotiate version %d is unknown", t.NegotiateVersion)
	}
	return nil
}

func (t Token) flags() byte {
	var flags byte
	if t.StatefulReconnect {
		flags |= flagStatefulReconnect
	}
	if t.NegotiateVersion == version0 {
		flags |= flagVersion0
	}
	return flags
}

// parseContent reads what appendContent wrote, and reports whether it is that from the first byte to the last.
func parseContent(b []byte) (Token, bool) {
	if len(b) < minContentBytes {
		return Token{}, false
	}
	flags := b[connectionIDBytes]
	if flags&^knownFlags != 0 {
		return Token{}, false
	}
	t := Token{
		ConnectionID:      encoding.EncodeToString(b[:connectionIDBytes]),
		StatefulReconnect: flags&flagStatefulReconnect != 0,
		NegotiateVersion:  version1,
	}
	if flags&flagVersion0 != 0 {
		t.NegotiateVersion = version0
	}
	b = b[connectionIDBytes+1:]
	deadline, n := binary.Uvarint(b)
	if n <= 0 || deadline > math.MaxInt64 {
		return Token{}, false
	}
	t.Deadline = int64(deadline)
	hub, b, ok := cutField(b[n:])
	if !ok {
		return Token{}, false
	}
	user, b, ok := cutField(b)
	if !ok || len(b) != 0 {
		return Token{}, false
	}
	t.Hub, t.User = string(hub), string(user)
	return t, t.check() == nil
}

// cutField splits b after its first length-prefixed field.
func cutField(b []byte) (field, rest []byte, ok bool) {
	length, n := binary.Uvarint(b)
	if n <= 0 || length > uint64(len(b)-n) {
		return nil, nil, false
	}
	b = b[n:]
	return b[:length], b[length:], true
}
