package access_test

import (
	"context"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"hubstream/negotiate/access"
)

// Where connections are closed at their token's expiry, a user whose provider lets it write claims does not put that off.
func TestAProvidersTokenDoesNotOutliveItself(t *testing.T) {
	t.Parallel()
	p := newIdentityProvider(t)
	p.rsa("r")
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	v := newVerifier(access.Config{CloseAtExpiry: true, Provider: access.NewProvider(ctx, access.ProviderConfig{
		URL: p.server.URL, Issuer: "https://idp.example", Audience: "hub-clients",
	})})
	expires := now.Add(time.Hour + access.DefaultLeeway)
	closeAt := func(at time.Time) jwt.MapClaims { return jwt.MapClaims{"asrs.s.coae": "true", "asrs.s.aeo": at.Unix()} }
	eventually(t, "the keys are there", func() bool { _, err := v.Client(p.sign("r", nil), "chat", "h"); return err == nil })
	for name, c := range map[string]struct {
		claims jwt.MapClaims
		want   time.Time
	}{
		"says nothing": {nil, expires},
		"years ahead":  {closeAt(now.Add(24 * 365 * time.Hour)), expires},
		"before":       {closeAt(now.Add(time.Minute)), now.Add(time.Minute)},
	} {
		if id, err := v.Client(p.sign("r", c.claims), "chat", "h"); err != nil || !id.CloseAt.Equal(c.want) {
			t.Errorf("%s: closed at %v, want %v; %v", name, id.CloseAt, c.want, err)
		}
	}
}

// What a temporary key has signed is accepted no longer than the key, whatever it says, and so is a connection that it has let in.
func TestATokenExpiresWithItsTemporaryKey(t *testing.T) {
	t.Parallel()
	v := newVerifier(access.Config{Keys: []access.Key{key1}, CloseAtExpiry: true})
	kid, key, err := v.TemporaryKey()
	if err != nil {
		t.Fatal(err)
	}
	passes := now.Add(access.TemporaryLifetime)
	for lifetime, want := range map[time.Duration]time.Time{
		time.Hour: now.Add(time.Hour + access.DefaultLeeway), 24 * time.Hour: passes,
	} {
		token := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"aud": "http://localhost/client/?hub=chat", "exp": now.Add(lifetime).Unix()})
		token.Header["kid"] = kid
		signed, err := token.SignedString([]byte(key))
		if err != nil {
			t.Fatal(err)
		}
		if id, err := v.Client(signed, "chat", "localhost"); err != nil || !id.Expires.Equal(want) || !id.CloseAt.Equal(want) {
			t.Errorf("of %v: expires %v, closed at %v, want %v; %v", lifetime, id.Expires, id.CloseAt, want, err)
		}
	}
}
