package chaos

import (
	"encoding/json"
	"strings"
	"time"

	"hubstream/integration/internal/jsclient"
	"hubstream/internal/sleep"
)

// officialClient is a connection of the official JavaScript client. Half of them use its automatic reconnect; the
// others are opened anew.
type officialClient struct {
	*recorder
	js        *jsclient.Client
	protocol  string
	reconnect bool
}

// delays of automatic reconnect: it never gives up during a run.
var reconnectDelays = func() []time.Duration {
	delays := []time.Duration{0, 200 * time.Millisecond}
	for len(delays) < 1000 {
		delays = append(delays, time.Second)
	}
	return delays
}()

func (c *officialClient) serve() {
	for c.run.ctx.Err() == nil {
		closed := make(chan struct{})
		first := c.begin()
		conn, err := c.js.Dial(c.options(closed))
		if err != nil {
			c.end(Broken, err.Error())
			_ = sleep.For(c.run.ctx, between(100*time.Millisecond, time.Second))
			continue
		}
		c.note("opened %s", conn.ConnectionID)
		c.mu.Lock()
		if !c.frozen { // it may have ended already
			first.Connection, first.Opened = conn.ConnectionID, c.run.now()
		}
		c.mu.Unlock()
		select {
		case <-closed:
			_ = sleep.For(c.run.ctx, between(100*time.Millisecond, time.Second))
		case <-c.run.ctx.Done():
		}
	}
}

func (c *officialClient) options(closed chan struct{}) jsclient.Options {
	o := jsclient.Options{
		URL: c.url(), Targets: []string{target}, Protocol: c.protocol, Stateful: c.kind == Stateful,
		Observer: &jsclient.Observer{Message: c.message, Request: c.request},
	}
	o.Transport = map[Kind]string{
		Stateful: jsclient.WebSockets, Socket: jsclient.WebSockets, Polling: jsclient.LongPolling, Events: jsclient.ServerSentEvents,
	}[c.kind]
	if c.reconnect {
		o.Reconnect = reconnectDelays
	}
	ended := 0
	o.Observer.Event = func(e jsclient.Event) {
		c.note("%s %s %q", e.Name, e.ConnectionID, e.Error)
		switch e.Name {
		case "reconnecting":
			c.end(endOf(e.Error), e.Error)
			c.beginAt(time.UnixMilli(e.At).Sub(c.run.began))
		case "reconnected":
			c.opened(e.ConnectionID)
		case "closed":
			c.end(endOf(e.Error), e.Error)
			if ended++; ended == 1 {
				close(closed)
			}
		}
	}
	return o
}

// endOf tells from the client's words what has ended a connection.
func endOf(reason string) End {
	switch {
	case strings.Contains(reason, "Server returned an error on close"):
		return Closed
	case strings.Contains(reason, "404"), strings.Contains(reason, "Not Found"):
		return Gone
	}
	return Broken
}

func (c *officialClient) message(m jsclient.Message) {
	var arguments []json.RawMessage
	if json.Unmarshal([]byte(m.Args), &arguments) != nil {
		return
	}
	if id, ok := parseMessage(arguments); ok {
		c.received(id)
	}
}

// request counts the upgrades of a session: the second and later ones continue it.
func (c *officialClient) request(r jsclient.Request) {
	if r.Kind != "poll" && r.Kind != "send" || r.Status != 200 {
		c.note("%v", r)
	}
	if r.Kind == "websocket" && r.Status == 101 {
		c.update(func(s *Session) {
			if s.Opened != 0 {
				s.Resumed++
			}
		})
	}
}
