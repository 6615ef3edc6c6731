package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"hubstream/negotiate"
)

// Service is the nodes that are measured.
type Service struct {
	// Nodes are their addresses, http://host:port. Each request goes to the next.
	Nodes []string
	// ClientToken makes a client's access token for a hub, BackendToken a backend's; nil: none are needed.
	ClientToken  func(hub, user string) (string, error)
	BackendToken func(hub string) (string, error)

	requests, sessions atomic.Uint32 // so far
	client             *http.Client
}

// requestTimeout is how long one request may take; polls and event streams last.
const requestTimeout = 30 * time.Second

// maxAnswer limits what is read of an answer.
const maxAnswer = 16 << 20 // 16 MiB

func (s *Service) open() {
	dialer := &net.Dialer{Timeout: requestTimeout}
	s.client = &http.Client{Transport: &http.Transport{
		DialContext: dialer.DialContext, MaxIdleConnsPerHost: maxConnections, IdleConnTimeout: requestTimeout, DisableCompression: true,
	}}
}

func (s *Service) close() { s.client.CloseIdleConnections() }

// node is the next node, for a request; nodeForSession for a session, so that each node has as many.
func (s *Service) node() string           { return s.after(&s.requests) }
func (s *Service) nodeForSession() string { return s.after(&s.sessions) }

func (s *Service) after(count *atomic.Uint32) string {
	return s.Nodes[int(count.Add(1)-1)%len(s.Nodes)]
}

// statusError is an answer that is none of success.
type statusError struct {
	status int
	text   string
}

func (e *statusError) Error() string {
	return strings.TrimSpace(fmt.Sprintf("%d %s %s", e.status, http.StatusText(e.status), e.text))
}

// do makes one request, and returns what was answered.
func (s *Service) do(ctx context.Context, method, address, token string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	answer, err := s.start(ctx, method, address, token, body)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	return io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
}

// start makes a request whose answer is read by the caller, who closes it.
func (s *Service) start(ctx context.Context, method, address, token string, body []byte, accept ...string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if len(body) > 0 {
		r.Header.Set("Content-Type", "application/json")
	}
	if len(accept) > 0 {
		r.Header["Accept"] = accept
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := s.client.Do(r)
	if err != nil {
		var inner *url.Error
		if errors.As(err, &inner) { // without the address, which may hold a token
			return nil, inner.Err
		}
		return nil, err
	}
	if answer.StatusCode/100 != 2 {
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 200))
		answer.Body.Close()
		line, _, _ := strings.Cut(string(text), "\n") // a proxy's page is a document
		return nil, &statusError{answer.StatusCode, line}
	}
	return answer, nil
}

// negotiated is a connection that a client may open.
type negotiated struct {
	id    string // public
	path  string // with the connection token
	token string // the access token; "" if none is needed
}

// negotiate asks for a connection (TransportProtocols.md, "POST [endpoint-base]/negotiate request").
func (s *Service) negotiate(ctx context.Context, hub, user string, stateful bool) (n negotiated, err error) {
	query := url.Values{"negotiateVersion": {"1"}}
	if stateful {
		query.Set("useStatefulReconnect", "true")
	}
	if s.ClientToken == nil {
		if user != "" {
			query.Set("user", user)
		}
	} else if n.token, err = s.ClientToken(hub, user); err != nil {
		return n, err
	}
	path := "/hubs/" + url.PathEscape(hub)
	text, err := s.do(ctx, http.MethodPost, s.node()+path+"/negotiate?"+query.Encode(), n.token, nil)
	if err != nil {
		return n, err
	}
	var answer negotiate.Response
	if err := json.Unmarshal(text, &answer); err != nil {
		return n, err
	}
	switch {
	case answer.Error != "":
		return n, errors.New(answer.Error)
	case answer.URL != "":
		return n, errors.New("the node sends clients to another address: -node must name that one")
	case stateful && !answer.UseStatefulReconnect:
		return n, errors.New("-stateful: the node does not allow it")
	}
	query.Del("negotiateVersion")
	query.Del("useStatefulReconnect")
	query.Set("id", answer.ConnectionToken)
	n.id, n.path = answer.ConnectionID, path+"?"+query.Encode()
	return n, nil
}

// backend calls the API for a hub.
func (s *Service) backend(ctx context.Context, hub, path, token string, body []byte) ([]byte, error) {
	return s.do(ctx, http.MethodPost, s.node()+"/api/hubs/"+url.PathEscape(hub)+path, token, body)
}
