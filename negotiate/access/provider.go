package access

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/time/rate"
)

// ProviderConfig describes an identity provider.
type ProviderConfig struct {
	// URL is where its public keys are (a JSON Web Key Set). Required.
	URL string
	// Issuer is what its tokens say as iss. Required.
	Issuer string
	// Audience is what its tokens for clients say as aud. Empty: they are none of clients.
	Audience string
	// BackendAudience is what its tokens for backends say as aud. Empty: they are none of backends. Never equal to Audience.
	BackendAudience string
	// UserClaim is the claim that names the user; empty: those that an access key's token has.
	UserClaim string
	// Refresh is how often the keys are fetched again.
	Refresh time.Duration
	// UnknownKey is how often, at most, they are fetched because a token names a key that is not among them.
	UnknownKey time.Duration
	// Logger is told when they cannot be fetched; nil: nobody is.
	Logger *slog.Logger
}

// Provider is an identity provider, whose keys are fetched and kept. A nil Provider accepts nothing.
type Provider struct {
	cfg  ProviderConfig
	keys atomic.Pointer[keyfunc.Keyfunc] // nil until they were asked for once
}

const (
	fetchTimeout = 10 * time.Second
	// unknownKeyWait is how long a token with an unknown key waits for the keys to be fetched. One waits at a time,
	// others are refused meanwhile.
	unknownKeyWait = 5 * time.Second
	// recheck is how long a token is believed without looking whether its key is still there.
	recheck = time.Minute
)

// NewProvider returns a Provider that fetches keys until ctx ends.
func NewProvider(ctx context.Context, cfg ProviderConfig) *Provider {
	p := &Provider{cfg: cfg}
	if p.cfg.Refresh == 0 {
		p.cfg.Refresh = 15 * time.Minute
	}
	if p.cfg.UnknownKey == 0 {
		p.cfg.UnknownKey = 10 * time.Second
	}
	if p.cfg.Logger == nil {
		p.cfg.Logger = slog.New(slog.DiscardHandler)
	}
	go p.fetch(ctx)
	return p
}

// fetch asks for the keys, and sees to it that this is done again.
func (p *Provider) fetch(ctx context.Context) {
	keys, err := keyfunc.NewDefaultOverrideCtx(ctx, []string{p.cfg.URL}, keyfunc.Override{
		HTTPTimeout: fetchTimeout, RefreshInterval: p.cfg.Refresh, RateLimitWaitMax: unknownKeyWait,
		RefreshUnknownKID: rate.NewLimiter(rate.Every(p.cfg.UnknownKey), 1),
		RefreshErrorHandlerFunc: func(url string) func(context.Context, error) {
			return func(ctx context.Context, err error) {
				if ctx.Err() == nil {
					p.cfg.Logger.Warn("the identity provider's keys could not be fetched", "url", url, "error", err)
				}
			}
		},
	})
	if err != nil {
		p.cfg.Logger.Error("the identity provider's keys cannot be fetched", "error", err)
		return
	}
	p.keys.Store(&keys)
}

// keysFor returns the key that a token names, or all if it names none.
func (p *Provider) keysFor(t *jwt.Token) (any, error) {
	if p == nil {
		return nil, ErrSignature
	}
	keys := p.keys.Load()
	if keys == nil {
		return nil, ErrProviderAway
	}
	key, err := (*keys).Keyfunc(t)
	if err != nil {
		if all, readErr := (*keys).VerificationKeySet(context.Background()); readErr == nil && len(all.Keys) == 0 {
			return nil, ErrProviderAway
		}
		return nil, err
	}
	if set, ok := key.(jwt.VerificationKeySet); ok && len(set.Keys) == 0 {
		return nil, ErrProviderAway
	}
	return key, nil
}

// read reads what is different in a token of the provider.
func (p *Provider) read(t *verified, claims claimSet, now time.Time) error {
	if claims.text("iss") != p.cfg.Issuer {
		return ErrIssuer
	}
	t.provided, t.until = true, now.Add(recheck)
	if p.cfg.UserClaim != "" {
		t.identity.User = claims.user(p.cfg.UserClaim)
	}
	// What our own claims allow (groups to follow, rights to call built-in methods), only holders of an access key may allow: at many
	// providers users write some of their claims themselves.
	t.identity.Groups = nil
	t.identity.Claims = slices.DeleteFunc(t.identity.Claims, func(c Claim) bool { return strings.HasPrefix(c.Name, claimOwnPrefix) })
	if badUser(t.identity.User) {
		return ErrUser
	}
	t.identity.Key = "provider:" + t.identity.User
	return nil
}

func (p *Provider) forClients(t *verified) bool  { return t.isFor(p.cfg.Audience) }
func (p *Provider) forBackends(t *verified) bool { return t.isFor(p.cfg.BackendAudience) }

func (t *verified) isFor(name string) bool {
	return name != "" && slices.ContainsFunc(t.audiences, func(a audience) bool { return a.raw == name })
}

// Check refuses a description that makes no sense.
func (c *ProviderConfig) Check() error {
	switch {
	case c.URL == "":
		return errors.New("an identity provider needs the address of its keys")
	case c.Issuer == "":
		return errors.New("an identity provider needs its issuer")
	case c.Audience == "" && c.BackendAudience == "":
		return errors.New("an identity provider needs an audience")
	case c.Audience == c.BackendAudience:
		return errors.New("clients and backends have the same audience: every client could do what backends may")
	}
	return nil
}
