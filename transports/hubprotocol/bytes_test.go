package hubprotocol_test

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"hubstream/transports/hubprotocol"
)

const (
	JSON        = hubprotocol.JSON
	MessagePack = hubprotocol.MessagePack
)

// records writes ␞ as the byte it stands for.
func records(s string) []byte {
	return []byte(strings.ReplaceAll(s, "␞", "\x1e"))
}

func unhex(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// wantMessageError fails unless err is a *MessageError with that text.
func wantMessageError(tb testing.TB, err error, text string) {
	tb.Helper()
	var bad *hubprotocol.MessageError
	if !errors.As(err, &bad) || err.Error() != text {
		tb.Errorf("got error %v, want %q", err, text)
	}
}
