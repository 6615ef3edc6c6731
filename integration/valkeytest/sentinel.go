package valkeytest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"hubstream/integration/internal/proc"
)

// sentinelDown is after how many milliseconds of silence a sentinel counts the primary as down.
const sentinelDown = 1000

// syncTimeout bounds replication, discovery among sentinels and a cluster's forming.
const syncTimeout = 30 * time.Second

// Sentinel is a primary and a replica watched by sentinels, which promote the replica about two seconds after the
// primary was killed.
type Sentinel struct {
	Name      string // of the primary, as a client asks the sentinels for it
	Primary   *Server
	Replica   *Server
	Sentinels []string // their addresses
}

// StartSentinel starts a primary, a replica that has synchronised, and sentinels that know each other: 1 or 3. The
// options are those of both servers.
func StartSentinel(tb testing.TB, sentinels int, opts ...Option) *Sentinel {
	tb.Helper()
	g := &Sentinel{Name: "hubstream", Primary: Start(tb, append([]Option{Args("--repl-diskless-sync-delay", "0")}, opts...)...)}
	// Told now, not by its arguments: promoted, killed and started again, it must not be a replica of its own replica.
	g.Replica = Start(tb, append([]Option{Args("--repl-diskless-sync-delay", "0")}, opts...)...)
	host, port, _ := net.SplitHostPort(g.Primary.Addr)
	g.Replica.Do("REPLICAOF", host, port)
	WaitReplica(tb, g.Replica)
	for range sentinels {
		g.Sentinels = append(g.Sentinels, startSentinel(tb, g.Name, g.Primary.Addr, sentinels/2+1))
	}
	for _, addr := range g.Sentinels {
		err := eventually(syncTimeout, func() error { return g.known(addr) })
		if err != nil {
			tb.Fatalf("sentinel %s: %v", addr, err)
		}
	}
	return g
}

// known asks one sentinel whether it has found the replica and all the others.
func (g *Sentinel) known(addr string) error {
	reply, err := do(addr, time.Second, "SENTINEL", "CKQUORUM", g.Name)
	if err != nil {
		return err
	}
	var usable int
	if _, err := fmt.Sscanf(reply, "OK %d usable", &usable); err != nil {
		return fmt.Errorf("%q: %w", reply, err)
	}
	if usable != len(g.Sentinels) {
		return errors.New(reply)
	}
	replicas, err := do(addr, time.Second, "SENTINEL", "REPLICAS", g.Name)
	if err == nil && replicas == "" {
		err = errors.New("no replica known yet")
	}
	return err
}

// WaitPromoted returns when every sentinel names the replica as the primary.
func (g *Sentinel) WaitPromoted(tb testing.TB) {
	tb.Helper()
	host, port, _ := net.SplitHostPort(g.Replica.Addr)
	for _, addr := range g.Sentinels {
		err := eventually(syncTimeout, func() error {
			reply, err := do(addr, time.Second, "SENTINEL", "GET-PRIMARY-ADDR-BY-NAME", g.Name)
			if err == nil && reply != host+"\n"+port {
				err = fmt.Errorf("primary is still %q", reply)
			}
			return err
		})
		if err != nil {
			tb.Fatalf("sentinel %s: %v", addr, err)
		}
	}
}

// WaitReplicated returns when the replica has what the primary has by now. (WAIT tells that only of writes of its own connection.)
func (g *Sentinel) WaitReplicated(tb testing.TB) {
	tb.Helper()
	offset := func(s *Server) (n int64, err error) {
		text, err := infoField(s.Addr, "replication", "master_repl_offset")
		if err == nil {
			n, err = strconv.ParseInt(text, 10, 64)
		}
		return n, err
	}
	want, err := offset(g.Primary)
	if err == nil {
		err = eventually(syncTimeout, func() error {
			got, err := offset(g.Replica)
			if err == nil && got < want {
				err = fmt.Errorf("the replica is at %d of %d", got, want)
			}
			return err
		})
	}
	if err != nil {
		tb.Fatal(err)
	}
}

// WaitReplica returns when the replica is synchronised with its primary.
func WaitReplica(tb testing.TB, replica *Server) {
	tb.Helper()
	err := eventually(syncTimeout, func() error {
		status, err := infoField(replica.Addr, "replication", "master_link_status")
		if err == nil && status != "up" {
			err = fmt.Errorf("link to the primary is %s", status)
		}
		return err
	})
	if err != nil {
		tb.Fatalf("replica %s: %v", replica.Addr, err)
	}
}

func startSentinel(tb testing.TB, name, primary string, quorum int) (addr string) {
	tb.Helper()
	host, primaryPort, _ := net.SplitHostPort(primary)
	for try := 1; ; try++ {
		port, err := proc.FreePort()
		if err != nil {
			tb.Fatal(err)
		}
		file := filepath.Join(tb.TempDir(), "sentinel.conf") // it writes its state into the file
		conf := fmt.Sprintf("bind 127.0.0.1\nport %d\ndir %s\n", port, filepath.Dir(file)) +
			fmt.Sprintf("sentinel monitor %s %s %s %d\n", name, host, primaryPort, quorum) +
			fmt.Sprintf("sentinel down-after-milliseconds %s %d\nsentinel failover-timeout %s 5000\n", name, sentinelDown, name)
		if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
			tb.Fatal(err)
		}
		p, err := proc.Start(exec.Command("valkey-server", file, "--sentinel"))
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { _ = p.Kill() })
		addr = loopback(port)
		err = eventually(readyTimeout, func() error {
			pid, err := infoField(addr, "server", "process_id")
			if err == nil && pid != strconv.Itoa(p.Pid()) {
				err = fmt.Errorf("port belongs to process %s", pid)
			}
			return err
		})
		if err == nil {
			return addr
		}
		_ = p.Kill()
		if try == startTries {
			tb.Fatalf("sentinel: %v\n%s", err, p.Output())
		}
	}
}
