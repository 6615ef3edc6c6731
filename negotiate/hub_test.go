package negotiate_test

import (
	"errors"
	"strings"
	"testing"

	"hubstream/negotiate"
)

func TestHubNameIsLowerCase(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"chat":                   "chat",
		"ChatHub":                "chathub",
		"A-Za-z0-9_.-":           "a-za-z0-9_.-",
		"x":                      "x",
		strings.Repeat("H", 128): strings.Repeat("h", 128),
	} {
		got, err := negotiate.HubName(raw)
		if err != nil || got != want {
			t.Errorf("HubName(%q) = %q, %v; want %q", raw, got, err, want)
		}
	}
}

func TestHubNameErrorsNameTheRule(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"":                       "invalid hub name: it is empty",
		strings.Repeat("h", 129): "invalid hub name: it has 129 bytes, the limit is 128",
		"a/b":                    "invalid hub name: '/' is not allowed, the characters are A-Z a-z 0-9 _ . -",
		"a b":                    "invalid hub name: ' ' is not allowed, the characters are A-Z a-z 0-9 _ . -",
		"café":                   "invalid hub name: 'é' is not allowed, the characters are A-Z a-z 0-9 _ . -",
		"\u212A":                 "invalid hub name: '\u212A' is not allowed, the characters are A-Z a-z 0-9 _ . -", // Kelvin, k in lower case
		"a\n":                    `invalid hub name: '\n' is not allowed, the characters are A-Z a-z 0-9 _ . -`,
		"{a}":                    "invalid hub name: '{' is not allowed, the characters are A-Z a-z 0-9 _ . -",
		"\xff":                   "invalid hub name: '\uFFFD' is not allowed, the characters are A-Z a-z 0-9 _ . -",
	} {
		got, err := negotiate.HubName(raw)
		if !errors.Is(err, negotiate.ErrHubName) || err.Error() != want || got != "" {
			t.Errorf("HubName(%q) = %q, %v; want error %s", raw, got, err, want)
		}
	}
}
