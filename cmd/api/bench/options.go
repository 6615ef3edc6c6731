package bench

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"time"

	"hubstream/negotiate"
	"hubstream/transports/hubprotocol"
)

// Options say what is measured. The zero value is not valid: Register has the defaults.
type Options struct {
	// Connections is how many clients connect, Connectors how many of them at once, at first.
	Connections, Connectors int
	// Transport is what they connect by, Protocol what they speak: json or messagepack.
	Transport, Protocol string
	// Stateful makes WebSockets reconnect statefully.
	Stateful bool
	// Hubs is over how many hubs the clients are spread. With more than one their names end in -0, -1, ...
	Hubs int
	// Groups is the number of groups that are sent to in each hub, GroupSize how many clients are in each; 0: none, and as
	// many as put each client into one group. Users is the number of users that are sent to in each hub; 0: none.
	// Without groups and users everybody is sent to.
	Groups, GroupSize, Users int
	// Size is that of a message's arguments, in bytes.
	Size int
	// UnderWay is how many messages are on their way at once: each publisher sends its next when all have its last. 0: Rate
	// says how many are sent in a second.
	UnderWay int
	Rate     float64
	// Publishers is how many send at once, when Rate is given.
	Publishers int
	// Slow is the share of clients that do not read.
	Slow float64
	// CutEvery is the interval at which the share CutShare of the clients is cut off; 0: nobody is. They return after CutPause.
	CutEvery, CutPause time.Duration
	CutShare           float64
	// Warm is how long is published before Duration, which is measured. Settle is how long everything may then take to come.
	Warm, Duration, Settle time.Duration
	// Metrics are the addresses of the nodes' metrics, by commas. Empty: /metrics of each node.
	Metrics string
	// JSON makes the report JSON.
	JSON bool
}

// Register declares a flag for each option.
func (o *Options) Register(f *flag.FlagSet) {
	f.IntVar(&o.Connections, "connections", 100, "number of clients")
	f.IntVar(&o.Connectors, "connectors", 64, "how many clients connect at once, at first")
	f.StringVar(&o.Transport, "transport", string(negotiate.WebSockets), "WebSockets, ServerSentEvents or LongPolling")
	f.StringVar(&o.Protocol, "protocol", hubprotocol.JSON.String(), "json or messagepack")
	f.BoolVar(&o.Stateful, "stateful", false, "clients reconnect statefully (WebSockets)")
	f.IntVar(&o.Hubs, "hubs", 1, "number of hubs; with more than one they are called HUB-0, HUB-1, ...")
	f.IntVar(&o.Groups, "groups", 0, "number of groups of each hub that are sent to (default: all clients are)")
	f.IntVar(&o.GroupSize, "group-size", 0, "clients in each group (default: each client is in one group)")
	f.IntVar(&o.Users, "users", 0, "number of users of each hub that are sent to (default: all clients are)")
	f.IntVar(&o.Size, "size", 200, "bytes of a message's arguments")
	f.IntVar(&o.UnderWay, "under-way", 0, "messages under way at once; each next one is sent when all have one (default: -rate)")
	f.Float64Var(&o.Rate, "rate", 0, "messages a second, of all publishers together (default 20, without -under-way)")
	f.IntVar(&o.Publishers, "publishers", 16, "publishers that send at once, with -rate")
	f.Float64Var(&o.Slow, "slow", 0, "share of the clients that do not read, 0 to 0.9; nothing is expected of them")
	f.DurationVar(&o.CutEvery, "cut-every", 0, "interval at which clients are cut off, to return (default: never)")
	f.Float64Var(&o.CutShare, "cut-share", 0.1, "share of the clients that is cut off each time")
	f.DurationVar(&o.CutPause, "cut-pause", 0, "how long clients that were cut off stay away")
	f.DurationVar(&o.Warm, "warm", time.Second, "how long to publish before it is measured")
	f.DurationVar(&o.Duration, "duration", 10*time.Second, "how long to measure")
	f.DurationVar(&o.Settle, "settle", 30*time.Second, "how long to wait at the end for what is still missing")
	f.StringVar(&o.Metrics, "metrics", "", "addresses of the nodes' metrics, by commas (default: /metrics of each node)")
	f.BoolVar(&o.JSON, "json", false, "print the report as JSON")
}

// Bounds of the options.
const (
	maxConnections = 1 << 20
	maxHubs        = 100_000
	maxTargets     = 1 << 20 // groups or users of all hubs
	maxJoins       = 1000    // groups of one client: the nodes' limit
	minSize        = 48      // bytes: the numbers that each message carries
	maxSize        = 1<<20 - 1<<10
	maxPublishers  = 4096
	minRate        = 1e-4 // one in some hours; times of what is rarer cannot be written
	maxRate        = 1e6
	maxTime        = 24 * time.Hour
	maxSlow        = 0.9
	defaultRate    = 20
)

// check fills in what depends on other options. The error names the flag that is wrong.
func (o *Options) check() error {
	for _, check := range []func() error{o.checkClients, o.checkAudience, o.checkLoad, o.checkTimes} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (o *Options) checkClients() error {
	transport := negotiate.Transport(o.Transport)
	protocol, known := hubprotocol.ParseProtocol(o.Protocol)
	switch {
	case transport.TransferFormats() == nil:
		return fmt.Errorf("-transport %q is none of WebSockets, ServerSentEvents, LongPolling", o.Transport)
	case !known:
		return fmt.Errorf("-protocol %q is neither json nor messagepack", o.Protocol)
	case transport == negotiate.ServerSentEvents && protocol == hubprotocol.MessagePack:
		return errors.New("-protocol messagepack cannot go over -transport ServerSentEvents")
	case o.Stateful && transport != negotiate.WebSockets:
		return errors.New("-stateful is for -transport WebSockets")
	}
	return cmp.Or(
		within("connections", o.Connections, 1, maxConnections),
		within("connectors", o.Connectors, 1, maxConnections),
		within("hubs", o.Hubs, 1, min(maxHubs, o.Connections)),
		within("slow", o.Slow, 0, maxSlow),
	)
}

func (o *Options) checkAudience() error {
	smallest := o.Connections / o.Hubs // clients of the smallest hub
	switch {
	case o.Groups > 0 && o.Users > 0:
		return errors.New("-groups and -users are two audiences: give one")
	case o.GroupSize != 0 && o.Groups == 0:
		return errors.New("-group-size needs -groups")
	}
	if err := cmp.Or(within("groups", o.Groups, 0, maxTargets/o.Hubs), within("users", o.Users, 0, smallest)); err != nil {
		return err
	}
	if o.Groups == 0 {
		return nil
	}
	if err := within("group-size", o.GroupSize, 0, smallest); err != nil {
		return err
	}
	if joins := (o.Groups*max(1, o.GroupSize) + smallest - 1) / smallest; joins > maxJoins {
		return fmt.Errorf("-groups %d and -group-size put a client into %d groups, the limit is %d", o.Groups, joins, maxJoins)
	}
	return nil
}

func (o *Options) checkLoad() error {
	switch {
	case o.UnderWay != 0 && o.Rate != 0:
		return errors.New("-under-way and -rate are two kinds of load: give one")
	case o.UnderWay != 0 && o.CutEvery != 0 && !o.Stateful:
		return errors.New("-under-way waits for clients that -cut-every takes away for good: give -rate, or -stateful")
	case o.UnderWay == 0 && o.Rate == 0:
		o.Rate = defaultRate
	}
	rate := within("rate", o.Rate, minRate, maxRate)
	if o.UnderWay != 0 {
		o.Publishers, rate = o.UnderWay, nil
	}
	return cmp.Or(
		within("under-way", o.UnderWay, 0, maxPublishers),
		rate,
		within("publishers", o.Publishers, 1, maxPublishers),
		within("size", o.Size, minSize, maxSize),
		within("cut-share", o.CutShare, 0, 1),
	)
}

func (o *Options) checkTimes() error {
	return cmp.Or(
		within("cut-every", o.CutEvery, 0, maxTime),
		within("cut-pause", o.CutPause, 0, maxTime),
		within("warm", o.Warm, 0, maxTime),
		within("duration", o.Duration, 100*time.Millisecond, maxTime),
		within("settle", o.Settle, 0, maxTime),
	)
}

func within[T cmp.Ordered](name string, value, least, most T) error {
	if value >= least && value <= most { // NaN is not
		return nil
	}
	return fmt.Errorf("-%s %v is not between %v and %v", name, value, least, most)
}

// protocol is what the clients speak; the options were checked.
func (o *Options) protocol() hubprotocol.Protocol {
	p, _ := hubprotocol.ParseProtocol(o.Protocol)
	return p
}
