package handlers

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"hubstream/negotiate"
)

// ParseStatefulAddress reads the public address of the nodes, such as https://push.example.com or
// https://example.com/push: a scheme and a host, and the path before /hubs if a proxy adds one. Without a slash at its end.
func ParseStatefulAddress(raw string) (string, error) {
	u, err := url.Parse(raw)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", fmt.Errorf("%q is not an address such as https://push.example.com", raw)
	}
	return strings.TrimSuffix(u.String(), "/"), nil
}

// script matches how an official JavaScript client names itself, with its major version. Others ignore what the
// redirect's query says, or fail on what they did not ask for.
var script = regexp.MustCompile(`^Microsoft SignalR/([0-9]{1,4})\.[^(]*\([^;)]*;[^;)]*; (?:Browser|NodeJS);`)

// firstStatefulVersion is the first version of the official clients that has stateful reconnect.
const firstStatefulVersion = 8

// scriptVersion is the major version of an official JavaScript client; 0: it is none.
func scriptVersion(h http.Header) int {
	agent := h.Get("X-SignalR-User-Agent") // a browser does not let it set the other
	if agent == "" {
		agent = h.Get("User-Agent")
	}
	m := script.FindStringSubmatch(agent)
	if m == nil {
		return 0
	}
	major, _ := strconv.Atoi(m[1])
	return major
}

// statefulRedirect returns where a JavaScript client is sent that did not ask for stateful reconnect: to the same hub at
// base, by an address that asks for it. The client takes that from the address (HttpConnection.ts, _resolveNegotiateUrl)
// and keeps its query, the application's own included, on all later requests.
func statefulRedirect(base string, r *http.Request) (to string, ok bool) {
	query := r.URL.Query()
	if base == "" || scriptVersion(r.Header) < firstStatefulVersion || asks(query, negotiate.StatefulParameter) || !asks(query, negotiate.VersionParameter) {
		return "", false
	}
	for name := range query {
		if strings.EqualFold(name, negotiate.VersionParameter) {
			query.Del(name)
		}
	}
	query.Set(negotiate.StatefulParameter, "true")
	path := strings.TrimSuffix(strings.TrimSuffix(r.URL.EscapedPath(), "/"), "/negotiate")
	return base + path + "?" + query.Encode(), true
}

// asks tells whether a query has a parameter, its name in any case.
func asks(query url.Values, name string) bool {
	for key := range query {
		if strings.EqualFold(key, name) {
			return true
		}
	}
	return false
}
