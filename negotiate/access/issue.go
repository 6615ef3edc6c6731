package access

import (
	"errors"
	"maps"
	"net/url"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// DefaultLifetime is how long a token is good that does not say how long.
const DefaultLifetime = time.Hour

// Token describes a token to be made.
type Token struct {
	// Audience is what it is for: ClientAudience, HubAudience or the address of one request.
	Audience string
	// User is empty for nobody.
	User string
	// Lifetime is how long it is good; zero: DefaultLifetime.
	Lifetime time.Duration
	// Groups are those that a plain event stream may follow with it.
	Groups []string
	// Claims are others.
	Claims map[string]any
}

// ClientAudience is the audience of a client's token for a hub, as Azure's SDKs write it.
func ClientAudience(endpoint, hub string) string {
	return endpoint + clientPath + "/?hub=" + url.QueryEscape(hub)
}

// HubAudience is the audience of a backend's token for all of a hub.
func HubAudience(endpoint, hub string) string {
	return endpoint + apiPath + url.PathEscape(hub)
}

// Sign makes a token, signed with a key.
func Sign(key Key, t Token, now time.Time) (string, error) {
	claims := jwt.MapClaims{}
	maps.Copy(claims, t.Claims)
	lifetime := t.Lifetime
	if lifetime == 0 {
		lifetime = DefaultLifetime
	}
	claims["aud"], claims["iat"], claims["nbf"], claims["exp"] = t.Audience, now.Unix(), now.Unix(), now.Add(lifetime).Unix()
	if t.User != "" {
		claims[claimNameID] = t.User
	}
	if len(t.Groups) > 0 {
		claims[claimGroups] = t.Groups
	}
	return jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(key))
}

// ErrNoKeys says that there is no key to sign with.
var ErrNoKeys = errors.New("there are no access keys")

// IssueClient signs a token for a client of a hub with the first key. The host is the one that the request names; if the nodes have public
// addresses the token is for the first of them.
func (v *Verifier) IssueClient(hub, host string, t Token) (string, error) {
	keys := v.keys.Load()
	if len(keys.keys) == 0 {
		return "", ErrNoKeys
	}
	if len(keys.hosts) > 0 {
		host = keys.hosts[0]
	}
	t.Audience = ClientAudience("http://"+host, hub) // the scheme means nothing
	return Sign(Key(keys.keys[0].bytes), t, v.cfg.Now())
}
