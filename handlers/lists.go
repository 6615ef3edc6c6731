package handlers

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"hubstream/streams"
)

// Limits of a page of connections, users or groups.
const (
	defaultListed = 100
	maxListed     = 500
)

// queryInt reads a number of the query; given is false if it is not there.
func queryInt(c echo.Context, name string, least, most int) (n int, given bool, err error) {
	values := c.QueryParams()[name]
	if len(values) == 0 {
		return 0, false, nil
	}
	if n, err = strconv.Atoi(values[0]); err != nil || len(values) > 1 || n < least || n > most {
		return 0, true, invalid(name, fmt.Sprintf("must be a number from %d to %d", least, most))
	}
	return n, true, nil
}

// page reads which part of a list is asked for: at most limit after a name.
func page(c echo.Context) (after string, limit int, err error) {
	limit, given, err := queryInt(c, "limit", 1, maxListed)
	if err != nil {
		return "", 0, err
	}
	if !given {
		limit = defaultListed
	}
	after, err = nameAfter(c, "cursor")
	return after, limit, err
}

// nameAfter reads a cursor: the last name of the page before, in letters that a query may hold.
func nameAfter(c echo.Context, name string) (string, error) {
	after, err := base64.RawURLEncoding.DecodeString(c.QueryParam(name))
	if err != nil || len(after) > streams.MaxNameBytes {
		return "", invalid(name, "is not one that was given")
	}
	return string(after), nil
}

// nextPage is the cursor after a page; empty if there is none.
func nextPage(names []string, limit int) string {
	if len(names) < limit {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString([]byte(names[len(names)-1]))
}

// listConnections lists a hub's connections over all nodes, with how many there are. A page may have some more or fewer than
// asked for; next, given as cursor, is the next page.
func listConnections(c echo.Context, s *Services) error {
	hub, err := hubOf(c)
	if err != nil {
		return err
	}
	limit, given, err := queryInt(c, "limit", 1, maxListed)
	if err != nil {
		return err
	}
	if !given {
		limit = defaultListed
	}
	found, err := s.Streams.Connections(c.Request().Context(), hub, c.QueryParam("cursor"), limit)
	if errors.Is(err, streams.ErrPosition) {
		return invalid("cursor", "is not one that was given")
	}
	if err != nil {
		return err
	}
	return writeJSON(c, http.StatusOK, connectionsAnswer{rowsOfRecords(found.Records), found.Next, found.Total})
}

// connectionsAnswer is a page of connections.
type connectionsAnswer struct {
	Connections []connectionRow `json:"connections"`
	Next        string          `json:"next"`
	Total       int64           `json:"total"`
}

func rowsOfRecords(records []streams.Record) []connectionRow {
	rows := make([]connectionRow, 0, len(records))
	for i := range records {
		r := &records[i]
		rows = append(rows, connectionRow{detailsOf(r), orNone(r.OpenGroups()), r.Stateful()})
	}
	return rows
}

// listNames lists the users or groups that have connections, in order, each with the number of its connections.
func listNames(of target) func(echo.Context, *Services) error {
	return func(c echo.Context, s *Services) error {
		hub, err := hubOf(c)
		if err != nil {
			return err
		}
		after, limit, err := page(c)
		if err != nil {
			return err
		}
		ctx, holder := c.Request().Context(), holders[of].Holder
		found, err := s.Streams.Names(ctx, hub, holder, after, limit)
		if err != nil {
			return err
		}
		counts, err := s.Streams.CountEach(ctx, hub, holder, found.Names)
		if err != nil {
			return err
		}
		rows := make([]map[string]any, len(found.Names))
		for i, name := range found.Names {
			rows[i] = map[string]any{string(of): name, "connections": counts[i]}
		}
		return writeJSON(c, http.StatusOK, map[string]any{string(of) + "s": rows, "total": found.Total, "next": nextPage(found.Names, limit)})
	}
}

// listMembers lists the connections of a group or user, in order of their IDs.
func listMembers(of target) func(echo.Context, *Services) error {
	return func(c echo.Context, s *Services) error {
		hub, err := hubOf(c)
		if err != nil {
			return err
		}
		name, err := namePart(c, string(of))
		if err != nil {
			return err
		}
		if of == targetGroup && forAzure(c) {
			return listForAzure(c, s, hub, name)
		}
		after, limit, err := page(c)
		if err != nil {
			return err
		}
		ctx, holder := c.Request().Context(), holders[of].Holder
		ids, err := s.Streams.Members(ctx, hub, holder, name, after, limit)
		if err != nil {
			return err
		}
		total, err := s.Streams.Count(ctx, hub, holder, name)
		if err != nil {
			return err
		}
		records, err := s.Streams.Records(ctx, hub, ids)
		if err != nil {
			return err
		}
		return writeJSON(c, http.StatusOK, connectionsAnswer{rowsOfRecords(records), nextPage(ids, limit), total})
	}
}

// maxAzurePage is the most connections on a page of Azure's list.
const maxAzurePage = 200

// azureMember is a connection in Azure's list.
type azureMember struct {
	ConnectionID string `json:"connectionId"`
	UserID       string `json:"userId,omitempty"`
}

// listForAzure answers a part of a group's connections as Azure does, with the whole address of the next.
func listForAzure(c echo.Context, s *Services, hub, group string) error {
	query := c.QueryParams()
	for name := range query { // the SDKs write it in another way than the documentation
		if strings.EqualFold(name, "maxpagesize") && name != "maxpagesize" {
			query["maxpagesize"] = query[name]
			delete(query, name)
		}
	}
	limit, given, err := queryInt(c, "maxpagesize", 1, maxAzurePage)
	if err != nil {
		return err
	}
	if !given {
		limit = maxAzurePage
	}
	top, limited, err := queryInt(c, "top", 1, 1<<31-1)
	if err != nil {
		return err
	}
	if limited {
		limit = min(limit, top)
	}
	after, err := nameAfter(c, "continuationToken")
	if err != nil {
		return err
	}
	ids, err := s.Streams.Members(c.Request().Context(), hub, streams.HolderGroup, group, after, limit)
	if err != nil {
		return err
	}
	records, err := s.Streams.Records(c.Request().Context(), hub, ids)
	if err != nil {
		return err
	}
	members := make([]azureMember, len(records))
	for i := range records {
		members[i] = azureMember{records[i].ID, records[i].User}
	}
	answer := map[string]any{"value": members}
	if next := nextPage(ids, limit); next != "" && (!limited || top > limit) {
		query.Set("continuationToken", next)
		if limited {
			query.Set("top", strconv.Itoa(top-limit))
		}
		answer["nextLink"] = addressOf(c, query)
	}
	return writeJSON(c, http.StatusOK, answer)
}

// addressOf is the request's own address, with another query.
func addressOf(c echo.Context, query url.Values) string {
	r := c.Request()
	return c.Scheme() + "://" + r.Host + r.URL.EscapedPath() + "?" + query.Encode()
}
