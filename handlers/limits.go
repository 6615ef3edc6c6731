package handlers

import (
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"hubstream/internal/ratelimit"
	"hubstream/negotiate/access"
	"hubstream/streams"
)

// Limits bound what one caller may ask for. Zero values are none.
type Limits struct {
	// ConnectRate is how many connections an address may begin at this node in a second.
	ConnectRate int
	// SendRate is how many changes an access key may make by this node in a second.
	SendRate int
	// UserConnections is how many connections a user may have in a hub, over all nodes, when another is negotiated.
	UserConnections int
	// Addresses: the address that a connection is from is of interest to the HubServer.
	Addresses bool
	// Proxies are whose X-Forwarded-For is believed.
	Proxies []netip.Prefix
}

// limits are Limits at work.
type limits struct {
	Limits
	connects, sends *ratelimit.Keyed
}

func newLimits(l Limits) limits {
	return limits{Limits: l, connects: ratelimit.New(l.ConnectRate), sends: ratelimit.New(l.SendRate)}
}

// ipv6Bits is what of an address of IPv6 counts as one: who has one of them has them all.
const ipv6Bits = 64

// addressOf is where a request is from, as limits tell callers apart.
func (l *limits) addressOf(r *http.Request) string {
	peer, ok := parseAddress(r.RemoteAddr)
	if !ok {
		return r.RemoteAddr
	}
	address := l.origin(peer, r.Header["X-Forwarded-For"])
	if address.Is4() {
		return address.String()
	}
	prefix, _ := address.Prefix(ipv6Bits) // as many bits as it has
	return prefix.String()
}

// origin goes back from who has connected to whom that is a proxy of, as X-Forwarded-For says, until it comes to who is none. What is said
// further back anybody may have written.
func (l *limits) origin(peer netip.Addr, forwarded []string) netip.Addr {
	said := strings.Split(strings.Join(forwarded, ","), ",")
	for i := len(said) - 1; i >= 0 && l.isProxy(peer); i-- {
		before, ok := parseAddress(strings.TrimSpace(said[i]))
		if !ok {
			break
		}
		peer = before
	}
	return peer
}

func (l *limits) isProxy(address netip.Addr) bool {
	return slices.ContainsFunc(l.Proxies, func(p netip.Prefix) bool { return p.Contains(address) })
}

// parseAddress reads an address, with a port or, as most proxies write it, without. (Azure's Application Gateway writes one.)
func parseAddress(text string) (netip.Addr, bool) {
	address, err := netip.ParseAddr(strings.Trim(text, "[]"))
	if err != nil {
		withPort, err := netip.ParseAddrPort(text)
		if err != nil {
			return netip.Addr{}, false
		}
		address = withPort.Addr()
	}
	return address.Unmap().WithZone(""), true
}

// locate says where a connection is from, if that is of interest.
func (l *limits) locate(who *access.Identity, r *http.Request) {
	if l.Addresses {
		who.Address = l.addressOf(r)
	}
}

// mayConnect refuses the beginning of one connection more than an address may begin.
func (l *limits) mayConnect(c echo.Context) error {
	if l.connects == nil || !begins(c) {
		return nil
	}
	if wait := l.connects.Take(l.addressOf(c.Request())); wait > 0 {
		return rateLimited(wait, fmt.Sprintf("too many connections are begun from this address: %d a second, which is the limit", l.ConnectRate))
	}
	return nil
}

// begins tells whether a request begins a connection: it negotiates, or is a WebSocket without.
func begins(c echo.Context) bool {
	if needOf(c.Path()) != needClient {
		return false
	}
	r := c.Request()
	return strings.HasSuffix(c.Path(), "/negotiate") || r.Header["Upgrade"] != nil && r.URL.Query().Get("id") == ""
}

// maySend refuses one change more than a key may make.
func (l *limits) maySend(c echo.Context, key string) error {
	if l.sends == nil || !changes(c.Request().Method) {
		return nil
	}
	return l.takeSend(key)
}

func (l *limits) takeSend(key string) error {
	if wait := l.sends.Take(key); wait > 0 {
		return rateLimited(wait, fmt.Sprintf("too many changes with this access key: %d a second, which is the limit", l.SendRate))
	}
	return nil
}

// mayGoOn counts the operations of a backend's request that makes several: the first was counted with the request. Whose it is was
// known then; to keep that for the few requests that ask would take memory of each. It is for before the body is read: the
// token may pass while that comes.
func (h *Handler) mayGoOn(c echo.Context) (count func() error, err error) {
	key := ""
	if h.access != nil {
		if key, err = h.senderOf(c, Bearer(c.Request().Header)); err != nil {
			return nil, err
		}
	}
	first := true
	return func() error {
		if first {
			first = false
			return nil
		}
		return h.limits.takeSend(key)
	}, nil
}

// mayNegotiate refuses one connection more than a user may have in a hub. It is asked for once for each connection, so
// that it may ask the store.
func (l *limits) mayNegotiate(c echo.Context, s *Services, hub, user string) error {
	if l.UserConnections == 0 || user == "" {
		return nil
	}
	count, err := s.Streams.Count(c.Request().Context(), hub, streams.HolderUser, user)
	if err != nil {
		return err
	}
	if count < int64(l.UserConnections) {
		return nil
	}
	return &refusal{
		status: http.StatusTooManyRequests, retryIn: connectionRetry, Code: codeTooManyConnections,
		Message: fmt.Sprintf("the user has %d connections, which is the limit", l.UserConnections),
	}
}

// connectionRetry is what a client is told to wait that has too many connections: one of them must end.
const connectionRetry = 5 * time.Second

func rateLimited(wait time.Duration, message string) *refusal {
	return &refusal{status: http.StatusTooManyRequests, retryIn: wait, Code: codeRateLimited, Message: message}
}

// retryAfter is a Retry-After header: whole seconds, at least one.
func retryAfter(wait time.Duration) string {
	return strconv.Itoa(max(1, int(math.Ceil(wait.Seconds()))))
}
