package handlers

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"hubstream/streams"
)

// target is the kind of the one audience that an address names.
type target string

const (
	targetAll        target = "hub"
	targetGroup      target = "group"
	targetUser       target = "user"
	targetConnection target = "connection"

	// Lists, by commas, in addresses of Azure's v1-preview.
	targetGroups target = "groups"
	targetUsers  target = "users"
)

// addressed makes e be for the audience in the address, without those whom the query excludes.
func addressed(c echo.Context, s *Services, to target, e *streams.Entry) error {
	if to == targetAll {
		e.Flags |= streams.FlagAll
		return exclude(c, s, e)
	}
	if to == targetGroups || to == targetUsers {
		return addressedList(c, s, to, e)
	}
	name, err := namePart(c, string(to))
	if err != nil {
		return err
	}
	switch to {
	case targetGroup:
		e.Groups = []string{name}
	case targetUser:
		e.Users = []string{name}
	case targetConnection:
		id := s.Keyring.ConnectionID(name)
		if len(id) > streams.MaxIDBytes {
			return invalid("connection", overLimit(len(id)))
		}
		e.Connections = []string{id}
	}
	return exclude(c, s, e)
}

func addressedList(c echo.Context, s *Services, to target, e *streams.Entry) error {
	part, err := pathPart(c, string(to))
	if err != nil {
		return err
	}
	list, f := strings.Split(part, ","), fieldGroups
	if to == targetUsers {
		f = fieldUsers
	}
	if len(list) > streams.MaxTargets {
		return invalid(string(to), fmt.Sprintf("has more than %d elements, which is the limit", streams.MaxTargets))
	}
	for i, name := range list {
		if reason := badName(f, []byte(name)); reason != "" {
			return invalid(place(f, i), reason)
		}
	}
	if e.Groups = list; to == targetUsers {
		e.Groups, e.Users = nil, list
	}
	return exclude(c, s, e)
}

// namePart returns the name of a group, user or connection in the address.
func namePart(c echo.Context, part string) (string, error) {
	name, err := pathPart(c, part)
	if err != nil {
		return "", err
	}
	f := fieldGroups
	if part == string(targetConnection) {
		f = fieldConnections // may be a connection token
	}
	if reason := badName(f, []byte(name)); reason != "" {
		return "", invalid(part, reason)
	}
	if strings.TrimSpace(name) == "" {
		return "", invalid(part, "must not be blank")
	}
	return name, nil
}

// exclude takes the query's excluded: one connection ID each time that it is given, commas included.
func exclude(c echo.Context, s *Services, e *streams.Entry) error {
	if c.Request().URL.RawQuery == "" {
		return nil
	}
	ids := c.QueryParams()["excluded"]
	if len(ids) > streams.MaxTargets {
		return invalid("excluded", fmt.Sprintf("has more than %d elements, which is the limit", streams.MaxTargets))
	}
	for i, id := range ids {
		if reason := badName(fieldExcluded, []byte(id)); reason != "" {
			return invalid(place(fieldExcluded, i), reason)
		}
	}
	if err := resolve(s.Keyring, fieldExcluded, ids); err != nil {
		return err
	}
	e.Excluded = ids
	return nil
}

// closing reads how connections are to be closed.
func closing(c echo.Context, allowReconnect bool) (reason string, reconnect bool, err error) {
	reason = c.QueryParam("reason")
	if err := checkReason(reason); err != nil {
		return "", false, err
	}
	if raw := c.QueryParam("allowReconnect"); raw != "" {
		if allowReconnect, err = strconv.ParseBool(raw); err != nil {
			return "", false, invalid("allowReconnect", "must be true or false")
		}
	}
	return reason, allowReconnect, nil
}

func checkReason(reason string) error {
	if len(reason) > maxReasonBytes {
		return invalid("reason", fmt.Sprintf("has %d bytes, the limit is %d", len(reason), maxReasonBytes))
	}
	if !utf8.ValidString(reason) {
		return invalid("reason", "is not valid UTF-8") // no hub message could hold it
	}
	return nil
}

// closeAudience closes all connections of an audience with one entry: each is sent what came before, then the reason. Those
// that are not attached to any node now are told when they come back.
func closeAudience(to target) func(echo.Context, *Services) error {
	return func(c echo.Context, s *Services) error {
		hub, err := hubOf(c)
		if err != nil {
			return err
		}
		reason, reconnect, err := closing(c, true)
		if err != nil {
			return err
		}
		e := streams.Entry{Kind: streams.KindClose, Body: []byte(reason)}
		if reconnect {
			e.Flags |= streams.FlagReconnect
		}
		if err := addressed(c, s, to, &e); err != nil {
			return err
		}
		if _, err := s.Streams.Publish(c.Request().Context(), hub, &e); err != nil {
			return err
		}
		return c.NoContent(http.StatusNoContent)
	}
}
