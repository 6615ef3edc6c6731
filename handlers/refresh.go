package handlers

import (
	"errors"
	"math"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"hubstream/negotiate/access"
	"hubstream/streams"
)

// refreshError is a refusal as the clients of .NET 11 read it, a word that says which.
type refreshError struct {
	status int
	word   string
}

func (e *refreshError) Error() string { return e.word }

var (
	errNoConnectionToken = &refreshError{http.StatusBadRequest, "missing_connection_token"}
	errNoConnection      = &refreshError{http.StatusNotFound, "connection_not_found"}
	errUserChanged       = &refreshError{http.StatusForbidden, "user_changed"}
)

// refreshed tells for how long the new token is good.
type refreshed struct {
	TokenLifetimeSeconds int64 `json:"tokenLifetimeSeconds,omitempty"`
}

// refresh takes a newer access token for a connection that lives, wherever it is served: .NET 11's POST {hub}/refresh?id=.
// The request has shown that token already; it must be of the connection's user.
func refresh(c echo.Context, s *Services) error {
	lifetime, err := renew(c, s)
	var refused *refreshError
	switch {
	case errors.As(err, &refused):
		return writeJSON(c, refused.status, map[string]string{"error": refused.word})
	case err != nil:
		return err
	}
	return writeJSON(c, http.StatusOK, refreshed{lifetime})
}

func renew(c echo.Context, s *Services) (lifetime int64, err error) {
	hub, err := hubOf(c)
	if err != nil {
		return 0, err
	}
	who, err := identityOf(c)
	if err != nil {
		return 0, err
	}
	id := c.QueryParam("id")
	if id == "" {
		return 0, errNoConnectionToken
	}
	token, err := s.Keyring.Open(id)
	switch {
	case err != nil || token.Hub != hub:
		return 0, errNoConnection
	case who.Authenticated && token.User != who.User:
		return 0, errUserChanged
	}
	ctx := c.Request().Context()
	if _, err := s.Streams.Lookup(ctx, hub, token.ConnectionID); errors.Is(err, streams.ErrGone) {
		return 0, errNoConnection
	} else if err != nil {
		return 0, err
	}
	if err := s.Streams.Renew(ctx, hub, token.ConnectionID, who.CloseAt); err != nil {
		return 0, err
	}
	return lifetimeOf(&who), nil
}

// lifetimeOf is for how long a connection's token is good, in seconds; 0: for ever.
func lifetimeOf(who *access.Identity) int64 {
	until := who.CloseAt
	if until.IsZero() {
		until = who.Expires
	}
	if until.IsZero() {
		return 0
	}
	return int64(max(1, math.Floor(time.Until(until).Seconds())))
}
