package handlers

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"hubstream/streams"
)

// maxFollowed limits the groups of a plain event stream.
const maxFollowed = 100

// followEvents serves a plain event stream of a hub: its broadcasts, and what is addressed to the groups in the query
// (groups=a,b, or groups=a&groups=b for names with commas) and to its user. A client follows the groups that its token allows
// (nobody has put it into one), a backend any, and anybody's messages by user=.
func (h *Handler) followEvents(c echo.Context, s *Services) error {
	hub, err := hubOf(c)
	if err != nil {
		return err
	}
	who, err := identityOf(c)
	if err != nil {
		return err
	}
	audience := streams.Audience{User: who.User}
	if streams.NameTooLong(who.User) {
		return invalid("user", nameOverLimit([]byte(who.User)))
	}
	if audience.Groups, err = followedGroups(c.QueryParams()["groups"]); err != nil {
		return err
	}
	if group, ok := notAmong(audience.Groups, who.Groups); ok && who.Authenticated {
		return &refusal{status: http.StatusForbidden, Code: codeForbidden, Target: fieldGroups.String(),
			Message: fmt.Sprintf("the access token does not allow to follow the group %q (hubstream.groups)", group)}
	}
	h.limits.locate(&who, c.Request())
	s.Hubs.ServePlain(c.Response(), c.Request(), hub, audience, who, func(status int, text string) {
		h.answerError(&refusal{status: status, Code: streamCodes[status], Message: text}, c)
	})
	return nil
}

// streamCodes are the codes of what a plain event stream is refused for.
var streamCodes = map[int]code{
	http.StatusNotFound: codeNotFound, http.StatusTooManyRequests: codeTooManyConnections, http.StatusServiceUnavailable: codeUnavailable,
}

// comesBack tells whether a request is a plain event stream's that was there before.
func comesBack(c echo.Context) bool {
	return needOf(c.Path()) == needFollower && c.Request().Header.Get("Last-Event-ID") != ""
}

// askAgain answers a plain event stream that comes back with one that is over at once, after which it comes again: a browser's EventSource
// gives up for good when it is answered anything but 200 (HTML, "9.2.3 Processing model"), also what passes.
func askAgain(w http.ResponseWriter, refused *refusal) {
	header := w.Header()
	header.Del("Retry-After")
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-cache, no-store")
	w.WriteHeader(http.StatusOK)
	_, _ = fmt.Fprintf(w, ": %s: %s\r\n", refused.Code, refused.Message)
}

// notAmong returns the first of names that is not among all.
func notAmong(names, all []string) (string, bool) {
	for _, name := range names {
		if !slices.Contains(all, name) {
			return name, true
		}
	}
	return "", false
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
