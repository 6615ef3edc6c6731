package command

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"hubstream/negotiate/access"
)

// service is where the nodes are, and the key for them.
type service struct {
	// endpoint is what tokens name, and address where requests go.
	endpoint, address string
	key               access.Key // empty: development mode
}

const defaultEndpoint = "http://127.0.0.1:8080"

func (c *call) service() (service, error) {
	raw := cmp.Or(c.connection, c.env(ConnectionVariable))
	s := service{endpoint: defaultEndpoint}
	if raw != "" {
		parsed, err := access.ParseConnectionString(raw)
		if err != nil {
			return s, fmt.Errorf("connection string: %w", err)
		}
		s.endpoint, s.key = parsed.Endpoint, parsed.Key
	}
	s.address = s.endpoint
	if c.node != "" {
		address, err := access.ParseEndpoint(c.node)
		if err != nil {
			return s, fmt.Errorf("-node: %w", err)
		}
		s.address = address
		if raw == "" {
			s.endpoint = address
		}
	}
	return s, nil
}

// requestLifetime is how long a token for one request is good.
const requestLifetime = 5 * time.Minute

// hubToken makes a backend's token for a hub; none without a key.
func (s *service) hubToken(hub string) (string, error) {
	if s.key == "" {
		return "", nil
	}
	return access.Sign(s.key, access.Token{Audience: access.HubAudience(s.endpoint, hub), Lifetime: requestLifetime}, time.Now())
}

// hubPath is the API's path of a hub.
func hubPath(hub string) string { return "/api/hubs/" + url.PathEscape(hub) }

// requestTimeout is how long one request may take.
const requestTimeout = 30 * time.Second

// maxAnswer limits what is read of an answer.
const maxAnswer = 16 << 20 // 16 MiB

// do asks a node, and reads its answer into into.
func (s *service) do(ctx context.Context, method, hub, path string, body, into any) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var payload bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&payload).Encode(body); err != nil {
			return err
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, s.address+hubPath(hub)+path, &payload)
	if err != nil {
		return err
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if err := s.authorize(r.Header, hub); err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return unwrapped(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return err
	}
	if answer.StatusCode/100 != 2 {
		return refusalOf(answer.StatusCode, text)
	}
	return json.Unmarshal(text, into)
}

func (s *service) authorize(header http.Header, hub string) error {
	token, err := s.hubToken(hub)
	if err == nil && token != "" {
		header.Set("Authorization", "Bearer "+token)
	}
	return err
}

// refusalOf is what a node says when it says no.
func refusalOf(status int, body []byte) error {
	var answer struct{ Code, Message string }
	if json.Unmarshal(body, &answer) == nil && answer.Code != "" {
		return fmt.Errorf("%d %s: %s", status, answer.Code, answer.Message)
	}
	text, _, _ := strings.Cut(string(body[:min(len(body), 200)]), "\n")
	return errors.New(strings.TrimSpace(fmt.Sprintf("%d %s %s", status, http.StatusText(status), text)))
}

// unwrapped is what went wrong, without the address, which may hold a token.
func unwrapped(err error) error {
	var inner *url.Error
	if errors.As(err, &inner) {
		return inner.Err
	}
	return err
}
