package access

import (
	"errors"
	"fmt"
)

// Why a token is refused. The texts are fit to be shown to who has sent it, and say nothing of keys.
var (
	ErrMissing   = errors.New("an access token is needed")
	ErrMalformed = errors.New("the access token is not a signed JWT")
	ErrSignature = errors.New("the access token is not signed with a key that is accepted here")
	// ErrRetired is an ErrSignature: the key was accepted, and was taken away since.
	ErrRetired   = fmt.Errorf("%w any more", ErrSignature)
	ErrNoExpiry  = errors.New("the access token has no expiry (exp)")
	ErrExpired   = errors.New("the access token has expired")
	ErrNotYet    = errors.New("the access token is not valid yet (nbf)")
	ErrNotBefore = errors.New("the access token does not say since when it is valid in a way that can be read (nbf)")
	ErrAudience  = errors.New("the access token is not for this address (aud)")
	ErrIssuer    = errors.New("the access token is from another issuer (iss)")
	ErrUser      = errors.New("the access token's user is too long, or not text")
	// ErrProviderAway: the identity provider's keys are not known, because it has not been reached yet.
	ErrProviderAway = errors.New("the identity provider has not been reached yet")
)
