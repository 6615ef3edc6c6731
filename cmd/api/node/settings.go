package node

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"hubstream/cmd/api/command"
	"hubstream/negotiate"
	"hubstream/negotiate/access"
	"hubstream/streams"
)

// setting is one setting, which has a flag and a variable of the environment.
type setting struct {
	name  string // of the flag
	usage string // one sentence
	form  string // which values it takes
	flag  bool   // needs no value: -dev
	set   func(c *Config, raw string) error
	value func(c *Config) string
}

// define ties a field to its setting.
func define[T any](name, usage string, field func(*Config) *T, k kind[T]) setting {
	_, isBool := any(new(T)).(*bool)
	return setting{
		name: name, usage: usage, form: k.form, flag: isBool,
		set: func(c *Config, raw string) error {
			value, err := k.parse(raw)
			if err == nil {
				*field(c) = value
			}
			return err
		},
		value: func(c *Config) string { return k.format(*field(c)) },
	}
}

// maxDurableTimeout leaves as much again of a send's time in the store, which is two seconds, for what else it waits for.
const maxDurableTimeout = time.Second

// configSetting is the one that is not in a file.
const configSetting = "config"

// settings are all settings there are, in the order of the help.
var settings = []setting{
	define(configSetting, "File of settings in TOML, with the names of the flags.",
		func(c *Config) *string { return &c.Config }, text(anything)),
	define("listen", "TCP address to listen on, host:port; port 0 takes a free one.",
		func(c *Config) *string { return &c.Listen }, text(address)),
	define("dev", "Allow development mode, which has no authentication, on addresses that other machines reach.",
		func(c *Config) *bool { return &c.Dev }, boolean),
	define("node", "Name of this node, different from all others'. Default: the host's name and a random part.",
		func(c *Config) *string { return &c.Node }, text(name)),
	define("drain", "How long to take for moving connections elsewhere when asked to end.",
		func(c *Config) *time.Duration { return &c.Drain }, duration(0, time.Hour)),
	define("drain-notice", "How much of that time to be not ready, and to serve new connections still, before any is moved: as long as balancers take to notice.",
		func(c *Config) *time.Duration { return &c.DrainNotice }, duration(0, time.Hour)),

	define("valkey", "Addresses of Valkey, host:port or valkey://user:password@host:port (valkeys:// for TLS), separated by commas. Default: the log is in memory.",
		func(c *Config) *[]string { return &c.Valkey }, valkeyAddresses),
	define("valkey-mode", "How the Valkey servers are arranged: standalone, sentinel or cluster.",
		func(c *Config) *streams.ValkeyMode { return &c.ValkeyMode }, oneOf(streams.ValkeyStandalone, streams.ValkeySentinel, streams.ValkeyCluster)),
	define("valkey-master", "Name that the sentinels know the primary by.",
		func(c *Config) *string { return &c.ValkeyMaster }, text(name)),
	define("valkey-prefix", "What every key in Valkey begins with, in most behind a brace: hs:secret, {hs:7}:nodes.",
		func(c *Config) *string { return &c.ValkeyPrefix }, text(name)),
	define("valkey-ca", "File with the certificates, in PEM, of the authorities that Valkey's certificate may be of. Default: the system's.",
		func(c *Config) *string { return &c.ValkeyCA }, text(something)),
	define("valkey-cert", "File with this node's own certificate for Valkey, in PEM; read again for each connection.",
		func(c *Config) *string { return &c.ValkeyCert }, text(something)),
	define("valkey-key", "File with the key of that certificate, in PEM.",
		func(c *Config) *string { return &c.ValkeyKey }, text(something)),

	define("valkey-durable", "Number of replicas of Valkey that must have a message before its send is answered with 202.",
		func(c *Config) *int { return &c.ValkeyDurable }, number(0, 9)),
	define("valkey-durable-timeout", "How long a send waits for these replicas; then its outcome is unknown, and it is answered with 503.",
		func(c *Config) *time.Duration { return &c.ValkeyDurableTimeout }, duration(time.Millisecond, maxDurableTimeout)),

	define("secret", "What connection tokens are sealed with, the same on all nodes. Default: made once, and shared through the store.",
		func(c *Config) *negotiate.Secret { return &c.Secret }, secret),
	define("access-keys", "Access keys, or connection strings with one, that the tokens of clients and backends are signed with, separated by commas: all are accepted. Default: none, development mode.",
		func(c *Config) *[]access.Key { return &c.AccessKeys }, accessKeys),
	define("access-keys-file", "File with more access keys or connection strings, one in a line; read again when it changes.",
		func(c *Config) *string { return &c.AccessKeysFile }, text(something)),
	define("endpoints", "Public addresses of the nodes, such as https://push.example.com, separated by commas: tokens must name the host of one, or of a connection string. Default: the host that the request names.",
		func(c *Config) *[]string { return &c.Endpoints }, list(access.ParseEndpoint)),
	define("endpoint-tokens", "Let a backend's token be for a whole address, without a path.",
		func(c *Config) *bool { return &c.EndpointTokens }, boolean),
	define("token-leeway", "How long before and after its times a token is accepted, for clocks that differ.",
		func(c *Config) *time.Duration { return &c.TokenLeeway }, duration(0, time.Hour)),
	define("close-at-expiry", "Close connections when their access token is not accepted any more, unless they have renewed it.",
		func(c *Config) *bool { return &c.CloseAtExpiry }, boolean),
	define("admin-keys", "Keys of operators, separated by commas: for the console, the metrics, and all that backends may.",
		func(c *Config) *[]access.Key { return &c.AdminKeys }, accessKeys),
	define("jwks-url", "Address of an identity provider's public keys (a JSON Web Key Set): its tokens are accepted, too.",
		func(c *Config) *string { return &c.JWKSURL }, text(webAddress)),
	define("jwks-issuer", "What the identity provider's tokens must say as issuer (iss).",
		func(c *Config) *string { return &c.JWKSIssuer }, text(anything)),
	define("jwks-audience", "What its tokens for clients must say as audience (aud). Default: it has none for clients.",
		func(c *Config) *string { return &c.JWKSAudience }, text(anything)),
	define("jwks-backend-audience", "What its tokens for backends must say as audience (aud). Default: it has none for backends.",
		func(c *Config) *string { return &c.JWKSBackendAudience }, text(anything)),
	define("jwks-user-claim", "Claim of its tokens that names the user.",
		func(c *Config) *string { return &c.JWKSUserClaim }, text(anything)),
	define("origins", "Origins of pages that may connect, such as https://example.com, separated by commas; * for any. Default: those on loopback addresses.",
		func(c *Config) *[]string { return &c.Origins }, list(origin)),

	define("transports", "Transports that clients are offered, in this order, separated by commas. The same on all nodes.",
		func(c *Config) *[]negotiate.Transport { return &c.Transports }, list(oneOf(negotiate.DefaultTransports()...).parse)),
	define("stateful-reconnect", "Allow stateful reconnect to clients that ask for it.",
		func(c *Config) *bool { return &c.StatefulReconnect }, boolean),
	define("stateful-address", "Public address of the nodes, such as https://push.example.com: JavaScript clients from version 8 that did not ask for stateful reconnect are sent there to get it. Default: they are not.",
		func(c *Config) *string { return &c.StatefulAddress }, statefulAddress),
	define("poll-timeout", "How long a poll waits for a message; below what proxies and clients wait.",
		func(c *Config) *time.Duration { return &c.PollTimeout }, duration(100*time.Millisecond, 90*time.Second)),
	define("keep-alive", "Interval of pings to clients.",
		func(c *Config) *time.Duration { return &c.KeepAlive }, duration(100*time.Millisecond, time.Hour)),
	define("client-timeout", "How long a client may be silent.",
		func(c *Config) *time.Duration { return &c.ClientTimeout }, duration(100*time.Millisecond, time.Hour)),
	define("handshake-timeout", "How long a client may take to send its handshake.",
		func(c *Config) *time.Duration { return &c.HandshakeTimeout }, duration(100*time.Millisecond, 10*time.Minute)),
	define("connect-deadline", "How long after negotiating a client may connect.",
		func(c *Config) *time.Duration { return &c.ConnectDeadline }, duration(time.Second, time.Hour)),
	define("max-send", "Limit of the body of a send, in bytes.",
		func(c *Config) *int64 { return &c.MaxSendBytes }, size(1<<10, 1<<20)),
	define("node-send-bytes", "Limit of the bodies of backends' requests that this node holds at once, in bytes; what would be more is refused.",
		func(c *Config) *int64 { return &c.NodeSendBytes }, size(16<<20, 1<<40)),
	define("max-message", "Limit of one message of a client, in bytes.",
		func(c *Config) *int64 { return &c.MaxMessageBytes }, size(1<<10, 1<<20)),

	define("max-user-connections", "Limit of the connections of a user in a hub: over all nodes when one is negotiated, and of open sockets and event streams at this node. 0: none.",
		func(c *Config) *int { return &c.MaxUserConnections }, number(0, 1<<20)),
	define("max-address-connections", "Limit of the open sockets and event streams from one address at this node. 0: none.",
		func(c *Config) *int { return &c.MaxAddressConnections }, number(0, 1<<20)),
	define("connect-rate", "How many connections an address may begin at this node in a second. 0: any number.",
		func(c *Config) *int { return &c.ConnectRate }, number(0, 1<<20)),
	define("message-rate", "How many messages a client may send by this node in a second. 0: any number.",
		func(c *Config) *int { return &c.MessageRate }, number(0, 1<<20)),
	define("send-rate", "How many sends and other changes an access key may make by this node in a second. 0: any number.",
		func(c *Config) *int { return &c.SendRate }, number(0, 1<<20)),
	define("trusted-proxies", "Addresses of proxies, such as 10.0.0.0/8, separated by commas, whose X-Forwarded-For says where a client is. Default: nobody's.",
		func(c *Config) *[]netip.Prefix { return &c.TrustedProxies }, prefixes),
	define("upstream", "URL template of the application's webhook, such as http://localhost:7071/{hub}/{category}/{event}: hub methods and events of connections go there. Default: none.",
		func(c *Config) *string { return &c.Upstream }, upstreamTemplate),
	define("upstream-file", "File of rules with URL templates, by hub, category and event, in the JSON of Azure's emulator.",
		func(c *Config) *string { return &c.UpstreamFile }, text(anything)),
	define("upstream-keys", "Keys that requests to upstreams are signed with, separated by commas. Default: the access keys.",
		func(c *Config) *[]access.Key { return &c.UpstreamKeys }, bareKeys),
	define("upstream-authorize", "Ask the upstream, by the event connected, whether a client may connect: 401 or 403 refuses.",
		func(c *Config) *bool { return &c.UpstreamAuthorize }, boolean),
	define("upstream-timeout", "How long a call of a hub method may take.",
		func(c *Config) *time.Duration { return &c.UpstreamTimeout }, duration(100*time.Millisecond, time.Hour)),
	define("upstream-retries", "How often a call of a hub method is repeated that got no answer, or 429, 502, 503 or 504; it has the same Idempotency-Key each time.",
		func(c *Config) *int { return &c.UpstreamRetries }, number(0, 10)),
	define("upstream-event-retry", "For how long attempts to tell of a disconnect are repeated.",
		func(c *Config) *time.Duration { return &c.UpstreamEventRetry }, duration(time.Second, 24*time.Hour)),
	define("upstream-calls", "Limit of the calls to upstreams that are under way on this node; what is more waits.",
		func(c *Config) *int { return &c.UpstreamCalls }, number(1, 100000)),
	define("stream-idle", "How long a stream of a hub method may go on without anything coming.",
		func(c *Config) *time.Duration { return &c.StreamIdle }, duration(time.Second, 24*time.Hour)),
	define("rights", "Rights to call built-in methods that every client has in development mode, such as JoinGroup,SendToGroup:news,SendToAll. Default: none.",
		func(c *Config) *[]string { return &c.Rights }, list(right)),

	define("retention", "How long messages are kept for clients that come back.",
		func(c *Config) *time.Duration { return &c.Retention }, duration(time.Second, 24*time.Hour)),
	define("loss-spread", "How long to take for closing a hub's connections after Valkey has lost messages, but for those that cannot go on at all; 0: all at once.",
		func(c *Config) *time.Duration { return &c.LossSpread }, duration(0, 24*time.Hour)),
	define("retention-bytes", "Limit of what is kept for one hub, in bytes.",
		func(c *Config) *int64 { return &c.RetentionBytes }, size(4<<20, 1<<40)),
	define("window-bytes", "Limit of what this node holds in memory of one hub's log, in bytes.",
		func(c *Config) *int64 { return &c.WindowBytes }, size(4<<20, 1<<40)),
	define("node-window-bytes", "Limit of what this node holds in memory of all hubs' logs together, in bytes; up to 1 MiB of each hub in use is held whatever the limit.",
		func(c *Config) *int64 { return &c.NodeWindowBytes }, size(16<<20, 1<<40)),

	define("aio", "Write to many sockets in one system call, by Linux's asynchronous I/O (io_submit), where the kernel lets this process use it.",
		func(c *Config) *bool { return &c.AIO }, boolean),

	define("console-payloads", "Let the console show what is in messages, to whom it shows anything.",
		func(c *Config) *bool { return &c.ConsolePayloads }, boolean),

	define("metrics-listen", "TCP address where the metrics are, without a key, beside /metrics at the node's own. Default: none.",
		func(c *Config) *string { return &c.MetricsListen }, text(address)),
	define("trace-endpoint", "Address of an OpenTelemetry collector, such as http://127.0.0.1:4318, that traces of sends go to by OTLP over HTTP. Default: none, nothing is traced.",
		func(c *Config) *string { return &c.TraceEndpoint }, collector),
	define("trace-sample", "Share of sends that are traced, of those whose request brings no traceparent, which decides it.",
		func(c *Config) *float64 { return &c.TraceSample }, share),
	define("pprof", "TCP address of Go's profiler, on this machine only. Default: none.",
		func(c *Config) *string { return &c.Pprof }, text(loopback)),
	define("log-level", "The least that is logged: debug, info, warn or error.",
		func(c *Config) *slog.Level { return &c.LogLevel }, level),
	define("log-format", "How it is logged: text or json.",
		func(c *Config) *string { return &c.LogFormat }, oneOf("text", "json")),
}

// variable is the name of a setting in the environment.
func variable(name string) string {
	return variablePrefix + strings.ReplaceAll(strings.ToUpper(name), "-", "_")
}

const variablePrefix = "HUBSTREAM_"

// Parse reads the settings: flags win over the environment, which wins over the file, which wins over the defaults. An
// empty variable counts as none. The error is one line that names the setting; flag.ErrHelp if help is asked for.
func Parse(args []string, env func(string) string) (Config, error) {
	c, _, err := parse(args, env)
	return c, err
}

// parse is Parse, and tells where each setting is from: empty for a default.
func parse(args []string, env func(string) string) (c Config, sources []string, err error) {
	c, sources = defaults(), make([]string, len(settings))
	flags, err := parseFlags(args)
	if err != nil {
		return c, nil, err
	}
	variables := make([]*string, len(settings))
	for i, s := range settings {
		if raw := env(variable(s.name)); raw != "" {
			variables[i] = &raw
		}
	}
	file, path, err := givenFile(flags, variables)
	if err != nil {
		return c, nil, err
	}
	for _, from := range []struct {
		given []*string
		named func(string) string
	}{
		{file, func(name string) string { return path + ": " + name }},
		{variables, variable},
		{flags, func(name string) string { return "-" + name }},
	} {
		for i, raw := range from.given {
			if raw == nil {
				continue
			}
			sources[i] = from.named(settings[i].name)
			if err := settings[i].set(&c, *raw); err != nil {
				return c, nil, fmt.Errorf("%s: %w", sources[i], err)
			}
		}
	}
	return c, sources, c.complete()
}

// givenFile reads the file that a flag names, or else a variable; nothing if none does.
func givenFile(flags, variables []*string) (given []*string, path string, err error) {
	i := slices.IndexFunc(settings, func(s setting) bool { return s.name == configSetting })
	named := cmp.Or(flags[i], variables[i])
	if named == nil || *named == "" {
		return nil, "", nil
	}
	if given, err = readFile(*named); err != nil {
		return nil, "", fmt.Errorf("-%s (%s): %w", configSetting, variable(configSetting), err)
	}
	return given, *named, nil
}

// parseFlags returns what was given for each setting, nil where nothing was.
func parseFlags(args []string) ([]*string, error) {
	flags := flag.NewFlagSet("hubstream", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Usage = func() {}
	given := make([]*string, len(settings))
	for i, s := range settings {
		take := func(raw string) error {
			given[i] = &raw
			return nil // judged later: the flag package would repeat the value, which may be a secret
		}
		if s.flag {
			flags.BoolFunc(s.name, "", take)
			continue
		}
		flags.Func(s.name, "", take)
	}
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("%w; -help lists the settings", err)
	case flags.NArg() > 0:
		return nil, fmt.Errorf("unexpected argument %q; -help lists the settings", flags.Arg(0))
	}
	return given, nil
}

// CheckEnvironment refuses variables, NAME=value, that look like settings and are none: a typing error would
// otherwise be a default that nobody wanted.
func CheckEnvironment(environ []string) error {
	for _, v := range environ {
		name, _, _ := strings.Cut(v, "=")
		if !strings.HasPrefix(name, variablePrefix) || name == command.ConnectionVariable || kubernetes.MatchString(name) {
			continue
		}
		if !slices.ContainsFunc(settings, func(s setting) bool { return variable(s.name) == name }) {
			return fmt.Errorf("%s: unknown setting; -help lists the settings", name)
		}
	}
	return nil
}

// kubernetes matches what Kubernetes sets in every container for services whose names begin with hubstream.
var kubernetes = regexp.MustCompile(`^HUBSTREAM_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// writeHelp lists the settings with their defaults.
func writeHelp(w io.Writer) error {
	var b strings.Builder
	b.WriteString("hubstream is a push service that speaks SignalR.\n\nEach setting is a flag, a variable of the environment, or a line of the file that -config names; the first of them wins.\n" +
		"hubstream check prints the effective settings, or what is wrong with them.\nhubstream version prints what it was built from.\n\nOther commands, each with -help:\n\n" + command.Help())
	c := defaults()
	for _, s := range settings {
		fmt.Fprintf(&b, "\n  -%s, %s", s.name, variable(s.name))
		if value := s.value(&c); value != "" {
			fmt.Fprintf(&b, " (default %s)", value)
		}
		fmt.Fprintf(&b, "\n      %s\n", s.usage)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
