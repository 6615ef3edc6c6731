package handlers

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"hubstream/streams"
)

// nobody says that a user or group has no connection, and so does not exist.
func nobody(to target) error {
	return &refusal{status: http.StatusNotFound, Code: codeNotFound, Message: "the " + string(to) + " has no connection"}
}

// holders is what can be counted, with what Azure's SDKs are told when there is nothing.
var holders = map[target]struct {
	streams.Holder
	notFound string
}{
	targetGroup: {streams.HolderGroup, "Warning.Group.NotExisted"},
	targetUser:  {streams.HolderUser, "Warning.User.NotExisted"},
}

// countOf tells whether a user or group exists, that is, has a connection, and how many, over all nodes.
func countOf(to target) func(echo.Context, *Services) error {
	return func(c echo.Context, s *Services) error {
		hub, err := hubOf(c)
		if err != nil {
			return err
		}
		name, err := namePart(c, string(to))
		if err != nil {
			return err
		}
		count, err := s.Streams.Count(c.Request().Context(), hub, holders[to].Holder, name)
		if err != nil {
			return err
		}
		if count == 0 {
			c.Response().Header().Set(errorCodeHeader, holders[to].notFound)
			return nobody(to)
		}
		return writeJSON(c, http.StatusOK, map[string]int64{"connections": count})
	}
}
