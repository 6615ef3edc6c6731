package negotiate_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"testing"

	"hubstream/negotiate"
)

const (
	secretA negotiate.Secret = "secret A of the tests, 32 bytes."
	secretB negotiate.Secret = "secret B of the tests, 32 bytes."
	secretC negotiate.Secret = "secret C of the tests, 32 bytes."
)

// sealedWithA is the sample as sealed with secretA by the first release. It must open for as long as the token version
// is 1: nodes of different releases serve the same connections.
const sealedWithA = "ASSFHZU0LS_5CguhmrFRgWsVJv-Vw3XhKLqpcfkKKQ4EOZ9McIaiORwUphHn03Ad3y-I4msbu2baKwn1Csf5jHWa1gSo4TaPVYtYGkk"

var tokenAlphabet = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

func newKeyring(t testing.TB, current negotiate.Secret, previous ...negotiate.Secret) *negotiate.Keyring {
	t.Helper()
	k, err := negotiate.NewKeyring(current, previous...)
	if err != nil {
		t.Fatalf("NewKeyring: %v", err)
	}
	return k
}

func seal(t testing.TB, k *negotiate.Keyring, token negotiate.Token) string {
	t.Helper()
	sealed, err := k.Seal(token)
	if err != nil {
		t.Fatalf("Seal: %v", err)
	}
	return sealed
}

func wantOpen(t testing.TB, k *negotiate.Keyring, sealed string, want negotiate.Token) {
	t.Helper()
	got, err := k.Open(sealed)
	if err != nil {
		t.Fatalf("Open(%q): %v", sealed, err)
	}
	if got != want {
		t.Fatalf("Open(%q)\n got %+v\nwant %+v", sealed, got, want)
	}
}

func wantRefused(t testing.TB, k *negotiate.Keyring, sealed string, want error) {
	t.Helper()
	got, err := k.Open(sealed)
	if !errors.Is(err, want) {
		t.Fatalf("Open(%q): error %v, want %v", sealed, err, want)
	}
	if got != (negotiate.Token{}) {
		t.Fatalf("Open(%q): refused, but says %+v", sealed, got)
	}
}

func decode(t testing.TB, sealed string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(sealed)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAnyNodeOpensAToken(t *testing.T) {
	t.Parallel()
	a, b := newKeyring(t, secretA), newKeyring(t, secretA)
	for name, token := range carried() {
		sealed := seal(t, a, token)
		wantOpen(t, b, sealed, token)
		if !tokenAlphabet.MatchString(sealed) {
			t.Errorf("%s: %q does not survive an unescaped query string", name, sealed)
		}
		if len(sealed) > negotiate.MaxTokenLength {
			t.Errorf("%s: %d characters, over the limit of %d", name, len(sealed), negotiate.MaxTokenLength)
		}
	}
}

func TestTokenOfTheFirstReleaseStillOpens(t *testing.T) {
	t.Parallel()
	wantOpen(t, newKeyring(t, secretA), sealedWithA, sample)
}

func TestUsualTokenIsShort(t *testing.T) {
	t.Parallel()
	if sealed := seal(t, newKeyring(t, secretA), sample); len(sealed) > 104 {
		t.Errorf("%d characters, want at most 104", len(sealed))
	}
}

func TestTokensForTheSameContentDiffer(t *testing.T) {
	t.Parallel()
	k := newKeyring(t, secretA)
	if a, b := seal(t, k, sample), seal(t, k, sample); a == b {
		t.Errorf("both are %q: the nonce repeats", a)
	}
}

func TestTokenDoesNotShowItsContent(t *testing.T) {
	t.Parallel()
	b := string(decode(t, seal(t, newKeyring(t, secretA), sample)))
	for _, content := range []string{sample.User, sample.Hub, string(decode(t, sample.ConnectionID))} {
		if strings.Contains(b, content) {
			t.Errorf("the token shows %q", content)
		}
	}
}

func TestSealRefusesWhatATokenCannotCarry(t *testing.T) {
	t.Parallel()
	k := newKeyring(t, secretA)
	for want, token := range map[string]negotiate.Token{
		"user ID has 1025 characters, the limit is 1024":    with(func(t *negotiate.Token) { t.User = strings.Repeat("ü", 1025) }),
		"hub name has 129 bytes, the limits are 1 and 128":  with(func(t *negotiate.Token) { t.Hub = strings.Repeat("h", 129) }),
		"hub name has 0 bytes, the limits are 1 and 128":    with(func(t *negotiate.Token) { t.Hub = "" }),
		"deadline is negative":                              with(func(t *negotiate.Token) { t.Deadline = -1 }),
		"negotiate version 2 is unknown":                    with(func(t *negotiate.Token) { t.NegotiateVersion = 2 }),
		"connection ID is not one of ours":                  with(func(t *negotiate.Token) { t.ConnectionID = "short" }),
		"connection ID is not one of ours (alphabet)":       with(func(t *negotiate.Token) { t.ConnectionID = "AAECAwQFBgcICQoLDA0OD+" }),
		"connection ID is not one of ours (not canonical)":  with(func(t *negotiate.Token) { t.ConnectionID = "AAECAwQFBgcICQoLDA0ODx" }),
		"connection ID is not one of ours (hidden newline)": with(func(t *negotiate.Token) { t.ConnectionID = "AAECAwQFBgcICQoLDA0O\nw" }),
	} {
		want, _, _ = strings.Cut(want, " (")
		if _, err := k.Seal(token); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestTruncatedTokenIsRefused(t *testing.T) {
	t.Parallel()
	k := newKeyring(t, secretA)
	for name, token := range carried() {
		sealed := seal(t, k, token)
		for i := range sealed {
			if _, err := k.Open(sealed[:i]); err == nil {
				t.Fatalf("%s: the first %d of %d characters are accepted", name, i, len(sealed))
			}
		}
		b := decode(t, sealed)
		for i := range b {
			if _, err := k.Open(base64.RawURLEncoding.EncodeToString(b[:i])); err == nil {
				t.Fatalf("%s: the first %d of %d bytes are accepted", name, i, len(b))
			}
		}
	}
}

func TestTokenWithAnyFlippedBitIsRefused(t *testing.T) {
	t.Parallel()
	k := newKeyring(t, secretA)
	b := decode(t, seal(t, k, sample))
	for bit := range len(b) * 8 {
		b[bit/8] ^= 1 << (bit % 8)
		want := negotiate.ErrForged
		switch {
		case bit < 8: // version
			want = negotiate.ErrMalformed
		case bit < 8+32: // key ID
			want = negotiate.ErrUnknownKey
		}
		wantRefused(t, k, base64.RawURLEncoding.EncodeToString(b), want)
		b[bit/8] ^= 1 << (bit % 8)
	}
}

func TestTokenWithAnyOtherCharacterIsRefused(t *testing.T) {
	t.Parallel()
	k := newKeyring(t, secretA)
	// Tokens of three lengths: the last character carries 6, 4 or 2 bits, the rest of it must be zero.
	for _, user := range []string{"a", "ab", "abc"} {
		sealed := seal(t, k, with(func(t *negotiate.Token) { t.User = user }))
		for i := range sealed {
			for c := range 256 {
				if byte(c) == sealed[i] {
					continue
				}
				if _, err := k.Open(sealed[:i] + string([]byte{byte(c)}) + sealed[i+1:]); err == nil {
					t.Fatalf("%q is accepted with character %d as %#x", sealed, i, c)
				}
			}
		}
	}
}

func TestTokenHasOneText(t *testing.T) {
	t.Parallel()
	k := newKeyring(t, secretA)
	sealed := seal(t, k, sample)
	for _, text := range []string{
		"", " ", sealed + "=", sealed + "==", sealed + "\n", "\r\n" + sealed, " " + sealed,
		sealed[:10] + "\n" + sealed[10:], sealed[:10] + "%0A" + sealed[10:],
		sample.ConnectionID, strings.Repeat("A", negotiate.MaxTokenLength), strings.Repeat("A", negotiate.MaxTokenLength+1),
	} {
		wantRefused(t, k, text, negotiate.ErrMalformed)
	}
}

func TestTokenOfAnotherInstallationIsRefused(t *testing.T) {
	t.Parallel()
	ours, theirs := newKeyring(t, secretA), newKeyring(t, secretB)
	sealed := seal(t, theirs, sample)
	wantRefused(t, ours, sealed, negotiate.ErrUnknownKey)

	t.Log("the same token under the name of our key")
	forged := decode(t, sealed)
	copy(forged[1:5], decode(t, seal(t, ours, sample))[1:5])
	wantRefused(t, ours, base64.RawURLEncoding.EncodeToString(forged), negotiate.ErrForged)
}

func TestTokenRenamedToAnotherAcceptedKeyIsRefused(t *testing.T) {
	t.Parallel()
	k := newKeyring(t, secretA, secretB)
	b := decode(t, seal(t, k, sample))
	copy(b[1:5], decode(t, seal(t, newKeyring(t, secretB), sample))[1:5])
	wantRefused(t, k, base64.RawURLEncoding.EncodeToString(b), negotiate.ErrForged)
}

func TestRotationRefusesNobody(t *testing.T) {
	t.Parallel()
	a, b := newKeyring(t, secretA), newKeyring(t, secretA)
	replace := func(k *negotiate.Keyring, current negotiate.Secret, previous ...negotiate.Secret) {
		t.Helper()
		if err := k.Replace(current, previous...); err != nil {
			t.Fatalf("Replace: %v", err)
		}
	}
	old := seal(t, a, sample)

	t.Log("both nodes learn the next secret")
	replace(a, secretA, secretB)
	replace(b, secretA, secretB)
	wantOpen(t, b, seal(t, a, sample), sample)

	t.Log("A makes it current, B not yet")
	replace(a, secretB, secretA)
	wantOpen(t, b, seal(t, a, sample), sample)
	wantOpen(t, a, seal(t, b, sample), sample)
	wantOpen(t, a, old, sample)

	t.Log("both have made it current, and the old one is dropped")
	replace(a, secretB)
	replace(b, secretB)
	wantOpen(t, b, seal(t, a, sample), sample)
	wantRefused(t, a, old, negotiate.ErrUnknownKey)
}

func TestShortSecretIsRefusedAndChangesNothing(t *testing.T) {
	t.Parallel()
	for _, secrets := range [][]negotiate.Secret{{""}, {"fifteen bytes.."}, {secretA, ""}} {
		if _, err := negotiate.NewKeyring(secrets[0], secrets[1:]...); err == nil {
			t.Errorf("a keyring is made of %d secrets, the last of %d bytes", len(secrets), len(secrets[len(secrets)-1]))
		}
	}
	k := newKeyring(t, secretA)
	sealed := seal(t, k, sample)
	if err := k.Replace(secretB, "short"); err == nil {
		t.Error("Replace accepts a short secret")
	}
	wantOpen(t, k, sealed, sample)
	wantOpen(t, newKeyring(t, secretA), seal(t, k, sample), sample)
}

func TestReplaceWhileOthersSealAndOpen(t *testing.T) {
	t.Parallel()
	k := newKeyring(t, secretA, secretB, secretC)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 500 {
				sealed, err := k.Seal(sample)
				if err != nil {
					t.Errorf("Seal: %v", err)
				}
				if got, err := k.Open(sealed); err != nil || got != sample {
					t.Errorf("Open: %+v, %v", got, err)
				}
			}
		})
	}
	for range 200 {
		for _, order := range [][]negotiate.Secret{{secretB, secretC, secretA}, {secretC, secretA, secretB}, {secretA, secretB, secretC}} {
			if err := k.Replace(order[0], order[1:]...); err != nil {
				t.Fatal(err)
			}
		}
	}
	group.Wait()
}

func TestConnectionIDOpensAVersion0ConnectionID(t *testing.T) {
	t.Parallel()
	k := newKeyring(t, secretA)
	sealed := seal(t, k, with(func(t *negotiate.Token) { t.NegotiateVersion, t.Deadline = 0, 0 }))
	for given, want := range map[string]string{
		sealed:              sample.ConnectionID,
		sample.ConnectionID: sample.ConnectionID,
		"":                  "",
		"no such thing":     "no such thing",
		sealed[1:]:          sealed[1:],
	} {
		if got := k.ConnectionID(given); got != want {
			t.Errorf("ConnectionID(%q) = %q, want %q", given, got, want)
		}
	}
}

func TestSecretIsNotPrinted(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, verb, secretA)
		fmt.Fprintf(&out, verb, struct{ Secret negotiate.Secret }{secretA})
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("", "secret", secretA)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("", "secret", secretA)
	if err := json.NewEncoder(&out).Encode(secretA); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "tests") || strings.Contains(out.String(), fmt.Sprintf("%x", "tests")) {
		t.Errorf("printed in %s", out.String())
	}
}

func FuzzOpen(f *testing.F) {
	k := newKeyring(f, secretA, secretB)
	f.Add(sealedWithA)
	f.Add("")
	f.Add(sample.ConnectionID)
	for _, token := range carried() {
		f.Add(seal(f, k, token))
	}
	f.Fuzz(func(t *testing.T, sealed string) {
		token, err := k.Open(sealed)
		if err == nil {
			wantOpen(t, k, seal(t, k, token), token)
			return
		}
		if err != negotiate.ErrMalformed && err != negotiate.ErrUnknownKey && err != negotiate.ErrForged {
			t.Fatalf("Open(%q): undocumented error %v", sealed, err)
		}
		if got := k.ConnectionID(sealed); got != sealed {
			t.Fatalf("ConnectionID(%q) = %q", sealed, got)
		}
	})
}

// Each request of a poll or POST opens a token.
func TestSealAndOpenAllocateLittle(t *testing.T) {
	k := newKeyring(t, secretA)
	sealed := seal(t, k, sample)
	if got := testing.AllocsPerRun(100, func() { k.Seal(sample) }); got > 3 {
		t.Errorf("Seal: %v allocations, want at most 3", got)
	}
	if got := testing.AllocsPerRun(100, func() { k.Open(sealed) }); got > 4 {
		t.Errorf("Open: %v allocations, want at most 4", got)
	}
}

func BenchmarkSeal(b *testing.B) {
	k := newKeyring(b, secretA)
	b.ReportAllocs()
	for b.Loop() {
		k.Seal(sample)
	}
}

func BenchmarkOpen(b *testing.B) {
	k := newKeyring(b, secretA)
	sealed := seal(b, k, sample)
	b.ReportAllocs()
	for b.Loop() {
		k.Open(sealed)
	}
}
