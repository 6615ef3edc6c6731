package access

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"

	"hubstream/negotiate"
)

// Claim is one statement of a token about its user. What has several values is several claims.
type Claim struct {
	Name  string
	Value string // a JSON string's text; of anything else, its JSON
}

// The claims that mean something to the service, as Azure's SDKs write them.
const (
	claimUser         = "asrs.s.uid"
	claimNameID       = "nameid"
	claimNameIDLong   = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier"
	claimSubject      = "sub"
	claimTransports   = "asrs.s.htt"  // bits: 1 WebSockets, 2 event streams, 4 long polling
	claimHandshake    = "asrs.s.cht"  // seconds that the handshake may take
	claimClose        = "asrs.s.coae" // true: close when authentication expires
	claimCloseAt      = "asrs.s.aeo"  // when it does, seconds since 1970
	claimSystemPrefix = "asrs.s."
	claimUserPrefix   = "asrs.u." // a user's claim whose name is a registered one's
	// claimOwnPrefix is what the names of our own claims begin with, which allow something.
	claimOwnPrefix = "hubstream."
	// claimGroups lists the groups that a plain event stream may follow with the token.
	claimGroups = claimOwnPrefix + "groups"
)

// claimSet is a token's claims as they are written.
type claimSet map[string]json.RawMessage

// Nothing of it is for the library to check: times and audiences are checked for each request.

func (claimSet) GetExpirationTime() (*jwt.NumericDate, error) { return nil, nil }
func (claimSet) GetIssuedAt() (*jwt.NumericDate, error)       { return nil, nil }
func (claimSet) GetNotBefore() (*jwt.NumericDate, error)      { return nil, nil }
func (claimSet) GetIssuer() (string, error)                   { return "", nil }
func (claimSet) GetSubject() (string, error)                  { return "", nil }
func (claimSet) GetAudience() (jwt.ClaimStrings, error)       { return nil, nil }

// text returns a claim that is a string; empty if it is none.
func (c claimSet) text(name string) string {
	var s string
	if json.Unmarshal(c[name], &s) != nil {
		return ""
	}
	return s
}

// texts returns a claim that is a string or a list of strings; what is neither in it is left out.
func (c claimSet) texts(name string) []string {
	var values []string
	for _, raw := range elements(c[name]) {
		var s string
		if json.Unmarshal(raw, &s) == nil {
			values = append(values, s)
		}
	}
	return values
}

// elements are those of a JSON array; anything else is its only element.
func elements(raw json.RawMessage) []json.RawMessage {
	if !bytes.HasPrefix(raw, []byte("[")) {
		return []json.RawMessage{raw}
	}
	var list []json.RawMessage
	_ = json.Unmarshal(raw, &list) // it is valid: it was within a whole that was
	return list
}

// seconds reads a time, which SDKs also write as a string. ok: there is one.
func (c claimSet) seconds(name string) (t time.Time, ok bool) {
	n, err := strconv.ParseFloat(strings.Trim(string(c[name]), `"`), 64)
	if err != nil || math.IsNaN(n) || n < 0 {
		return time.Time{}, false
	}
	const latest = 1 << 40 // beyond the year 36000: no expiry to speak of, and no overflow
	return time.UnixMilli(int64(min(n, latest) * 1000)), true
}

// has tells whether there is a claim, which null is not.
func (c claimSet) has(name string) bool { return c[name] != nil && string(c[name]) != "null" }

func (c claimSet) isTrue(name string) bool {
	return strings.EqualFold(strings.Trim(string(c[name]), `"`), "true")
}

// user returns who the token is of, which may be nobody.
func (c claimSet) user(names ...string) string {
	for _, name := range names {
		if values := c.texts(name); len(values) > 0 && values[0] != "" {
			return values[0]
		}
	}
	return ""
}

func badUser(user string) bool {
	return negotiate.UserTooLong(user) || !utf8.ValidString(user)
}

// transports are those that the token allows; nil means all.
func (c claimSet) transports() []negotiate.Transport {
	bits, err := strconv.Atoi(strings.Trim(string(c[claimTransports]), `"`))
	if err != nil {
		return nil
	}
	allowed := []negotiate.Transport{}
	for i, transport := range negotiate.DefaultTransports() {
		if bits&(1<<i) != 0 {
			allowed = append(allowed, transport)
		}
	}
	return allowed
}

// maxHandshake limits the time for the handshake that a token may give.
const maxHandshake = 30 // seconds

func (c claimSet) handshakeTimeout() time.Duration {
	seconds, err := strconv.Atoi(strings.Trim(string(c[claimHandshake]), `"`))
	if err != nil || seconds < 1 || seconds > maxHandshake {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

// list returns the claims about the user, sorted by name: all but those of the service itself.
func (c claimSet) list() []Claim {
	var claims []Claim
	for name, raw := range c {
		if strings.HasPrefix(name, claimSystemPrefix) || name == claimGroups {
			continue
		}
		for _, element := range elements(raw) {
			value := string(element)
			var s string
			if json.Unmarshal(element, &s) == nil && value != "null" {
				value = s
			}
			claims = append(claims, Claim{Name: strings.TrimPrefix(name, claimUserPrefix), Value: value})
		}
	}
	slices.SortStableFunc(claims, func(a, b Claim) int { return strings.Compare(a.Name, b.Name) })
	return claims
}
