package access_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"

	"hubstream/negotiate/access"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// identityProvider has keys that can be rotated, and signs with them.
type identityProvider struct {
	t      *testing.T
	server *httptest.Server
	asked  atomic.Int64

	mu   sync.Mutex
	keys map[string]crypto.Signer
	down bool
}

func newIdentityProvider(t *testing.T) *identityProvider {
	p := &identityProvider{t: t, keys: map[string]crypto.Signer{}}
	p.server = httptest.NewServer(p)
	t.Cleanup(p.server.Close)
	return p
}

func (p *identityProvider) rsa(kid string) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		p.t.Fatal(err)
	}
	p.set(kid, key)
}

func (p *identityProvider) ec(kid string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		p.t.Fatal(err)
	}
	p.set(kid, key)
}

func (p *identityProvider) set(kid string, key crypto.Signer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if key == nil {
		delete(p.keys, kid)
		return
	}
	p.keys[kid] = key
}

func (p *identityProvider) goDown(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
}

func (p *identityProvider) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	p.asked.Add(1)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	text := base64.RawURLEncoding.EncodeToString
	list := []map[string]string{}
	for kid, key := range p.keys {
		switch public := key.Public().(type) {
		case *rsa.PublicKey:
			list = append(list, map[string]string{"kty": "RSA", "kid": kid, "use": "sig", "alg": "RS256", "n": text(public.N.Bytes()), "e": "AQAB"})
		case *ecdsa.PublicKey:
			point, _ := public.Bytes()
			list = append(list, map[string]string{"kty": "EC", "kid": kid, "use": "sig", "crv": "P-256", "x": text(point[1:33]), "y": text(point[33:])})
		}
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"keys": list})
}

func (p *identityProvider) sign(kid string, claims jwt.MapClaims) string {
	p.t.Helper()
	p.mu.Lock()
	key := p.keys[kid]
	p.mu.Unlock()
	return signWith(p.t, kid, key, claims)
}

func signWith(t *testing.T, kid string, key crypto.Signer, claims jwt.MapClaims) string {
	t.Helper()
	all := jwt.MapClaims{"iss": "https://idp.example", "aud": "hub-clients", "sub": "ann", "exp": now.Add(time.Hour).Unix()}
	for name, value := range claims {
		all[name] = value
	}
	var method jwt.SigningMethod = jwt.SigningMethodRS256
	if _, ok := key.(*ecdsa.PrivateKey); ok {
		method = jwt.SigningMethodES256
	}
	token := jwt.NewWithClaims(method, all)
	if kid != "" {
		token.Header["kid"] = kid
	}
	signed, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// verifier returns one that trusts the provider, once it has its keys.
func (p *identityProvider) verifier(cfg access.ProviderConfig, at func() time.Time) *access.Verifier {
	ctx, cancel := context.WithCancel(context.Background())
	p.t.Cleanup(cancel)
	cfg.URL, cfg.Issuer, cfg.Audience, cfg.BackendAudience = p.server.URL, "https://idp.example", "hub-clients", "hub-backends"
	return newVerifier(access.Config{Keys: []access.Key{key1}, Provider: access.NewProvider(ctx, cfg), Now: at})
}

// eventually waits for what the provider's own goroutines do.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

func TestTokensOfAnIdentityProvider(t *testing.T) {
	t.Parallel()
	p := newIdentityProvider(t)
	p.rsa("r")
	p.ec("e")
	v := p.verifier(access.ProviderConfig{UserClaim: "email"}, nil)
	ann := jwt.MapClaims{"email": "ann@example.com"}
	eventually(t, "the keys are there", func() bool { _, err := v.Client(p.sign("r", ann), "chat", "h"); return err == nil })

	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	public := &p.keys["r"].(*rsa.PrivateKey).PublicKey
	for name, c := range map[string]struct {
		token string
		want  error
	}{
		"RS256":                         {p.sign("r", ann), nil},
		"ES256":                         {p.sign("e", ann), nil},
		"without the key's name":        {signWith(t, "", p.keys["e"], ann), nil},
		"another's key, the right name": {signWith(t, "r", stranger, ann), access.ErrSignature},
		"a public key taken for a secret": {sign(t, jwt.SigningMethodHS256, public.N.Bytes(), map[string]any{
			"iss": "https://idp.example", "aud": "hub-clients"}), access.ErrSignature},
		"another issuer": {p.sign("r", jwt.MapClaims{"iss": "https://elsewhere"}), access.ErrIssuer},
		"no audience":    {p.sign("r", jwt.MapClaims{"aud": "something"}), access.ErrAudience},
		"a backend's":    {p.sign("r", jwt.MapClaims{"aud": "hub-backends"}), access.ErrAudience},
		"an address as audience, as an access key's": {p.sign("r", jwt.MapClaims{"aud": "http://h/client/?hub=chat"}), access.ErrAudience},
		"expired":       {p.sign("r", jwt.MapClaims{"exp": now.Add(-time.Hour).Unix()}), access.ErrExpired},
		"not yet valid": {p.sign("r", jwt.MapClaims{"nbf": now.Add(time.Hour).Unix()}), access.ErrNotYet},
	} {
		if _, err := v.Client(c.token, "chat", "h"); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
	id, err := v.Client(p.sign("r", jwt.MapClaims{"email": "ann@example.com", "nameid": "root", "role": "guest",
		"hubstream.groups": []string{"secret"}, "hubstream.rights": []string{"SendToAll"}, "asrs.u.hubstream.rights": "JoinGroup"}), "chat", "h")
	if err != nil || id.User != "ann@example.com" || id.Groups != nil {
		t.Errorf("got %q with groups %q, %v", id.User, id.Groups, err)
	}
	if !slices.Contains(id.Claims, access.Claim{Name: "role", Value: "guest"}) {
		t.Errorf("the user's claims are %v, want the role among them", id.Claims)
	}
	for _, c := range id.Claims {
		if strings.HasPrefix(c.Name, "hubstream.") {
			t.Errorf("a token of the provider's gives %v", c)
		}
	}
	if _, err := v.Backend(p.sign("r", jwt.MapClaims{"aud": "hub-backends"}), access.Request{Path: "/api/hubs/chat/send", Hub: "chat", Host: "h"}); err != nil {
		t.Errorf("a backend's token: %v", err)
	}
	if _, err := v.Backend(p.sign("r", ann), access.Request{Path: "/api/hubs/chat/send", Hub: "chat", Host: "h"}); !errors.Is(err, access.ErrAudience) {
		t.Errorf("a client's token is a backend's: %v", err)
	}
}

func TestTheProvidersKeysAreRotated(t *testing.T) {
	t.Parallel()
	var later atomic.Int64
	at := func() time.Time { return now.Add(time.Duration(later.Load())) }
	p := newIdentityProvider(t)
	p.rsa("old")
	v := p.verifier(access.ProviderConfig{UnknownKey: time.Millisecond, Refresh: 20 * time.Millisecond}, at)
	old := p.sign("old", nil)
	eventually(t, "the keys are there", func() bool { _, err := v.Client(old, "chat", "h"); return err == nil })

	p.ec("new") // a token that names a key nobody knows makes them be fetched
	if _, err := v.Client(p.sign("new", nil), "chat", "h"); err != nil {
		t.Errorf("with the new key: %v", err)
	}
	p.set("old", nil)
	asked := p.asked.Load()
	eventually(t, "the keys are fetched again", func() bool { return p.asked.Load() > asked+1 })
	later.Store(int64(2 * time.Minute)) // what was verified is believed for a minute
	if _, err := v.Client(old, "chat", "h"); !errors.Is(err, access.ErrSignature) {
		t.Errorf("with the key that is gone: %v", err)
	}
}

func TestUnknownKeysDoNotFloodTheProvider(t *testing.T) {
	t.Parallel()
	p := newIdentityProvider(t)
	p.ec("e")
	v := p.verifier(access.ProviderConfig{UnknownKey: time.Hour}, nil)
	eventually(t, "the keys are there", func() bool { _, err := v.Client(p.sign("e", nil), "chat", "h"); return err == nil })
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for range 20 {
		if _, err := v.Client(signWith(t, "unknown", stranger, nil), "chat", "h"); !errors.Is(err, access.ErrSignature) {
			t.Errorf("got %v", err)
		}
	}
	if asked := p.asked.Load(); asked > 2 {
		t.Errorf("it was asked %d times", asked)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestAProviderThatIsAwayIsNoRefusal(t *testing.T) {
	t.Parallel()
	p := newIdentityProvider(t)
	p.ec("e")
	p.goDown(true)
	v := p.verifier(access.ProviderConfig{UnknownKey: time.Millisecond}, nil)
	if _, err := v.Client(p.sign("e", nil), "chat", "h"); !errors.Is(err, access.ErrProviderAway) {
		t.Errorf("got %v", err)
	}
	if _, err := v.Client(vector, "chat", "localhost"); err != nil {
		t.Errorf("an access key's token needs no provider: %v", err)
	}
	p.goDown(false)
	eventually(t, "it is back", func() bool { _, err := v.Client(p.sign("e", nil), "chat", "h"); return err == nil })
}

func TestAProvidersDescription(t *testing.T) {
	t.Parallel()
	good := access.ProviderConfig{URL: "https://idp.example/keys", Issuer: "https://idp.example", Audience: "clients"}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	for name, break_ := range map[string]func(*access.ProviderConfig){
		"no address":   func(c *access.ProviderConfig) { c.URL = "" },
		"no issuer":    func(c *access.ProviderConfig) { c.Issuer = "" },
		"no audience":  func(c *access.ProviderConfig) { c.Audience = "" },
		"one for both": func(c *access.ProviderConfig) { c.BackendAudience = c.Audience },
	} {
		c := good
		break_(&c)
		if c.Check() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
