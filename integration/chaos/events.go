package chaos

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"hubstream/internal/sleep"
)

// event is one server-sent event.
type event struct{ id, name, data string }

// follow reads an event stream until it ends, with the rules of the HTML standard. It calls
// opened at the answer's begin; take returns false to end it.
func (r *recorder) follow(address, lastEventID string, opened func(), take func(event) bool) (status int, err error) {
	ctx, cancel := context.WithCancel(r.run.ctx)
	defer cancel()
	silence := time.AfterFunc(serverTimeout, cancel)
	defer silence.Stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Accept", "text/event-stream")
	if lastEventID != "" {
		req.Header.Set("Last-Event-ID", lastEventID)
	}
	resp, err := httpClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return resp.StatusCode, fmt.Errorf("stream answered with %d", resp.StatusCode)
	}
	opened()
	e := event{id: lastEventID}
	lines := bufio.NewReader(resp.Body)
	for {
		silence.Stop()
		r.wait()
		silence.Reset(serverTimeout)
		line, err := lines.ReadString('\n')
		if err != nil {
			return resp.StatusCode, errors.New("the stream ended")
		}
		line = strings.TrimRight(line, "\r\n")
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "":
			if !take(e) {
				return resp.StatusCode, nil
			}
			e = event{id: e.id}
		case field == "id":
			e.id = value
		case field == "event":
			e.name = value
		case field == "data" && e.data == "":
			e.data = value
		case field == "data":
			e.data += "\n" + value
		}
	}
}

// eventsClient is SignalR over server-sent events. Its connection ends with its stream.
type eventsClient struct {
	*recorder
}

func (c *eventsClient) serve() {
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

func (c *eventsClient) session() (how End, reason string) {
	connection, address, err := c.negotiate(false)
	if err != nil {
		return Broken, err.Error()
	}
	shake := func() {
		go func() { _, _, _ = request(c.run.ctx, connectTimeout, http.MethodPost, address, handshake(1)) }()
	}
	shaken := false
	how = Broken
	_, err = c.follow(address, "", shake, func(e event) bool {
		whole, rest := records([]byte(e.data))
		if len(rest) > 0 {
			reason = fmt.Sprintf("an event ends within a record: %q", rest)
			return false
		}
		for _, text := range whole {
			if !shaken {
				shaken = true
				c.opened(connection)
				continue
			}
			var closed bool
			if reason, closed = c.take(text); closed {
				how = Closed
				return false
			}
		}
		return true
	})
	if err != nil {
		reason = err.Error()
	}
	return how, reason
}

// plainClient is an EventSource without SignalR: it comes back with the last ID that it has seen.
type plainClient struct {
	*recorder
	groups []string
}

func (c *plainClient) serve() {
	address := fmt.Sprintf("%s/api/hubs/%s/events?groups=%s", c.base, c.run.hubs[c.hub], url.QueryEscape(strings.Join(c.groups, ",")))
	begin := func() {
		c.begin()
		c.update(func(s *Session) { s.Groups = c.groups })
	}
	begin()
	lastEventID := ""
	for c.run.ctx.Err() == nil {
		requested := c.run.now()
		_, err := c.follow(address, lastEventID, func() {
			if lastEventID != "" {
				c.update(func(s *Session) { s.Resumed++ })
			}
		}, func(e event) bool {
			if e.name == "gap" {
				c.end(Closed, e.data)
				begin()
				c.update(func(s *Session) { s.Opening = requested }) // it goes on from where the log ended then
			}
			if e.name == "gap" || lastEventID == "" && e.id != "" {
				c.opened("")
			}
			lastEventID = e.id
			if m, err := parseRecord([]byte(e.data)); err == nil && e.name == "" {
				if id, ok := m.message(); ok {
					c.received(id)
				}
			}
			return true
		})
		if err != nil && strings.Contains(err.Error(), "answered with 404") {
			c.end(Broken, err.Error()) // there is no such service
			return
		}
		_ = sleep.For(c.run.ctx, between(50*time.Millisecond, 500*time.Millisecond))
	}
}
