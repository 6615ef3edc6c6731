package handlers

import (
	"fmt"
	"strings"

	"github.com/labstack/echo/v4"

	"hubstream/streams"
)

// maxFollowed limits the groups of a plain event stream.
const maxFollowed = 100

// followEvents serves a plain event stream of a hub: its broadcasts, and what is addressed to the groups in the query
// (groups=a,b, or groups=a&groups=b for names with commas) and to its user.
func followEvents(c echo.Context, s *Services) error {
	hub, err := hubOf(c)
	if err != nil {
		return err
	}
	audience := streams.Audience{}
	if audience.User, err = userOf(c); err != nil {
		return err
	}
	if audience.Groups, err = followedGroups(c.QueryParams()["groups"]); err != nil {
		return err
	}
	s.Hubs.ServePlain(c.Response(), c.Request(), hub, audience)
	return nil
}

func followedGroups(values []string) ([]string, error) {
	groups := values
	if len(values) == 1 {
		groups = strings.Split(values[0], ",")
	}
	if len(groups) == 1 && groups[0] == "" {
		return nil, nil
	}
	if len(groups) > maxFollowed {
		return nil, invalid("groups", fmt.Sprintf("has more than %d elements, which is the limit", maxFollowed))
	}
	for i, group := range groups {
		if reason := badName(fieldGroups, []byte(group)); reason != "" {
			return nil, invalid(place(fieldGroups, i), reason)
		}
	}
	return groups, nil
}
