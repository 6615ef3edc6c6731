package command

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"
)

// connections lists a hub's connections.
func connections(ctx context.Context, c *call) error {
	s, err := c.serviceAlone()
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	defer table.Flush()
	fmt.Fprintln(table, "CONNECTION\tUSER\tTRANSPORT\tSTATE\tNODE\tGROUPS")
	for cursor := ""; ; {
		var page struct {
			Connections []struct {
				ConnectionID, User, Transport, State, Node string
				Groups                                     []string
			}
			Next string
		}
		if err := s.do(ctx, http.MethodGet, c.hub, "/connections?limit=500&cursor="+url.QueryEscape(cursor), nil, &page); err != nil {
			return err
		}
		for _, row := range page.Connections {
			fmt.Fprintf(table, "%s\t%q\t%s\t%s\t%s\t%s\n", row.ConnectionID, row.User, row.Transport, row.State, row.Node, strings.Join(row.Groups, ","))
		}
		if cursor = page.Next; cursor == "" {
			return nil
		}
	}
}
