package integration_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"

	"hubstream/integration/internal/jsclient"
	"hubstream/integration/internal/nodes"
	"hubstream/integration/internal/proxytest"
	"hubstream/integration/internal/rawclient"
	"hubstream/integration/valkeytest"
)

// cluster is three nodes that share one Valkey.
type cluster struct {
	nodes []*nodes.Node
}

var shared struct {
	once    sync.Once
	cluster *cluster
	js      *jsclient.Client
	err     error
}

// sharedCluster is the one for all tests that leave nodes and Valkey alone.
func sharedCluster(t *testing.T) *cluster {
	t.Helper()
	server := valkeytest.Shared(t)
	shared.once.Do(func() { shared.err = startShared(server.Addr) })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.cluster
}

func startShared(valkey string) error {
	c := &cluster{}
	shared.cluster = c
	for _, name := range []string{"n1", "n2", "n3"} {
		n, err := nodes.Run(nodes.Options{Name: name, Valkey: valkey})
		if err != nil {
			return err
		}
		c.nodes = append(c.nodes, n)
	}
	var err error
	shared.js, err = jsclient.Run()
	return err
}

func stopShared() {
	if shared.js != nil {
		if err := shared.js.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	if shared.cluster != nil {
		for _, n := range shared.cluster.nodes {
			if err := n.Stop(); err != nil {
				fmt.Fprintln(os.Stderr, "node", n.Name, err)
			}
		}
	}
}

// ownCluster is for a test that drains nodes or troubles Valkey.
func ownCluster(t *testing.T) (*cluster, *valkeytest.Server) {
	t.Helper()
	server := valkeytest.Start(t)
	return &cluster{nodes.Three(t, server.Addr)}, server
}

// sharedJS is the Node process for all tests. The client's uncaught errors show in the tests that start their own.
func sharedJS(t *testing.T) *jsclient.Client {
	t.Helper()
	sharedCluster(t)
	return shared.js
}

// addrs are the nodes' addresses, for a proxy.
func (c *cluster) addrs() []string { return nodes.Addrs(c.nodes) }

// haproxy starts a round robin of the test's own over all nodes: other tests do not turn its wheel.
func (c *cluster) haproxy(t *testing.T, opts ...proxytest.Option) string {
	t.Helper()
	return proxytest.HAProxy(t, c.addrs(), opts...).URL
}

// nginx is haproxy with nginx.
func (c *cluster) nginx(t *testing.T, opts ...proxytest.Option) string {
	t.Helper()
	return proxytest.Nginx(t, c.addrs(), opts...).URL
}

// hub is a raw client of a hub at node i, counted round and round.
func (c *cluster) hub(t *testing.T, name string, i int) *rawclient.HubClient {
	t.Helper()
	return rawclient.Hub(t, c.nodes[i%len(c.nodes)].URL+"/hubs/"+name)
}

// backend calls the API, each time at the next node.
func (c *cluster) backend(t *testing.T, hub string) *backend {
	t.Helper()
	b := &backend{t: t, hub: hub}
	for _, n := range c.nodes {
		b.bases = append(b.bases, n.URL)
	}
	return b
}

var notHubName = regexp.MustCompile(`[^a-z0-9]+`)

// newHub is a hub name that no other test, and no other run on the same Valkey, has.
func newHub(t *testing.T) string {
	name := notHubName.ReplaceAllString(strings.ToLower(strings.TrimPrefix(t.Name(), "Test")), "-")
	return fmt.Sprintf("%.80s-%08x", name, rand.Uint32())
}
