package access

import (
	"net/url"
	"strings"
)

// audience is one of the addresses that a token is for. Of its scheme and port nothing is asked: SDKs leave the port out,
// and a proxy may have ended TLS.
type audience struct {
	raw  string // as written
	host string // in lower case; empty if it is no address
	path string // decoded, without a slash at its end
	hub  string // of the query
}

func parseAudience(raw string) audience {
	u, err := url.Parse(raw)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") {
		return audience{raw: raw}
	}
	return audience{
		raw: raw, host: strings.ToLower(u.Hostname()), path: strings.TrimSuffix(u.Path, "/"), hub: u.Query().Get("hub"),
	}
}

func parseAudiences(list []string) []audience {
	parsed := make([]audience, len(list))
	for i, raw := range list {
		parsed[i] = parseAudience(raw)
	}
	return parsed
}

// Paths of audiences.
const (
	clientPath = "/client"
	hubsPath   = "/hubs/"
	apiPath    = "/api/hubs/"
)

// forHub tells whether the token is a client's, for the hub.
func (a *audience) forHub(hub string) bool {
	if a.path == clientPath {
		return strings.EqualFold(a.hub, hub)
	}
	name, ok := strings.CutPrefix(a.path, hubsPath)
	return ok && strings.EqualFold(name, hub)
}

// forRequest tells whether the token is a backend's for a request: for its path, for all of its hub,
// or, if whole addresses are allowed, for everything.
func (a *audience) forRequest(r *Request, whole bool) bool {
	switch {
	case a.path == "":
		return whole
	case a.path == strings.TrimSuffix(r.Path, "/"):
		return true
	}
	hub, ok := strings.CutPrefix(a.path, apiPath)
	return ok && r.Hub != "" && strings.EqualFold(hub, r.Hub)
}

// hostOf is the host of a Host header, without its port.
func hostOf(header string) string {
	if strings.HasPrefix(header, "[") {
		host, _, _ := strings.Cut(header[1:], "]")
		return host
	}
	host, _, _ := strings.Cut(header, ":")
	return host
}
