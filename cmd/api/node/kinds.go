package node

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"hubstream/handlers"
	"hubstream/negotiate"
	"hubstream/negotiate/access"
)

// kind is how values of a type are read, refusing what makes no sense, and written.
type kind[T any] struct {
	parse  func(string) (T, error)
	format func(T) string // may be shown: a secret's says only that there is one
	form   string         // which values it takes, for people
}

func text(check func(string) error) kind[string] {
	return kind[string]{
		parse:  func(raw string) (string, error) { return raw, check(raw) },
		format: func(value string) string { return value },
		form:   "text",
	}
}

var boolean = kind[bool]{
	parse: func(raw string) (bool, error) {
		value, err := strconv.ParseBool(raw)
		if err != nil {
			return false, fmt.Errorf("%q is neither true nor false", raw)
		}
		return value, nil
	},
	format: strconv.FormatBool,
	form:   "true or false",
}

func duration(least, most time.Duration) kind[time.Duration] {
	return kind[time.Duration]{
		parse: func(raw string) (time.Duration, error) {
			value, err := time.ParseDuration(raw)
			if err != nil {
				return 0, fmt.Errorf("%q is not a duration such as 20s or 1m30s", raw)
			}
			if value < least || value > most {
				return 0, fmt.Errorf("%s is not between %v and %v", raw, least, most)
			}
			return value, nil
		},
		format: writeDuration,
		form:   "duration, " + writeDuration(least) + " to " + writeDuration(most),
	}
}

// writeDuration leaves out the zero units at the end: 1m, not 1m0s.
func writeDuration(d time.Duration) string {
	text := d.String()
	if rest, ok := strings.CutSuffix(text, "m0s"); ok {
		text = rest + "m"
	}
	if rest, ok := strings.CutSuffix(text, "h0m"); ok {
		text = rest + "h"
	}
	return text
}

var byteUnits = []struct {
	suffix string
	size   int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"", 1}}

func size(least, most int64) kind[int64] {
	return kind[int64]{
		parse: func(raw string) (int64, error) {
			value, err := parseSize(raw)
			if err != nil {
				return 0, fmt.Errorf("%q is not a number of bytes such as 65536, 64KiB or 1MiB", raw)
			}
			if value < least || value > most {
				return 0, fmt.Errorf("%s is not between %s and %s", raw, formatSize(least), formatSize(most))
			}
			return value, nil
		},
		format: formatSize,
		form:   "size, " + formatSize(least) + " to " + formatSize(most),
	}
}

func parseSize(raw string) (int64, error) {
	for _, unit := range byteUnits {
		number, ok := strings.CutSuffix(raw, unit.suffix)
		if !ok {
			continue
		}
		value, err := strconv.ParseUint(number, 10, 63)
		if err == nil && int64(value) > math.MaxInt64/unit.size {
			err = strconv.ErrRange
		}
		return int64(value) * unit.size, err
	}
	return 0, strconv.ErrSyntax
}

func formatSize(value int64) string {
	for _, unit := range byteUnits {
		if value >= unit.size && value%unit.size == 0 {
			return strconv.FormatInt(value/unit.size, 10) + unit.suffix
		}
	}
	return strconv.FormatInt(value, 10)
}

// oneOf takes one of the words, which T's values are.
func oneOf[T ~string](words ...T) kind[T] {
	return kind[T]{
		parse: func(raw string) (T, error) {
			for _, word := range words {
				if raw == string(word) {
					return word, nil
				}
			}
			return "", fmt.Errorf("%q is none of %s", raw, join(words))
		},
		format: func(value T) string { return string(value) },
		form:   strings.ReplaceAll(join(words), ",", ", "),
	}
}

// list takes elements separated by commas, each checked alone, none twice.
func list[T ~string](element func(string) (T, error)) kind[[]T] {
	return kind[[]T]{
		parse: func(raw string) (values []T, err error) {
			seen := map[T]bool{}
			for part := range strings.SplitSeq(raw, ",") {
				value, err := element(strings.TrimSpace(part))
				if err != nil {
					return nil, err
				}
				if seen[value] {
					return nil, fmt.Errorf("%q is listed twice", part)
				}
				seen[value] = true
				values = append(values, value)
			}
			return values, nil
		},
		format: join[T],
		form:   "list",
	}
}

func join[T ~string](values []T) string {
	parts := make([]string, len(values))
	for i, value := range values {
		parts[i] = string(value)
	}
	return strings.Join(parts, ",")
}

var level = kind[slog.Level]{
	parse: func(raw string) (slog.Level, error) {
		for _, l := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
			if strings.EqualFold(raw, l.String()) {
				return l, nil
			}
		}
		return 0, fmt.Errorf("%q is none of debug,info,warn,error", raw)
	},
	format: func(l slog.Level) string { return strings.ToLower(l.String()) },
	form:   "debug, info, warn, error",
}

var secret = kind[negotiate.Secret]{
	parse: func(raw string) (negotiate.Secret, error) {
		if len(raw) < negotiate.MinSecretBytes {
			return "", fmt.Errorf("it has %d bytes, at least %d are needed", len(raw), negotiate.MinSecretBytes) // never the value
		}
		return negotiate.Secret(raw), nil
	},
	format: func(s negotiate.Secret) string {
		if s == "" {
			return ""
		}
		return hidden
	},
	form: fmt.Sprintf("at least %d bytes", negotiate.MinSecretBytes),
}

func address(raw string) error {
	_, port, err := net.SplitHostPort(raw)
	if err != nil {
		return fmt.Errorf("%q is not host:port", raw)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%q has no port from 0 to 65535", raw)
	}
	return nil
}

// loopback takes an address that other machines do not reach.
func loopback(raw string) error {
	if err := address(raw); err != nil {
		return err
	}
	if !isLoopback(raw) {
		return fmt.Errorf("%q is reachable from other machines", raw)
	}
	return nil
}

func anything(string) error { return nil }

// something refuses nothing, where that would mean less protection than was meant.
func something(raw string) error {
	if raw == "" {
		return errors.New("it is empty")
	}
	return nil
}

func name(raw string) error {
	if len(raw) > maxNodeName {
		return fmt.Errorf("it has %d bytes, the limit is %d", len(raw), maxNodeName)
	}
	for _, r := range raw {
		if !isNameRune(r) {
			return fmt.Errorf("%q is not allowed, the characters are A-Z a-z 0-9 _ . -", r)
		}
	}
	return nil
}

func origin(raw string) (string, error) {
	_, err := handlers.ParseOrigins([]string{raw})
	return raw, err
}

// valkeyAddresses are shown without passwords.
var valkeyAddresses = kind[[]string]{
	parse: list(valkeyAddress).parse,
	format: func(addresses []string) string {
		shown := make([]string, len(addresses))
		for i, address := range addresses {
			shown[i] = withoutPassword(address)
		}
		return join(shown)
	},
	form: "list",
}

// valkeyAddress takes anything: streams knows what it accepts, and an address may hold a password.
func valkeyAddress(raw string) (string, error) {
	if raw == "" {
		return "", errors.New("an address is empty")
	}
	return raw, nil
}

// number is a small whole number.
func number(least, most int) kind[int] {
	return kind[int]{
		parse: func(raw string) (int, error) {
			value, err := strconv.Atoi(raw)
			if err != nil {
				return 0, fmt.Errorf("%q is not a whole number", raw)
			}
			if value < least || value > most {
				return 0, fmt.Errorf("%s is not between %d and %d", raw, least, most)
			}
			return value, nil
		},
		format: strconv.Itoa,
		form:   fmt.Sprintf("number, %d to %d", least, most),
	}
}

var statefulAddress = kind[string]{
	parse: func(raw string) (string, error) {
		if raw == "" {
			return "", nil
		}
		return handlers.ParseStatefulAddress(raw)
	},
	format: func(address string) string { return address },
	form:   "address",
}

// accessKeys are shown by their number only.
var accessKeys = kind[[]access.Key]{
	parse: func(raw string) (keys []access.Key, err error) {
		for part := range strings.SplitSeq(raw, ",") {
			part = strings.TrimSpace(part)
			if _, _, err := access.ParseKey(part); err != nil {
				return nil, fmt.Errorf("key %d: %w", len(keys)+1, err) // never the value
			}
			keys = append(keys, access.Key(part))
		}
		return keys, nil
	},
	format: func(keys []access.Key) string {
		if len(keys) == 0 {
			return ""
		}
		return hidden
	},
	form: fmt.Sprintf("list, each at least %d bytes", negotiate.MinSecretBytes),
}

// collector is the address of an OpenTelemetry collector; without a path it is the standard one of traces.
var collector = kind[string]{
	parse: func(raw string) (string, error) {
		u, err := url.Parse(raw)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return "", errors.New("it is not an address such as http://127.0.0.1:4318")
		}
		if strings.Trim(u.Path, "/") == "" {
			u.Path = "/v1/traces"
		}
		return u.String(), nil
	},
	format: func(value string) string { return value },
	form:   "text",
}

var share = kind[float64]{
	parse: func(raw string) (float64, error) {
		value, err := strconv.ParseFloat(raw, 64)
		if err != nil {
			return 0, fmt.Errorf("%q is not a number", raw)
		}
		if !(value >= 0 && value <= 1) { // NaN is neither
			return 0, fmt.Errorf("%s is not between 0 and 1", raw)
		}
		return value, nil
	},
	format: func(value float64) string { return strconv.FormatFloat(value, 'g', -1, 64) },
	form:   "number, 0 to 1",
}

// webAddress takes the address of something on the web.
func webAddress(raw string) error {
	u, err := url.Parse(raw)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return errors.New("it is not an address such as https://example.com/keys")
	}
	return nil
}

// prefixes are addresses of networks; one without a length is a machine's.
var prefixes = kind[[]netip.Prefix]{
	parse: func(raw string) (list []netip.Prefix, err error) {
		for part := range strings.SplitSeq(raw, ",") {
			part = strings.TrimSpace(part)
			prefix, err := netip.ParsePrefix(part)
			if address, addressErr := netip.ParseAddr(part); addressErr == nil {
				prefix, err = address.Prefix(address.BitLen())
			}
			if err != nil {
				return nil, fmt.Errorf("%q is not an address such as 10.0.0.0/8", part)
			}
			list = append(list, prefix.Masked())
		}
		return list, nil
	},
	format: func(list []netip.Prefix) string {
		parts := make([]string, len(list))
		for i, prefix := range list {
			parts[i] = prefix.String()
		}
		return strings.Join(parts, ",")
	},
	form: "list",
}
