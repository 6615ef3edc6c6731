package negotiate

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// The query parameters of a negotiate request. Their names are matched without regard to case, as ASP.NET Core does.
const (
	// VersionParameter holds the newest version of negotiate that the client knows.
	VersionParameter = "negotiateVersion"
	// StatefulParameter is true if the client wants stateful reconnect.
	StatefulParameter = "useStatefulReconnect"
)

// Errors are worded as ASP.NET Core words them, for clients show them to their users.
var errNotInteger = errors.New("The client requested a non-integer protocol version.")

type request struct {
	version           int // 0 or 1: the one to answer with
	statefulReconnect bool
}

// parseRequest reads the query of a negotiate request; all that it does not know belongs to the application. Its errors
// are the texts of error answers.
func parseRequest(query url.Values) (request, error) {
	version, err := parseVersion(parameter(query, VersionParameter))
	if err != nil {
		return request{}, err
	}
	stateful := parameter(query, StatefulParameter)
	return request{
		version:           version,
		statefulReconnect: len(stateful) == 1 && strings.EqualFold(strings.TrimSpace(stateful[0]), "true"),
	}, nil
}

// parseVersion returns the version to answer with: none asked for means 0, and a newer one than ours is answered with
// ours (TransportProtocols.md, "POST [endpoint-base]/negotiate request").
func parseVersion(values []string) (int, error) {
	if len(values) == 0 {
		return version0, nil
	}
	if len(values) > 1 { // contradictory
		return 0, errNotInteger
	}
	version, err := strconv.ParseInt(strings.TrimSpace(values[0]), 10, 32)
	if err != nil {
		return 0, errNotInteger
	}
	if version < version0 {
		return 0, fmt.Errorf("The client requested version '%d', but the server does not support this version.", version)
	}
	return min(int(version), latestVersion), nil
}

// parameter returns the different values of the query parameters with that name in any case. A client may append a
// parameter that the application's URL already has, so a repeated value counts once (ASP.NET Core refuses it).
func parameter(query url.Values, name string) []string {
	var values []string
	for key, all := range query {
		if !strings.EqualFold(key, name) {
			continue
		}
		for _, value := range all {
			if !slices.Contains(values, value) {
				values = append(values, value)
			}
		}
	}
	return values
}
