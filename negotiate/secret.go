package negotiate

import (
	"fmt"
	"io"
)

// MinSecretBytes is the shortest secret accepted: who guesses it makes tokens for any user, and guessing needs no contact
// with a node. A secret should be random (crypto/rand.Text), not a phrase.
const MinSecretBytes = 16

// Secret is what the keys of connection tokens are derived from; nodes of one installation share it. It does not
// print: logs and error messages show a placeholder.
type Secret string

const hidden = "[secret]"

// Format writes a placeholder, whatever the verb.
func (Secret) Format(s fmt.State, _ rune) {
	io.WriteString(s, hidden)
}

// MarshalText returns a placeholder; encoding/json and log/slog use it.
func (Secret) MarshalText() ([]byte, error) {
	return []byte(hidden), nil
}
