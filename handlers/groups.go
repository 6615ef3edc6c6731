package handlers

import (
	"context"
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
	group, err := pathPart(c, "group")
	if err != nil {
		return err
	}
	if group == "" {
		return invalid("group", "must not be empty")
	}
	if len(group) > streams.MaxNameBytes {
		return invalid("group", overLimit(len(group)))
	}
	ctx := c.Request().Context()
	reply, err := s.Streams.Join(ctx, hub, id, verb, group)
	if err != nil {
		return err
	}
	answer := membershipAnswer{Changed: reply.Changed}
	if !reply.Position.IsZero() {
		answer.Position = receipt(ctx, s.Streams, hub, id, reply.Position)
	}
	return writeJSON(c, http.StatusOK, answer)
}

// receipt names a position with the log's generation, which Join does not tell.
func receipt(ctx context.Context, node *streams.Node, hub, id string, p streams.Position) string {
	found, err := node.Lookup(ctx, hub, id)
	if err != nil {
		return "" // the change is made; only its name is not known
	}
	return streams.Receipt{Gen: found.Gen, Position: p}.String()
}
