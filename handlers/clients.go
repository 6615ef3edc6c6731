package handlers

import (
	"net/http"
	"net/url"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"hubstream/negotiate"
)

// serveHub passes on whatever belongs to a connection.
func serveHub(c echo.Context, s *Services) error {
	hub, err := hubOf(c)
	if err != nil {
		return err
	}
	user, err := userOf(c)
	if err != nil {
		return err
	}
	s.Hubs.ServeHub(c.Response(), c.Request(), hub, user)
	return nil
}

// serveNegotiate answers TransportProtocols.md, "POST [endpoint-base]/negotiate request". The body means nothing.
func serveNegotiate(c echo.Context, s *Services) error {
	hub, err := hubOf(c)
	if err != nil {
		return err
	}
	user, err := userOf(c)
	if err != nil {
		return err
	}
	if to, ok := statefulRedirect(s.StatefulAddress, c.Request()); ok {
		return writeJSON(c, http.StatusOK, negotiate.RedirectResponse(to, ""))
	}
	return writeJSON(c, http.StatusOK, s.Negotiator.Negotiate(hub, user, c.QueryParams()))
}

// hubOf returns the name of the hub in the address.
func hubOf(c echo.Context) (string, error) {
	raw, err := pathPart(c, "hub")
	if err != nil {
		return "", err
	}
	hub, err := negotiate.HubName(raw)
	if err != nil {
		return "", &refusal{status: http.StatusBadRequest, Code: codeInvalid, Message: err.Error(), Field: "hub"}
	}
	return hub, nil
}

// userOf returns the connection's user: whoever the client says, for want of authentication.
func userOf(c echo.Context) (string, error) {
	if c.Request().URL.RawQuery == "" {
		return "", nil
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
