package access

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"strings"
	"time"
)

// TemporaryLifetime is how long tokens are accepted that are signed with a temporary key: Azure's SDKs use one for up to two hours, and their
// tokens are good for one.
const TemporaryLifetime = 4 * time.Hour

// temporaryPrefix is what the ID of a temporary key begins with: "temporary.<name of its access key>.<when it passes, seconds since 1970>".
const temporaryPrefix = "temporary."

// TemporaryKey makes a key that signs as the first access key does, until TemporaryLifetime has passed or that key goes. Whoever
// has proven to an identity provider to be a backend may have it, and not the key itself, which never passes. Tokens name it as their kid.
func (v *Verifier) TemporaryKey() (id string, k Key, err error) {
	keys := v.keys.Load()
	if len(keys.keys) == 0 {
		return "", "", ErrNoKeys
	}
	first := keys.keys[0]
	id = temporaryPrefix + first.name + "." + strconv.FormatInt(v.cfg.Now().Add(TemporaryLifetime).Unix(), 10)
	return id, Key(first.temporary(id)), nil
}

// temporary is made of the access key and the ID, so that every node knows it.
func (k key) temporary(id string) []byte {
	sum := hmac.New(sha256.New, k.bytes)
	sum.Write([]byte("hubstream temporary access key " + id))
	return base64.StdEncoding.AppendEncode(nil, sum.Sum(nil))
}

// temporary returns the key that a token names, and until when it is good. ok is false if it names no temporary key that is good now.
func (s *keySet) temporary(kid any, now time.Time) (k key, until time.Time, ok bool) {
	id, _ := kid.(string)
	rest, ok := strings.CutPrefix(id, temporaryPrefix)
	name, passes, found := strings.Cut(rest, ".")
	seconds, err := strconv.ParseInt(passes, 10, 64)
	if !ok || !found || err != nil || !now.Before(time.Unix(seconds, 0)) {
		return key{}, time.Time{}, false
	}
	for _, parent := range s.keys {
		if parent.name == name {
			return key{name, parent.temporary(id)}, time.Unix(seconds, 0), true
		}
	}
	return key{}, time.Time{}, false
}
