package valkeytest

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"hubstream/integration/internal/proc"
)

// clusterSize is the smallest number of primaries that valkey-cli makes a cluster of.
const clusterSize = 3

// Cluster is three primaries that share the slots, each with a replica or none.
type Cluster struct {
	Servers []*Server
}

// StartCluster starts the servers, joins them, and returns when each of them sees every slot served.
func StartCluster(tb testing.TB) *Cluster {
	tb.Helper()
	return startCluster(tb, 0, nil)
}

// StartReplicatedCluster is StartCluster with a replica for each primary, which takes over about three seconds after
// the primary was killed. The options are those of all servers.
func StartReplicatedCluster(tb testing.TB, opts ...Option) *Cluster {
	tb.Helper()
	c := startCluster(tb, 1, opts)
	for _, s := range c.Servers {
		if role, err := infoField(s.Addr, "replication", "role"); err == nil && role != "master" {
			WaitReplica(tb, s)
		}
	}
	return c
}

func startCluster(tb testing.TB, replicas int, opts []Option) *Cluster {
	tb.Helper()
	c := &Cluster{}
	for range clusterSize * (1 + replicas) {
		bus, err := proc.FreePort()
		if err != nil {
			tb.Fatal(err)
		}
		// A replica takes over however old its data are.
		c.Servers = append(c.Servers, Start(tb, append([]Option{Args(
			"--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(bus), "--cluster-node-timeout", "2000",
			"--cluster-replica-validity-factor", "0",
		)}, opts...)...))
	}
	args := append([]string{"--cluster", "create"}, c.Addrs()...)
	args = append(args, "--cluster-replicas", strconv.Itoa(replicas), "--cluster-yes")
	out, err := exec.Command("valkey-cli", args...).CombinedOutput()
	if err != nil {
		tb.Fatalf("valkey-cli --cluster create: %v\n%s", err, out)
	}
	for _, s := range c.Servers {
		err := eventually(syncTimeout, func() error {
			info, err := s.Try("CLUSTER", "INFO")
			if err == nil && !strings.Contains(info, "cluster_state:ok") {
				err = fmt.Errorf("cluster not formed:\n%s", info)
			}
			return err
		})
		s.must("join the cluster", err)
	}
	return c
}

// Addrs are the addresses of all servers.
func (c *Cluster) Addrs() []string {
	var addrs []string
	for _, s := range c.Servers {
		addrs = append(addrs, s.Addr)
	}
	return addrs
}
