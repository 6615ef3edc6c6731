package negotiate

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
)

// Why a token was not opened. To a client they are all the same: there is no such connection (404). They differ only for
// logs and metrics.
var (
	ErrMalformed  = errors.New("connection token is malformed")           // not a token of a known version, whole and unaltered in form
	ErrUnknownKey = errors.New("connection token has an unknown key")     // sealed with a secret that is not, or no longer, accepted
	ErrForged     = errors.New("connection token fails its authenticity") // names an accepted key, but was not sealed with it
)

// A token is, in base64url without padding:
//
//	version  1 byte
//	key ID   4 bytes: tells which of the accepted keys to open it with
//	nonce    12 bytes, random
//	content  sealed with AES-256-GCM; version and key ID are the associated data
//	tag      16 bytes
//
// Random nonces under one key: after 2^32 tokens (50 days at 1,000 a second) two of them are equal with a probability
// of 2^-33, after 2^40 (35 years) with 2^-17. So rotating the secret is for leaked secrets; tokens do not wear it out.
const (
	tokenVersion = 1

	keyIDBytes  = 4
	headerBytes = 1 + keyIDBytes
	nonceBytes  = 12
	tagBytes    = 16
	sealedAt    = headerBytes + nonceBytes

	minTokenBytes = sealedAt + minContentBytes + tagBytes
	maxTokenBytes = sealedAt + maxContentBytes + tagBytes
)

// MaxTokenLength is the length in characters that no token exceeds. A usual one has about 100.
const MaxTokenLength = (maxTokenBytes*8 + 5) / 6

// keyPurpose keeps the key apart from any other that may be derived from the same secret.
const keyPurpose = "hubstream connection token v1"

// Keyring seals connection tokens with its current key, and opens those of its current and its previous keys.
// All methods may be called concurrently.
type Keyring struct {
	keys atomic.Pointer[[]key] // the first is the current one; never written once stored
}

type key struct {
	id   [keyIDBytes]byte
	aead cipher.AEAD
}

// NewKeyring returns a keyring that seals with current and also opens what was sealed with previous. Nodes with the same
// secrets accept each other's tokens. It returns an error if a secret is shorter than MinSecretBytes.
func NewKeyring(current Secret, previous ...Secret) (*Keyring, error) {
	k := new(Keyring)
	if err := k.Replace(current, previous...); err != nil {
		return nil, err
	}
	return k, nil
}

// Replace puts other secrets in the place of all earlier ones, at once for all callers. It returns an error, and changes
// nothing, if a secret is shorter than MinSecretBytes.
//
// A secret is accepted as "previous" whatever its age. To rotate without refusing anybody: first every node accepts the
// new secret as previous, then every node makes it current with the old one as previous; the old one is dropped
// when the connections that it was used for have ended.
func (k *Keyring) Replace(current Secret, previous ...Secret) error {
	keys := make([]key, 0, 1+len(previous))
	for _, secret := range append([]Secret{current}, previous...) {
		key, err := deriveKey(secret)
		if err != nil {
			return err
		}
		keys = append(keys, key)
	}
	k.keys.Store(&keys)
	return nil
}

// deriveKey makes a secret of any length into a key, and names it by a hash, which reveals nothing of the key.
func deriveKey(secret Secret) (key, error) {
	if len(secret) < MinSecretBytes {
		return key{}, fmt.Errorf("secret has %d bytes, at least %d are needed", len(secret), MinSecretBytes)
	}
	derived, err := hkdf.Key(sha256.New, []byte(secret), nil, keyPurpose, 32)
	if err != nil {
		return key{}, fmt.Errorf("derive key: %w", err)
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		return key{}, fmt.Errorf("derive key: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return key{}, fmt.Errorf("derive key: %w", err)
	}
	hash := sha256.Sum256(derived)
	return key{id: [keyIDBytes]byte(hash[:]), aead: aead}, nil
}

// Seal makes the token that opens to t, in characters of A-Z a-z 0-9 _ -. It returns an error only if t holds what a
// token cannot carry: a user ID over MaxUserLength, a hub name or a connection ID that is none of ours. The error names the
// limit, and is fit to be shown to the client.
func (k *Keyring) Seal(t Token) (string, error) {
	current := (*k.keys.Load())[0]
	b := make([]byte, sealedAt, maxTokenBytes-maxUserBytes+min(len(t.User), maxUserBytes))
	b[0] = tokenVersion
	copy(b[1:], current.id[:])
	nonce := b[headerBytes:sealedAt]
	rand.Read(nonce) // never fails
	b, err := appendContent(b, t)
	if err != nil {
		return "", err
	}
	content := b[sealedAt:]
	sealed := current.aead.Seal(content[:0], nonce, content, b[:headerBytes])
	return encoding.EncodeToString(b[:sealedAt+len(sealed)]), nil
}

// Open returns what a token says, after proving that a node with one of the accepted keys has sealed it. It does not
// judge what the token says: the deadline, and whether the request is for the token's hub, are the caller's to check.
// Its errors are ErrMalformed, ErrUnknownKey and ErrForged.
func (k *Keyring) Open(token string) (Token, error) {
	b, ok := decodeToken(token)
	if !ok || b[0] != tokenVersion {
		return Token{}, ErrMalformed
	}
	header, nonce, sealed := b[:headerBytes], b[headerBytes:sealedAt], b[sealedAt:]
	id := [keyIDBytes]byte(header[1:])
	keys := *k.keys.Load()
	i := slices.IndexFunc(keys, func(key key) bool { return key.id == id })
	if i < 0 {
		return Token{}, ErrUnknownKey
	}
	content, err := keys[i].aead.Open(sealed[:0], nonce, sealed, header)
	if err != nil {
		return Token{}, ErrForged
	}
	t, ok := parseContent(content)
	if !ok {
		return Token{}, ErrMalformed
	}
	return t, nil
}

// decodeToken returns the bytes of a token and reports whether it has a token's alphabet and length.
func decodeToken(token string) ([]byte, bool) {
	if len(token) > MaxTokenLength {
		return nil, false
	}
	b, err := encoding.DecodeString(token)
	if err != nil || len(b) < minTokenBytes {
		return nil, false
	}
	// The decoder skips line ends; with them a token would have more than one text.
	return b, encoding.EncodedLen(len(b)) == len(token)
}

// ConnectionID returns the connection ID that a backend means. At negotiate version 0 the client knows its token as its
// connection ID, and may have handed it on: a token is opened, whatever its deadline. Anything else is returned as it is,
// and need not be the ID of a connection.
func (k *Keyring) ConnectionID(idOrToken string) string {
	t, err := k.Open(idOrToken)
	if err != nil {
		return idOrToken
	}
	return t.ConnectionID
}
