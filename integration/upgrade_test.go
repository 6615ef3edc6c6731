package integration_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hubstream/integration/internal/jsclient"
	"hubstream/integration/internal/nodes"
	"hubstream/integration/internal/proxytest"
	"hubstream/integration/valkeytest"
	"hubstream/internal/traces/tracestest"
)

// commitsBack is how much older the other version is while there are no releases: a few changes, so that a format that
// changed is noticed, whichever of them changed it.
const commitsBack = 10

// previousVersion returns the last release (a tag v*), or an earlier commit; PREVIOUS names another.
func previousVersion(t *testing.T) string {
	t.Helper()
	if named := os.Getenv("PREVIOUS"); named != "" {
		return named
	}
	if tag, err := git("describe", "--tags", "--abbrev=0", "--match=v*", "HEAD^"); err == nil {
		return tag
	}
	list, err := git("rev-list", "--first-parent", fmt.Sprintf("--max-count=%d", commitsBack+1), "HEAD")
	commits := strings.Fields(list)
	if err != nil || len(commits) < 2 {
		t.Fatalf("there is no earlier version here to upgrade from (%v): the history is shallow, or this is no clone. Get it all with: git fetch --unshallow --tags", err)
	}
	return commits[len(commits)-1]
}

func git(args ...string) (string, error) {
	command := exec.Command("git", args...)
	command.Dir = ".."
	var told bytes.Buffer
	command.Stderr = &told
	out, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w: %s", args[0], err, told.String())
	}
	return strings.TrimSpace(string(out)), nil
}

// buildVersion builds a node of another version from the history.
func buildVersion(t *testing.T, version string) (binary string) {
	t.Helper()
	dir := t.TempDir()
	archive := filepath.Join(dir, "source.tar")
	if _, err := git("archive", "--output="+archive, version); err != nil {
		t.Fatal(err)
	}
	source := filepath.Join(dir, "source")
	if err := os.Mkdir(source, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("tar", "-xf", archive, "-C", source).CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	return buildStatic(t, source, filepath.Join(dir, "hubstream"))
}

// buildStatic builds a node as the container image has it.
func buildStatic(t *testing.T, source, binary string) string {
	t.Helper()
	command := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", binary, "./cmd/api")
	command.Dir = source
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("go build in %s: %v\n%s", source, err, out)
	}
	return binary
}

// Nodes of the version before and of this one make one service while the one replaces the other, node by node: clients
// that can go on at another node get everything, once and in order, whoever sent it and whoever serves them.
func TestRollingUpgradeLosesNothing(t *testing.T) {
	t.Parallel()
	version := previousVersion(t)
	old := buildVersion(t, version)
	t.Logf("upgrading from %s", version)
	server := valkeytest.Start(t)
	start := func(name, binary string, more ...string) *nodes.Node {
		return nodes.StartProcess(t, nodes.Options{Name: name, Valkey: server.Addr, Drain: time.Second, Binary: binary, Args: more})
	}
	collector := tracestest.Start(t) // the new nodes trace every send: what they write for it the old ones pass over
	c := &cluster{}
	for i := range 3 {
		c.nodes = append(c.nodes, start(fmt.Sprintf("old%d", i), old))
	}
	name := newHub(t)
	proxy := c.haproxy(t, proxytest.CheckHealth(), proxytest.RetryPolls())
	var conns []*jsclient.Conn
	open := func() {
		for _, o := range []jsclient.Options{
			{Transport: jsclient.WebSockets, Stateful: true}, {Transport: jsclient.WebSockets, Stateful: true, Protocol: jsclient.MessagePack},
			{Transport: jsclient.LongPolling}, {Transport: jsclient.LongPolling, Protocol: jsclient.MessagePack},
		} {
			o.URL, o.Reconnect = proxy+"/hubs/"+name, []time.Duration{}
			conns = append(conns, sharedJS(t).Open(t, o))
		}
	}
	open()
	open()
	b := &backend{t: t, hub: name}
	for _, conn := range conns { // records that the one version wrote, and the other reads
		b.bases = []string{c.nodes[len(c.nodes)-1].URL}
		b.join("members", conn.ConnectionID)
	}
	sent := 0
	send := func() {
		if sent%2 == 0 {
			b.toAll(sent)
		} else {
			b.toGroup("members", sent)
		}
		sent++
	}
	for i := range c.nodes {
		b.bases = nil
		for j, n := range c.nodes {
			if j != i {
				b.bases = append(b.bases, n.URL)
			}
		}
		leaving := c.nodes[i]
		leaving.Drain()
		for ended := false; !ended; send() {
			select {
			case <-leaving.Done():
				ended = true
			case <-time.After(20 * time.Millisecond):
			}
		}
		c.nodes[i] = start(fmt.Sprintf("new%d", i), "", "-listen", leaving.Addr, "-trace-endpoint", collector.URL, "-trace-sample", "1")
		b.bases = append(b.bases, c.nodes[i].URL)
		for range 30 {
			send()
		}
	}
	for _, conn := range conns {
		for i := range sent {
			conn.Expect("message", i)
		}
		if events := conn.Events(); len(events) > 0 {
			t.Errorf("the upgrade was noticed: %v", events)
		}
	}
	collector.Wait(t, "", 1) // nodes send what they have traced by and by
	for _, n := range c.nodes {
		if text := n.Output(); strings.Contains(text, "not decodable") || strings.Contains(text, "lost or rolled back") {
			t.Errorf("%s complains of what the version before wrote:\n%s", n.Name, text)
		}
	}
}
