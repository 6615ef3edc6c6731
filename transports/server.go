package transports

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"hubstream/internal/ratelimit"
	"hubstream/internal/sleep"
	"hubstream/negotiate"
	"hubstream/negotiate/access"
	"hubstream/streams"
)

// Config holds the transports' settings. Zero values mean the defaults.
type Config struct {
	// Transports that are served; empty means all. All nodes must serve the same.
	Transports []negotiate.Transport
	// StatefulReconnect allows clients that negotiated it to re-attach.
	StatefulReconnect bool
	// PollTimeout is how long a poll waits. Default 25 s: proxies often cut at 60 s, and
	// some at 30 s. PollJitter spreads it to both sides. Default 2 s.
	PollTimeout, PollJitter time.Duration
	// HandshakeTimeout is how long a connection may take to send its handshake. Default 15 s.
	HandshakeTimeout time.Duration
	// KeepAlive is the interval of pings to clients. Default 15 s.
	KeepAlive time.Duration
	// ClientTimeout is how long a WebSocket client that pings may be silent. Default 30 s.
	ClientTimeout time.Duration
	// SendTimeout is how long one write to a client may take. Default 30 s.
	SendTimeout time.Duration
	// DetachedTimeout is how long a stateful connection may be without a socket. Default 60 s.
	DetachedTimeout time.Duration
	// StoreTimeout is how long an upgrade or event stream waits for a store that is away. Default 10 s.
	StoreTimeout time.Duration
	// MaxMessageBytes limits one hub message of a client. Default 32 KiB.
	MaxMessageBytes int
	// MaxUserConnections limits the sockets and event streams that a user has open at this node, in each hub; 0: not.
	MaxUserConnections int
	// MaxAddressConnections limits those that are open from one address; 0: not.
	MaxAddressConnections int
	// MessageRate is how many messages a client may send by this node in a second; 0: any number.
	MessageRate int
	// MaxPostBytes limits the body of one POST, which may hold several. Default 1 MiB.
	MaxPostBytes int64
	// AllowOrigin decides on the Origin of a WebSocket upgrade; nil allows all. Browsers
	// always send one, and do not apply CORS to upgrades.
	AllowOrigin func(origin string) bool
	// Upstream takes events and hub methods; nil: there is none, and only built-in methods can be called.
	Upstream Upstream
	// Authorize asks Upstream by the event "connected" whether a client may connect.
	Authorize bool
	// Rights are those that every client has, beside its own; see IsRight.
	Rights []string
	// StreamIdle is how long a stream may go on without anything coming. Default 5 minutes.
	StreamIdle time.Duration
	// NoAIO: each socket is written to by a system call of its own, though the kernel could write to many in one.
	NoAIO bool
	// Tracer records writes of messages that have a trace context. Nil: nobody looks.
	Tracer Tracer
	// Logger is for operators; nil means none.
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	for field, value := range map[*time.Duration]time.Duration{
		&c.PollTimeout: 25 * time.Second, &c.PollJitter: 2 * time.Second,
		&c.HandshakeTimeout: 15 * time.Second, &c.KeepAlive: 15 * time.Second,
		&c.ClientTimeout: 30 * time.Second, &c.SendTimeout: 30 * time.Second,
		&c.DetachedTimeout: 60 * time.Second, &c.StoreTimeout: 10 * time.Second, &c.StreamIdle: 5 * time.Minute,
	} {
		if *field == 0 {
			*field = value
		}
	}
	c.PollJitter = min(c.PollJitter, c.PollTimeout/4)
	if c.MaxMessageBytes == 0 {
		c.MaxMessageBytes = 32 << 10
	}
	if c.MaxPostBytes == 0 {
		c.MaxPostBytes = 1 << 20
	}
	if len(c.Transports) == 0 {
		c.Transports = negotiate.DefaultTransports()
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Leases of a connection's record, beyond what the request itself takes.
const (
	// liveLease is renewed every 10 s while a socket or stream is open.
	liveLease = 30 * time.Second
	// pollLease is how long a polling client may take between two polls.
	pollLease = 30 * time.Second
)

// Server serves the connections of all hubs on one node. Safe for concurrent use.
type Server struct {
	cfg    Config
	node   *streams.Node
	tokens *negotiate.Keyring
	log    *slog.Logger

	ctx  context.Context // of the sockets; ends with Drain
	stop context.CancelFunc

	draining  chan struct{} // closed when the node begins to stop
	drainOnce sync.Once
	spread    time.Duration // over which connections are sent away; set before draining is closed
	stopOnce  sync.Once
	active    activity // requests and sockets under way

	works     *works
	wheel     wheel
	writers   writers
	batches   sync.Pool // of *batch, for outlets that write by themselves
	counters  counters
	admission admission
	posted    *ratelimit.Keyed // messages of POSTs, by connection
}

// NewServer returns a server for the connections of a node. Drain ends it.
func NewServer(node *streams.Node, tokens *negotiate.Keyring, cfg Config) *Server {
	s := &Server{
		cfg: cfg.withDefaults(), node: node, tokens: tokens,
		draining: make(chan struct{}), works: newWorks(),
	}
	s.log = s.cfg.Logger
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.admission.perUser, s.admission.perAddress = cfg.MaxUserConnections, cfg.MaxAddressConnections
	s.posted = ratelimit.New(cfg.MessageRate)
	s.wheel.start(s.cfg)
	s.writers.start(s)
	s.batches.New = func() any { return newBatch(s) }
	node.Employ(s.work)
	return s
}

// request is a request of a connection.
type request struct {
	w http.ResponseWriter
	*http.Request
	hub   string
	who   access.Identity
	token negotiate.Token
	rc    *http.ResponseController
	// refuseAs writes a refusal in another form than clients get it, which is plain text if it is nil.
	refuseAs func(status int, text string)
}

// query returns the first value of a parameter in the address.
func (c *request) query(name string) string {
	raw := c.URL.RawQuery
	if strings.ContainsAny(raw, "%+;") {
		return c.URL.Query().Get(name)
	}
	for raw != "" { // as clients write it: what follows needs no map
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		if key, value, _ := strings.Cut(pair, "="); key == name {
			return value
		}
	}
	return ""
}

// ServeHub answers a request to a hub: GET (upgrade, event stream or poll), POST and
// DELETE. hub is a name as negotiate.HubName makes it; who is what the request's access token says: the user of a
// connection that was not negotiated, and who must be that of one that was.
func (s *Server) ServeHub(w http.ResponseWriter, r *http.Request, hub string, who access.Identity) {
	c := &request{w: w, Request: r, hub: hub, who: who, rc: http.NewResponseController(w)}
	switch r.Method {
	case http.MethodGet:
		s.serveGet(c)
	case http.MethodPost:
		if s.identify(c) {
			s.servePost(c)
		}
	case http.MethodDelete:
		if s.identify(c) {
			s.serveDelete(c)
		}
	default:
		w.Header().Set("Allow", "GET, POST, DELETE")
		c.refuse(http.StatusMethodNotAllowed, "")
	}
}

// serveGet finds out which transport a GET means (TransportProtocols.md).
func (s *Server) serveGet(c *request) {
	switch {
	case isUpgrade(c.Request):
		if !s.serves(c, negotiate.WebSockets) {
			return
		}
		if s.cfg.AllowOrigin != nil && c.Header.Get("Origin") != "" && !s.cfg.AllowOrigin(c.Header.Get("Origin")) {
			c.refuse(http.StatusForbidden, "the origin is not allowed")
			return
		}
		if !c.isWebSocket() {
			return
		}
		if c.query("id") == "" { // the client skipped negotiation
			c.token = negotiate.Token{
				ConnectionID: negotiate.NewConnectionID(), Hub: c.hub, User: c.who.User,
				Deadline: s.node.Now() + time.Minute.Milliseconds(),
			}
			s.serveWebSocket(c)
		} else if s.identify(c) {
			s.serveWebSocket(c)
		}
	case strings.Contains(c.Header.Get("Accept"), "text/event-stream"):
		if s.serves(c, negotiate.ServerSentEvents) && s.identify(c) {
			s.serveEvents(c)
		}
	default:
		if s.serves(c, negotiate.LongPolling) && s.identify(c) {
			s.servePoll(c)
		}
	}
}

func isUpgrade(r *http.Request) bool {
	return headerHas(r.Header, "Connection", "upgrade") && headerHas(r.Header, "Upgrade", "websocket")
}

func headerHas(h http.Header, name, token string) bool {
	for _, value := range h.Values(name) {
		for part := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(strings.TrimSpace(part), token) {
				return true
			}
		}
	}
	return false
}

// isWebSocket refuses an upgrade that is not one to WebSockets, before it makes or
// changes anything.
func (c *request) isWebSocket() bool {
	if !headerHas(c.Header, "Sec-WebSocket-Version", "13") {
		c.w.Header().Set("Sec-WebSocket-Version", "13")
		c.refuse(http.StatusUpgradeRequired, "WebSocket version 13 is required")
		return false
	}
	if len(c.Header.Get("Sec-WebSocket-Key")) != webSocketKeyLength || !c.ProtoAtLeast(1, 1) {
		c.refuse(http.StatusBadRequest, "malformed WebSocket upgrade")
		return false
	}
	// The upgrader takes each of them for one word, or looks at the first line alone, and by then the connection is made. A list may be
	// spread over several lines (RFC 9110, 5.2).
	c.Header["Connection"], c.Header["Upgrade"], c.Header["Sec-Websocket-Version"] = upgradeConnection, upgradeProtocol, webSocketVersion
	return true
}

// What an upgrade asks for, once it is known that it does.
var upgradeConnection, upgradeProtocol, webSocketVersion = []string{"Upgrade"}, []string{"websocket"}, []string{"13"}

// webSocketKeyLength is that of 16 bytes in base64.
const webSocketKeyLength = 24

func (s *Server) serves(c *request, t negotiate.Transport) bool {
	if slices.Contains(s.cfg.Transports, t) && c.who.Allows(t) {
		return true
	}
	c.refuse(http.StatusNotFound, string(t)+" transport not supported by this end point type")
	return false
}

// identify opens the connection token.
func (s *Server) identify(c *request) bool {
	id := c.query("id")
	if id == "" {
		c.refuse(http.StatusBadRequest, "Connection ID required")
		return false
	}
	token, err := s.tokens.Open(id)
	if err != nil || token.Hub != c.hub || c.who.Authenticated && token.User != c.who.User {
		s.log.Debug("connection token refused", "hub", c.hub, "error", err)
		c.refuse(http.StatusNotFound, noConnection)
		return false
	}
	c.token = token
	return true
}

// refuse answers with a status and a text, as every refusal of the transports does.
func (c *request) refuse(status int, text string) {
	h := c.w.Header()
	if status == http.StatusServiceUnavailable {
		h.Set("Retry-After", "1")
	}
	if c.refuseAs != nil {
		c.refuseAs(status, text)
		return
	}
	h.Set("Content-Type", "text/plain")
	h.Set("Cache-Control", "no-store")
	c.w.WriteHeader(status)
	_, _ = c.w.Write([]byte(text))
}

// refuseError answers what Open has returned.
func (s *Server) refuseError(c *request, err error) {
	switch {
	case errors.Is(err, streams.ErrTransport):
		c.refuse(http.StatusBadRequest, "Cannot change transports mid-connection")
	case errors.Is(err, streams.ErrConflict):
		c.refuse(http.StatusConflict, "")
	case errors.Is(err, streams.ErrGap), errors.Is(err, streams.ErrUnheard):
		// Who is refused takes the connection for ended, without closing a socket of it that is still open: a JavaScript client would
		// be sent the same on that and on its next connection's.
		s.end(c.hub, c.token.ConnectionID, "")
		c.refuse(http.StatusNotFound, noConnection)
	case isAway(err):
		c.refuse(http.StatusServiceUnavailable, storeAway)
	default:
		c.refuse(http.StatusNotFound, noConnection)
	}
}

// noConnection is what clients are told whose connection is over, or never was.
const noConnection = "No Connection with that ID"

// storeAway is what clients are told of a store that cannot be used.
const storeAway = "the connection's store is not reachable"

// isAway tells whether the store cannot be used now, and may be later.
func isAway(err error) bool {
	return errors.Is(err, streams.ErrUnavailable) || errors.Is(err, streams.ErrFull)
}

// openRequest is what every Open of a connection has in common.
func (s *Server) openRequest(c *request, mode streams.OpenMode, owner string) streams.OpenRequest {
	return streams.OpenRequest{
		Mode: mode, ID: c.token.ConnectionID, User: c.token.User, Owner: owner,
		CreateUntil: c.token.Deadline, Lease: liveLease, NewLease: s.handshakeTimeout(c) + 5*time.Second,
	}
}

// openWaiting opens, waiting for a store that is away.
func (s *Server) openWaiting(c *request, r streams.OpenRequest) (streams.OpenReply, error) {
	// The store bounds each attempt. A context of the request's, and what belongs to it, would be made for nearly all for nothing.
	ctx, until := context.WithoutCancel(c.Context()), time.Now().Add(s.cfg.StoreTimeout)
	for {
		reply, err := s.node.Open(ctx, c.hub, r)
		if !errors.Is(err, streams.ErrUnavailable) || time.Now().After(until) {
			return reply, err
		}
		select {
		case <-time.After(storeRetry):
		case <-c.Context().Done():
			return reply, err
		case <-s.draining:
			return reply, err
		}
	}
}

// attachWaiting attaches what r has opened. While the store is away, or the log has
// moved on meanwhile, it waits and opens again.
func (s *Server) attachWaiting(ctx context.Context, hub string, r streams.OpenRequest, opened *streams.OpenReply, wake func()) (*streams.Attachment, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.StoreTimeout)
	defer cancel()
	for {
		att, err := s.node.Attach(ctx, hub, *opened, r.Owner, liveLease, wake)
		if !errors.Is(err, streams.ErrUnavailable) {
			return att, err
		}
		if sleep.For(ctx, storeRetry) != nil {
			return nil, err
		}
		again, err := s.node.Open(ctx, hub, r)
		switch {
		case err == nil:
			*opened = again
		case !errors.Is(err, streams.ErrUnavailable):
			return nil, err
		}
	}
}

// storeRetry is the pause between attempts to reach a store that is away.
const storeRetry = 100 * time.Millisecond

// end ends a connection. It is tried for a while only: the lease does it otherwise.
func (s *Server) end(hub, id, owner string) { _, _ = s.endFor(hub, id, owner, "") }

// endFor is end with a reason, for an upstream. streams.EndRefused: another attach serves the connection, which goes on there.
func (s *Server) endFor(hub, id, owner, reason string) (streams.EndOutcome, error) {
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.StoreTimeout)
	defer cancel()
	reply, err := s.node.EndFor(ctx, hub, id, owner, reason)
	if err != nil {
		s.log.Debug("connection not ended", "hub", hub, "connection_id", id, "error", err)
	}
	return reply.Outcome, err
}

// jittered spreads d by jitter to both sides.
func jittered(d, jitter time.Duration) time.Duration {
	if jitter <= 0 {
		return d
	}
	return d - jitter + rand.N(2*jitter)
}

// closing says what an attachment's final error means for its client.
type closing struct {
	silent    bool   // the client is sent nothing: another attach serves it, or it has ended
	frame     []byte // the WebSocket close frame; nil: normal closure
	text      string // of the Close message
	reconnect bool
	reason    string // for logs and metrics
}

func closingFor(err error) closing {
	var closed *streams.CloseError
	switch {
	case errors.As(err, &closed):
		return closing{silent: closed.Ended, text: closed.Reason, reconnect: closed.AllowReconnect, reason: "closed"}
	case errors.Is(err, streams.ErrOwner):
		return closing{silent: true, reason: "taken_over"}
	case errors.Is(err, streams.ErrGap):
		return closing{text: "The connection fell too far behind: messages that it had not received are no longer kept.", reconnect: true, reason: "gap"}
	case errors.Is(err, errExpired):
		return closing{text: "The access token of the connection has expired.", reconnect: true, reason: "expired"}
	case errors.Is(err, errRate):
		return closing{text: "Connection closed with an error. The client sent more messages a second than are allowed.", reconnect: true, reason: "rate"}
	case errors.Is(err, streams.ErrLost), errors.Is(err, streams.ErrBeyond):
		return closing{text: "Messages were lost on the server; the connection cannot be continued.", reconnect: true, reason: "lost"}
	default:
		return closing{text: "Connection closed with an error.", reconnect: true, reason: "error"}
	}
}
