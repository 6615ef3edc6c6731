package chaos_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"hubstream/integration/chaos"
	"hubstream/integration/internal/nodes"
)

var (
	duration = flag.Duration("chaos.duration", 0, "length of a long run; 0: the short ones")
	seed     = flag.Uint64("chaos.seed", 1, "of the schedule, the audiences and the memberships")
	topology = flag.String("chaos.topology", "standalone", "of Valkey in a long run: standalone, sentinel or cluster, or several separated by commas")
	race     = flag.Bool("chaos.race", false, "build the nodes of a long run with the race detector")
	logs     = flag.String("chaos.logs", "", "directory for the nodes' logs at level debug")
)

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	nodes.RemoveBinary()
	os.Exit(code)
}

// What was accepted is received by whom it is for, once and in order, and by nobody else, whatever breaks.
func TestChaos(t *testing.T) {
	if *duration > 0 {
		for name := range strings.SplitSeq(*topology, ",") {
			t.Run(name, func(t *testing.T) { run(t, long(chaos.Topology(name))) })
		}
		return
	}
	for _, short := range []struct {
		topology chaos.Topology
		duration time.Duration
	}{{chaos.Standalone, 20 * time.Second}, {chaos.Sentinel, 10 * time.Second}, {chaos.Cluster, 10 * time.Second}} {
		t.Run(string(short.topology), func(t *testing.T) {
			run(t, chaos.Config{
				Topology: short.topology, Seed: *seed, Duration: short.duration, Pace: 1500 * time.Millisecond,
				Stateful: 24, Polling: 16, Sockets: 3, Events: 3, Plain: 3,
				Publishers: 4, Rate: 100, Broadcasts: 5, Changes: 20, CloseOneIn: 40, Logs: *logs,
			})
		})
	}
}

func long(t chaos.Topology) chaos.Config {
	return chaos.Config{
		Topology: t, Seed: *seed, Duration: *duration, Pace: 4 * time.Second,
		Stateful: 200, Polling: 100, Sockets: 10, Events: 10, Plain: 10,
		Publishers: 16, Rate: 500, Broadcasts: 2, Changes: 20, CloseOneIn: 40, Fast: !*race, Logs: *logs,
	}
}

func run(t *testing.T, cfg chaos.Config) {
	h, _ := chaos.Run(t, cfg)
	t.Log(summary(h))
	if cfg.Logs != "" {
		writeSessions(t, h, filepath.Join(cfg.Logs, "sessions"))
	}
	if problems := chaos.Check(h); len(problems) > 0 {
		t.Errorf("%s, seed %d:\n%v", cfg.Topology, cfg.Seed, problems)
	}
}

// writeSessions lists all sessions, to be read beside the nodes' logs.
func writeSessions(t *testing.T, h *chaos.History, file string) {
	var b strings.Builder
	for _, s := range h.Sessions {
		fmt.Fprintf(&b, "%v official %v, user %s, opening %v, resumed %d, received %d\n", s, s.Official, s.User, s.Opening, s.Resumed, len(s.Received))
	}
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		t.Error(err)
	}
}

// details are what differs between errors of one kind: addresses and ports.
var details = regexp.MustCompile(`"http[^"]*": |\d+\.\d+\.\d+\.\d+:\d+(->)?`)

// summary counts what happened, so that a run in which nothing happened is seen.
func summary(h *chaos.History) string {
	var b strings.Builder
	outcomes := map[chaos.Outcome]int{}
	for _, sends := range h.Sends {
		for _, s := range sends {
			outcomes[s.Outcome]++
		}
	}
	changes := 0
	for _, list := range h.Changes {
		changes += len(list)
	}
	fmt.Fprintf(&b, "sends: %d accepted, %d refused, %d unknown; %d changes of membership, %d calls to close\n",
		outcomes[chaos.Accepted], outcomes[chaos.Refused], outcomes[chaos.Unknown], changes, len(h.Closes))
	for _, kind := range chaos.Kinds {
		for _, official := range []bool{true, false} {
			var sessions, received, resumed, completions int
			ends := map[chaos.End]int{}
			reasons := map[string]int{}
			for _, s := range h.Sessions {
				if s.Kind != kind || s.Official != official || s.Opened == 0 {
					continue
				}
				sessions++
				received += len(s.Received)
				resumed += s.Resumed
				completions += len(s.Completions)
				ends[s.End]++
				if s.End != chaos.Alive {
					reasons[fmt.Sprintf("%v: %s", s.End, details.ReplaceAllString(s.Reason, ""))]++
				}
			}
			if sessions == 0 {
				continue
			}
			who := "light"
			if official {
				who = "official"
			}
			fmt.Fprintf(&b, "%s, %s: %d sessions (%v), %d deliveries, %d completions, resumed %d times\n", kind, who, sessions, ends, received, completions, resumed)
			var lines []string
			for reason, n := range reasons {
				lines = append(lines, fmt.Sprintf("\t%5d  %s\n", n, reason))
			}
			slices.Sort(lines)
			slices.Reverse(lines)
			for _, line := range lines[:min(12, len(lines))] {
				b.WriteString(line)
			}
		}
	}
	return b.String()
}
