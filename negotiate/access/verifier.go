package access

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/golang-jwt/jwt/v5"
	lru "github.com/hashicorp/golang-lru/v2"
)

// DefaultLeeway is how long a token is accepted after its expiry, unless configured: as in Azure, for clocks that
// differ.
const DefaultLeeway = 5 * time.Minute

// MaxTokenBytes limits a token: a longer one is refused before anything is computed.
const MaxTokenBytes = 16 << 10 // 16 KiB

// maxKept is how many verified tokens are remembered, about 2 KiB each at most for usual ones.
const maxKept = 10_000

// Config is what a Verifier needs to know. With neither Keys nor Provider it refuses every token.
type Config struct {
	// Keys are all accepted.
	Keys []Key
	// Endpoints are the public addresses of the nodes, whose hosts a token may name. Empty: the one that the request names.
	Endpoints []string
	// Leeway is how long before and after its times a token is accepted.
	Leeway time.Duration
	// WholeEndpoint: a backend's token whose audience is an address without a path is good for every request.
	WholeEndpoint bool
	// CloseAtExpiry: connections are closed when their token is not accepted any more, also if the token does not ask for it.
	CloseAtExpiry bool
	// Provider checks the tokens of an identity provider; nil: there is none.
	Provider *Provider
	// Now returns the time; nil: time.Now.
	Now func() time.Time
}

// Verifier checks tokens. It may be used concurrently.
type Verifier struct {
	cfg  Config
	keys atomic.Pointer[keySet]
}

// keySet is what can be replaced, with what was verified by it: with a key its tokens go.
type keySet struct {
	keys  []key
	hosts []string
	// retired are keys that were accepted before, the newest first. What they have signed is refused, but it is known whose it was.
	retired []key
	known   *lru.Cache[[sha256.Size]byte, *verified]
}

// key is an access key, and a name for it that says nothing about it.
type key struct {
	name  string
	bytes []byte
}

// verified is what holds for a token wherever it is shown.
type verified struct {
	identity  Identity
	audiences []audience
	notBefore time.Time
	// provided: by the identity provider, whose audiences are names and not addresses.
	provided bool
	// temporary: signed with a temporary key.
	temporary bool
	// retired: signed with a key that is not accepted any more.
	retired bool
	// until is when it is to be verified again, as its key may have gone; zero: never.
	until time.Time
}

// NewVerifier returns a Verifier.
func NewVerifier(cfg Config) *Verifier {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	v := &Verifier{cfg: cfg}
	v.Replace(cfg.Keys, cfg.Endpoints)
	return v
}

// Replace puts other keys and endpoints in the place of all earlier ones, at once for all callers.
func (v *Verifier) Replace(keys []Key, endpoints []string) {
	s := &keySet{}
	s.known, _ = lru.New[[sha256.Size]byte, *verified](maxKept) // fails for sizes below 1 only
	for _, k := range keys {
		sum := sha256.Sum256([]byte("name of " + k))
		s.keys = append(s.keys, key{hex.EncodeToString(sum[:4]), []byte(k)})
	}
	for _, endpoint := range endpoints {
		s.hosts = append(s.hosts, parseAudience(endpoint).host)
	}
	if before := v.keys.Load(); before != nil {
		s.retire(before)
	}
	v.keys.Store(s)
}

// maxRetired is how many keys are remembered that were taken away: each costs a look at every token that no other has signed.
const maxRetired = 8

// retire remembers the keys of the set before that this one has not.
func (s *keySet) retire(before *keySet) {
	for _, k := range slices.Concat(before.keys, before.retired) {
		same := func(other key) bool { return bytes.Equal(other.bytes, k.bytes) }
		if len(s.retired) < maxRetired && !slices.ContainsFunc(s.keys, same) {
			s.retired = append(s.retired, k)
		}
	}
}

// Client checks the token of a client of a hub, at the host that its request names. The error is one of this package's, wrapped.
// With ErrExpired and ErrRetired the identity is whose the token was, if it was for the hub, else the zero one.
func (v *Verifier) Client(token, hub, host string) (Identity, error) {
	keys := v.keys.Load()
	t, err := v.open(keys, token)
	if err != nil && t == nil {
		return Identity{}, err
	}
	var good bool
	if t.provided {
		good = v.cfg.Provider.forClients(t)
	} else {
		good = keys.audience(t, host, func(a *audience) bool { return a.forHub(hub) })
	}
	if !good {
		return Identity{}, cmp.Or(err, ErrAudience)
	}
	return t.identity, err
}

// Request is what a backend asks for.
type Request struct {
	Host string // as the request names it
	Path string // decoded
	Hub  string // the hub that it is about, whatever the path says; empty: none
	// GivesKey: it is answered with a temporary key. A token that is signed with one may not ask for that, or a key that
	// passes would last for ever.
	GivesKey bool
}

// Backend checks the token of a backend's request. The error is one of this package's, wrapped.
func (v *Verifier) Backend(token string, r Request) (Identity, error) {
	keys := v.keys.Load()
	t, err := v.open(keys, token)
	if err != nil {
		return Identity{}, err
	}
	if t.provided {
		if !v.cfg.Provider.forBackends(t) {
			return Identity{}, ErrAudience
		}
		return t.identity, nil
	}
	if r.GivesKey && t.temporary {
		return Identity{}, ErrAudience
	}
	if !keys.audience(t, r.Host, func(a *audience) bool { return a.forRequest(&r, v.cfg.WholeEndpoint) }) {
		return Identity{}, ErrAudience
	}
	return t.identity, nil
}

// audience tells whether one of the token's audiences is on one of our hosts, and for what is asked.
func (s *keySet) audience(t *verified, host string, good func(*audience) bool) bool {
	for i := range t.audiences {
		a := &t.audiences[i]
		if a.host != "" && s.isOurs(a.host, host) && good(a) {
			return true
		}
	}
	return false
}

func (s *keySet) isOurs(host, requested string) bool {
	if len(s.hosts) == 0 {
		return strings.EqualFold(host, hostOf(requested))
	}
	return slices.Contains(s.hosts, host)
}

// open returns what a token says, if it is good now; with ErrExpired and ErrRetired, what it said.
func (v *Verifier) open(keys *keySet, token string) (*verified, error) {
	if token == "" {
		return nil, ErrMissing
	}
	if len(token) > MaxTokenBytes {
		return nil, fmt.Errorf("%w: it is over %d bytes", ErrMalformed, MaxTokenBytes)
	}
	now := v.cfg.Now()
	sum := sha256.Sum256(unsafe.Slice(unsafe.StringData(token), len(token)))
	t, known := keys.known.Get(sum)
	if known && !t.until.IsZero() && now.After(t.until) {
		keys.known.Remove(sum)
		known = false
	}
	if !known {
		var err error
		if t, err = v.verify(keys, token, now); err != nil {
			return nil, err
		}
	}
	switch {
	case t.retired:
		return t, ErrRetired
	case now.After(t.identity.Expires):
		keys.known.Remove(sum)
		return t, ErrExpired
	case now.Before(t.notBefore):
		return nil, ErrNotYet
	}
	if !known {
		keys.known.Add(sum, t)
	}
	return t, nil
}

// verify proves who has signed a token, and reads it.
func (v *Verifier) verify(keys *keySet, token string, now time.Time) (*verified, error) {
	claims, name, until, retired := claimSet{}, "", time.Time{}, false
	parsed, err := parser.ParseWithClaims(token, &claims, func(t *jwt.Token) (any, error) {
		if _, critical := t.Header["crit"]; critical {
			return nil, ErrMalformed // it has extensions that must be understood
		}
		if strings.HasPrefix(t.Method.Alg(), "HS") {
			candidates, former := keys.keys, keys.retired
			if temporary, passes, ok := keys.temporary(t.Header["kid"], now); ok {
				candidates, former, until = []key{temporary}, nil, passes
			}
			signed := func(k key) bool {
				return t.Method.Verify(token[:strings.LastIndexByte(token, '.')], t.Signature, k.bytes) == nil
			}
			i := slices.IndexFunc(candidates, signed)
			if i < 0 {
				candidates, retired = former, true
				i = slices.IndexFunc(candidates, signed)
			}
			if i < 0 {
				return nil, ErrSignature
			}
			name = candidates[i].name
			return candidates[i].bytes, nil
		}
		return v.cfg.Provider.keysFor(t)
	})
	switch {
	case errors.Is(err, ErrProviderAway):
		return nil, ErrProviderAway
	case errors.Is(err, ErrMalformed), errors.Is(err, jwt.ErrTokenMalformed):
		return nil, ErrMalformed
	case err != nil:
		return nil, ErrSignature
	}
	t, err := v.read(claims)
	if err != nil {
		return nil, err
	}
	t.retired = retired
	if strings.HasPrefix(parsed.Method.Alg(), "HS") {
		t.identity.Key, t.until, t.temporary = name, until, !until.IsZero()
		if t.temporary && until.Before(t.identity.Expires) {
			t.identity.Expires = until // nothing that its key has signed is accepted any longer
		}
	} else if err := v.cfg.Provider.read(t, claims, now); err != nil {
		return nil, err
	}
	v.setCloseAt(t, claims)
	return t, nil
}

// setCloseAt reads when a token wants its connection to be closed. That may be after it has expired, but for a provider's: its user may
// have written the claim.
func (v *Verifier) setCloseAt(t *verified, claims claimSet) {
	id := &t.identity
	if claims.isTrue(claimClose) {
		id.CloseAt, _ = claims.seconds(claimCloseAt)
	}
	if v.cfg.CloseAtExpiry && (id.CloseAt.IsZero() || t.provided && id.CloseAt.After(id.Expires)) {
		id.CloseAt = id.Expires
	}
}

// parser knows no "none": the list of algorithms is complete.
var parser = jwt.NewParser(jwt.WithoutClaimsValidation(), jwt.WithStrictDecoding(), jwt.WithValidMethods([]string{
	"HS256", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512",
}))

// read reads the claims of a token.
func (v *Verifier) read(claims claimSet) (*verified, error) {
	expires, ok := claims.seconds("exp")
	if !ok {
		return nil, ErrNoExpiry
	}
	t := &verified{
		audiences: parseAudiences(claims.texts("aud")),
		identity: Identity{
			Authenticated: true, User: claims.user(claimUser, claimNameID, claimNameIDLong, claimSubject), Claims: claims.list(),
			Groups: claims.texts(claimGroups), Expires: expires.Add(v.cfg.Leeway),
			Transports: claims.transports(), HandshakeTimeout: claims.handshakeTimeout(),
		},
	}
	if notBefore, ok := claims.seconds("nbf"); ok {
		t.notBefore = notBefore.Add(-v.cfg.Leeway)
	} else if claims.has("nbf") {
		return nil, ErrNotBefore // whatever it means, the token may not be valid yet
	}
	if badUser(t.identity.User) {
		return nil, ErrUser
	}
	return t, nil
}
