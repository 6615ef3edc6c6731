package transports

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"

	"hubstream/internal/sleep"
	"hubstream/internal/upstream"
	"hubstream/streams"
	"hubstream/transports/hubprotocol"
)

// Upstream is where events and hub methods go. Its errors are *upstream.Error, and fit for clients.
type Upstream interface {
	// Matches tells whether something takes an event.
	Matches(hub, category, event string) bool
	// Call asks and returns the whole answer, whatever its status.
	Call(ctx context.Context, r *upstream.Request) (*upstream.Answer, error)
	// Stream asks and returns when the answer begins.
	Stream(ctx context.Context, r *upstream.Request) (*upstream.Stream, error)
}

// client is what is known of a connection's client wherever its work is executed.
type client struct {
	User   string           `json:"u,omitempty"`
	Query  string           `json:"q,omitempty"`
	Claims []upstream.Claim `json:"c,omitempty"`
	// Told: the upstream knows of the connection already, as it was asked for it.
	Told bool `json:"t,omitempty"`
	// Protocol is the client's hub protocol.
	Protocol hubprotocol.Protocol `json:"p"`
	// renamed: the user is the upstream's choice, and not whom the connection was opened for.
	renamed bool
}

// clientFor reads who has sent a connection's request.
func (c *request) clientFor(p hubprotocol.Protocol) client {
	who := client{User: c.token.User, Query: clientQuery(c.URL.Query()), Protocol: p}
	for _, claim := range c.who.Claims {
		who.Claims = append(who.Claims, upstream.Claim{Type: claim.Name, Value: claim.Value})
	}
	return who
}

// workingClient is the client of a request whose connection has work, else nil.
func (s *Server) workingClient(c *request) *client {
	if s.cfg.Upstream == nil && len(s.cfg.Rights) == 0 && len(c.who.Claims) == 0 {
		return nil // the query need not be looked at
	}
	who := c.clientFor(0)
	if s.cfg.Upstream == nil && len(who.rights(s)) == 0 {
		return nil
	}
	return &who
}

// request is one about a connection of the client, in JSON.
func (who *client) request(hub, id, category, event string) *upstream.Request {
	return &upstream.Request{
		Hub: hub, Category: category, Event: event, ConnectionID: id, Key: id + ":" + event,
		User: who.User, Claims: who.Claims, Query: who.Query, ContentType: contentJSON,
	}
}

// ownParameters are those of the client's query that are SignalR's, and no business of an application; the tokens are secret.
var ownParameters = []string{"id", "access_token", "_", "negotiateVersion", "useStatefulReconnect"}

func clientQuery(query url.Values) string {
	for _, name := range ownParameters {
		query.Del(name)
	}
	return query.Encode()
}

// keep is the client as it is kept with its connection's work.
func (who *client) keep() string {
	b, _ := json.Marshal(who) // cannot fail: strings and numbers
	return string(b)
}

// ours tells whether a Completion answers a call of the service's, and not one of the client's own streams.
func ours(m *hubprotocol.Message) bool {
	return m.Type == hubprotocol.Completion && len(m.InvocationID) > len(streams.CallPrefix) && m.InvocationID[:len(streams.CallPrefix)] == streams.CallPrefix
}

// result passes a client's answer on to the node that has asked, waiting for a store that is away or full. Who is late, or answers
// twice, is told nothing, so that what may have been passed on is passed on again.
func (s *Server) result(ctx context.Context, hub, id string, p hubprotocol.Protocol, m *hubprotocol.Message) error {
	if len(m.InvocationID) > streams.MaxIDBytes {
		return nil
	}
	e := streams.Entry{Kind: streams.KindResult, Connections: []string{id}, Named: []string{m.InvocationID}, Protocol: uint8(p), Body: m.Raw}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.StoreTimeout)
	defer cancel()
	for {
		_, err := s.node.Publish(ctx, hub, &e)
		if !isAway(err) && !errors.Is(err, streams.ErrOutcomeUnknown) || sleep.For(ctx, storeRetry) != nil {
			return err
		}
	}
}

// workItem is a client's message as an item of its connection's work.
func workItem(p hubprotocol.Protocol, m *hubprotocol.Message) string {
	return string(append([]byte{'0' + byte(p)}, m.Raw...))
}

// accept adds what a client has sent to its connection's work. While that is full it waits, and nothing more is read from the
// client.
func (s *Server) accept(ctx context.Context, hub string, r streams.AcceptRequest) error {
	for {
		err := s.node.Accept(ctx, hub, r)
		if !errors.Is(err, streams.ErrBusy) {
			return err
		}
		if sleep.For(ctx, busyPause) != nil {
			return fmt.Errorf("%w: too many messages of the connection wait to be executed", streams.ErrUnavailable)
		}
	}
}

// busyPause is the pause between two attempts to add to work that is full.
const busyPause = 50 * time.Millisecond

// isWork tells whether a message is executed with its connection's work, in its turn.
func isWork(m *hubprotocol.Message) bool { return m.Type.Trackable() && !ours(m) }
