package handlers

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"hubstream/negotiate"
	"hubstream/negotiate/access"
)

// need is what a route asks of its caller.
type need uint8

const (
	// needAdmin: an operator's key. It is what every route needs of which nothing else is said.
	needAdmin need = iota
	// needNothing: anybody may.
	needNothing
	// needClient: a client's token for the hub.
	needClient
	// needFollower: a client's token for the hub, which follows what it says, or a backend's, which follows anything.
	needFollower
	// needBackend: a backend's token for the request, or an operator's key.
	needBackend
)

// needOf decides what a route needs, from its path as echo has it. The console's page is no secret, and what it shows
// the console asks a key for itself.
func needOf(route string) need {
	switch route {
	case "/", "/console/*", "/healthz", "/readyz", "/api/health", "/api/v1/health", openAPIPath:
		return needNothing
	case "/api/hubs/:hub/events":
		return needFollower
	}
	switch {
	case strings.HasPrefix(route, "/hubs/"), route == "/client", strings.HasPrefix(route, "/client/"):
		return needClient
	case strings.HasPrefix(route, "/api/"):
		return needBackend
	default:
		return needAdmin
	}
}

// identityKey is where a request's identity is in echo's context, of clients and followers.
const identityKey = "identity"

// admit refuses a request whose caller may not make it, or not so often.
func (h *Handler) admit(c echo.Context) error {
	if err := h.limits.mayConnect(c); err != nil {
		return err
	}
	return h.authorize(c)
}

// authorize refuses a request whose caller may not make it. In development mode everybody may.
func (h *Handler) authorize(c echo.Context) error {
	need := needOf(c.Path())
	if h.access == nil {
		if need == needBackend {
			return h.limits.maySend(c, "")
		}
		return nil
	}
	switch need {
	case needNothing:
		return nil
	case needClient:
		return h.authorizeClient(c, clientToken(c.Path(), c.Request()))
	case needFollower:
		return h.authorizeFollower(c)
	case needBackend:
		return h.authorizeBackend(c, Bearer(c.Request().Header))
	default:
		if h.admins.Has(Bearer(c.Request().Header)) {
			return nil
		}
		return errAdmin
	}
}

func (h *Handler) authorizeClient(c echo.Context, token string) error {
	if token == "" {
		return access.ErrMissing
	}
	hub, err := hubOf(c)
	if err != nil {
		return err
	}
	who, err := h.access.Client(token, hub, c.Request().Host)
	if (errors.Is(err, access.ErrExpired) || errors.Is(err, access.ErrRetired)) && who.Authenticated {
		h.sendBack(c.Request(), hub, &who)
	}
	if err != nil {
		return err
	}
	c.Set(identityKey, &who)
	return nil
}

// authorizeFollower takes a client's token or a backend's. An EventSource sends no headers, so the query may have it.
func (h *Handler) authorizeFollower(c echo.Context) error {
	token := Bearer(c.Request().Header)
	if c.Request().Header["Authorization"] == nil {
		token = queryToken(c.Request())
	}
	asClient := h.authorizeClient(c, token)
	if asClient == nil || h.authorizeBackend(c, token) == nil {
		return nil
	}
	return asClient
}

func (h *Handler) authorizeBackend(c echo.Context, token string) error {
	key, err := h.senderOf(c, token)
	if err != nil {
		return err
	}
	return h.limits.maySend(c, key)
}

// senderOf returns the key that a backend's request counts for.
func (h *Handler) senderOf(c echo.Context, token string) (key string, err error) {
	r := c.Request()
	who, err := h.access.Backend(token, access.Request{
		Host: r.Host, Path: r.URL.Path, Hub: hubOfBackend(c), GivesKey: strings.HasSuffix(c.Path(), "/auth/accessKey"),
	})
	if err != nil && h.admins.Has(token) {
		return "admin", nil
	}
	return who.Key, err
}

// hubOfBackend is the hub that a backend's request is about, empty if there is none. In an address without a slash before its verb
// the parameter has both.
func hubOfBackend(c echo.Context) string {
	part, err := pathPart(c, "hub")
	if err != nil {
		return ""
	}
	name, _, _ := strings.Cut(part, ":")
	if name, err = withApplication(c, name); err != nil {
		return ""
	}
	hub, err := negotiate.HubName(name)
	if err != nil {
		return ""
	}
	return hub
}

// identityOf is who a client is: what its token says, or in development mode whoever it says itself.
func identityOf(c echo.Context) (access.Identity, error) {
	if who, ok := c.Get(identityKey).(*access.Identity); ok {
		return *who, nil
	}
	user, err := userOf(c)
	return access.Identity{User: user}, err
}

// Bearer returns the token in a request's Authorization header; empty if there is none.
func Bearer(header http.Header) string {
	values := header["Authorization"]
	if len(values) == 0 {
		return ""
	}
	const scheme = "bearer "
	value := values[0]
	if len(value) < len(scheme) || !strings.EqualFold(value[:len(scheme)], scheme) {
		return ""
	}
	return strings.TrimSpace(value[len(scheme):])
}

// clientToken returns a client's token. Browsers cannot set headers of WebSockets and event streams, so for these it may be in
// the query. At Azure's addresses it may be for every request, as there.
func clientToken(route string, r *http.Request) string {
	if r.Header["Authorization"] != nil {
		return Bearer(r.Header)
	}
	if isAzureClient(route) || r.Method == http.MethodGet && strings.EqualFold(r.Header.Get("Upgrade"), "websocket") || wantsEvents(r) {
		return queryToken(r)
	}
	return ""
}

// wantsEvents tells whether a request is for an event stream.
func wantsEvents(r *http.Request) bool {
	return r.Method == http.MethodGet && strings.Contains(r.Header.Get("Accept"), "text/event-stream")
}

// queryToken returns the last access_token of a query.
func queryToken(r *http.Request) string {
	if !strings.Contains(r.URL.RawQuery, "access_token=") {
		return ""
	}
	tokens := r.URL.Query()["access_token"]
	if len(tokens) == 0 {
		return ""
	}
	return tokens[len(tokens)-1]
}

// tokenCodes are the codes of refused tokens. Their texts are access's.
var tokenCodes = []struct {
	err  error
	code code
}{
	{access.ErrMissing, codeUnauthorized},
	{access.ErrExpired, codeTokenExpired},
	{access.ErrNotYet, codeTokenNotYetValid},
	{access.ErrAudience, codeTokenAudience},
	{access.ErrMalformed, codeTokenInvalid},
	{access.ErrSignature, codeTokenInvalid},
	{access.ErrNoExpiry, codeTokenInvalid},
	{access.ErrNotBefore, codeTokenInvalid},
	{access.ErrIssuer, codeTokenInvalid},
	{access.ErrUser, codeTokenInvalid},
}

// refusalForToken returns what a caller is told whose token is refused; nil if err is about something else.
func refusalForToken(err error) *refusal {
	if errors.Is(err, access.ErrProviderAway) {
		return &refusal{status: http.StatusServiceUnavailable, retryIn: time.Second, Code: codeUnavailable, Message: access.ErrProviderAway.Error()}
	}
	for _, t := range tokenCodes {
		if errors.Is(err, t.err) {
			return &refusal{status: http.StatusUnauthorized, Code: t.code, Message: t.err.Error()}
		}
	}
	return nil
}

// challenge is the WWW-Authenticate header of a refusal (RFC 6750, section 3).
func (r *refusal) challenge() string {
	if r.Code == codeUnauthorized {
		return "Bearer"
	}
	return `Bearer error="invalid_token", error_description="` + r.Message + `"`
}
