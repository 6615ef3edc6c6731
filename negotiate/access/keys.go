package access

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"hubstream/negotiate"
)

// Key is an access key. The bytes of its text are what tokens are signed with: it is not base64, though Azure's look
// like it. It does not print.
type Key = negotiate.Secret

// ConnectionString is what a backend needs to know of a service, in the one line that Azure's SDKs take:
//
//	Endpoint=https://push.example.com;AccessKey=<key>;Version=1.0;
type ConnectionString struct {
	// Endpoint is the address of the service, a scheme and a host, without a slash at its end.
	Endpoint string
	// Key is the access key.
	Key Key
}

var connectionVersion = regexp.MustCompile(`^1\.\d+(?:[\w-.]+)?$`)

// IsConnectionString tells a connection string from a bare key.
func IsConnectionString(raw string) bool {
	return strings.Contains(strings.ToLower(raw), "accesskey=")
}

// ParseConnectionString reads a connection string. Its errors never hold the key.
func ParseConnectionString(raw string) (ConnectionString, error) {
	values, err := connectionValues(raw)
	if err != nil {
		return ConnectionString{}, err
	}
	if version, has := values["version"]; has && !connectionVersion.MatchString(version) {
		return ConnectionString{}, fmt.Errorf("version %q is not 1.x", version)
	}
	key := Key(values["accesskey"])
	if err := checkKey(key); err != nil {
		return ConnectionString{}, err
	}
	endpoint, err := ParseEndpoint(values["endpoint"])
	if err != nil {
		return ConnectionString{}, err
	}
	if port, has := values["port"]; has {
		if endpoint, err = withPort(endpoint, port); err != nil {
			return ConnectionString{}, err
		}
	}
	return ConnectionString{Endpoint: endpoint, Key: key}, nil
}

// connectionValues splits at the first "=" of each part, so that a key may end in some. Names are in lower case.
func connectionValues(raw string) (map[string]string, error) {
	values := map[string]string{}
	for part := range strings.SplitSeq(raw, ";") {
		name, value, ok := strings.Cut(part, "=")
		if !ok {
			continue
		}
		name = strings.ToLower(strings.TrimSpace(name))
		if _, twice := values[name]; twice {
			return nil, fmt.Errorf("%q is there twice", name)
		}
		values[name] = strings.TrimSpace(value)
	}
	for _, required := range []string{"Endpoint", "AccessKey"} {
		if values[strings.ToLower(required)] == "" {
			return nil, fmt.Errorf("%s is missing", required)
		}
	}
	return values, nil
}

// ParseEndpoint reads the address of a service, such as https://push.example.com, and returns it without a slash at its end.
func ParseEndpoint(raw string) (string, error) {
	u, err := url.Parse(raw)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", fmt.Errorf("%q is not an address such as https://push.example.com", raw)
	}
	return strings.TrimSuffix(u.String(), "/"), nil
}

func withPort(endpoint, port string) (string, error) {
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", fmt.Errorf("port %q is not a number from 1 to 65535", port)
	}
	u, err := url.Parse(endpoint)
	if err != nil {
		return "", err
	}
	host := u.Hostname()
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	u.Host = host + ":" + port
	return u.String(), nil
}

// ParseKey reads an access key, bare or in a connection string, whose endpoint is returned as well. Its errors never
// hold the key.
func ParseKey(raw string) (key Key, endpoint string, err error) {
	if IsConnectionString(raw) {
		c, err := ParseConnectionString(raw)
		return c.Key, c.Endpoint, err
	}
	key = Key(raw)
	return key, "", checkKey(key)
}

// ParseKeys reads access keys, one of which may be in a connection string, and returns what they name as endpoints, too.
func ParseKeys(list []string) (keys []Key, endpoints []string, err error) {
	for i, raw := range list {
		key, endpoint, err := ParseKey(raw)
		if err != nil {
			return nil, nil, fmt.Errorf("key %d: %w", i+1, err)
		}
		keys = append(keys, key)
		if endpoint != "" {
			endpoints = append(endpoints, endpoint)
		}
	}
	return keys, endpoints, nil
}

func checkKey(key Key) error {
	if len(key) < negotiate.MinSecretBytes {
		return fmt.Errorf("an access key has %d bytes, at least %d are needed", len(key), negotiate.MinSecretBytes)
	}
	for _, r := range string(key) {
		if r <= ' ' || r > '~' {
			return errors.New("an access key has a character that is not printable ASCII")
		}
	}
	return nil
}
