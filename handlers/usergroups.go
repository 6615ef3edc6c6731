package handlers

import (
	"context"
	"math"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"hubstream/streams"
)

// infoNotInGroup is what Azure's SDKs are told when a user is not in a group.
const infoNotInGroup = "Info.User.NotInGroup"

var errNotInGroup = &refusal{status: http.StatusNotFound, Code: codeNotFound, Message: "the user is not in the group"}

// userAndGroup returns the hub and the names in the address.
func userAndGroup(c echo.Context) (hub, user, group string, err error) {
	if hub, err = hubOf(c); err != nil {
		return "", "", "", err
	}
	if user, err = namePart(c, "user"); err != nil {
		return "", "", "", err
	}
	group, err = namePart(c, "group")
	return hub, user, group, err
}

// joinUser puts a user into a group. Without ttl it stays until it is removed; with ttl 0 only the connections that it has now join.
func joinUser(c echo.Context, s *Services) error {
	hub, user, group, err := userAndGroup(c)
	if err != nil {
		return err
	}
	ttl, given, err := queryInt(c, "ttl", 0, math.MaxInt32)
	if err != nil {
		return err
	}
	ctx := c.Request().Context()
	var reply streams.JoinReply
	if given && ttl == 0 {
		reply, err = s.Streams.JoinUserNow(ctx, hub, user, group)
	} else {
		reply, err = s.Streams.JoinUser(ctx, hub, user, group, time.Duration(ttl)*time.Second)
	}
	if err != nil {
		return err
	}
	status := http.StatusOK
	if isV1(c) {
		status = http.StatusAccepted
	}
	return writeJSON(c, status, membershipOf(ctx, s, hub, reply))
}

// leaveUser takes a user out of a group, or of all: both its own memberships and those that its connections have.
func leaveUser(verb streams.Verb) func(echo.Context, *Services) error {
	return func(c echo.Context, s *Services) error {
		hub, err := hubOf(c)
		if err != nil {
			return err
		}
		user, err := namePart(c, "user")
		if err != nil {
			return err
		}
		ctx := c.Request().Context()
		var reply streams.JoinReply
		if verb == streams.VerbLeaveAll {
			reply, err = s.Streams.LeaveUserAll(ctx, hub, user)
		} else {
			var group string
			if group, err = namePart(c, "group"); err == nil {
				reply, err = s.Streams.LeaveUser(ctx, hub, user, group)
			}
		}
		switch {
		case err != nil:
			return err
		case isV1(c):
			return c.NoContent(http.StatusAccepted)
		case forAzure(c):
			return c.NoContent(http.StatusNoContent)
		}
		return writeJSON(c, http.StatusOK, membershipOf(ctx, s, hub, reply))
	}
}

func membershipOf(ctx context.Context, s *Services, hub string, reply streams.JoinReply) membershipAnswer {
	answer := membershipAnswer{Changed: reply.Changed}
	if !reply.Position.IsZero() {
		answer.Position = s.Streams.ReceiptOf(ctx, hub, reply.Position).String()
	}
	return answer
}

func showUserInGroup(c echo.Context, s *Services) error {
	hub, user, group, err := userAndGroup(c)
	if err != nil {
		return err
	}
	in, err := s.Streams.InGroup(c.Request().Context(), hub, user, group)
	if err != nil {
		return err
	}
	if !in {
		c.Response().Header().Set(errorCodeHeader, infoNotInGroup)
		return errNotInGroup
	}
	return c.NoContent(http.StatusOK)
}

// userGroupRow is a group that a user is in.
type userGroupRow struct {
	Group string    `json:"group"`
	Until time.Time `json:"until"`
}

func listUserGroups(c echo.Context, s *Services) error {
	hub, err := hubOf(c)
	if err != nil {
		return err
	}
	user, err := namePart(c, "user")
	if err != nil {
		return err
	}
	groups, err := s.Streams.UserGroups(c.Request().Context(), hub, user)
	if err != nil {
		return err
	}
	rows := make([]userGroupRow, len(groups))
	for i, g := range groups {
		rows[i] = userGroupRow{g.Group, time.UnixMilli(g.Until).UTC()}
	}
	return writeJSON(c, http.StatusOK, map[string]any{"groups": rows})
}
