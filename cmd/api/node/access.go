package node

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"hubstream/handlers"
	"hubstream/negotiate/access"
	"hubstream/web"
)

// Authenticated tells whether requests need tokens. A node that asks for none is in development mode.
func (c *Config) Authenticated() bool {
	return len(c.AccessKeys) > 0 || c.AccessKeysFile != "" || c.JWKSURL != ""
}

func (c *Config) provider() access.ProviderConfig {
	return access.ProviderConfig{
		URL: c.JWKSURL, Issuer: c.JWKSIssuer, Audience: c.JWKSAudience, BackendAudience: c.JWKSBackendAudience, UserClaim: c.JWKSUserClaim,
	}
}

// checkAccess refuses settings that would let in other people than those who are meant.
func (c *Config) checkAccess() error {
	provider := c.provider()
	if provider.URL != "" || provider.Issuer != "" || provider.Audience != "" || provider.BackendAudience != "" {
		if err := provider.Check(); err != nil {
			return fmt.Errorf("-jwks-url (%s), -jwks-issuer (%s), -jwks-audience (%s), -jwks-backend-audience (%s): %w",
				variable("jwks-url"), variable("jwks-issuer"), variable("jwks-audience"), variable("jwks-backend-audience"), err)
		}
	}
	switch {
	case c.Authenticated():
		return nil
	case len(c.AdminKeys) > 0:
		return fmt.Errorf("-admin-keys (%s) without -access-keys (%s): nobody else would be asked for anything", variable("admin-keys"), variable("access-keys"))
	case !c.Dev && !isLoopback(c.Listen):
		return fmt.Errorf("-listen %s is reachable from other machines, and development mode has no authentication: whoever reaches it may "+
			"connect as any user and send to all. Give it access keys with -access-keys (%s), listen on 127.0.0.1, or allow it with -dev (%s=true)",
			c.Listen, variable("access-keys"), variable("dev"))
	}
	return nil
}

// accessKeys returns all access keys, and the public addresses that tokens may name.
func (c *Config) accessKeys() (keys []access.Key, endpoints []string, err error) {
	raw := make([]string, 0, len(c.AccessKeys))
	for _, key := range c.AccessKeys {
		raw = append(raw, string(key))
	}
	if c.AccessKeysFile != "" {
		inFile, err := readKeys(c.AccessKeysFile)
		if err != nil {
			return nil, nil, fmt.Errorf("-access-keys-file: %w", err)
		}
		raw = append(raw, inFile...)
	}
	keys, named, err := access.ParseKeys(raw)
	if err != nil {
		return nil, nil, fmt.Errorf("-access-keys and -access-keys-file: %w", err)
	}
	return keys, append(named, c.Endpoints...), nil
}

// byteOrderMark is what editors of Windows begin a file with.
const byteOrderMark = "\uFEFF"

// readKeys reads a file with one key, or connection string, in a line. Empty lines and those that begin with # are left out.
func readKeys(path string) ([]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var keys []string
	for line := range strings.Lines(strings.TrimPrefix(string(text), byteOrderMark)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			keys = append(keys, line)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("it has no key")
	}
	return keys, nil
}

// keysInterval is how often the file of the access keys is looked at.
const keysInterval = 2 * time.Second

// newAccess makes what checks tokens, which goes on until ctx ends; nil in development mode.
func (n *node) newAccess(ctx context.Context) (*access.Verifier, error) {
	if !n.cfg.Authenticated() {
		return nil, nil
	}
	read := stampOf(n.cfg.AccessKeysFile) // before it is read: what changes meanwhile is a change
	keys, endpoints, err := n.cfg.accessKeys()
	if err != nil {
		return nil, err
	}
	n.accessKeys.Store(&keys)
	cfg := access.Config{
		Keys: keys, Endpoints: endpoints, Leeway: n.cfg.TokenLeeway, WholeEndpoint: n.cfg.EndpointTokens, CloseAtExpiry: n.cfg.CloseAtExpiry,
	}
	if n.cfg.JWKSURL != "" {
		provider := n.cfg.provider()
		provider.Logger = n.log
		cfg.Provider = access.NewProvider(ctx, provider)
	}
	verifier := access.NewVerifier(cfg)
	if n.cfg.AccessKeysFile != "" {
		n.watching.Go(func() { n.watchKeys(ctx, verifier, read) })
	}
	return verifier, nil
}

// watchKeys takes over the file's keys when it is another than the one seen. A file that cannot be read changes nothing, and is tried until it can:
// to give the node the right to read it changes neither its time nor its size.
func (n *node) watchKeys(ctx context.Context, verifier *access.Verifier, seen stamp) {
	ticker := time.NewTicker(keysInterval)
	defer ticker.Stop()
	told := seen // of a file that cannot be read
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		now := stampOf(n.cfg.AccessKeysFile)
		if now == seen {
			told = seen
			continue
		}
		keys, endpoints, err := n.cfg.accessKeys()
		if err != nil {
			if now != told {
				n.log.Error("the access keys were not read again, the earlier ones hold", "error", err)
				told = now
			}
			continue
		}
		verifier.Replace(keys, endpoints)
		n.accessKeys.Store(&keys)
		seen = now
		n.log.Info("access keys read again", "keys", len(keys))
	}
}

// stamp tells one state of a file from the next.
type stamp struct {
	changed time.Time
	size    int64
}

func stampOf(path string) stamp {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{}
	}
	return stamp{info.ModTime(), info.Size()}
}

// consoleFor says who may see the console's data.
func (n *node) consoleFor(admins *access.Admins) web.Config {
	cfg := web.Config{Node: n.cfg.Node, Version: version(), Payloads: n.cfg.ConsolePayloads}
	if n.cfg.Authenticated() {
		cfg.Keys = true
		cfg.Allow = func(r *http.Request) bool { return admins.Has(handlers.Bearer(r.Header)) }
	}
	return cfg
}
