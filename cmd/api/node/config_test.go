package node_test

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"hubstream/cmd/api/node"
	"hubstream/negotiate"
	"hubstream/negotiate/access"
	"hubstream/streams"
)

func none(string) string { return "" }

func TestDefaultsNeedNothing(t *testing.T) {
	t.Parallel()
	got, err := node.Parse(nil, none)
	if err != nil {
		t.Fatal(err)
	}
	other, err := node.Parse(nil, none)
	if err != nil || other.Node == got.Node || got.Node == "" {
		t.Errorf("two nodes are called %q and %q (%v)", got.Node, other.Node, err)
	}
	got.Node = ""
	want := node.Config{
		Listen: "127.0.0.1:8080", Drain: 20 * time.Second, ValkeyMode: streams.ValkeyStandalone, ValkeyPrefix: "hs", ValkeyDurableTimeout: 50 * time.Millisecond,
		TokenLeeway: 5 * time.Minute, JWKSUserClaim: "sub",
		Transports:        []negotiate.Transport{negotiate.WebSockets, negotiate.ServerSentEvents, negotiate.LongPolling},
		StatefulReconnect: true, PollTimeout: 25 * time.Second, KeepAlive: 15 * time.Second, ClientTimeout: 30 * time.Second,
		HandshakeTimeout: 15 * time.Second, ConnectDeadline: time.Minute, MaxSendBytes: 1 << 20, NodeSendBytes: 256 << 20, MaxMessageBytes: 32 << 10,
		UpstreamTimeout: 100 * time.Second, UpstreamRetries: 2, UpstreamEventRetry: 5 * time.Minute, UpstreamCalls: 512, StreamIdle: 5 * time.Minute,
		Retention: 2 * time.Minute, LossSpread: 30 * time.Second, RetentionBytes: 256 << 20, WindowBytes: 64 << 20, NodeWindowBytes: 512 << 20, AIO: true, TraceSample: 0.01, LogFormat: "text",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

// each has every setting, another value than its default, and values that are refused with a word of the reason.
var each = []struct {
	name, value string
	field       func(node.Config) any
	want        any
	bad         map[string]string
}{
	{"config", "", nil, nil, map[string]string{"/nowhere/hubstream.toml": "no such file"}},
	{"listen", "localhost:0", func(c node.Config) any { return c.Listen }, "localhost:0",
		map[string]string{"8080": "host:port", "127.0.0.1": "host:port", "127.0.0.1:x": "port", "127.0.0.1:65536": "port"}},
	{"dev", "true", func(c node.Config) any { return c.Dev }, true, map[string]string{"perhaps": "true nor false"}},
	{"node", "n-1.a_b", func(c node.Config) any { return c.Node }, "n-1.a_b", map[string]string{"a b": "not allowed", strings.Repeat("n", 129): "limit is 128", "ü": "not allowed"}},
	{"drain", "1m30s", func(c node.Config) any { return c.Drain }, 90 * time.Second, map[string]string{"20": "duration", "soon": "duration", "-1s": "between", "2h": "between"}},
	{"drain-notice", "5s", func(c node.Config) any { return c.DrainNotice }, 5 * time.Second, map[string]string{"5": "duration", "-1s": "between", "21s": "cannot be longer"}},
	{"valkey", "a:1, valkeys://u:p@b:2", func(c node.Config) any { return c.Valkey }, []string{"a:1", "valkeys://u:p@b:2"}, map[string]string{"a:1,": "empty", "a:1,a:1": "twice"}},
	{"valkey-mode", "standalone", func(c node.Config) any { return c.ValkeyMode }, streams.ValkeyStandalone, map[string]string{"Cluster": "none of standalone,sentinel,cluster", "sentinel": "-valkey"}},
	{"valkey-master", "", nil, nil, map[string]string{"a b": "not allowed", "mymaster": "-valkey"}},
	{"stateful-address", "https://a.example/", func(c node.Config) any { return c.StatefulAddress }, "https://a.example", map[string]string{"a.example": "is not an address"}},
	{"valkey-durable", "", nil, nil, map[string]string{"-1": "not between 0 and 9", "x": "not a whole number", "2": "-valkey"}},
	{"valkey-durable-timeout", "1s", func(c node.Config) any { return c.ValkeyDurableTimeout }, time.Second, map[string]string{"0s": "not between", "1100ms": "not between"}},
	{"valkey-prefix", "x", func(c node.Config) any { return c.ValkeyPrefix }, "x", map[string]string{"{x}": "not allowed"}},
	{"valkey-ca", "", nil, nil, map[string]string{"": "empty", "/ca": "HUBSTREAM_VALKEY"}},
	{"valkey-cert", "", nil, nil, map[string]string{"": "empty", "/cert": "HUBSTREAM_VALKEY"}},
	{"valkey-key", "", nil, nil, map[string]string{"": "empty", "/key": "HUBSTREAM_VALKEY"}},
	{"secret", strings.Repeat("s", 16), func(c node.Config) any { return c.Secret }, negotiate.Secret(strings.Repeat("s", 16)), map[string]string{"hunter2": "16 are needed"}},
	{"access-keys", strings.Repeat("k", 16) + ", Endpoint=https://a.example;AccessKey=" + strings.Repeat("j", 16), func(c node.Config) any { return c.AccessKeys },
		[]access.Key{access.Key(strings.Repeat("k", 16)), access.Key("Endpoint=https://a.example;AccessKey=" + strings.Repeat("j", 16))},
		map[string]string{"hunter2": "key 1: an access key has 7 bytes, at least 16 are needed", strings.Repeat("k", 16) + ",": "key 2", "AccessKey=" + strings.Repeat("k", 16): "Endpoint is missing"}},
	{"access-keys-file", "/keys", func(c node.Config) any { return c.AccessKeysFile }, "/keys", map[string]string{"": "empty"}},
	{"endpoints", "https://a.example/,http://b:1", func(c node.Config) any { return c.Endpoints }, []string{"https://a.example", "http://b:1"}, map[string]string{"a.example": "is not an address"}},
	{"endpoint-tokens", "true", func(c node.Config) any { return c.EndpointTokens }, true, map[string]string{"some": "true nor false"}},
	{"token-leeway", "0s", func(c node.Config) any { return c.TokenLeeway }, time.Duration(0), map[string]string{"-1s": "between", "2h": "between"}},
	{"close-at-expiry", "true", func(c node.Config) any { return c.CloseAtExpiry }, true, map[string]string{"some": "true nor false"}},
	{"admin-keys", "", nil, nil, map[string]string{"hunter2": "at least 16 are needed", strings.Repeat("k", 16): "without -access-keys"}},
	{"jwks-url", "", nil, nil, map[string]string{"example.com": "is not an address", "https://a.example": "needs its issuer"}},
	{"jwks-issuer", "", nil, nil, map[string]string{"https://a.example": "needs the address of its keys"}},
	{"jwks-audience", "", nil, nil, map[string]string{"a": "needs the address of its keys"}},
	{"jwks-backend-audience", "", nil, nil, map[string]string{"a": "needs the address of its keys"}},
	{"jwks-user-claim", "email", func(c node.Config) any { return c.JWKSUserClaim }, "email", nil},
	{"metrics-listen", ":9090", func(c node.Config) any { return c.MetricsListen }, ":9090", map[string]string{"9090": "host:port"}},
	{"origins", "https://a.example,*", func(c node.Config) any { return c.Origins }, []string{"https://a.example", "*"}, map[string]string{"a.example": "origin", "https://a.example/": "origin", "https://a.example,": "origin"}},
	{"transports", "LongPolling,WebSockets", func(c node.Config) any { return c.Transports }, []negotiate.Transport{negotiate.LongPolling, negotiate.WebSockets},
		map[string]string{"websockets": "none of WebSockets,ServerSentEvents,LongPolling", "LongPolling,LongPolling": "twice", "LongPolling,": "none of"}},
	{"stateful-reconnect", "false", func(c node.Config) any { return c.StatefulReconnect }, false, map[string]string{"off": "true nor false"}},
	{"poll-timeout", "1s", func(c node.Config) any { return c.PollTimeout }, time.Second, map[string]string{"0s": "between", "2m": "between", "x": "duration"}},
	{"keep-alive", "1s", func(c node.Config) any { return c.KeepAlive }, time.Second, map[string]string{"0": "between"}},
	{"client-timeout", "1s", func(c node.Config) any { return c.ClientTimeout }, time.Second, map[string]string{"0": "between"}},
	{"handshake-timeout", "1s", func(c node.Config) any { return c.HandshakeTimeout }, time.Second, map[string]string{"0": "between"}},
	{"connect-deadline", "5s", func(c node.Config) any { return c.ConnectDeadline }, 5 * time.Second, map[string]string{"0": "between"}},
	{"max-send", "64KiB", func(c node.Config) any { return c.MaxSendBytes }, int64(64 << 10), map[string]string{"2MiB": "between 1KiB and 1MiB", "1MB": "bytes", "-1": "bytes", "1": "between", "99999999999999999999": "bytes", "": ""}},
	{"max-message", "65536", func(c node.Config) any { return c.MaxMessageBytes }, int64(65536), map[string]string{"0": "between", "1.5KiB": "bytes"}},
	{"max-user-connections", "7", func(c node.Config) any { return c.MaxUserConnections }, 7, map[string]string{"-1": "not between", "x": "not a whole number"}},
	{"max-address-connections", "7", func(c node.Config) any { return c.MaxAddressConnections }, 7, map[string]string{"-1": "not between"}},
	{"connect-rate", "7", func(c node.Config) any { return c.ConnectRate }, 7, map[string]string{"1.5": "not a whole number"}},
	{"message-rate", "7", func(c node.Config) any { return c.MessageRate }, 7, map[string]string{"1.5": "not a whole number"}},
	{"send-rate", "7", func(c node.Config) any { return c.SendRate }, 7, map[string]string{"1.5": "not a whole number"}},
	{"trusted-proxies", "10.1.2.3/8, ::1", func(c node.Config) any { return c.TrustedProxies }, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")}, map[string]string{"10.0.0.0/33": "is not an address", "proxy": "is not an address"}},
	{"upstream", "http://a.example/{hub}/{event}?code=1", func(c node.Config) any { return c.Upstream }, "http://a.example/{hub}/{event}?code=1",
		map[string]string{"a.example": "does not begin with http", "http://a/{x}": "no parameter {x}"}},
	{"upstream-file", "/rules.json", func(c node.Config) any { return c.UpstreamFile }, "/rules.json", nil},
	{"upstream-keys", strings.Repeat("k", 16), func(c node.Config) any { return c.UpstreamKeys }, []access.Key{access.Key(strings.Repeat("k", 16))},
		map[string]string{"hunter2": "at least 16 are needed", "Endpoint=https://a.example;AccessKey=" + strings.Repeat("j", 16): "is a connection string"}},
	{"upstream-authorize", "", nil, nil, map[string]string{"some": "true nor false", "true": "without -upstream"}},
	{"upstream-timeout", "5s", func(c node.Config) any { return c.UpstreamTimeout }, 5 * time.Second, map[string]string{"0": "between"}},
	{"upstream-retries", "0", func(c node.Config) any { return c.UpstreamRetries }, 0, map[string]string{"11": "not between 0 and 10"}},
	{"upstream-event-retry", "1m", func(c node.Config) any { return c.UpstreamEventRetry }, time.Minute, map[string]string{"0": "between"}},
	{"upstream-calls", "10", func(c node.Config) any { return c.UpstreamCalls }, 10, map[string]string{"0": "not between"}},
	{"stream-idle", "1m", func(c node.Config) any { return c.StreamIdle }, time.Minute, map[string]string{"0": "between"}},
	{"rights", "JoinGroup,SendToGroup:news*", func(c node.Config) any { return c.Rights }, []string{"JoinGroup", "SendToGroup:news*"},
		map[string]string{"Join": "is no right", "SendToAll:x": "is no right", "JoinGroup:": "is no right", "JoinGroup,JoinGroup": "twice"}},
	{"retention", "5m", func(c node.Config) any { return c.Retention }, 5 * time.Minute, map[string]string{"0": "between"}},
	{"loss-spread", "1m", func(c node.Config) any { return c.LossSpread }, time.Minute, map[string]string{"-1s": "between", "25h": "between"}},
	{"retention-bytes", "1GiB", func(c node.Config) any { return c.RetentionBytes }, int64(1 << 30), map[string]string{"1MiB": "between", "4000000000GiB": "between", "40000000000GiB": "bytes"}},
	{"window-bytes", "8MiB", func(c node.Config) any { return c.WindowBytes }, int64(8 << 20), map[string]string{"1MiB": "between"}},
	{"node-send-bytes", "32MiB", func(c node.Config) any { return c.NodeSendBytes }, int64(32 << 20), map[string]string{"8MiB": "between"}},
	{"node-window-bytes", "8589934592", func(c node.Config) any { return c.NodeWindowBytes }, int64(8 << 30), map[string]string{"8MiB": "between"}},
	{"aio", "false", func(c node.Config) any { return c.AIO }, false, map[string]string{"auto": "true nor false"}},
	{"console-payloads", "true", func(c node.Config) any { return c.ConsolePayloads }, true, map[string]string{"some": "true nor false"}},
	{"trace-endpoint", "http://127.0.0.1:4318/", func(c node.Config) any { return c.TraceEndpoint }, "http://127.0.0.1:4318/v1/traces",
		map[string]string{"127.0.0.1:4318": "is not an address", "http://user:hunter2@a.example": "is not an address", "https://a.example?key=1": "is not an address"}},
	{"trace-sample", "0.5", func(c node.Config) any { return c.TraceSample }, 0.5, map[string]string{"1.5": "not between 0 and 1", "-1": "not between", "NaN": "not between", "all": "not a number"}},
	{"pprof", "localhost:0", func(c node.Config) any { return c.Pprof }, "localhost:0", map[string]string{"8080": "host:port", "0.0.0.0:1": "other machines", ":1": "other machines"}},
	{"log-level", "debug", func(c node.Config) any { return c.LogLevel }, slog.LevelDebug, map[string]string{"loud": "none of debug,info,warn,error"}},
	{"log-format", "json", func(c node.Config) any { return c.LogFormat }, "json", map[string]string{"xml": "none of text,json"}},
}

func variable(name string) string {
	return "HUBSTREAM_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

func only(name, value string) func(string) string {
	return func(asked string) string {
		if asked == variable(name) {
			return value
		}
		return ""
	}
}

func TestEverySettingIsFlagAndVariable(t *testing.T) {
	t.Parallel()
	for _, s := range each {
		if s.field == nil {
			continue
		}
		for source, parse := range map[string]func() (node.Config, error){
			"flag":        func() (node.Config, error) { return node.Parse([]string{"-" + s.name + "=" + s.value}, none) },
			"environment": func() (node.Config, error) { return node.Parse(nil, only(s.name, s.value)) },
			"both": func() (node.Config, error) {
				other := map[string]string{"listen": "127.0.0.1:1", "dev": "false", "stateful-reconnect": "true", "aio": "true", "console-payloads": "false", "endpoint-tokens": "false", "close-at-expiry": "false", "drain": "3s", "node": "other"}[s.name]
				return node.Parse([]string{"--" + s.name + "=" + s.value}, only(s.name, other))
			},
		} {
			c, err := parse()
			if err != nil {
				t.Errorf("-%s by %s: %v", s.name, source, err)
				continue
			}
			if got := s.field(c); !reflect.DeepEqual(got, s.want) {
				t.Errorf("-%s by %s: got %v, want %v", s.name, source, got, s.want)
			}
		}
	}
}

func TestInvalidSettingsAreNamedInOneLine(t *testing.T) {
	t.Parallel()
	for _, s := range each {
		for value, word := range s.bad {
			_, byFlag := node.Parse([]string{"-" + s.name + "=" + value}, none)
			checkError(t, byFlag, "-"+s.name, word)
			if value != "" {
				_, byVariable := node.Parse(nil, only(s.name, value))
				checkError(t, byVariable, variable(s.name), word)
			}
		}
	}
}

func checkError(t *testing.T, err error, name, word string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: a value that should be refused for %q is accepted", name, word)
		return
	}
	if text := err.Error(); !strings.Contains(text, name) || !strings.Contains(text, word) || strings.Contains(text, "\n") || strings.Contains(text, "hunter2") {
		t.Errorf("%s: got %q, want one line with %q", name, text, word)
	}
}

func TestSettingsThatNeedOthers(t *testing.T) {
	t.Parallel()
	for _, v := range []struct {
		args []string
		word string
	}{
		{[]string{"-valkey", "a:1", "-valkey-mode", "sentinel"}, "-valkey-master"},
		{[]string{"-valkey-mode", "cluster"}, "HUBSTREAM_VALKEY"},
		{[]string{"-valkey-durable", "1"}, "HUBSTREAM_VALKEY"},
		{[]string{"-valkey", "a:1", "-valkey-ca", "/ca"}, "valkeys://"},
		{[]string{"-valkey", "valkeys://a:1", "-valkey-cert", "/cert"}, "-valkey-key"},
		{[]string{"-valkey", "valkeys://a:1", "-valkey-key", "/key"}, "-valkey-cert"},
		{[]string{"-nope"}, "-nope"},
		{[]string{"-drain"}, "-drain"},
		{[]string{"left", "over"}, "left"},
	} {
		_, err := node.Parse(v.args, none)
		checkError(t, err, v.word, "")
	}
	c, err := node.Parse([]string{"-valkey", "a:1", "-valkey-mode", "sentinel", "-valkey-master", "m", "-valkey-durable", "2"}, none)
	if err != nil || c.ValkeyDurable != 2 {
		t.Errorf("got %d, %v", c.ValkeyDurable, err)
	}
	c, err = node.Parse([]string{"-valkey", "valkeys://a:1", "-valkey-ca", "/ca", "-valkey-cert", "/cert", "-valkey-key", "/key"}, none)
	if err != nil || c.ValkeyCA != "/ca" || c.ValkeyCert != "/cert" || c.ValkeyKey != "/key" {
		t.Errorf("got %q, %q, %q, %v", c.ValkeyCA, c.ValkeyCert, c.ValkeyKey, err)
	}
}

// Whoever reaches a node without authentication may do everything.
func TestDevelopmentModeStaysOnThisMachineUnlessAllowed(t *testing.T) {
	t.Parallel()
	for listen, loopback := range map[string]bool{
		"127.0.0.1:0": true, "localhost:0": true, "[::1]:0": true, "127.9.9.9:1": true,
		":8080": false, "0.0.0.0:0": false, "[::]:0": false, "192.168.1.2:80": false, "example.com:80": false,
	} {
		_, err := node.Parse([]string{"-listen", listen}, none)
		if loopback && err != nil {
			t.Errorf("%s: %v", listen, err)
		}
		if !loopback {
			checkError(t, err, "-listen "+listen, "-dev (HUBSTREAM_DEV=true)")
		}
		if _, err := node.Parse([]string{"-dev", "-listen", listen}, none); err != nil {
			t.Errorf("-dev %s: %v", listen, err)
		}
	}
}

func TestUnknownVariablesAreRefused(t *testing.T) {
	t.Parallel()
	environ := []string{"PATH=/bin", "HUBSTREAMX=1", "hubstream_listen=x", "EMPTY="}
	for _, s := range each {
		environ = append(environ, variable(s.name)+"=x")
	}
	for _, name := range []string{"SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT", "PORT_80_TCP", "PORT_80_TCP_ADDR", "VALKEY_SERVICE_HOST", "VALKEY_PORT_6379_TCP_PROTO"} {
		environ = append(environ, "HUBSTREAM_"+name+"=x") // what Kubernetes sets for services called hubstream and hubstream-valkey
	}
	if err := node.CheckEnvironment(environ); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"HUBSTREAM_LISTNE", "HUBSTREAM_", "HUBSTREAM_listen", "HUBSTREAM_REPORT"} {
		checkError(t, node.CheckEnvironment(append(environ, name+"=hunter2")), name, "unknown")
	}
}

func TestHelpListsEverySetting(t *testing.T) {
	t.Parallel()
	if _, err := node.Parse([]string{"-help"}, none); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("got %v", err)
	}
	var out strings.Builder
	if err := node.Run(t.Context(), []string{"-h"}, none, &out, &out); err != nil {
		t.Fatal(err)
	}
	for _, s := range each {
		if !strings.Contains(out.String(), fmt.Sprintf("\n  -%s, %s", s.name, variable(s.name))) {
			t.Errorf("the help lacks -%s", s.name)
		}
	}
	if n := strings.Count(out.String(), "\n  -"); n != len(each) {
		t.Errorf("the help has %d settings, the tests %d", n, len(each))
	}
}

func TestVersionSaysWhatTheBinaryIs(t *testing.T) {
	t.Parallel()
	for _, word := range []string{"version", "-version", "--version"} {
		var out strings.Builder
		if err := node.Run(t.Context(), []string{word}, none, &out, &out); err != nil {
			t.Fatal(err)
		}
		if text := out.String(); !strings.HasPrefix(text, "hubstream ") || !strings.Contains(text, runtime.Version()) || strings.Count(text, "\n") != 1 {
			t.Errorf("%s: got %q", word, text)
		}
	}
}
