package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"
)

// Config holds a Client's settings. Zero values mean the defaults.
type Config struct {
	// Rules in their order: the first that matches counts, and only it.
	Rules []Rule
	// Keys returns those that sign requests now; nil signs none.
	Keys func() []string
	// Timeout is how long a message's call may take in all. Default 100 s.
	Timeout time.Duration
	// EventTimeout is how long one attempt to tell of an event may take. Default 10 s.
	EventTimeout time.Duration
	// EventPatience is for how long attempts to tell of a disconnect are repeated. Default 5 min. Of a
	// connect it is 30 s at the most: the client's messages wait for it.
	EventPatience time.Duration
	// Retries is how often a message's call is repeated that failed without an answer. Zero is none.
	Retries int
	// MaxCalls limits the calls under way, MaxStreams the streams. Defaults 512 and 4096.
	MaxCalls, MaxStreams int
	// MaxAnswerBytes limits an answer. Default 1 MiB.
	MaxAnswerBytes int64
	// Transport sends requests. Default: one of its own.
	Transport http.RoundTripper
	// Logger is for operators; nil means none.
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	def(&c.Timeout, 100*time.Second)
	def(&c.EventTimeout, 10*time.Second)
	def(&c.EventPatience, 5*time.Minute)
	def(&c.MaxCalls, 512)
	def(&c.MaxStreams, 4096)
	def(&c.MaxAnswerBytes, 1<<20)
	if c.Keys == nil {
		c.Keys = func() []string { return nil }
	}
	if c.Transport == nil {
		c.Transport = &http.Transport{
			Proxy:       http.ProxyFromEnvironment,
			DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext, TLSHandshakeTimeout: 5 * time.Second,
			MaxIdleConnsPerHost: c.MaxCalls, IdleConnTimeout: 90 * time.Second, ForceAttemptHTTP2: true,
			DisableCompression: true, MaxResponseHeaderBytes: 64 << 10,
		}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func def[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// connectPatience is the longest time for which attempts to tell of a connect are repeated.
const connectPatience = 30 * time.Second

// Client calls upstreams. Safe for concurrent use.
type Client struct {
	cfg            Config
	http           *http.Client
	calls, streams chan struct{}
	counts         counters

	mu       sync.Mutex
	breakers map[string]*gobreaker.TwoStepCircuitBreaker[any] // by host
}

// New returns a client.
func New(cfg Config) *Client {
	cfg = cfg.withDefaults()
	c := &Client{
		cfg: cfg, calls: make(chan struct{}, cfg.MaxCalls), streams: make(chan struct{}, cfg.MaxStreams),
		breakers: map[string]*gobreaker.TwoStepCircuitBreaker[any]{},
		http: &http.Client{
			Transport:     cfg.Transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	for _, r := range cfg.Rules {
		c.breaker(r.Template.Host())
	}
	return c
}

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Matches tells whether a rule is there for an event.
func (c *Client) Matches(hub, category, event string) bool {
	return c.rule(hub, category, event) != nil
}

func (c *Client) rule(hub, category, event string) *Rule {
	for i := range c.cfg.Rules {
		if r := &c.cfg.Rules[i]; r.matches(hub, category, event) {
			return r
		}
	}
	return nil
}

// Answer is an upstream's.
type Answer struct {
	Status      int
	ContentType string
	Body        []byte
}

// Call asks the upstream and returns its answer, whatever its status. Messages are asked at most 1 + Retries times within Timeout;
// events until there is an answer that will not change, or their time is over. The error is an *Error.
func (c *Client) Call(ctx context.Context, r *Request) (*Answer, error) {
	rule, address, err := c.route(r)
	if err != nil {
		c.counts.add(r.Category, err.Outcome)
		return nil, err
	}
	limit, patience, attempts := c.cfg.Timeout, c.cfg.Timeout, 1+c.cfg.Retries
	if r.Category == CategoryConnections {
		limit, patience, attempts = c.cfg.EventTimeout, c.cfg.EventPatience, 1<<30
		if r.Event == EventConnected {
			patience = min(patience, connectPatience)
		}
	}
	whole, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for n := 1; ; n++ {
		answer, err := c.attempt(whole, rule, address, r, limit)
		err = final(ctx, err, limit)
		again := err != nil && repeatable(err, r.Category) || err == nil && passing(answer.Status)
		if !again || n >= attempts || c.pause(whole, n) != nil {
			c.done(r, answer, err)
			if err != nil {
				return nil, err
			}
			return answer, nil
		}
		c.counts.retries.Add(1)
	}
}

// final is err as an *Error, nil if there is none.
func final(ctx context.Context, err error, limit time.Duration) error {
	if err == nil {
		return nil
	}
	return classify(ctx, err, limit)
}

func (c *Client) route(r *Request) (*Rule, string, *Error) {
	rule := c.rule(r.Hub, r.Category, r.Event)
	if rule == nil {
		return nil, "", &Error{NoRule, "Invocation failed: no upstream takes it.", nil}
	}
	address, err := rule.Template.URL(r.Hub, r.Category, r.Event)
	if err != nil {
		return nil, "", &Error{NoRule, "Invocation failed: the method's name cannot be part of the upstream's URL.", err}
	}
	return rule, address, nil
}

// repeatable tells whether asking again may help and is safe: what has the same Idempotency-Key is the same to the upstream. A
// message that timed out has used up its time.
func repeatable(err error, category string) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	if category == CategoryConnections {
		return e.Outcome == Failed || e.Outcome == TimedOut || e.Outcome == Broken || e.Outcome == Busy
	}
	return e.Outcome == Failed
}

// passing tells whether a status says that the request was not executed, or not to its end, and may be at another time.
func passing(status int) bool {
	switch status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// Pauses between attempts: up to firstPause, twice that, and so on.
const (
	firstPause   = 200 * time.Millisecond
	longestPause = 10 * time.Second
)

func (c *Client) pause(ctx context.Context, attempt int) error {
	longest := min(firstPause<<min(attempt-1, 10), longestPause)
	t := time.NewTimer(longest/2 + rand.N(longest/2))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// attempt asks once.
func (c *Client) attempt(ctx context.Context, rule *Rule, address string, r *Request, limit time.Duration) (*Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	leave, err := c.enter(ctx, c.calls)
	if err != nil {
		return nil, err
	}
	defer leave()
	tell, err := c.breaker(rule.Template.Host()).Allow()
	if err != nil {
		return nil, err
	}
	answer, err := c.exchange(ctx, rule, address, r)
	tell(fault(ctx, answer, err))
	return answer, err
}

// fault is what counts against an upstream: an answer of its application does not. A call that was given up counts neither way.
func fault(ctx context.Context, answer *Answer, err error) error {
	var e *Error
	switch {
	case errors.As(err, &e) && e.Outcome == TooLarge:
		return nil
	case err != nil && errors.Is(ctx.Err(), context.Canceled):
		return errGivenUp
	case err != nil:
		return err
	case passing(answer.Status):
		return errPassing
	}
	return nil
}

var (
	errPassing = errors.New("the upstream's status says that it is not there")
	errGivenUp = errors.New("the caller has given up")
)

func (c *Client) exchange(ctx context.Context, rule *Rule, address string, r *Request) (*Answer, error) {
	request, err := c.build(ctx, rule, address, r)
	if err != nil {
		return nil, err
	}
	response, err := c.do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, c.cfg.MaxAnswerBytes+1))
	if err != nil {
		return nil, err
	}
	if int64(len(body)) > c.cfg.MaxAnswerBytes {
		return nil, &Error{TooLarge, "Invocation failed, response too large.", nil}
	}
	return &Answer{Status: response.StatusCode, ContentType: response.Header.Get("Content-Type"), Body: body}, nil
}

// do asks. Its error names the host, and not the address, which may hold a key and is logged.
func (c *Client) do(request *http.Request) (*http.Response, error) {
	response, err := c.http.Do(request)
	var failed *url.Error
	if errors.As(err, &failed) {
		return nil, fmt.Errorf("%s: %w", request.URL.Host, failed.Err)
	}
	if err == nil && response.StatusCode == http.StatusSwitchingProtocols {
		_ = response.Body.Close() // what comes now is no answer, and the request's end would not end it
		response.Body = http.NoBody
	}
	return response, err
}

// enter waits for one's turn.
func (c *Client) enter(ctx context.Context, slots chan struct{}) (leave func(), err error) {
	select {
	case slots <- struct{}{}:
		return func() { <-slots }, nil
	default:
	}
	c.counts.waiting.Add(1)
	defer c.counts.waiting.Add(-1)
	select {
	case slots <- struct{}{}:
		return func() { <-slots }, nil
	case <-ctx.Done():
		return nil, &Error{Busy, "Invocation failed: too many calls are under way.", ctx.Err()}
	}
}

func (c *Client) breaker(host string) *gobreaker.TwoStepCircuitBreaker[any] {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.breakers[host]
	if b == nil {
		b = gobreaker.NewTwoStepCircuitBreaker[any](gobreaker.Settings{
			Name: host, Timeout: brokenTime, MaxRequests: 1,
			ReadyToTrip: func(n gobreaker.Counts) bool { return n.ConsecutiveFailures >= brokenAfter },
			IsExcluded:  func(err error) bool { return errors.Is(err, errGivenUp) },
			OnStateChange: func(name string, from, to gobreaker.State) {
				c.cfg.Logger.Warn("circuit breaker of an upstream", "upstream", name, "from", from.String(), "to", to.String())
			},
		})
		c.breakers[host] = b
	}
	return b
}

const (
	// brokenAfter is how many calls in a row have to fail for an upstream to be left alone.
	brokenAfter = 10
	// brokenTime is how long that is; then one call tries.
	brokenTime = 5 * time.Second
)

// done counts and logs how a call ended.
func (c *Client) done(r *Request, answer *Answer, err error) {
	outcome := OK
	var e *Error
	switch {
	case errors.As(err, &e):
		outcome = e.Outcome
	case answer.Status < 200 || answer.Status > 299:
		outcome = Refused
	}
	c.counts.add(r.Category, outcome)
	if outcome == OK {
		return
	}
	cause, status := error(nil), 0
	if e != nil {
		cause = e.cause
	}
	if answer != nil {
		status = answer.Status
	}
	level, no := slog.LevelDebug, r.Asks && (status == http.StatusUnauthorized || status == http.StatusForbidden)
	if r.Category == CategoryConnections && outcome != Cancelled && !no {
		level = slog.LevelWarn // the application does not know of it
	}
	c.cfg.Logger.Log(context.Background(), level, "upstream did not take it", "hub", r.Hub, "category", r.Category,
		"connection_id", r.ConnectionID, "outcome", outcome, "status", status, "error", cause)
}
