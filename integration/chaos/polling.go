package chaos

import (
	"fmt"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"hubstream/internal/sleep"
)

// pollingClient is a long polling client. As the official ones it gives its connection up when a poll fails: what
// sends a poll again is the proxy.
type pollingClient struct {
	*recorder
}

// pollLimit is how long a poll may take.
const pollLimit = 100 * time.Second

func (c *pollingClient) serve() {
	for c.run.ctx.Err() == nil {
		c.begin()
		how, reason := c.session()
		if c.run.ctx.Err() != nil {
			return
		}
		c.end(how, reason)
		_ = sleep.For(c.run.ctx, between(100*time.Millisecond, time.Second))
	}
}

func (c *pollingClient) session() (End, string) {
	connection, address, err := c.negotiate(false)
	if err != nil {
		return Broken, err.Error()
	}
	if status, _, err := c.poll(address); err != nil || status != http.StatusOK {
		return Broken, fmt.Sprintf("first poll: %d %v", status, err)
	}
	var failed atomic.Pointer[string]
	go func() {
		if status, body, err := request(c.run.ctx, connectTimeout, http.MethodPost, address, handshake(1)); err != nil || status != http.StatusOK {
			reason := fmt.Sprintf("POST of the handshake: %d %s %v", status, body, err)
			failed.Store(&reason)
		}
	}()
	shaken := false
	for {
		status, body, err := c.poll(address)
		switch {
		case err != nil:
			return Broken, fmt.Sprintf("poll: %v", err)
		case status == http.StatusNoContent || status == http.StatusNotFound:
			return Gone, fmt.Sprintf("poll answered with %d", status)
		case status != http.StatusOK:
			return Broken, fmt.Sprintf("poll answered with %d", status)
		}
		whole, rest := records(body)
		if len(rest) > 0 {
			return Broken, fmt.Sprintf("an answer ends within a record: %q", rest)
		}
		for _, text := range whole {
			if !shaken {
				if string(text) != "{}" {
					return Broken, fmt.Sprintf("handshake answered with %q", text)
				}
				shaken = true
				c.opened(connection)
				continue
			}
			if reason, closed := c.take(text); closed {
				return Closed, reason
			}
		}
		if reason := failed.Load(); reason != nil && !shaken {
			return Broken, *reason
		}
	}
}

func (c *pollingClient) poll(address string) (status int, body []byte, err error) {
	c.wait()
	return request(c.run.ctx, pollLimit, http.MethodGet, address+"&_="+strconv.FormatInt(time.Now().UnixMilli(), 10), "")
}

// take takes one record; closed says that it was a Close.
func (r *recorder) take(text []byte) (reason string, closed bool) {
	m, err := parseRecord(text)
	if err != nil {
		return fmt.Sprintf("unreadable record %q", text), true
	}
	if id, ok := m.message(); ok {
		r.received(id)
	}
	if m.Type == typeClose {
		r.update(func(s *Session) { s.Closes++ })
		return m.Error, true
	}
	return "", false
}
