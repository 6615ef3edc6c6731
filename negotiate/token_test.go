package negotiate_test

import (
	"bytes"
	"math"
	"strings"
	"testing"

	"hubstream/negotiate"
)

var sample = negotiate.Token{
	ConnectionID:      "AAECAwQFBgcICQoLDA0ODw",
	Hub:               "chat",
	User:              "ada@example.org",
	Deadline:          1_760_000_060_000,
	NegotiateVersion:  1,
	StatefulReconnect: true,
}

// with returns the sample after a change.
func with(change func(*negotiate.Token)) negotiate.Token {
	t := sample
	change(&t)
	return t
}

func carried() map[string]negotiate.Token {
	return map[string]negotiate.Token{
		"usual":             sample,
		"no user":           with(func(t *negotiate.Token) { t.User = "" }),
		"version 0":         with(func(t *negotiate.Token) { t.NegotiateVersion = 0 }),
		"not stateful":      with(func(t *negotiate.Token) { t.StatefulReconnect = false }),
		"first millisecond": with(func(t *negotiate.Token) { t.Deadline = 0 }),
		"last millisecond":  with(func(t *negotiate.Token) { t.Deadline = math.MaxInt64 }),
		"user of any bytes": with(func(t *negotiate.Token) { t.User = "\x00\xff\"\n☃" }),
		"all at the limit": with(func(t *negotiate.Token) {
			t.Hub = strings.Repeat("h", negotiate.MaxHubNameBytes)
			t.User = strings.Repeat("😀", negotiate.MaxUserLength)
			t.Deadline = math.MaxInt64
		}),
	}
}

func TestTokenMayCreateUntilItsDeadline(t *testing.T) {
	t.Parallel()
	token := negotiate.Token{Deadline: 1000}
	for now, want := range map[int64]bool{0: true, 999: true, 1000: true, 1001: false} {
		if got := token.MayCreate(now); got != want {
			t.Errorf("MayCreate(%d) = %v, want %v", now, got, want)
		}
	}
}

func TestTruncatedAndExtendedContentIsRefused(t *testing.T) {
	t.Parallel()
	for name, token := range carried() {
		content, err := negotiate.AppendContent(nil, token)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for i := range content {
			if _, ok := negotiate.ParseContent(content[:i]); ok {
				t.Errorf("%s: the first %d of %d bytes are accepted", name, i, len(content))
			}
		}
		if _, ok := negotiate.ParseContent(append(content, 0)); ok {
			t.Errorf("%s: a byte too many is accepted", name)
		}
	}
}

func TestContentWithUnknownFlagIsRefused(t *testing.T) {
	t.Parallel()
	content, err := negotiate.AppendContent(nil, sample)
	if err != nil {
		t.Fatal(err)
	}
	content[16] |= 0x80
	if _, ok := negotiate.ParseContent(content); ok {
		t.Error("accepted: a flag of a later release would be ignored")
	}
}

func FuzzParseContent(f *testing.F) {
	for _, token := range carried() {
		content, err := negotiate.AppendContent(nil, token)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		token, ok := negotiate.ParseContent(content)
		if !ok {
			return
		}
		again, err := negotiate.AppendContent(nil, token)
		if err != nil {
			t.Fatalf("parsed %+v, which cannot be written: %v", token, err)
		}
		if got, ok := negotiate.ParseContent(again); !ok || got != token {
			t.Fatalf("parsed %+v, after writing it %+v", token, got)
		}
		if len(again) > len(content) || len(again) == len(content) && !bytes.Equal(again, content) {
			t.Fatalf("%x is written as %x", content, again)
		}
	})
}
