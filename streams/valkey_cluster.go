package streams

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/valkey-io/valkey-go"

	"hubstream/internal/sleep"
)

// Beat implements Cluster.
func (v *Valkey) Beat(ctx context.Context, bucket int, node string, lease time.Duration) (BeatReply, error) {
	reply, err := v.run(ctx, "", beatScript, []string{v.keys.nodes(bucket)}, []string{node, ms(lease)})
	if err != nil {
		return BeatReply{}, err
	}
	a := answer{rest: reply}
	beat := BeatReply{Run: a.text(), Now: a.int(), Nodes: int(a.int())}
	if a.err == nil {
		v.bind(bucket, beat.Run)
	}
	return beat, a.err
}

// Report implements Cluster.
func (v *Valkey) Report(ctx context.Context, node string, data []byte, keep time.Duration) ([]NodeReport, error) {
	reply, err := v.run(ctx, "", reportScript, []string{v.keys.reports()}, []string{node, string(data), ms(keep)})
	if err != nil {
		return nil, err
	}
	a := answer{rest: reply}
	reports := make([]NodeReport, 0, len(reply)/3)
	for len(a.rest) > 0 && a.err == nil {
		reports = append(reports, NodeReport{Node: a.text(), Age: time.Duration(a.int()) * time.Millisecond, Data: []byte(a.text())})
	}
	slices.SortFunc(reports, func(a, b NodeReport) int { return strings.Compare(a.Node, b.Node) })
	return reports, a.err
}

// Hubs implements Cluster.
func (v *Valkey) Hubs(ctx context.Context, bucket int) ([]string, error) {
	reply, err := v.ask(ctx, func() valkey.Completed { return v.main.B().Smembers().Key(v.keys.hubs(bucket)).Build() })
	if err != nil {
		return nil, err
	}
	hubs, err := reply.AsStrSlice()
	if err != nil {
		return nil, errAnswer
	}
	slices.Sort(hubs)
	return hubs, nil
}

// Secret implements Cluster.
func (v *Valkey) Secret(ctx context.Context, proposal []byte) ([]byte, error) {
	_, err := v.ask(ctx, func() valkey.Completed {
		return v.main.B().Set().Key(v.keys.secret()).Value(string(proposal)).Nx().Build()
	})
	if err != nil {
		return nil, err
	}
	reply, err := v.ask(ctx, func() valkey.Completed { return v.main.B().Get().Key(v.keys.secret()).Build() })
	if err != nil {
		return nil, err
	}
	secret, err := reply.AsBytes()
	if err != nil { // removed between the two
		return nil, errAnswer
	}
	return slices.Clone(secret), nil
}

// ask sends one command that is safe to repeat, until it is answered or the call's
// time is over.
func (v *Valkey) ask(ctx context.Context, command func() valkey.Completed) (valkey.ValkeyMessage, error) {
	return v.askFor(ctx, v.cfg.CallTimeout, command)
}

// askFor is ask that does not repeat the command any more when some time is over.
func (v *Valkey) askFor(ctx context.Context, patience time.Duration, command func() valkey.Completed) (valkey.ValkeyMessage, error) {
	began := time.Now()
	ctx, end, err := v.begin(ctx)
	if err != nil {
		return valkey.ValkeyMessage{}, err
	}
	defer end()
	for pause := repeatPause; ; pause *= 2 {
		reply, err := v.main.Do(ctx, command()).ToMessage()
		if err == nil || valkey.IsValkeyNil(err) {
			return reply, nil
		}
		v.observe(err)
		mapped, repeatable := classify(err)
		if !repeatable || ctx.Err() != nil || time.Since(began) >= patience || sleep.For(ctx, pause) != nil {
			return reply, mapped
		}
	}
}

// readyPatience is how long Ready tries again what may pass at once, such as a connection that was cut. Whoever asks wants to know how it is now.
const readyPatience = 200 * time.Millisecond

// oldestVersion is the first whose scripts may write what they read.
const oldestVersion = 7

// Ready implements Cluster. It asks every primary of a cluster.
func (v *Valkey) Ready(ctx context.Context) error {
	// Refused, like every write, by a replica, without enough replicas, or when the disk
	// does not take what is written. Nothing has that name.
	_, err := v.askFor(ctx, readyPatience, func() valkey.Completed { return v.main.B().Del().Key(v.keys.probe()).Build() })
	if err != nil {
		return fmt.Errorf("Valkey takes no writes: %w", err)
	}
	// Nothing else but a tail reads so: where it is forbidden, what is sent arrives nowhere.
	_, err = v.askFor(ctx, readyPatience, func() valkey.Completed {
		return v.main.B().Xread().Count(1).Streams().Key(v.keys.probe()).Id(Position{}.String()).Build()
	})
	if err != nil {
		return fmt.Errorf("Valkey lets no log be read: %w", err)
	}
	ctx, end, err := v.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	if v.cfg.Mode != ValkeyCluster {
		return v.ready(ctx, v.main)
	}
	for address, node := range v.main.Nodes() {
		if err := v.ready(ctx, node); err != nil && err != errReplica {
			return fmt.Errorf("%s: %w", address, err)
		}
	}
	return nil
}

var errReplica = fmt.Errorf("%w: the address of Valkey is a replica's; use the primary's", ErrUnavailable)

// ready judges one server by what it says of itself.
func (v *Valkey) ready(ctx context.Context, server valkey.Client) error {
	text, err := server.Do(ctx, server.B().Info().Build()).ToString()
	if err != nil {
		mapped, _ := classify(err)
		return fmt.Errorf("INFO of Valkey: %w", mapped)
	}
	info := parseInfo(text)
	if info["role"] != "master" {
		return errReplica
	}
	version := orDefault(info["valkey_version"], info["redis_version"])
	if major, _, _ := strings.Cut(version, "."); !atLeast(major, oldestVersion) {
		return fmt.Errorf("Valkey or Redis %d is needed, this is %q", oldestVersion, version)
	}
	policy := info["maxmemory_policy"]
	switch {
	case policy == "noeviction":
	case strings.HasPrefix(policy, "volatile-"):
		v.log.Warn("Valkey may evict idempotency keys and tombstones before their time; set maxmemory-policy to noeviction", "policy", policy)
	default:
		return fmt.Errorf("Valkey may evict logs and connections: its maxmemory-policy is %q; set it to noeviction", policy)
	}
	return nil
}

func atLeast(number string, least int) bool {
	n, err := strconv.Atoi(number)
	return err == nil && n >= least
}

func parseInfo(text string) map[string]string {
	info := map[string]string{}
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			info[key] = value
		}
	}
	return info
}
