package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"hubstream/negotiate/access"
)

// token prints an access token.
func token(_ context.Context, c *call) error {
	t := access.Token{Claims: map[string]any{}}
	var claims, groups names
	var path string
	backend := c.flags.Bool("backend", false, "a backend's token, for all of the hub")
	c.flags.StringVar(&path, "path", "", "a backend's token for this path alone, such as /api/hubs/chat/:send")
	c.flags.StringVar(&t.User, "user", "", "the user")
	c.flags.DurationVar(&t.Lifetime, "lifetime", access.DefaultLifetime, "how long it is good")
	c.flags.Var(&groups, "group", "a group that a plain event stream may follow with it; may be repeated")
	c.flags.Var(&claims, "claim", "another claim, NAME=VALUE, the value JSON or else text; may be repeated")
	s, err := c.serviceAlone()
	switch {
	case err != nil:
		return err
	case s.key == "":
		return fmt.Errorf("a token is made with an access key: give a connection string by -connection or %s", ConnectionVariable)
	case t.Lifetime < time.Second:
		return errors.New("-lifetime must be at least 1s")
	case path != "" && path[0] != '/': // the token would be for a host that is called otherwise
		return fmt.Errorf("-path %q is no path: it begins with /", path)
	}
	t.Groups = groups
	for _, claim := range claims {
		name, value, ok := strings.Cut(claim, "=")
		if !ok || name == "" {
			return fmt.Errorf("-claim %q is not NAME=VALUE", claim)
		}
		if set := setBy(name, &t); set != "" {
			return fmt.Errorf("-claim %s would be replaced: %s", name, set)
		}
		t.Claims[name] = valueOf(value)
	}
	switch {
	case path != "":
		t.Audience = s.endpoint + path
	case *backend:
		t.Audience = access.HubAudience(s.endpoint, c.hub)
	default:
		t.Audience = access.ClientAudience(s.endpoint, c.hub)
	}
	signed, err := access.Sign(s.key, t, time.Now())
	if err != nil {
		return err
	}
	fmt.Fprintln(c.out, signed)
	return nil
}

// setBy tells what sets a claim that every token has, or this one has by another flag; empty if a claim of that name is the token's.
func setBy(name string, t *access.Token) string {
	switch {
	case name == "aud":
		return "-hub, -backend and -path say what the token is for"
	case name == "exp":
		return "-lifetime says how long the token is good"
	case name == "iat" || name == "nbf":
		return "it is when the token is made"
	case name == "nameid" && t.User != "":
		return "-user names the user"
	case name == "hubstream.groups" && len(t.Groups) > 0:
		return "-group names the groups"
	}
	return ""
}

// valueOf is what an argument means: JSON, or else its text.
func valueOf(text string) any {
	if json.Valid([]byte(text)) {
		return json.RawMessage(text)
	}
	return text
}
