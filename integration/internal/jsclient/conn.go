package jsclient

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// Conn is one connection of an official client. Its methods end the test when the client fails them.
type Conn struct {
	Started // at the first start

	tb      testing.TB
	client  *Client
	id      string
	changed chan struct{} // gets one whenever something happened

	observer *Observer // nil: what happens is kept

	// Guarded by client.mu.
	messages []Message
	read     int // how many of messages Next has returned
	events   []Event
	requests []Request
}

// Started is what a client knows after its start.
type Started struct {
	ConnectionID string `json:"connectionId"`
	Token        string `json:"token"` // secret
	Transport    string `json:"transport"`
	State        string `json:"state"`
}

// Message is one call of a method of the client.
type Message struct {
	Target string
	Args   string // a JSON array
}

// Event is a change of the connection: "reconnecting", "reconnected" or "closed".
type Event struct {
	Name         string
	Error        string
	ConnectionID string // of "reconnected"
	Transport    string // of "reconnected"
	At           int64  // of "reconnecting": when, in milliseconds since 1970
}

// Request is an HTTP request of the client that was answered, in the order in which the answers began.
type Request struct {
	Kind   string // negotiate, websocket, events, poll, send or delete
	Status int
	Node   string // X-Hubstream-Node of the answer
}

// happened is called with client.mu held.
func (c *Conn) happened(e event) {
	if c.observer != nil {
		c.observer.happened(e)
		return
	}
	switch e.Ev {
	case "message":
		c.messages = append(c.messages, Message{e.Target, string(e.Args)})
	case "http":
		c.requests = append(c.requests, Request{e.Kind, e.Status, e.Node})
	default:
		c.events = append(c.events, Event{e.Ev, e.Error, e.ConnectionID, e.Transport, e.At})
	}
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

func (o *Observer) happened(e event) {
	switch e.Ev {
	case "message":
		o.Message(Message{e.Target, string(e.Args)})
	case "http":
		o.Request(Request{e.Kind, e.Status, e.Node})
	default:
		o.Event(Event{e.Ev, e.Error, e.ConnectionID, e.Transport, e.At})
	}
}

// await returns when done says so, which is called with client.mu held; after Patience the test ends.
func (c *Conn) await(what string, done func() bool) {
	c.tb.Helper()
	deadline := time.After(Patience)
	for {
		c.client.mu.Lock()
		ok := done()
		c.client.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-c.changed:
		case <-deadline:
			c.client.mu.Lock()
			defer c.client.mu.Unlock()
			c.tb.Fatalf("connection %s over %s: %s did not come within %v\nmessages: %v\nevents: %v\nrequests: %v",
				c.ConnectionID, c.Transport, what, Patience, tail(c.messages), c.events, tail(c.requests))
		case <-c.client.done:
			c.tb.Fatalf("%s did not come: the Node process has ended\n%s", what, c.client.proc.Output())
		}
	}
}

// tail keeps failure texts short.
func tail[T any](all []T) []T { return all[max(0, len(all)-20):] }

// Next waits for the next message that Next or Expect has not returned yet.
func (c *Conn) Next() Message {
	c.tb.Helper()
	var m Message
	c.await(fmt.Sprintf("message %d", c.read+1), func() bool {
		if c.read == len(c.messages) {
			return false
		}
		m = c.messages[c.read]
		c.read++
		return true
	})
	return m
}

// Expect waits for the next message and compares it.
func (c *Conn) Expect(target string, args ...any) {
	c.tb.Helper()
	if args == nil {
		args = []any{}
	}
	want, err := json.Marshal(args)
	if err != nil {
		c.tb.Fatal(err)
	}
	got := c.Next()
	if gotArgs := normalise(got.Args); got.Target != target || gotArgs != string(want) {
		c.tb.Fatalf("connection %s over %s: next message: got %s%s, want %s%s", c.ConnectionID, c.Transport, got.Target, gotArgs, target, want)
	}
}

// normalise writes JSON as Go's encoder does, which escapes more than JavaScript's.
func normalise(text string) string {
	var value any
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		return text
	}
	b, err := json.Marshal(value)
	if err != nil {
		return text
	}
	return string(b)
}

// Unread are the messages that arrived and were not returned by Next or Expect.
func (c *Conn) Unread() []Message {
	c.client.mu.Lock()
	defer c.client.mu.Unlock()
	return slices.Clone(c.messages[c.read:])
}

// Event waits for the first event with that name.
func (c *Conn) Event(name string) Event {
	c.tb.Helper()
	var found Event
	c.await("event "+name, func() bool {
		i := slices.IndexFunc(c.events, func(e Event) bool { return e.Name == name })
		if i >= 0 {
			found = c.events[i]
		}
		return i >= 0
	})
	return found
}

// Events are all so far.
func (c *Conn) Events() []Event {
	c.client.mu.Lock()
	defer c.client.mu.Unlock()
	return slices.Clone(c.events)
}

// Requests are all that were answered so far, those of the given kinds or, without any, all.
func (c *Conn) Requests(kinds ...string) []Request {
	c.client.mu.Lock()
	defer c.client.mu.Unlock()
	var found []Request
	for _, r := range c.requests {
		if len(kinds) == 0 || slices.Contains(kinds, r.Kind) {
			found = append(found, r)
		}
	}
	return found
}

// AwaitRequest waits until the n-th request of that kind was answered.
func (c *Conn) AwaitRequest(kind string, n int) {
	c.tb.Helper()
	c.await(fmt.Sprintf("answer %d to %s", n, kind), func() bool {
		for _, r := range c.requests {
			if r.Kind == kind {
				n--
			}
		}
		return n <= 0
	})
}

// Nodes are the different nodes that answered requests of the given kinds, sorted.
func (c *Conn) Nodes(kinds ...string) []string {
	var nodes []string
	for _, r := range c.Requests(kinds...) {
		nodes = append(nodes, r.Node)
	}
	slices.Sort(nodes)
	return slices.Compact(nodes)
}

// Invoke calls a hub method and waits for its result, as JSON.
func (c *Conn) Invoke(target string, args ...any) (string, error) {
	value, err := c.do("invoke", target, args)
	return string(value), err
}

// Send calls a hub method without waiting for a result; it returns when the client has handed the message over.
func (c *Conn) Send(target string, args ...any) error {
	_, err := c.do("send", target, args)
	return err
}

// Stream calls a streaming hub method and returns its items once it is complete.
func (c *Conn) Stream(target string, args ...any) (string, error) {
	value, err := c.do("stream", target, args)
	return string(value), err
}

// StreamSome calls a streaming hub method, takes n items and cancels.
func (c *Conn) StreamSome(n int, target string, args ...any) (string, error) {
	if args == nil {
		args = []any{}
	}
	value, err := c.client.do(map[string]any{"cmd": "stream", "id": c.id, "target": target, "args": args, "take": n})
	return string(value), err
}

// Upload calls a hub method with one stream, of the items, and waits for its result, as JSON. Only for the newest client.
func (c *Conn) Upload(target string, items ...any) (string, error) {
	value, err := c.do("upload", target, items)
	return string(value), err
}

// Stop stops the connection as an application does.
func (c *Conn) Stop() error {
	_, err := c.do("stop", "", nil)
	return err
}

// SetAccessToken gives the connection's accessTokenFactory another token for its later requests. The connection was opened with one.
func (c *Conn) SetAccessToken(token string) error {
	_, err := c.do("accessToken", token, nil)
	return err
}

// Drop cuts the WebSocket's TCP connection without a close frame.
func (c *Conn) Drop() error {
	_, err := c.do("drop", "", nil)
	return err
}

// TimeOut makes the client give its connection up, as its own timer does after silence.
func (c *Conn) TimeOut() {
	c.tb.Helper()
	if _, err := c.do("timeout", "", nil); err != nil {
		c.tb.Fatal(err)
	}
}

// State is the client's own idea of its state, such as "Connected". Clients before 3.0 say a number.
func (c *Conn) State() string {
	c.tb.Helper()
	value, err := c.do("describe", "", nil)
	if err != nil {
		c.tb.Fatal(err)
	}
	var now Started
	if err := json.Unmarshal(value, &now); err != nil {
		c.tb.Fatal(err)
	}
	return now.State
}

func (c *Conn) do(cmd, target string, args []any) (json.RawMessage, error) {
	if args == nil {
		args = []any{}
	}
	return c.client.do(map[string]any{"cmd": cmd, "id": c.id, "target": target, "args": args})
}

// String names the connection in failures.
func (r Request) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s=%d@%s", r.Kind, r.Status, r.Node))
}
