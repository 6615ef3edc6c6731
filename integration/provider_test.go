package integration_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"hubstream/integration/internal/jsclient"
	"hubstream/integration/internal/rawclient"
	"hubstream/negotiate/access"
)

// identityProvider serves its public keys, and signs with them.
type identityProvider struct {
	t   *testing.T
	url string

	mu   sync.Mutex
	keys map[string]*rsa.PrivateKey
}

func newIdentityProvider(t *testing.T) *identityProvider {
	p := &identityProvider{t: t, keys: map[string]*rsa.PrivateKey{}}
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	p.url = server.URL
	return p
}

func (p *identityProvider) add(kid string) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		p.t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys[kid] = key
}

func (p *identityProvider) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := []map[string]string{}
	for kid, key := range p.keys {
		list = append(list, map[string]string{
			"kty": "RSA", "kid": kid, "use": "sig", "alg": "RS256", "e": "AQAB", "n": base64.RawURLEncoding.EncodeToString(key.N.Bytes()),
		})
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"keys": list})
}

// token is one for an audience, with other claims.
func (p *identityProvider) token(kid, audience string, claims jwt.MapClaims) string {
	p.t.Helper()
	all := jwt.MapClaims{"iss": p.url, "aud": audience, "sub": "ann", "exp": time.Now().Add(time.Hour).Unix()}
	for name, value := range claims {
		all[name] = value
	}
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, all)
	token.Header["kid"] = kid
	p.mu.Lock()
	defer p.mu.Unlock()
	signed, err := token.SignedString(p.keys[kid])
	if err != nil {
		p.t.Fatal(err)
	}
	return signed
}

// Official clients and a backend with tokens of an identity provider, whose key is rotated; each request reaches another node. What the
// provider's users write into their claims gives them no rights.
func TestClientsOfAnIdentityProvider(t *testing.T) {
	t.Parallel()
	p := newIdentityProvider(t)
	p.add("first")
	g := newGuardedCluster(t, "-jwks-url", p.url, "-jwks-issuer", p.url, "-jwks-audience", "clients", "-jwks-backend-audience", "backends")
	hub := newHub(t)
	open := func(transport, token string) *jsclient.Conn {
		return sharedJS(t).Open(t, jsclient.Options{URL: g.proxy + "/hubs/" + hub, Transport: transport, AccessToken: token})
	}
	backendOf := func(kid string) *backend {
		return &backend{t: t, hub: hub, bases: []string{g.proxy}, token: p.token(kid, "backends", nil)}
	}
	g.awaitProvider(hub, p.token("first", "backends", nil))
	rights := jwt.MapClaims{"hubstream.rights": []string{"SendToAll", "JoinGroup"}}
	var conns []*jsclient.Conn
	for _, transport := range []string{jsclient.WebSockets, jsclient.ServerSentEvents, jsclient.LongPolling} {
		conns = append(conns, open(transport, p.token("first", "clients", rights)))
		if _, err := sharedJS(t).TryOpen(t, jsclient.Options{
			URL: g.proxy + "/hubs/" + hub, Transport: transport, AccessToken: p.token("first", "backends", nil),
		}); err == nil || !strings.Contains(err.Error(), "401") {
			t.Errorf("over %s a backend's token is a client's: %v", transport, err)
		}
	}
	backendOf("first").toUser("ann", 1)

	p.add("second") // which no node has seen
	for _, transport := range []string{jsclient.WebSockets, jsclient.ServerSentEvents, jsclient.LongPolling} {
		token := p.token("second", "clients", rights)
		g.awaitClient(hub, token)
		conns = append(conns, open(transport, token))
	}
	backendOf("second").toUser("ann", 2)
	for i, conn := range conns {
		if i < 3 {
			conn.Expect("message", 1)
		}
		conn.Expect("message", 2)
		if _, err := conn.Invoke("SendToAll", "message", 3); err == nil {
			t.Errorf("over %s a claim of the provider's has given a right", conn.Transport)
		}
	}

	// Azure's SDKs ask for a key with the provider's token, and sign the clients' tokens with it.
	a, err := rawclient.Do(t.Context(), http.MethodGet, g.proxy+"/api/v1/auth/accessKey", "", "Authorization", "Bearer "+p.token("second", "backends", nil))
	var handed struct{ AccessKey, KeyID string }
	if err != nil || a.Status != http.StatusOK || json.Unmarshal([]byte(a.Body), &handed) != nil {
		t.Fatalf("got %d %s %v", a.Status, a.Body, err)
	}
	token := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"aud": access.ClientAudience(g.proxy, hub), "nameid": "bob", "exp": time.Now().Add(time.Hour).Unix(),
	})
	token.Header["kid"] = handed.KeyID
	signed, err := token.SignedString([]byte(handed.AccessKey))
	if err != nil {
		t.Fatal(err)
	}
	bob := open(jsclient.LongPolling, signed)
	backendOf("second").toUser("bob", 4)
	bob.Expect("message", 4)
	if a, err := rawclient.Do(t.Context(), http.MethodGet, g.proxy+"/api/v1/auth/accessKey", "", "Authorization", "Bearer "+p.token("second", "clients", nil)); err != nil || a.Status != http.StatusUnauthorized {
		t.Errorf("a client's token: got %d %v", a.Status, err)
	}
}

// awaitProvider waits until every node has the keys of the identity provider that signed a backend's token.
func (g *guardedCluster) awaitProvider(hub, token string) {
	g.t.Helper()
	g.awaitAnswer(http.MethodGet, "/api/hubs/"+hub+"/connections", token)
}

// awaitClient is awaitProvider for a client's token.
func (g *guardedCluster) awaitClient(hub, token string) {
	g.t.Helper()
	g.awaitAnswer(http.MethodPost, "/hubs/"+hub+"/negotiate?negotiateVersion=1", token)
}

func (g *guardedCluster) awaitAnswer(method, path, token string) {
	g.t.Helper()
	for _, n := range g.nodes {
		for deadline := time.Now().Add(jsclient.Patience); ; time.Sleep(50 * time.Millisecond) {
			a, err := rawclient.Do(g.t.Context(), method, n.URL+path, "", "Authorization", "Bearer "+token)
			if err == nil && a.Status == http.StatusOK {
				break
			}
			if time.Now().After(deadline) {
				g.t.Fatalf("%s answers %d %s (%v), want 200", n.Name, a.Status, a.Body, err)
			}
		}
	}
}
