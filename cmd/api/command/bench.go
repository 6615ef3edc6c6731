package command

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"hubstream/cmd/api/bench"
	"hubstream/negotiate/access"
)

// measureLifetime is how long the tokens of a measurement are good: longer than it may take.
const measureLifetime = 48 * time.Hour

// measure makes a load on nodes, and prints what came of it. What must not be is an error.
func measure(ctx context.Context, c *call) error {
	var o bench.Options
	o.Register(c.flags)
	nodes := c.flags.String("nodes", "", "addresses of several nodes, by commas: each request goes to the next")
	s, err := c.serviceAlone()
	if err != nil {
		return err
	}
	target := &bench.Service{Nodes: []string{s.address}}
	if *nodes != "" {
		target.Nodes = nil
		for raw := range strings.SplitSeq(*nodes, ",") {
			address, err := access.ParseEndpoint(strings.TrimSpace(raw))
			if err != nil {
				return fmt.Errorf("-nodes: %w", err)
			}
			target.Nodes = append(target.Nodes, address)
		}
	}
	if s.key != "" {
		sign := func(t access.Token) (string, error) {
			t.Lifetime = measureLifetime
			return access.Sign(s.key, t, time.Now())
		}
		target.ClientToken = func(hub, user string) (string, error) {
			return sign(access.Token{Audience: access.ClientAudience(s.endpoint, hub), User: user})
		}
		target.BackendToken = func(hub string) (string, error) {
			return sign(access.Token{Audience: access.HubAudience(s.endpoint, hub)})
		}
	}
	report, err := bench.Run(ctx, target, c.hub, o)
	if err != nil {
		return err
	}
	if o.JSON {
		err = json.NewEncoder(c.out).Encode(report)
	} else {
		err = report.Write(c.out)
	}
	if err != nil {
		return err
	}
	return report.Err()
}
