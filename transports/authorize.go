package transports

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"hubstream/internal/sleep"
	"hubstream/internal/upstream"
	"hubstream/negotiate"
	"hubstream/streams"
)

// What clients are told when their connection may not begin.
const (
	refusedByUpstream = "The application refused the connection."
	upstreamUnasked   = "The application could not be asked whether the connection may begin."
)

// permission is what an upstream may answer when it is asked whether a connection may begin.
type permission struct {
	// User is the connection's user; nil: whoever the access token says.
	User   *string
	Claims []upstream.Claim
	Groups []string
}

// authorize asks the upstream whether a client may connect, by the event "connected", before the handshake is answered. What it
// says of the client is noted, its user included; the connection joins the groups that it names. The refusal is the handshake's error, empty if the
// client may. Who cannot be asked about may not.
func (s *Server) authorize(ctx context.Context, hub, id string, who *client) (refusal string) {
	up := s.cfg.Upstream
	if who == nil || !s.cfg.Authorize || up == nil || !up.Matches(hub, upstream.CategoryConnections, upstream.EventConnected) {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.HandshakeTimeout)
	defer cancel()
	r := who.request(hub, id, upstream.CategoryConnections, upstream.EventConnected)
	r.Body, r.Asks = []byte(`{"type":10}`), true
	answer, err := up.Call(ctx, r)
	switch {
	case err != nil:
		return upstreamUnasked
	case answer.Status == http.StatusUnauthorized, answer.Status == http.StatusForbidden:
		return refusedByUpstream
	case answer.Status < 200 || answer.Status > 299:
		return upstreamUnasked
	}
	var p permission
	if len(answer.Body) > 0 && json.Unmarshal(answer.Body, &p) != nil || badGroups(p.Groups) || badUser(p.User) {
		s.log.Warn("an upstream's answer to a connection cannot be read; the connection is refused", "hub", hub, "connection_id", id)
		return upstreamUnasked
	}
	who.Claims, who.Told = append(who.Claims, p.Claims...), true
	if p.User != nil && *p.User != who.User {
		who.User, who.renamed = *p.User, true
	}
	if len(p.Groups) > 0 {
		if _, err := s.node.Join(ctx, hub, id, streams.VerbJoin, p.Groups...); err != nil {
			s.unconnected(hub, id, who)
			return upstreamUnasked
		}
	}
	return ""
}

func badGroups(groups []string) bool {
	for _, group := range groups {
		if group == "" || streams.NameTooLong(group) {
			return true
		}
	}
	return len(groups) > streams.MaxGroups
}

func badUser(user *string) bool { return user != nil && negotiate.UserTooLong(*user) }

// rename makes an attachment deliver to the user whom the handshake has given the connection, waiting for a store that is away.
func (s *Server) rename(att *streams.Attachment) error {
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.StoreTimeout)
	defer cancel()
	for {
		err := att.Rename(ctx)
		if !errors.Is(err, streams.ErrUnavailable) || sleep.For(ctx, storeRetry) != nil {
			return err
		}
	}
}

// unconnected tells the upstream that a connection did not begin after all. Of one that has begun, by a handshake that was
// faster, nothing is told.
func (s *Server) unconnected(hub, id string, who *client) {
	if who == nil || !who.Told {
		return
	}
	s.works.begin(func(ctx context.Context) {
		reply, err := s.node.Lookup(ctx, hub, id)
		if err == nil && reply.Record.Works || err != nil && !errors.Is(err, streams.ErrGone) {
			return
		}
		r := who.request(hub, id, upstream.CategoryConnections, upstream.EventDisconnected)
		r.Body = []byte(`{"type":11,"error":"The connection did not begin."}`)
		_, _ = s.cfg.Upstream.Call(ctx, r)
	})
}

// begin does something that ends with the work of this node.
func (w *works) begin(f func(context.Context)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.stopped {
		w.running.Go(func() { f(w.ctx) })
	}
}
