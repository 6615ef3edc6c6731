package handlers

import (
	"context"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"

	"hubstream/negotiate"
	"hubstream/negotiate/access"
	"hubstream/streams"
)

// HubServer serves the requests of connections, whatever their transport.
type HubServer interface {
	// ServeHub answers a request to a hub's address, refusals included. hub is a name as
	// negotiate.HubName returns it; who is what the request's access token says.
	// Headers that are set already go out with every answer, that to an upgrade included.
	ServeHub(w http.ResponseWriter, r *http.Request, hub string, who access.Identity)
	// ServePlain serves a plain event stream, which belongs to no connection, until who's token wants it to end; if it cannot, refuse
	// answers why.
	ServePlain(w http.ResponseWriter, r *http.Request, hub string, audience streams.Audience, who access.Identity, refuse func(status int, text string))
}

// Config holds what a Handler needs from the start. Zero values mean the defaults.
type Config struct {
	// Node is the node's name, which every answer carries. Required.
	Node string
	// Origins are the origins of pages that browsers may let talk to this node. The node's own
	// is always among them.
	Origins Origins
	// MaxSendBytes limits the body of a send. Default 1 MiB.
	MaxSendBytes int
	// BodiesBytes limits the bodies of backends' requests that are held at once; what would be more is refused. Default 256 MiB.
	BodiesBytes int64
	// Access checks the tokens of clients and backends; nil is development mode, where nobody needs one.
	Access *access.Verifier
	// Admins may see the console's data and the metrics, and do what backends may. They mean nothing in development mode.
	Admins *access.Admins
	// Limits bound what one caller may ask for.
	Limits Limits
	// Logger is for operators; nil means none.
	Logger *slog.Logger
	// Console answers GET of / and of all below /console/, but for /console/api/; nil means that there is nothing.
	Console Console
	// Metrics answers GET /metrics; nil means that there is nothing.
	Metrics http.Handler
}

// Services is what a Handler needs to do more than to say that it is alive. All but StatefulAddress and Tracer are required.
type Services struct {
	Streams    *streams.Node
	Hubs       HubServer
	Negotiator *negotiate.Negotiator
	Keyring    *negotiate.Keyring
	// StatefulAddress is where JavaScript clients are sent that can reconnect statefully and did not ask for it, as
	// ParseStatefulAddress returns it; empty sends nobody anywhere.
	StatefulAddress string
	// Tracer records what becomes of sends; nil: nothing is recorded.
	Tracer Tracer
}

// Handler answers all requests to a node. It can be used at once, so that a node is seen
// to live while it still waits for its store; until Start, all but health waits for that, and is answered with 503 after 10 s.
type Handler struct {
	// static
	echo         *echo.Echo
	node         []string // the value of nodeHeader
	origins      Origins
	maxSendBytes int
	bodies       bodies
	access       *access.Verifier // nil: development mode
	admins       *access.Admins
	limits       limits
	log          *slog.Logger
	console      Console
	metrics      http.Handler
	operations   []operation // of the backends' API
	document     []byte      // describes them

	refusals sync.Map // code -> *atomic.Int64
	services atomic.Pointer[Services]
	started  chan struct{}          // closed once there are services
	unready  atomic.Pointer[string] // why the node is not ready, whatever its store says
}

const nodeHeader = "X-Hubstream-Node"

// DefaultMaxSendBytes limits the body of a send, unless configured.
const DefaultMaxSendBytes = 1 << 20 // 1 MiB

// New returns a Handler that is alive and not ready.
func New(cfg Config) *Handler {
	h := &Handler{
		started: make(chan struct{}),
		echo:    echo.New(), node: []string{cfg.Node}, origins: cfg.Origins,
		maxSendBytes: cfg.MaxSendBytes, access: cfg.Access, admins: cfg.Admins, limits: newLimits(cfg.Limits), log: cfg.Logger, console: cfg.Console, metrics: cfg.Metrics,
	}
	if h.maxSendBytes == 0 {
		h.maxSendBytes = DefaultMaxSendBytes
	}
	if h.bodies.limit = cfg.BodiesBytes; h.bodies.limit == 0 {
		h.bodies.limit = DefaultBodiesBytes
	}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	h.Unready("starting: the store has not been reached yet")
	h.echo.HTTPErrorHandler = h.answerError
	h.operations = h.apiOperations()
	h.document = openAPI(h.operations)
	h.routes()
	return h
}

func (h *Handler) routes() {
	for _, path := range []string{"/hubs/:hub", "/hubs/:hub/"} {
		h.echo.Any(path, h.with(h.serveHub))
	}
	h.echo.POST("/hubs/:hub/negotiate", h.with(h.serveNegotiate))
	for _, path := range []string{clientRoute, clientRoute + "/"} { // Azure's
		h.echo.Any(path, h.with(h.serveHub))
	}
	h.echo.POST(clientRoute+"/negotiate", h.with(h.serveNegotiate))
	h.echo.POST("/hubs/:hub/refresh", h.with(refresh))
	h.echo.POST(clientRoute+"/refresh", h.with(refresh))

	h.apiRoutes()

	if h.metrics != nil {
		h.echo.GET("/metrics", h.guard(h.showMetrics))
	}
	if h.console != nil {
		h.echo.GET("/console/api/hubs", h.forConsole(showHubs))
		h.echo.GET("/console/api/hubs/:hub/connections", h.forConsole(showConnections))
		h.echo.GET("/console/api/hubs/:hub/log", h.forConsole(h.showLog))
		h.echo.GET("/console/api/hubs/:hub/connections/:connection", h.forConsole(showConnectionPage))
	}
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		h.echo.Add(method, "/healthz", h.guard(healthz))
		h.echo.Add(method, "/readyz", h.guard(h.readyz))
		if h.console != nil {
			h.echo.Add(method, "/", h.guard(h.showConsole))
			h.echo.Add(method, "/console/*", h.guard(h.showConsole))
		}
	}
}

// Start makes the Handler serve, and ready if the store is.
func (h *Handler) Start(s Services) {
	before := h.services.Swap(&s)
	h.unready.Store(nil)
	if before == nil {
		close(h.started)
	}
}

// startWait is how long a request waits for a node that is starting. Balancers that do not ask whether a node is ready send it
// requests at once, and a 503 ends the connection of a client that polls.
const startWait = 10 * time.Second

// awaitStart returns what there is to work with, or errStarting if the node does not start in time.
func (h *Handler) awaitStart(ctx context.Context) (*Services, error) {
	if s := h.services.Load(); s != nil {
		return s, nil
	}
	late := time.NewTimer(startWait)
	defer late.Stop()
	select {
	case <-h.started:
		return h.services.Load(), nil
	case <-late.C:
	case <-ctx.Done():
	}
	return nil, errStarting
}

// Unready makes the node say that it is not ready, and why. It serves nevertheless what it can.
func (h *Handler) Unready(reason string) {
	h.unready.Store(&reason)
}

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	growStack(false)
	w.Header()[nodeHeader] = h.node
	if h.crossOrigin(w, r) {
		return
	}
	h.echo.ServeHTTP(w, r)
}

// stackNeeded is about what a request takes of its goroutine's stack.
const stackNeeded = 10 << 10 // 10 KiB

// growStack makes the stack as large as a request needs it. A connection's goroutine begins with a small one: grown bit by
// bit in the depth of the handlers it was copied twice, which was a tenth of what a connection costs that comes for one
// request. used is false: what matters is the size of the frame, whose memory need not be touched.
//
//go:noinline
func growStack(used bool) {
	if used {
		var room [stackNeeded]byte
		touch(&room)
	}
}

//go:noinline
func touch(*[stackNeeded]byte) {}

// with gives a route what it works with, once there is something.
func (h *Handler) with(serve func(echo.Context, *Services) error) echo.HandlerFunc {
	return h.guard(func(c echo.Context) error {
		s, err := h.awaitStart(c.Request().Context())
		if err != nil {
			return err
		}
		return serve(c, s)
	})
}

// guard asks whether the caller may, and may so often, turns panics into errors and writes the request log. It names the route, not the
// address: that holds tokens, in its query and, of clients of negotiate version 0, in its path.
func (h *Handler) guard(serve echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		began := time.Now()
		err := h.admit(c)
		if err == nil {
			err = recovered(serve, c)
		}
		if err != nil {
			c.Error(err)
		}
		ctx := c.Request().Context()
		if h.log.Enabled(ctx, slog.LevelDebug) {
			h.log.DebugContext(ctx, "request", "method", c.Request().Method, "route", c.Path(), "hub", c.Param("hub"),
				"status", c.Response().Status, "duration", time.Since(began), "error", err)
		}
		return nil
	}
}

// recovered makes a panic an error of this request alone.
func recovered(serve echo.HandlerFunc, c echo.Context) (err error) {
	defer func() {
		v := recover()
		if v == http.ErrAbortHandler {
			panic(v)
		}
		if v != nil {
			err = &panicError{value: v, stack: debug.Stack()}
		}
	}()
	return serve(c)
}
