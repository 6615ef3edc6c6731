package negotiate

import (
	"errors"
	"fmt"
	"strings"
)

// MaxHubNameBytes is the longest hub name; its characters are one byte each.
const MaxHubNameBytes = 128

// ErrHubName is wrapped by every error of HubName.
var ErrHubName = errors.New("invalid hub name")

// HubName returns the name of the hub that raw means. Hub names are the same hub in upper and in lower case; the result is
// in lower case, for use everywhere behind the edge. It returns an error, fit to be shown to the caller, if raw is empty, longer than MaxHubNameBytes, or
// has a character outside A-Z a-z 0-9 _ . -
func HubName(raw string) (string, error) {
	if raw == "" {
		return "", fmt.Errorf("%w: it is empty", ErrHubName)
	}
	if len(raw) > MaxHubNameBytes {
		return "", fmt.Errorf("%w: it has %d bytes, the limit is %d", ErrHubName, len(raw), MaxHubNameBytes)
	}
	for _, r := range raw {
		if !isHubNameRune(r) {
			return "", fmt.Errorf("%w: %q is not allowed, the characters are A-Z a-z 0-9 _ . -", ErrHubName, r)
		}
	}
	return strings.ToLower(raw), nil
}

func isHubNameRune(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
		return true
	}
	return r == '_' || r == '.' || r == '-'
}
