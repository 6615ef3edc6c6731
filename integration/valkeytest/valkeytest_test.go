package valkeytest_test

import (
	"strings"
	"testing"

	"hubstream/integration/valkeytest"
)

func TestMain(m *testing.M) {
	defer valkeytest.StopShared()
	m.Run()
}

func TestServerComesBackEmptyAtTheSameAddress(t *testing.T) {
	t.Parallel()
	s := valkeytest.Start(t)
	s.Do("SET", "k", "v")
	for _, end := range []func(){s.Stop, s.Kill} {
		end()
		if _, err := s.Try("PING"); err == nil {
			t.Fatal("a stopped server answers")
		}
		s.Start()
		if got := s.Do("EXISTS", "k"); got != "0" {
			t.Errorf("EXISTS after a restart: got %s, want 0", got)
		}
		s.Do("SET", "k", "v")
	}
}

func TestPausedServerKeepsConnectionsAndAnswersLater(t *testing.T) {
	t.Parallel()
	s := valkeytest.Start(t)
	s.Pause()
	answer := make(chan error, 1)
	go func() {
		_, err := s.Try("PING")
		answer <- err
	}()
	select {
	case err := <-answer:
		t.Fatalf("a paused server answered: %v", err)
	default:
	}
	s.Resume()
	if err := <-answer; err != nil {
		t.Fatal(err)
	}
}

func TestAppendOnlyDataOutlivesKill(t *testing.T) {
	t.Parallel()
	s := valkeytest.Start(t, valkeytest.AppendOnly())
	s.Do("SET", "k", "v")
	s.Kill()
	s.Start()
	if got := s.Do("GET", "k"); got != "v" {
		t.Errorf("GET after Kill and Start: got %q, want v", got)
	}
}

func TestSharedServerIsOne(t *testing.T) {
	t.Parallel()
	if a, b := valkeytest.Shared(t), valkeytest.Shared(t); a.Addr != b.Addr {
		t.Errorf("got two: %s and %s", a.Addr, b.Addr)
	}
}

func TestSentinelsPromoteTheReplica(t *testing.T) {
	t.Parallel()
	g := valkeytest.StartSentinel(t, 3)
	g.Primary.Do("SET", "k", "v")
	g.Primary.Do("WAIT", "1", "5000")
	g.Primary.Kill()
	g.WaitPromoted(t)
	if got := g.Replica.Do("GET", "k"); got != "v" {
		t.Errorf("GET from the new primary: got %q, want v", got)
	}
}

func TestClusterServesEverySlot(t *testing.T) {
	t.Parallel()
	c := valkeytest.StartCluster(t)
	if len(c.Servers) != 3 {
		t.Fatalf("got %d servers, want 3", len(c.Servers))
	}
	if info := c.Servers[0].Do("CLUSTER", "INFO"); !strings.Contains(info, "cluster_slots_ok:16384") {
		t.Errorf("not all slots are served:\n%s", info)
	}
}
