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

// Cluster is three primaries that share the slots.
type Cluster struct {
	Servers []*Server
}

// StartCluster starts the servers, joins them, and returns when each of them sees every slot served.
func StartCluster(tb testing.TB) *Cluster {
	tb.Helper()
	c := &Cluster{}
	for range clusterSize {
		bus, err := proc.FreePort()
		if err != nil {
			tb.Fatal(err)
		}
		c.Servers = append(c.Servers, Start(tb, Args(
			"--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(bus), "--cluster-node-timeout", "2000",
		)))
	}
	args := append([]string{"--cluster", "create"}, c.Addrs()...)
	out, err := exec.Command("valkey-cli", append(args, "--cluster-yes")...).CombinedOutput()
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
