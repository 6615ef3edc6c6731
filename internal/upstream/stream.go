package upstream

import (
	"context"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync"

	"github.com/sony/gobreaker/v2"
)

// Stream is an answer that comes bit by bit.
type Stream struct {
	Status      int
	ContentType string
	Body        io.Reader
	trailer     func() http.Header
	close       func()
}

// NewStream returns a stream that does not come over HTTP, for tests.
func NewStream(status int, contentType string, body io.Reader, end func()) *Stream {
	return &Stream{
		Status: status, ContentType: contentType, Body: body,
		trailer: func() http.Header { return nil }, close: sync.OnceFunc(end),
	}
}

// ErrorHeader is the trailer in which an upstream says why it ended a stream.
const ErrorHeader = "X-Hubstream-Error"

// trialOf makes an upload that is the one call to try an upstream again succeed as that when the upstream takes its head: the answer
// comes when the client ends it, and until then there would be no other call.
func trialOf(ctx context.Context, tell func(error)) (context.Context, func(error)) {
	var once sync.Once
	first := func(err error) { once.Do(func() { tell(err) }) }
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { first(nil) }}), first
}

// Failure is what the upstream said in the trailer ErrorHeader; empty if nothing. Known when Body has ended.
func (s *Stream) Failure() string { return s.trailer().Get(ErrorHeader) }

// Close ends the call. It may be called again.
func (s *Stream) Close() { s.close() }

// Stream asks the upstream once, and returns when the answer begins. The request's Timeout is until then. Close must be called,
// as nothing else ends the call but ctx. The error is an *Error.
func (c *Client) Stream(ctx context.Context, r *Request) (*Stream, error) {
	rule, address, failed := c.route(r)
	if failed != nil {
		c.counts.add(r.Category, failed.Outcome)
		return nil, failed
	}
	s, err := c.begin(ctx, rule, address, r)
	if err != nil {
		err = classify(ctx, err, c.cfg.Timeout)
		c.done(r, nil, err)
		return nil, err
	}
	c.done(r, &Answer{Status: s.Status}, nil)
	return s, nil
}

func (c *Client) begin(ctx context.Context, rule *Rule, address string, r *Request) (*Stream, error) {
	waiting, stop := context.WithTimeout(ctx, c.cfg.Timeout)
	defer stop()
	leave, err := c.enter(waiting, c.streams)
	if err != nil {
		return nil, err
	}
	breaker := c.breaker(rule.Template.Host())
	tell, err := breaker.Allow()
	if err != nil {
		leave()
		return nil, err
	}
	caller := ctx
	ctx, cancel := context.WithCancel(ctx)
	if r.Stream != nil && breaker.State() == gobreaker.StateHalfOpen {
		ctx, tell = trialOf(ctx, tell)
	}
	// An upload may take its time; what waits is only the beginning of an answer to what has been sent.
	late := context.AfterFunc(waiting, func() {
		if r.Stream == nil {
			cancel()
		}
	})
	request, err := c.build(ctx, rule, address, r)
	var response *http.Response
	if err == nil {
		response, err = c.do(request)
	}
	late()
	if err == nil {
		tell(fault(caller, &Answer{Status: response.StatusCode}, nil))
	} else {
		tell(fault(caller, nil, err))
	}
	if err != nil {
		if waiting.Err() != nil {
			err = waiting.Err()
		}
		cancel()
		leave()
		return nil, err
	}
	return &Stream{
		Status: response.StatusCode, ContentType: response.Header.Get("Content-Type"), Body: response.Body,
		trailer: func() http.Header { return response.Trailer },
		close: sync.OnceFunc(func() {
			cancel()
			_ = response.Body.Close()
			leave()
		}),
	}, nil
}
