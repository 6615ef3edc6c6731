package access_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"hubstream/negotiate/access"
)

// A temporary key signs as the key that it is of, at every node that has that key, until it passes.
func TestATemporaryKeyPasses(t *testing.T) {
	t.Parallel()
	var later atomic.Int64
	at := func() time.Time { return now.Add(time.Duration(later.Load())) }
	a, b := newVerifier(access.Config{Keys: []access.Key{key1}, Now: at}), newVerifier(access.Config{Keys: []access.Key{key2, key1}, Now: at})
	id, key, err := a.TemporaryKey()
	if err != nil || key == key1 || strings.Contains(id, key1) {
		t.Fatalf("%q %q %v", id, key, err)
	}
	tokenOf := func(id string, key access.Key) string {
		token := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
			"aud": "http://localhost/client/?hub=chat", "exp": now.Add(24 * time.Hour).Unix(), "nameid": "ann",
		})
		token.Header["kid"] = id
		signed, err := token.SignedString([]byte(key))
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	want := func(what string, v *access.Verifier, token string, want error) access.Identity {
		t.Helper()
		who, err := v.Client(token, "chat", "localhost")
		if !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", what, err, want)
		}
		return who
	}
	good := tokenOf(id, key)
	first, second := want("at the node", a, good, nil), want("at another", b, good, nil)
	if byKey := want("the key's own", a, tokenOf("x", key1), nil); first.User != "ann" || first.Key != second.Key || first.Key != byKey.Key {
		t.Errorf("counted as %q, %q and %q", first.Key, second.Key, byKey.Key)
	}
	name, passes, _ := strings.Cut(strings.TrimPrefix(id, "temporary."), ".")
	for what, token := range map[string]string{
		"another time": tokenOf("temporary."+name+".9"+passes, key), "no time": tokenOf("temporary."+name, key), "no name": tokenOf("", key),
		"another key": tokenOf("temporary.00000000."+passes, key), "another's key": tokenOf(id, key2),
	} {
		want(what, a, token, access.ErrSignature)
	}
	later.Store(int64(access.TemporaryLifetime - time.Minute))
	want("a minute before", a, good, nil)
	later.Store(int64(access.TemporaryLifetime + time.Second))
	want("when it has passed, and was known", a, good, access.ErrSignature)
	later.Store(0)
	b.Replace([]access.Key{key2}, nil)
	want("when its key has gone", b, good, access.ErrSignature)
	if _, _, err := newVerifier(access.Config{Keys: []access.Key{}}).TemporaryKey(); !errors.Is(err, access.ErrNoKeys) {
		t.Errorf("without a key: %v", err)
	}
}

// A temporary key does not give another: who has one, and may no longer have it, could renew it for ever.
func TestATemporaryKeyGivesNoOther(t *testing.T) {
	t.Parallel()
	v := newVerifier(access.Config{Keys: []access.Key{key1}, WholeEndpoint: true})
	id, key, err := v.TemporaryKey()
	if err != nil {
		t.Fatal(err)
	}
	for _, audience := range []string{"http://localhost/api/auth/accessKey", "http://localhost"} {
		token := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"aud": audience, "exp": now.Add(time.Hour).Unix()})
		own, err := token.SignedString([]byte(key1))
		if err != nil {
			t.Fatal(err)
		}
		token.Header["kid"] = id
		temporary, err := token.SignedString([]byte(key))
		if err != nil {
			t.Fatal(err)
		}
		r := access.Request{Host: "localhost", Path: "/api/auth/accessKey", GivesKey: true}
		if _, err := v.Backend(own, r); err != nil {
			t.Errorf("%s, with the key's own: %v", audience, err)
		}
		if _, err := v.Backend(temporary, r); !errors.Is(err, access.ErrAudience) {
			t.Errorf("%s, with a temporary one: got %v, want ErrAudience", audience, err)
		}
	}
}
