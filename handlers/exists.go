package handlers

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"

	"hubstream/streams"
)

// errNobody says that a user or group has no connection, and so does not exist.
var errNobody = &refusal{status: http.StatusNotFound, Code: codeNotFound, Message: "it has no connection"}

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
			return errNobody
		}
		return writeJSON(c, http.StatusOK, map[string]int64{"connections": count})
	}
}

// Limits of a page of connections.
const (
	defaultListed = 100
	maxListed     = 500
)

// listConnections lists a hub's connections over all nodes, with how many there are. A page may have some more or fewer than
// asked for; next, given as cursor, is the next page.
func listConnections(c echo.Context, s *Services) error {
	hub, err := hubOf(c)
	if err != nil {
		return err
	}
	limit := defaultListed
	if raw := c.QueryParam("limit"); raw != "" {
		if limit, err = strconv.Atoi(raw); err != nil || limit < 1 || limit > maxListed {
			return invalid("limit", fmt.Sprintf("must be a number from 1 to %d", maxListed))
		}
	}
	page, err := s.Streams.Connections(c.Request().Context(), hub, c.QueryParam("cursor"), limit)
	if errors.Is(err, streams.ErrPosition) {
		return invalid("cursor", "is not one that was given as next")
	}
	if err != nil {
		return err
	}
	rows := make([]connectionRow, 0, len(page.Records))
	for i := range page.Records {
		r := &page.Records[i]
		rows = append(rows, connectionRow{detailsOf(r), orNone(r.OpenGroups()), r.Stateful()})
	}
	return writeJSON(c, http.StatusOK, map[string]any{"connections": rows, "next": page.Next, "total": page.Total})
}
