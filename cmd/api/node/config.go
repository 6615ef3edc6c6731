package node

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"hubstream/negotiate"
	"hubstream/negotiate/access"
	"hubstream/streams"
)

// Config holds all settings of a node. How each is written is in settings.go.
type Config struct {
	// Config is the file that settings were read from. Default none.
	Config string
	// Listen is the TCP address to listen on, host:port; port 0 takes a free one. Default 127.0.0.1:8080.
	Listen string
	// Dev allows development mode, which has no authentication, on addresses that other machines reach. Default false.
	Dev bool
	// Node is the node's name, different from all others'. Default: the host's name and a random part.
	Node string
	// Drain is how long the node takes to move its connections elsewhere when it is asked to end. Default 20 s.
	Drain time.Duration
	// DrainNotice is how much of Drain the node lets pass before it moves any: it says that it is not ready, and serves new
	// connections still, until balancers have noticed. Default 0.
	DrainNotice time.Duration

	// Valkey are the addresses of Valkey, host:port or URLs. Default: none, the log is in memory.
	Valkey []string
	// ValkeyMode is how the servers are arranged. Default standalone.
	ValkeyMode streams.ValkeyMode
	// ValkeyMaster is the name that the sentinels know the primary by. Default none.
	ValkeyMaster string
	// ValkeyPrefix begins every key. Default hs.
	ValkeyPrefix string
	// ValkeyCA is the file of the authorities that Valkey's certificate may be of. Default: the system's.
	ValkeyCA string
	// ValkeyCert and ValkeyKey are the files of the node's own certificate for Valkey. Default none.
	ValkeyCert, ValkeyKey string
	// ValkeyDurable is how many replicas must have a message before it counts as accepted. Default 0.
	ValkeyDurable int
	// ValkeyDurableTimeout is how long a send waits for them. Default 50 ms.
	ValkeyDurableTimeout time.Duration

	// Secret seals the connection tokens; the same on all nodes. Default: made once, and shared through the store.
	Secret negotiate.Secret
	// AccessKeys are what tokens of clients and backends are signed with, bare or in connection strings. Default none.
	AccessKeys []access.Key
	// AccessKeysFile is a file with more of them, which is read again when it changes. Default none.
	AccessKeysFile string
	// Endpoints are the public addresses of the nodes, whose hosts tokens may name. Default: the host that a request names.
	Endpoints []string
	// EndpointTokens: a backend's token may be for a whole address. Default false.
	EndpointTokens bool
	// TokenLeeway is how long before and after its times a token is accepted. Default 5 minutes.
	TokenLeeway time.Duration
	// CloseAtExpiry: connections are closed when their token is not accepted any more. Default false.
	CloseAtExpiry bool
	// AdminKeys are the keys of operators. Default none.
	AdminKeys []access.Key
	// JWKSURL is where an identity provider's public keys are. Default none.
	JWKSURL string
	// JWKSIssuer is what the provider's tokens say as iss. Default none.
	JWKSIssuer string
	// JWKSAudience is what its tokens for clients say as aud. Default none.
	JWKSAudience string
	// JWKSBackendAudience is what its tokens for backends say as aud. Default none.
	JWKSBackendAudience string
	// JWKSUserClaim is the claim that names the user. Default sub.
	JWKSUserClaim string

	// Origins are the origins of pages that may connect, or * for any. Default: loopback addresses, from any port.
	Origins []string

	// Transports that are offered, in this order. Default all.
	Transports []negotiate.Transport
	// StatefulReconnect allows it to clients that ask for it. Default true.
	StatefulReconnect bool
	// StatefulAddress is the nodes' public address, where JavaScript clients that did not ask for stateful reconnect are
	// sent to get it. Default none.
	StatefulAddress string
	// PollTimeout is how long a poll waits for a message. Default 25 s.
	PollTimeout time.Duration
	// KeepAlive is the interval of pings to clients. Default 15 s.
	KeepAlive time.Duration
	// ClientTimeout is how long a client may be silent. Default 30 s.
	ClientTimeout time.Duration
	// HandshakeTimeout is how long a client may take to send its handshake. Default 15 s.
	HandshakeTimeout time.Duration
	// ConnectDeadline is how long after negotiating a client may connect. Default 60 s.
	ConnectDeadline time.Duration
	// MaxSendBytes limits the body of a send. Default 1 MiB.
	MaxSendBytes int64
	// NodeSendBytes limits the bodies of backends' requests that the node holds at once. Default 256 MiB.
	NodeSendBytes int64
	// MaxMessageBytes limits one message of a client. Default 32 KiB.
	MaxMessageBytes int64

	// MaxUserConnections limits the connections of a user in a hub; 0: not. Default 0.
	MaxUserConnections int
	// MaxAddressConnections limits the sockets and event streams from one address at this node; 0: not. Default 0.
	MaxAddressConnections int
	// ConnectRate is how many connections an address may begin at this node in a second; 0: any number. Default 0.
	ConnectRate int
	// MessageRate is how many messages a client may send by this node in a second; 0: any number. Default 0.
	MessageRate int
	// SendRate is how many changes an access key may make by this node in a second; 0: any number. Default 0.
	SendRate int
	// TrustedProxies are whose X-Forwarded-For is believed. Default none.
	TrustedProxies []netip.Prefix
	// Upstream is the URL template of the application's webhook. Default none.
	Upstream string
	// UpstreamFile is a file of rules with URL templates, in JSON. Default none.
	UpstreamFile string
	// UpstreamKeys sign the requests to upstreams. Default: the access keys.
	UpstreamKeys []access.Key
	// UpstreamAuthorize asks upstreams whether clients may connect. Default false.
	UpstreamAuthorize bool
	// UpstreamTimeout is how long a call of a hub method may take. Default 100 s.
	UpstreamTimeout time.Duration
	// UpstreamRetries is how often a call that got no answer is repeated. Default 2.
	UpstreamRetries int
	// UpstreamEventRetry is for how long attempts to tell of a disconnect are repeated. Default 5 minutes.
	UpstreamEventRetry time.Duration
	// UpstreamCalls limits the calls that are under way. Default 512.
	UpstreamCalls int
	// StreamIdle is how long a stream may go on without anything coming. Default 5 minutes.
	StreamIdle time.Duration
	// Rights to call built-in methods, that every client has in development mode. Default none.
	Rights []string

	// Retention is how long messages are kept for clients that come back. Default 2 minutes.
	Retention time.Duration
	// LossSpread is the time over which connections are closed after a part of their hub's log was lost. Default 30 s.
	LossSpread time.Duration
	// RetentionBytes limits what is kept for one hub. Default 256 MiB.
	RetentionBytes int64
	// WindowBytes limits what this node holds in memory of one hub's log. Default 64 MiB.
	WindowBytes int64
	// NodeWindowBytes limits what this node holds in memory of all hubs' logs. Default 512 MiB.
	NodeWindowBytes int64

	// AIO lets this node write to many sockets in one system call, where the kernel can. Default true.
	AIO bool

	// ConsolePayloads lets the console show what is in messages. Default false.
	ConsolePayloads bool

	// MetricsListen is a TCP address where the metrics are, without a key. Default none.
	MetricsListen string
	// TraceEndpoint is where traces of sends go, by OTLP over HTTP. Default none: there are no traces.
	TraceEndpoint string
	// TraceSample is the share of sends that are traced, of those whose request does not decide it. Default 0.01.
	TraceSample float64
	// Pprof is the TCP address of Go's profiler, host:port of this machine. Default none.
	Pprof string
	// LogLevel is the least that is logged: debug, info, warn or error. Default info.
	LogLevel slog.Level
	// LogFormat is text or json. Default text.
	LogFormat string
}

func defaults() Config {
	return Config{
		Listen:       "127.0.0.1:8080",
		Drain:        20 * time.Second,
		ValkeyMode:   streams.ValkeyStandalone,
		ValkeyPrefix: "hs",

		ValkeyDurableTimeout: 50 * time.Millisecond,

		TokenLeeway:   access.DefaultLeeway,
		JWKSUserClaim: "sub",

		Transports:         negotiate.DefaultTransports(),
		StatefulReconnect:  true,
		PollTimeout:        25 * time.Second,
		KeepAlive:          15 * time.Second,
		ClientTimeout:      30 * time.Second,
		HandshakeTimeout:   15 * time.Second,
		ConnectDeadline:    negotiate.DefaultConnectDeadline,
		MaxSendBytes:       1 << 20,
		NodeSendBytes:      256 << 20,
		MaxMessageBytes:    32 << 10,
		UpstreamTimeout:    100 * time.Second,
		UpstreamRetries:    2,
		UpstreamEventRetry: 5 * time.Minute,
		UpstreamCalls:      512,
		StreamIdle:         5 * time.Minute,
		Retention:          2 * time.Minute,
		LossSpread:         30 * time.Second,
		RetentionBytes:     256 << 20,
		WindowBytes:        64 << 20,
		NodeWindowBytes:    512 << 20,
		AIO:                true,
		TraceSample:        0.01,
		LogFormat:          "text",
	}
}

// complete fills in what has no fixed default, and checks what one setting alone does not tell.
func (c *Config) complete() error {
	if c.Node == "" {
		c.Node = nodeName()
	}
	if len(c.Valkey) == 0 && (c.ValkeyMode != streams.ValkeyStandalone || c.ValkeyMaster != "") {
		return fmt.Errorf("-valkey-mode and -valkey-master (%s, %s) need addresses in -valkey (%s)",
			variable("valkey-mode"), variable("valkey-master"), variable("valkey"))
	}
	if len(c.Valkey) == 0 && c.ValkeyDurable > 0 {
		return fmt.Errorf("-valkey-durable (%s) without -valkey (%s): a log in memory has no replicas", variable("valkey-durable"), variable("valkey"))
	}
	if c.ValkeyMode == streams.ValkeySentinel && c.ValkeyMaster == "" {
		return fmt.Errorf("-valkey-mode sentinel needs the primary's name in -valkey-master (%s)", variable("valkey-master"))
	}
	if err := c.checkValkeyTLS(); err != nil {
		return err
	}
	if c.DrainNotice > c.Drain {
		return fmt.Errorf("-drain-notice (%s) is a part of -drain (%s), and cannot be longer", variable("drain-notice"), variable("drain"))
	}
	if err := c.checkUpstream(); err != nil {
		return err
	}
	return c.checkAccess()
}

// valkey is what the settings say of Valkey. It fails if a file that is named cannot be used.
func (c *Config) valkey() (streams.ValkeyConfig, error) {
	secured, err := c.valkeyTLS()
	return streams.ValkeyConfig{
		Addresses: c.Valkey, Mode: c.ValkeyMode, MasterSet: c.ValkeyMaster, Prefix: c.ValkeyPrefix, TLS: secured,
		Durable: c.ValkeyDurable, DurableTimeout: c.ValkeyDurableTimeout,
	}, err
}

// checkUse looks at what a node meets when it starts to use its settings, and would not go on with: Valkey's addresses, and what is in
// the files that are named.
func (c *Config) checkUse(env func(string) string) error {
	if len(c.Valkey) > 0 {
		cfg, err := c.valkey()
		if err != nil {
			return err
		}
		if err := cfg.Check(); err != nil {
			return fmt.Errorf("-valkey: %w", err)
		}
	}
	if _, _, err := c.accessKeys(); err != nil {
		return err
	}
	_, err := c.upstreamRules(env)
	return err
}

func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	return err == nil && (host == "localhost" || net.ParseIP(host).IsLoopback())
}

// nodeName makes a name that no other node has, and none had before: records name their owners by it.
func nodeName() string {
	host, _ := os.Hostname()
	host = strings.Map(func(r rune) rune {
		if !isNameRune(r) {
			return '-'
		}
		return r
	}, host)
	if host == "" {
		host = "node"
	}
	var random [4]byte
	rand.Read(random[:]) // never fails: see crypto/rand
	return host[:min(len(host), maxNodeName-9)] + "-" + hex.EncodeToString(random[:])
}

// maxNodeName limits a node's name, which every answer carries.
const maxNodeName = 128 // bytes

func isNameRune(r rune) bool {
	return r == '-' || r == '_' || r == '.' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
}
