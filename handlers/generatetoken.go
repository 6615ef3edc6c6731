package handlers

import (
	"errors"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"hubstream/negotiate/access"
)

const (
	defaultTokenMinutes = 60
	maxTokenMinutes     = 60 * 24 * 365
)

var errNoKeys = &refusal{status: http.StatusNotImplemented, Code: codeNoKeys, Message: "the node has no access keys to sign a token with"}

// generateToken makes a token for a client of a hub, as a backend could itself with an access key.
func (h *Handler) generateToken(c echo.Context, _ *Services) error {
	hub, err := hubOf(c)
	if err != nil {
		return err
	}
	minutes, given, err := queryInt(c, "minutesToExpire", 1, maxTokenMinutes)
	if err != nil {
		return err
	}
	if !given {
		minutes = defaultTokenMinutes
	}
	user := c.QueryParam("userId")
	if reason := badName(fieldUsers, []byte(user)); user != "" && reason != "" {
		return invalid("userId", reason)
	}
	if h.access == nil {
		return errNoKeys
	}
	token, err := h.access.IssueClient(hub, c.Request().Host, access.Token{User: user, Lifetime: time.Duration(minutes) * time.Minute})
	if errors.Is(err, access.ErrNoKeys) {
		return errNoKeys
	}
	if err != nil {
		return err
	}
	return writeJSON(c, http.StatusOK, map[string]string{"token": token})
}

// accessKey hands out a temporary key, by which Azure's SDKs sign the tokens of those who have shown one of an identity provider.
func (h *Handler) accessKey(c echo.Context, _ *Services) error {
	if h.access == nil {
		return errNoKeys
	}
	id, key, err := h.access.TemporaryKey()
	if errors.Is(err, access.ErrNoKeys) {
		return errNoKeys
	}
	if err != nil {
		return err
	}
	return writeJSON(c, http.StatusOK, struct {
		AccessKey string
		KeyID     string `json:"KeyId"`
	}{string(key), id})
}
