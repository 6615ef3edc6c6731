package handlers

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"unicode"
)

// Origins are origins of pages that browsers may let talk to this node. The zero value has none.
type Origins struct {
	any      bool
	loopback bool
	listed   map[string]struct{}
}

// LoopbackOrigins are those of pages served by the machine that the browser runs on, from any port.
func LoopbackOrigins() Origins { return Origins{loopback: true} }

// ParseOrigins reads a list of origins as browsers send them, such as https://example.com:8443.
// "*" stands for any. The error names what is wrong.
func ParseOrigins(list []string) (Origins, error) {
	o := Origins{listed: make(map[string]struct{}, len(list))}
	for _, origin := range list {
		if origin == "*" {
			o.any = true
			continue
		}
		origin = strings.ToLower(origin)
		u, err := url.Parse(origin)
		if err != nil || u.Host == "" || u.Scheme+"://"+u.Host != origin {
			return Origins{}, fmt.Errorf("%q is not an origin such as https://example.com:8443, nor *", origin)
		}
		if err := neverSent(u); err != nil {
			return Origins{}, fmt.Errorf("%q: %w", origin, err)
		}
		o.listed[origin] = struct{}{}
	}
	return o, nil
}

// neverSent refuses what looks like an origin, and is none that a browser sends: its pages would be refused, and nothing would say why.
func neverSent(origin *url.URL) error {
	switch {
	case strings.Contains(origin.Host, "*"):
		return errors.New("an origin is listed by its whole name, without *")
	case origin.Scheme == "https" && origin.Port() == "443", origin.Scheme == "http" && origin.Port() == "80":
		return fmt.Errorf("browsers leave the port %s out of the origin", origin.Port())
	case strings.ContainsFunc(origin.Host, func(r rune) bool { return r > unicode.MaxASCII }):
		return errors.New("browsers write the name in ASCII (xn--...)")
	}
	return nil
}

// Allow tells whether origin, the value of an Origin header, is among the origins.
func (o Origins) Allow(origin string) bool {
	if o.any {
		return true
	}
	if _, ok := o.listed[origin]; ok {
		return true
	}
	return o.loopback && isLoopback(origin)
}

func isLoopback(origin string) bool {
	u, err := url.Parse(origin)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") {
		return false
	}
	host := u.Hostname()
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// sameHost tells whether a page comes from the address that it talks to. The scheme is not compared:
// a proxy in front may have ended TLS.
func sameHost(origin string, r *http.Request) bool {
	_, host, ok := strings.Cut(origin, "://")
	return ok && strings.EqualFold(host, r.Host)
}

// Values of headers that cost no allocation to set.
var (
	varyOrigin       = []string{"Origin"}
	allowCredentials = []string{"true"}
	allowMethods     = []string{"GET, POST, PUT, DELETE"}
	allowHeaders     = []string{"x-requested-with, x-signalr-user-agent, authorization, content-type"}
	preflightMaxAge  = []string{"7200"} // seconds; browsers take no more
)

// crossOrigin tells browsers what pages of other origins may do, on every answer: without these headers a page
// sees a network error instead of the status. It answers preflights itself: they name no connection that
// a node would have to know. done means that the request is answered.
//
// A foreign page cannot read answers; it can still make its browser send some requests, cookies of this
// origin included. So its upgrades, to which browsers do not apply CORS, and its changes through
// the API, which anybody who reaches the node may make, are refused.
func (h *Handler) crossOrigin(w http.ResponseWriter, r *http.Request) (done bool) {
	header := w.Header()
	header["Vary"] = varyOrigin
	origins := r.Header["Origin"]
	if len(origins) == 0 {
		return false
	}
	allowed := h.origins.Allow(origins[0]) || sameHost(origins[0], r)
	if allowed {
		// Never "*": SignalR's clients send credentials, for which browsers refuse it.
		header["Access-Control-Allow-Origin"] = origins[:1:1]
		header["Access-Control-Allow-Credentials"] = allowCredentials
	}
	if r.Method == http.MethodOptions && r.Header["Access-Control-Request-Method"] != nil {
		if allowed {
			answerPreflight(header, r.Header["Access-Control-Request-Headers"])
		}
		w.WriteHeader(http.StatusNoContent)
		return true
	}
	if !allowed && (r.Header["Upgrade"] != nil || isAPI(r) && changes(r.Method)) {
		h.count(errOrigin.Code)
		answerRefusal(w, r, errOrigin)
		return true
	}
	return false
}

func answerPreflight(header http.Header, requested []string) {
	header["Access-Control-Allow-Methods"] = allowMethods
	header["Access-Control-Allow-Headers"] = allowHeaders
	if len(requested) != 0 {
		header["Access-Control-Allow-Headers"] = requested // applications add their own
	}
	header["Access-Control-Max-Age"] = preflightMaxAge
}

func changes(method string) bool { return method != http.MethodGet && method != http.MethodHead }
