package handlers

import (
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"hubstream/streams"
)

// Limits of what the console's tables read for one request. They are for people, and must not keep the store from its work.
const (
	tablePage = 50   // rows
	tableScan = 5000 // connections
)

type hubRow struct {
	Hub         string `json:"hub"`
	Connections int64  `json:"connections"`
}

// showHubs lists the hubs that have, or had, a log, those whose name has the query's search in it, in order. next, given as cursor, is
// the next page.
func showHubs(c echo.Context, s *Services) error {
	after, err := nameAfter(c, "cursor")
	if err != nil {
		return err
	}
	ctx, search := c.Request().Context(), strings.ToLower(c.QueryParam("search"))
	all, err := s.Streams.HubNames(ctx)
	if err != nil {
		return err
	}
	total, page := 0, []string{}
	for _, name := range all {
		if !strings.Contains(strings.ToLower(name), search) {
			continue
		}
		total++
		if name > after && len(page) < tablePage {
			page = append(page, name)
		}
	}
	rows := make([]hubRow, 0, len(page))
	for _, name := range page {
		count, err := s.Streams.CountConnections(ctx, name)
		if err != nil {
			return err
		}
		rows = append(rows, hubRow{name, count})
	}
	return writeJSON(c, http.StatusOK, map[string]any{"hubs": rows, "next": nextPage(page, tablePage), "total": total})
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
