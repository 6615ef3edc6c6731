package node

import (
	"errors"
	"fmt"
	"net/url"
	"os"

	"hubstream/internal/upstream"
	"hubstream/negotiate/access"
	"hubstream/transports"
)

// checkUpstream refuses settings that contradict each other.
func (c *Config) checkUpstream() error {
	if c.Upstream != "" && c.UpstreamFile != "" {
		return fmt.Errorf("-upstream (%s) and -upstream-file (%s) exclude each other", variable("upstream"), variable("upstream-file"))
	}
	if c.UpstreamAuthorize && c.Upstream == "" && c.UpstreamFile == "" {
		return fmt.Errorf("-upstream-authorize (%s) without -upstream (%s) or -upstream-file: nobody could be asked", variable("upstream-authorize"), variable("upstream"))
	}
	if len(c.Rights) > 0 && c.Authenticated() {
		return fmt.Errorf("-rights (%s) is for development mode; with access keys, rights are in the tokens (%s)", variable("rights"), transports.RightsClaim)
	}
	return nil
}

// newUpstream makes what calls the application's webhooks; nil if there is none.
func (n *node) newUpstream(env func(string) string) (*upstream.Client, error) {
	rules, err := n.cfg.upstreamRules(env)
	if err != nil || rules == nil {
		return nil, err
	}
	return upstream.New(upstream.Config{
		Rules: rules, Keys: n.upstreamKeys, Timeout: n.cfg.UpstreamTimeout, Retries: n.cfg.UpstreamRetries,
		EventPatience: n.cfg.UpstreamEventRetry, MaxCalls: n.cfg.UpstreamCalls, Logger: n.log,
	}), nil
}

func (c *Config) upstreamRules(env func(string) string) ([]upstream.Rule, error) {
	switch {
	case c.Upstream != "":
		t, err := upstream.ParseTemplate(c.Upstream, env)
		if err != nil {
			return nil, fmt.Errorf("-upstream: %w", err)
		}
		return []upstream.Rule{{Template: t}}, nil
	case c.UpstreamFile != "":
		text, err := os.ReadFile(c.UpstreamFile)
		if err != nil {
			return nil, fmt.Errorf("-upstream-file: %w", err)
		}
		rules, err := upstream.Parse(text, env)
		if err != nil {
			return nil, fmt.Errorf("-upstream-file: %s: %w", c.UpstreamFile, err)
		}
		return rules, nil
	}
	return nil, nil
}

// upstreamKeys are those that sign requests now: those that were set for it, or else all access keys.
func (n *node) upstreamKeys() []string {
	keys := n.cfg.UpstreamKeys
	if len(keys) == 0 {
		if current := n.accessKeys.Load(); current != nil {
			keys = *current
		}
	}
	list := make([]string, len(keys))
	for i, key := range keys {
		list[i] = string(key)
	}
	return list
}

// bareKeys takes keys as they are, without connection strings.
var bareKeys = kind[[]access.Key]{
	parse: func(raw string) ([]access.Key, error) {
		keys, err := accessKeys.parse(raw)
		for _, key := range keys {
			if access.IsConnectionString(string(key)) {
				return nil, errors.New("it is a connection string; give the key in it")
			}
		}
		return keys, err
	},
	format: accessKeys.format,
	form:   accessKeys.form,
}

// upstreamTemplate is shown without its query, which may hold a key.
var upstreamTemplate = kind[string]{
	parse: func(raw string) (string, error) {
		if raw == "" {
			return "", nil
		}
		_, err := upstream.ParseTemplate(raw, func(string) string { return "x" })
		return raw, err
	},
	format: func(raw string) string {
		if raw == "" {
			return ""
		}
		u, err := url.Parse(raw)
		if err != nil || u.User != nil {
			return hidden
		}
		if u.RawQuery != "" {
			u.RawQuery = hidden
		}
		shown, _ := url.PathUnescape(u.String())
		return shown
	},
	form: "URL template",
}

func right(raw string) (string, error) {
	if !transports.IsRight(raw) {
		return "", fmt.Errorf("%q is no right such as JoinGroup, LeaveGroup, SendToGroup:news or SendToAll", raw)
	}
	return raw, nil
}
