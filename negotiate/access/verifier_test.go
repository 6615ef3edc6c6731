package access_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"hubstream/negotiate"
	"hubstream/negotiate/access"
)

// The keys and the token of the reference's test vectors.
const (
	key1   = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789ABCDEFGH"
	key2   = "HGFEDCBA9876543210ZYXWVUTSRQPONMLKJIHGFEDCBA"
	vector = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJhdWQiOiJodHRwOi8vbG9jYWxob3N0L2NsaWVudC8_aHViPWNoYXQiLCJleHAiOjQxMDI0NDQ4MDAsIm5hbWVpZCI6ImFubiJ9.L4Whi-AMWsg1ZSpRqCz9J-iT686Mmo-TIZg4qHbxtEY"
)

var now = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// sign makes a token for ann and hub chat; claims are put over the usual ones, and taken away if nil.
func sign(t testing.TB, method jwt.SigningMethod, key any, claims map[string]any) string {
	t.Helper()
	all := jwt.MapClaims{"aud": "http://localhost/client/?hub=chat", "exp": now.Add(time.Hour).Unix(), "nameid": "ann"}
	maps.Copy(all, claims)
	maps.DeleteFunc(all, func(_ string, value any) bool { return value == nil })
	signed, err := jwt.NewWithClaims(method, all).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func newVerifier(cfg access.Config) *access.Verifier {
	if cfg.Keys == nil && cfg.Provider == nil {
		cfg.Keys = []access.Key{key1, key2}
	}
	cfg.Leeway = access.DefaultLeeway
	if cfg.Now == nil {
		cfg.Now = func() time.Time { return now }
	}
	return access.NewVerifier(cfg)
}

func TestAzuresVectorIsAccepted(t *testing.T) {
	t.Parallel()
	id, err := newVerifier(access.Config{}).Client(vector, "chat", "localhost:8888")
	if err != nil || id.User != "ann" || !id.Authenticated {
		t.Errorf("got %+v, %v", id, err)
	}
}

func TestClientTokens(t *testing.T) {
	t.Parallel()
	hs := jwt.SigningMethodHS256
	for name, c := range map[string]struct {
		token string
		want  error
	}{
		"first key":                  {sign(t, hs, []byte(key1), nil), nil},
		"second key":                 {sign(t, hs, []byte(key2), nil), nil},
		"HS512":                      {sign(t, jwt.SigningMethodHS512, []byte(key1), nil), nil},
		"HS384, which Azure has not": {sign(t, jwt.SigningMethodHS384, []byte(key1), nil), access.ErrSignature},
		"another key":                {sign(t, hs, []byte(strings.Repeat("k", 44)), nil), access.ErrSignature},
		"the key taken for base64":   {sign(t, hs, []byte{0, 16, 131, 16, 81, 135}, nil), access.ErrSignature},
		"alg none":                   {sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil), access.ErrSignature},
		"no token":                   {"", access.ErrMissing},
		"no JWT":                     {"abc", access.ErrMalformed},
		"two parts":                  {"eyJhbGciOiJIUzI1NiJ9.e30", access.ErrMalformed},
		"signature cut off":          {vector[:len(vector)-2], access.ErrMalformed},
		"alg in lower case":          {replaceHeader(vector, `{"alg":"hs256"}`), access.ErrSignature},
		"no alg":                     {replaceHeader(vector, `{}`), access.ErrSignature},
		"too long":                   {vector + strings.Repeat("A", access.MaxTokenBytes), access.ErrMalformed},

		"expired, within the leeway": {sign(t, hs, []byte(key1), map[string]any{"exp": now.Add(-time.Minute).Unix()}), nil},
		"expired":                    {sign(t, hs, []byte(key1), map[string]any{"exp": now.Add(-10 * time.Minute).Unix()}), access.ErrExpired},
		"no expiry":                  {sign(t, hs, []byte(key1), map[string]any{"exp": nil}), access.ErrNoExpiry},
		"an expiry that is none":     {sign(t, hs, []byte(key1), map[string]any{"exp": "never"}), access.ErrNoExpiry},
		"an expiry far away":         {sign(t, hs, []byte(key1), map[string]any{"exp": 1e300}), nil},
		"an expiry before 1970":      {sign(t, hs, []byte(key1), map[string]any{"exp": -1}), access.ErrNoExpiry},
		"valid soon":                 {sign(t, hs, []byte(key1), map[string]any{"nbf": now.Add(time.Minute).Unix()}), nil},
		"not yet valid":              {sign(t, hs, []byte(key1), map[string]any{"nbf": now.Add(10 * time.Minute).Unix()}), access.ErrNotYet},
		"not valid before a text":    {sign(t, hs, []byte(key1), map[string]any{"nbf": "2099-01-01T00:00:00Z"}), access.ErrNotBefore},
		"not valid before nothing":   {sign(t, hs, []byte(key1), map[string]any{"nbf": nil}), nil},
		"issued in the future":       {sign(t, hs, []byte(key1), map[string]any{"iat": now.Add(time.Hour).Unix()}), nil},
		"any issuer":                 {sign(t, hs, []byte(key1), map[string]any{"iss": "azure-signalr"}), nil},

		"with a port":         {sign(t, hs, []byte(key1), map[string]any{"aud": "http://localhost:8888/client/?hub=chat"}), nil},
		"https, host in caps": {sign(t, hs, []byte(key1), map[string]any{"aud": "https://LOCALHOST/client?hub=CHAT"}), nil},
		"our own path":        {sign(t, hs, []byte(key1), map[string]any{"aud": "http://localhost/hubs/chat"}), nil},
		"one of several":      {sign(t, hs, []byte(key1), map[string]any{"aud": []string{"api", "http://localhost/client/?hub=chat"}}), nil},
		"another hub":         {sign(t, hs, []byte(key1), map[string]any{"aud": "http://localhost/client/?hub=other"}), access.ErrAudience},
		"no hub":              {sign(t, hs, []byte(key1), map[string]any{"aud": "http://localhost/client/"}), access.ErrAudience},
		"another host":        {sign(t, hs, []byte(key1), map[string]any{"aud": "http://example.com/client/?hub=chat"}), access.ErrAudience},
		"no audience":         {sign(t, hs, []byte(key1), map[string]any{"aud": nil}), access.ErrAudience},
		"not an address":      {sign(t, hs, []byte(key1), map[string]any{"aud": "localhost/client/?hub=chat"}), access.ErrAudience},
		"a backend's":         {sign(t, hs, []byte(key1), map[string]any{"aud": "http://localhost/api/hubs/chat/send"}), access.ErrAudience},
		"a whole hub's":       {sign(t, hs, []byte(key1), map[string]any{"aud": "http://localhost/api/hubs/chat"}), access.ErrAudience},
		"a whole endpoint's":  {sign(t, hs, []byte(key1), map[string]any{"aud": "http://localhost"}), access.ErrAudience},
		"a server's":          {sign(t, hs, []byte(key1), map[string]any{"aud": "http://localhost/server/?hub=chat"}), access.ErrAudience},

		"a user too long": {sign(t, hs, []byte(key1), map[string]any{"nameid": strings.Repeat("u", negotiate.MaxUserLength+1)}), access.ErrUser},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := newVerifier(access.Config{WholeEndpoint: true})
			for range 2 { // the second time it is known
				if _, err := v.Client(c.token, "chat", "localhost:8888"); !errors.Is(err, c.want) {
					t.Errorf("got %v, want %v", err, c.want)
				}
			}
		})
	}
}

// replaceHeader puts another header before a token's claims and signature.
func replaceHeader(token, header string) string {
	_, rest, _ := strings.Cut(token, ".")
	return base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + rest
}

func TestBackendTokens(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		aud  any
		path string
		want error
	}{
		{"http://localhost/api/hubs/app_chat", "/api/hubs/chat/send", access.ErrAudience},
		{"http://localhost/api/hubs/chat/send", "/api/hubs/chat/send", nil},
		{"http://localhost:8888/api/hubs/chat/send?api-version=1&application=a", "/api/hubs/chat/send", nil},
		{"https://localhost/api/hubs/chat/send/", "/api/hubs/chat/send", nil},
		{"http://localhost/api/hubs/chat/:send", "/api/hubs/chat/:send", nil},
		{"http://localhost/api/hubs/chat/groups/a%2Fb/:send", "/api/hubs/chat/groups/a/b/:send", nil},
		{"http://localhost/api/hubs/chat/send", "/api/hubs/chat/connections", access.ErrAudience},
		{"http://localhost/api/hubs/chat", "/api/hubs/chat/send", nil},
		{"http://localhost/api/hubs/CHAT", "/api/hubs/chat/groups/g/connections/c", nil},
		{"http://localhost/api/hubs/chat", "/api/hubs/chatter/send", access.ErrAudience},
		{"http://localhost/api/hubs/chat", "/api/hubs/other/send", access.ErrAudience},
		{"http://localhost/api/hubs/chat", "/api/v1/hubs/chat/groups/g", nil},
		{"http://localhost/api/hubs/other", "/api/v1/hubs/chat/groups/g", access.ErrAudience},
		{"http://localhost/api/v1/hubs/chat", "/api/v1/hubs/chat", nil},
		{"http://localhost/api/v1/hubs/chat", "/api/v1/hubs/chat/groups/g", access.ErrAudience},
		{"http://localhost/api/hubs", "/api/hubs/chat/send", access.ErrAudience},
		{"http://localhost/api/hubs/", "/api/hubs/chat/send", access.ErrAudience},
		{"http://localhost", "/api/hubs/chat/send", access.ErrAudience},
		{"http://elsewhere/api/hubs/chat/send", "/api/hubs/chat/send", access.ErrAudience},
		{"http://localhost/client/?hub=chat", "/api/hubs/chat/send", access.ErrAudience},
		{"http://localhost/hubs/chat", "/api/hubs/chat/send", access.ErrAudience},
		{"http://localhost/server/?hub=chat", "/api/hubs/chat/send", access.ErrAudience},
		{[]string{"x", "http://localhost/api/hubs/chat/send"}, "/api/hubs/chat/send", nil},
		{nil, "/api/hubs/chat/send", access.ErrAudience},
	} {
		token := sign(t, jwt.SigningMethodHS256, []byte(key2), map[string]any{"aud": c.aud})
		if _, err := newVerifier(access.Config{}).Backend(token, access.Request{Path: c.path, Hub: hubIn(c.path), Host: "localhost:80"}); !errors.Is(err, c.want) {
			t.Errorf("%v for %s: got %v, want %v", c.aud, c.path, err, c.want)
		}
	}
}

// hubIn is the hub of a path, as the routes would have it.
func hubIn(path string) string {
	_, rest, _ := strings.Cut(path, "/hubs/")
	hub, _, _ := strings.Cut(rest, "/")
	return hub
}

// What a request is about is its hub, not how its path writes it: another application's hub is another hub.
func TestATokenForAHubIsForNoOtherApplications(t *testing.T) {
	t.Parallel()
	token := sign(t, jwt.SigningMethodHS256, []byte(key1), map[string]any{"aud": "http://localhost/api/hubs/chat"})
	for hub, want := range map[string]error{"chat": nil, "app_chat": access.ErrAudience, "": access.ErrAudience} {
		r := access.Request{Host: "localhost", Path: "/api/hubs/chat/send", Hub: hub}
		if _, err := newVerifier(access.Config{}).Backend(token, r); !errors.Is(err, want) {
			t.Errorf("hub %q: got %v, want %v", hub, err, want)
		}
	}
}

func TestAWholeEndpointIsAnAudienceOnlyIfAllowed(t *testing.T) {
	t.Parallel()
	token := sign(t, jwt.SigningMethodHS256, []byte(key1), map[string]any{"aud": "http://localhost/"})
	for _, allowed := range []bool{false, true} {
		_, err := newVerifier(access.Config{WholeEndpoint: allowed}).Backend(token, access.Request{Path: "/api/hubs/chat/send", Hub: "chat", Host: "localhost"})
		if (err == nil) != allowed {
			t.Errorf("allowed %t: got %v", allowed, err)
		}
	}
}

func TestEndpointsAreTheHostsThatTokensMayName(t *testing.T) {
	t.Parallel()
	v := newVerifier(access.Config{Endpoints: []string{"https://push.example.com", "http://[::1]:8080"}})
	for aud, want := range map[string]error{
		"https://push.example.com/client/?hub=chat": nil,
		"http://PUSH.example.com:81/hubs/chat":      nil,
		"http://[::1]/client/?hub=chat":             nil,
		"http://localhost/client/?hub=chat":         access.ErrAudience, // though the request names it
	} {
		token := sign(t, jwt.SigningMethodHS256, []byte(key1), map[string]any{"aud": aud})
		if _, err := v.Client(token, "chat", "localhost"); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", aud, err, want)
		}
	}
}

func TestWithAKeyItsTokensGo(t *testing.T) {
	t.Parallel()
	v := newVerifier(access.Config{})
	first := sign(t, jwt.SigningMethodHS256, []byte(key1), nil)
	second := sign(t, jwt.SigningMethodHS256, []byte(key2), nil)
	check := func(token string, want error) {
		t.Helper()
		if _, err := v.Client(token, "chat", "localhost"); !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
	check(first, nil)
	check(second, nil)
	v.Replace([]access.Key{key2}, nil)
	check(first, access.ErrSignature)
	check(second, nil)
}

func TestAKnownTokenExpiresAllTheSame(t *testing.T) {
	t.Parallel()
	at := now
	v := newVerifier(access.Config{Now: func() time.Time { return at }})
	token := sign(t, jwt.SigningMethodHS256, []byte(key1), nil)
	if _, err := v.Client(token, "chat", "localhost"); err != nil {
		t.Fatal(err)
	}
	at = now.Add(time.Hour + access.DefaultLeeway + time.Second)
	if who, err := v.Client(token, "chat", "localhost"); !errors.Is(err, access.ErrExpired) || who.User != "ann" {
		t.Errorf("got %+v, %v, want whose it was", who, err)
	}
	if who, err := v.Client(token, "other", "localhost"); !errors.Is(err, access.ErrExpired) || who.Authenticated {
		t.Errorf("for another hub: got %+v, %v, want nobody", who, err)
	}
}

func TestWhatATokenSays(t *testing.T) {
	t.Parallel()
	const nameID = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier"
	for _, c := range []struct {
		claims map[string]any
		user   string
	}{
		{map[string]any{"asrs.s.uid": "a", "nameid": "b", "sub": "c"}, "a"},
		{map[string]any{"nameid": "b", nameID: "d", "sub": "c"}, "b"},
		{map[string]any{"nameid": nil, nameID: "d", "sub": "c"}, "d"},
		{map[string]any{"nameid": nil, "sub": "c"}, "c"},
		{map[string]any{"nameid": []string{"b", "x"}}, "b"},
		{map[string]any{"nameid": 7, "sub": "c"}, "c"},
		{map[string]any{"nameid": nil}, ""},
	} {
		id, err := newVerifier(access.Config{}).Client(sign(t, jwt.SigningMethodHS256, []byte(key1), c.claims), "chat", "localhost")
		if err != nil || id.User != c.user {
			t.Errorf("%v: got %q, %v, want %q", c.claims, id.User, err, c.user)
		}
	}

	id, err := newVerifier(access.Config{}).Client(sign(t, jwt.SigningMethodHS256, []byte(key1), map[string]any{
		"exp": now.Add(time.Hour).Unix(), "role": []any{"admin", "staff"}, "asrs.u.iss": "theirs", "asrs.s.sn": "server",
		"level": 3, "address": map[string]any{"city": "Oslo"}, "none": nil,
		"asrs.s.htt": "5", "asrs.s.cht": "2", "asrs.s.coae": "true", "asrs.s.aeo": fmt.Sprint(now.Add(time.Minute).Unix()),
		"hubstream.groups": []string{"red"},
	}), "chat", "localhost")
	if err != nil {
		t.Fatal(err)
	}
	want := []access.Claim{
		{"address", `{"city":"Oslo"}`}, {"aud", "http://localhost/client/?hub=chat"}, {"exp", fmt.Sprint(now.Add(time.Hour).Unix())},
		{"iss", "theirs"}, {"level", "3"}, {"nameid", "ann"}, {"role", "admin"}, {"role", "staff"},
	}
	if !slices.Equal(id.Claims, want) {
		t.Errorf("claims %v\nwant   %v", id.Claims, want)
	}
	if !slices.Equal(id.Transports, []negotiate.Transport{negotiate.WebSockets, negotiate.LongPolling}) || id.Allows(negotiate.ServerSentEvents) ||
		id.HandshakeTimeout != 2*time.Second || !id.CloseAt.Equal(now.Add(time.Minute)) || !slices.Equal(id.Groups, []string{"red"}) ||
		!id.Expires.Equal(now.Add(time.Hour+access.DefaultLeeway)) {
		t.Errorf("got %+v", id)
	}
}

func TestATokenThatIsMadeIsAccepted(t *testing.T) {
	t.Parallel()
	v := newVerifier(access.Config{})
	client, err := access.Sign(key1, access.Token{
		Audience: access.ClientAudience("http://localhost:8080", "chat"), User: "ann", Groups: []string{"red"}, Claims: map[string]any{"role": "admin"},
	}, now)
	if err != nil {
		t.Fatal(err)
	}
	id, err := v.Client(client, "chat", "localhost")
	if err != nil || id.User != "ann" || !slices.Contains(id.Claims, access.Claim{Name: "role", Value: "admin"}) || !id.Expires.Equal(now.Add(access.DefaultLifetime+access.DefaultLeeway)) {
		t.Errorf("got %+v, %v", id, err)
	}
	backend, err := access.Sign(key1, access.Token{Audience: access.HubAudience("http://localhost:8080", "chat")}, now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Backend(backend, access.Request{Path: "/api/hubs/chat/send", Hub: "chat", Host: "localhost"}); err != nil {
		t.Error(err)
	}
	if _, err := v.Backend(client, access.Request{Path: "/api/hubs/chat/send", Hub: "chat", Host: "localhost"}); !errors.Is(err, access.ErrAudience) {
		t.Errorf("a client's token is a backend's: %v", err)
	}
}

func TestConnectionStrings(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]access.ConnectionString{
		"Endpoint=https://push.example.org;AccessKey=" + key1 + ";Version=1.0;":                  {Endpoint: "https://push.example.org", Key: key1},
		"endpoint = http://localhost/ ; PORT=8888; accesskey=0123456789abcdef==;Version=1.0-pre": {Endpoint: "http://localhost:8888", Key: "0123456789abcdef=="},
		"Endpoint=http://[::1]:1;AccessKey=" + key1 + ";Port=2;junk":                             {Endpoint: "http://[::1]:2", Key: key1},
	} {
		if got, err := access.ParseConnectionString(raw); err != nil || got != want {
			t.Errorf("%s: got %s %v, want %s", raw, got.Endpoint, err, want.Endpoint)
		}
	}
	for raw, want := range map[string]string{
		"AccessKey=" + key1:                                         "Endpoint is missing",
		"Endpoint=https://a":                                        "AccessKey is missing",
		"Endpoint=https://a;AccessKey=short":                        "at least 16",
		"Endpoint=ftp://a;AccessKey=" + key1:                        "is not an address",
		"Endpoint=https://a;AccessKey=" + key1 + ";Version=2.0":     "is not 1.x",
		"Endpoint=https://a;AccessKey=" + key1 + ";Port=0":          "is not a number",
		"Endpoint=https://a;AccessKey=" + key1 + ";accesskey=other": "is there twice",
		"Endpoint=https://a;AccessKey=" + key1 + "\x01":             "not printable",
	} {
		_, err := access.ParseConnectionString(raw)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), key1) {
			t.Errorf("%q: got %v, want %q", raw, err, want)
		}
	}
	keys, endpoints, err := access.ParseKeys([]string{key2, "Endpoint=https://a;AccessKey=" + key1})
	if err != nil || !slices.Equal(keys, []access.Key{key2, key1}) || !slices.Equal(endpoints, []string{"https://a"}) {
		t.Errorf("got %v, %v", endpoints, err)
	}
}

// Backends send the same token with every send.
func TestKnownTokenAllocatesNothing(t *testing.T) {
	v := newVerifier(access.Config{})
	token := sign(t, jwt.SigningMethodHS256, []byte(key2), map[string]any{"aud": "http://localhost/api/hubs/chat"})
	if n := testing.AllocsPerRun(100, func() {
		if _, err := v.Backend(token, access.Request{Path: "/api/hubs/chat/send", Hub: "chat", Host: "localhost:80"}); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations to check a token that is known", n)
	}
}

func BenchmarkKnownToken(b *testing.B) {
	v := newVerifier(access.Config{})
	token := sign(b, jwt.SigningMethodHS256, []byte(key2), map[string]any{"aud": "http://localhost/api/hubs/chat"})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Backend(token, access.Request{Path: "/api/hubs/chat/send", Hub: "chat", Host: "localhost:80"}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkUnknownToken(b *testing.B) {
	v := newVerifier(access.Config{})
	token := sign(b, jwt.SigningMethodHS256, []byte(key2), map[string]any{"aud": "http://localhost/api/hubs/chat"})
	b.ReportAllocs()
	for b.Loop() {
		v.Replace([]access.Key{key1, key2}, nil) // which forgets it
		if _, err := v.Backend(token, access.Request{Path: "/api/hubs/chat/send", Hub: "chat", Host: "localhost:80"}); err != nil {
			b.Fatal(err)
		}
	}
}
