package handlers

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"hubstream/streams"
)

// Limits of what the console's tables read for one request. They are for people, and must not keep the store from its work.
const (
	tablePage   = 50   // rows
	tableScan   = 5000 // connections
	listedHubs  = 500
	listedNames = 1000
)

type hubRow struct {
	Hub         string `json:"hub"`
	Connections int64  `json:"connections"`
}

// showHubs lists the hubs that have, or had, a log.
func showHubs(c echo.Context, s *Services) error {
	ctx := c.Request().Context()
	names, err := s.Streams.HubNames(ctx)
	if err != nil {
		return err
	}
	rows := make([]hubRow, 0, len(names))
	for _, name := range names[:min(len(names), listedHubs)] {
		count, err := s.Streams.CountConnections(ctx, name)
		if err != nil {
			return err
		}
		rows = append(rows, hubRow{name, count})
	}
	return writeJSON(c, http.StatusOK, map[string]any{"hubs": rows, "partial": len(names) > listedHubs})
}

type connectionRow struct {
	connectionDetails
	Groups   []string `json:"groups"`
	Stateful bool     `json:"stateful"`
}

// showConnections lists a hub's connections, those whose ID, user or group has the query's search in it. A page has
// tablePage rows or some more; next, given as cursor, is the next page.
func showConnections(c echo.Context, s *Services) error {
	hub, err := hubOf(c)
	if err != nil {
		return err
	}
	search, cursor := strings.ToLower(c.QueryParam("search")), c.QueryParam("cursor")
	rows := []connectionRow{}
	total := int64(0)
	for scanned := 0; len(rows) < tablePage && scanned < tableScan; {
		page, err := s.Streams.Connections(c.Request().Context(), hub, cursor, tablePage)
		if err != nil {
			return err
		}
		for i := range page.Records {
			if r := &page.Records[i]; found(r, search) {
				rows = append(rows, connectionRow{detailsOf(r), orNone(r.OpenGroups()), r.Stateful()})
			}
		}
		scanned += tablePage
		total, cursor = page.Total, page.Next
		if cursor == "" {
			break
		}
	}
	return writeJSON(c, http.StatusOK, map[string]any{"connections": rows, "next": cursor, "total": total})
}

func orNone(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

func found(r *streams.Record, search string) bool {
	has := func(s string) bool { return strings.Contains(strings.ToLower(s), search) }
	return has(r.ID) || has(r.User) || slices.ContainsFunc(r.OpenGroups(), has)
}

type nameRow struct {
	Name        string `json:"name"`
	Connections int    `json:"connections"`
}

// showNames lists a hub's users and groups with how many connections each has, most first; partial says that the hub has
// more than could be looked at.
func showNames(c echo.Context, s *Services) error {
	hub, err := hubOf(c)
	if err != nil {
		return err
	}
	users, groups, partial, err := namesOf(c.Request().Context(), s.Streams, hub)
	if err != nil {
		return err
	}
	return writeJSON(c, http.StatusOK, map[string]any{
		"users": rowsOf(users), "groups": rowsOf(groups), "partial": partial || max(len(users), len(groups)) > listedNames,
	})
}

func namesOf(ctx context.Context, node *streams.Node, hub string) (users, groups map[string]int, partial bool, err error) {
	users, groups = map[string]int{}, map[string]int{}
	seen := map[string]bool{}
	for cursor := ""; ; {
		page, err := node.Connections(ctx, hub, cursor, 500)
		if err != nil {
			return nil, nil, false, err
		}
		for i := range page.Records {
			r := &page.Records[i]
			if seen[r.ID] {
				continue
			}
			seen[r.ID] = true
			if r.User != "" {
				users[r.User]++
			}
			for _, group := range r.OpenGroups() {
				groups[group]++
			}
		}
		if cursor = page.Next; cursor == "" || len(seen) >= tableScan {
			return users, groups, cursor != "", nil
		}
	}
}

func rowsOf(counts map[string]int) []nameRow {
	rows := make([]nameRow, 0, len(counts))
	for name, count := range counts {
		rows = append(rows, nameRow{name, count})
	}
	slices.SortFunc(rows, func(a, b nameRow) int {
		return cmp.Or(cmp.Compare(b.Connections, a.Connections), cmp.Compare(a.Name, b.Name))
	})
	return rows[:min(len(rows), listedNames)]
}
