package handlers

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"hubstream/streams"
)

// membershipAnswer tells from where in the hub's log on a change of memberships holds.
type membershipAnswer struct {
	// Position is left out if the connection never was in the group.
	Position string `json:"position,omitempty"`
	Changed  bool   `json:"changed"`
}

func join(c echo.Context, s *Services) error  { return changeMembership(c, s, streams.VerbJoin) }
func leave(c echo.Context, s *Services) error { return changeMembership(c, s, streams.VerbLeave) }

func changeMembership(c echo.Context, s *Services, verb streams.Verb) error {
	hub, id, err := connectionOf(c, s)
	if err != nil {
		return err
	}
	group, err := namePart(c, "group")
	if err != nil {
		return err
	}
	ctx := c.Request().Context()
	reply, err := s.Streams.Join(ctx, hub, id, verb, group)
	if err != nil {
		return err
	}
	return writeJSON(c, http.StatusOK, membershipOf(ctx, s, hub, reply))
}
