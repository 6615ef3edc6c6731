package handlers

import (
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"hubstream/negotiate"
	"hubstream/negotiate/access"
)

// serveHub passes on whatever belongs to a connection.
func (h *Handler) serveHub(c echo.Context, s *Services) error {
	hub, err := hubOf(c)
	if err != nil {
		return err
	}
	who, err := identityOf(c)
	if err != nil {
		return err
	}
	h.limits.locate(&who, c.Request())
	s.Hubs.ServeHub(c.Response(), c.Request(), hub, who)
	return nil
}

// serveNegotiate answers TransportProtocols.md, "POST [endpoint-base]/negotiate request". The body means nothing.
func (h *Handler) serveNegotiate(c echo.Context, s *Services) error {
	hub, err := hubOf(c)
	if err != nil {
		return err
	}
	who, err := identityOf(c)
	if err != nil {
		return err
	}
	if to, ok := statefulRedirect(s.StatefulAddress, c.Request()); ok {
		return writeJSON(c, http.StatusOK, negotiate.RedirectResponse(to, ""))
	}
	if err := h.limits.mayNegotiate(c, s, hub, who.User); err != nil {
		return err
	}
	response := s.Negotiator.Negotiate(hub, clientOf(&who), c.QueryParams())
	body, err := response.AppendJSON(make([]byte, 0, negotiateBytes))
	if err != nil {
		return err
	}
	writeEncoded(c, http.StatusOK, body)
	return nil
}

// negotiateBytes is room for an answer to negotiate: three transports and a connection token.
const negotiateBytes = 640

// clientOf is what negotiating needs to know of a client. For how long its token is good it is told only where that matters to its
// connection.
func clientOf(who *access.Identity) negotiate.Client {
	client := negotiate.Client{User: who.User, Transports: who.Transports}
	if !who.CloseAt.IsZero() {
		client.TokenLifetime = lifetimeOf(who)
	}
	return client
}

// clientRoute is where Azure SignalR Service has its clients, with the hub in the query.
const clientRoute = "/client"

func isAzureClient(route string) bool {
	return route == clientRoute || strings.HasPrefix(route, clientRoute+"/")
}

// hubOf returns the name of the hub in the address.
func hubOf(c echo.Context) (string, error) {
	raw, err := rawHub(c)
	if err != nil {
		return "", err
	}
	if raw, err = withApplication(c, raw); err != nil {
		return "", err
	}
	hub, err := negotiate.HubName(raw)
	if err != nil {
		return "", &refusal{status: http.StatusBadRequest, Code: codeInvalid, Message: err.Error(), Target: "hub"}
	}
	return hub, nil
}

// withApplication puts Azure's application before a hub's name, as clients have it in their addresses.
func withApplication(c echo.Context, hub string) (string, error) {
	if c.Request().URL.RawQuery == "" || !strings.HasPrefix(c.Path(), "/api/") {
		return hub, nil
	}
	application := c.QueryParam("application")
	if application == "" {
		return hub, nil
	}
	if _, err := negotiate.HubName(application); err != nil {
		return "", invalid("application", "must be a name as a hub's")
	}
	return application + "_" + hub, nil
}

func rawHub(c echo.Context) (string, error) {
	if !isAzureClient(c.Path()) {
		return pathPart(c, "hub")
	}
	hubs := c.QueryParams()["hub"]
	if len(hubs) != 1 {
		return "", invalid("hub", "must be in the query once")
	}
	return hubs[0], nil
}

// userOf returns the user that a client of development mode says it is, or that a backend follows.
func userOf(c echo.Context) (string, error) {
	if query := c.Request().URL.RawQuery; !strings.Contains(query, "user=") && !strings.Contains(query, "%") {
		return "", nil // most requests of a connection: they need no map of what they ask for
	}
	user := c.QueryParam("user")
	if !utf8.ValidString(user) {
		return "", invalid("user", "is not valid UTF-8") // no send could name it
	}
	return user, nil
}

// pathPart returns a part of the address, percent-decoded once. echo splits the escaped path where there is one, so that
// names may hold slashes, and else the path that net/url has decoded already.
func pathPart(c echo.Context, name string) (string, error) {
	part := c.Param(name)
	if c.Request().URL.RawPath != "" {
		decoded, err := url.PathUnescape(part)
		if err != nil {
			return "", invalid(name, "has a malformed percent-encoding")
		}
		part = decoded
	}
	if !utf8.ValidString(part) {
		return "", invalid(name, "is not valid UTF-8")
	}
	return part, nil
}
