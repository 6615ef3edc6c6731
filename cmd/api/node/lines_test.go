package node_test

import (
	"bufio"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"hubstream/cmd/api/node"
)

// stalled is a log whose reader stands still until it is let go.
type stalled struct {
	*output
	still chan struct{}
	stood atomic.Bool // a write waits, or has waited
}

func newStalled(t *testing.T) *stalled {
	s := &stalled{output: newOutput(), still: make(chan struct{})}
	t.Cleanup(s.letGo)
	return s
}

func (s *stalled) letGo() {
	select {
	case <-s.still:
	default:
		close(s.still)
	}
}

func (s *stalled) Write(p []byte) (int, error) {
	s.stood.Store(true)
	<-s.still
	return s.output.Write(p)
}

// A pipe that nobody reads, or a disk that stands still, holds up neither requests nor the end, and what was not written is told.
func TestLogThatNobodyReadsHoldsUpNothing(t *testing.T) {
	t.Parallel()
	log := newStalled(t)
	n := startLogging(t, log, "-log-level", "debug")
	for range 1100 { // more lines than are kept
		if status, _, _ := n.do("GET", "/healthz", ""); status != 200 {
			t.Fatalf("healthz: got %d", status)
		}
	}
	if !log.stood.Load() {
		t.Fatal("nothing was logged")
	}
	if _, text, _ := n.do("GET", "/metrics", ""); !strings.Contains(text, "\nhubstream_log_lines_dropped_total ") || strings.Contains(text, "\nhubstream_log_lines_dropped_total 0\n") {
		t.Error("the metrics do not tell of lines that were dropped")
	}
	log.letGo()
	eventually(t, "the log tells what is missing", func() bool { return strings.Contains(log.String(), "lines of the log are missing") })
	n.do("GET", "/readyz", "")
	n.wait()
	if text := log.String(); !strings.HasSuffix(strings.TrimSpace(text), "msg=stopped node="+nameIn(text)) {
		t.Errorf("it ends without its last line:\n%s", text[max(0, len(text)-1000):])
	}
}

func nameIn(log string) string {
	_, name, _ := strings.Cut(log, " node=")
	name, _, _ = strings.Cut(name, " ")
	return name
}

func TestNodeEndsAlthoughNobodyReadsItsLog(t *testing.T) {
	t.Parallel()
	log := newStalled(t)
	n := startLogging(t, log)
	began := time.Now()
	n.wait()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
}

// Who reads the log may end: the process goes on.
func TestNodeOutlivesWhoReadsItsLog(t *testing.T) {
	t.Parallel()
	const isNode = "HUBSTREAM_TEST_IS_NODE"
	if os.Getenv(isNode) != "" {
		_ = node.Run(t.Context(), []string{"-listen", "127.0.0.1:0", "-log-level", "debug"}, none, os.Stdout, os.Stderr)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), isNode+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	n := &running{t: t}
	for lines := bufio.NewScanner(out); n.url == "" && lines.Scan(); {
		if _, rest, ok := strings.Cut(lines.Text(), "listening on "); ok {
			n.url, _, _ = strings.Cut(rest, " ")
		}
	}
	out.Close()
	log.Close()
	for range 3 { // the first is answered before its line is written
		if status, _, _ := n.do("GET", "/healthz", ""); status != 200 {
			t.Fatalf("healthz: got %d", status)
		}
	}
}
