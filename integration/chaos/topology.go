package chaos

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"hubstream/integration/valkeytest"
)

// Topology is how the Valkey servers are arranged.
type Topology string

const (
	Standalone Topology = "standalone"
	Sentinel   Topology = "sentinel"
	Cluster    Topology = "cluster"
)

// store is the Valkey servers of a run.
type store struct {
	topology  Topology
	servers   []*valkeytest.Server
	sentinels *valkeytest.Sentinel

	down   *valkeytest.Server // killed, to be started again
	frozen *valkeytest.Server
}

func startStore(tb testing.TB, t Topology) *store {
	tb.Helper()
	s := &store{topology: t}
	switch t {
	case Standalone:
		s.servers = []*valkeytest.Server{valkeytest.Start(tb, valkeytest.AppendOnly())}
	case Sentinel:
		s.sentinels = valkeytest.StartSentinel(tb, 3, valkeytest.AppendOnly())
		s.servers = []*valkeytest.Server{s.sentinels.Primary, s.sentinels.Replica}
	case Cluster:
		s.servers = valkeytest.StartReplicatedCluster(tb, valkeytest.AppendOnly()).Servers
	default:
		tb.Fatalf("unknown topology %q", t)
	}
	return s
}

// args are a node's settings for this store.
func (s *store) args() []string {
	switch s.topology {
	case Sentinel:
		return []string{"-valkey", strings.Join(s.sentinels.Sentinels, ","), "-valkey-mode", "sentinel", "-valkey-master", s.sentinels.Name}
	case Cluster:
		var addrs []string
		for _, server := range s.servers {
			addrs = append(addrs, server.Addr)
		}
		return []string{"-valkey", strings.Join(addrs, ","), "-valkey-mode", "cluster"}
	default:
		return []string{"-valkey", s.servers[0].Addr}
	}
}

// primary returns the n-th of the servers that take writes now.
func (s *store) primary(n int) (*valkeytest.Server, error) {
	if s.topology == Standalone {
		return s.servers[0], nil
	}
	if s.topology == Sentinel {
		reply, err := valkeytest.Ask(s.sentinels.Sentinels[0], "SENTINEL", "GET-PRIMARY-ADDR-BY-NAME", s.sentinels.Name)
		if err != nil {
			return nil, err
		}
		host, port, _ := strings.Cut(reply, "\n")
		return s.server(net.JoinHostPort(host, port))
	}
	var used, idle []*valkeytest.Server // those with a hub first: each of them is one target, all others are another
	for _, server := range s.servers {
		role, err := server.Try("ROLE")
		if err != nil || !strings.HasPrefix(role, "master") {
			continue
		}
		if keys, err := server.Try("KEYS", "*chaos*"); err == nil && keys != "" {
			used = append(used, server)
		} else {
			idle = append(idle, server)
		}
	}
	primaries := append(used, idle...)
	if len(primaries) == 0 {
		return nil, fmt.Errorf("no primary")
	}
	return primaries[n%len(primaries)], nil
}

func (s *store) server(addr string) (*valkeytest.Server, error) {
	for _, server := range s.servers {
		if server.Addr == addr {
			return server, nil
		}
	}
	return nil, fmt.Errorf("no server %s", addr)
}

// replicaOf returns the replica of a primary.
func (s *store) replicaOf(primary *valkeytest.Server) (*valkeytest.Server, error) {
	_, port, _ := net.SplitHostPort(primary.Addr)
	for _, server := range s.servers {
		info, err := server.Try("INFO", "replication")
		if err == nil && strings.Contains(info, "role:slave") && strings.Contains(info, "master_port:"+port) {
			return server, nil
		}
	}
	return nil, fmt.Errorf("no replica of %s", primary.Addr)
}

// whole returns nil if every primary has a synchronised replica: only then may one of them be lost.
func (s *store) whole() error {
	if s.topology == Standalone {
		return nil
	}
	replicas := 0
	for _, server := range s.servers {
		info, err := server.Try("INFO", "replication")
		if err != nil {
			return err
		}
		if strings.Contains(info, "master_link_status:up") {
			replicas++
		}
	}
	if replicas != len(s.servers)/2 {
		return fmt.Errorf("%d of %d replicas are synchronised", replicas, len(s.servers)/2)
	}
	return nil
}

// kill kills a primary; the next restart starts it again.
func (s *store) kill(server *valkeytest.Server, force bool) {
	if force {
		server.Kill()
	} else {
		server.Stop()
	}
	s.down = server
}

func (s *store) restart() {
	if s.down != nil {
		s.down.Start()
		s.down = nil
	}
}

func (s *store) freeze(server *valkeytest.Server) {
	server.Pause()
	s.frozen = server
}

func (s *store) resume() {
	if s.frozen != nil {
		s.frozen.Resume()
		s.frozen = nil
	}
}
