package integration_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hubstream/integration/internal/jsclient"
	"hubstream/integration/internal/nodes"
	"hubstream/integration/internal/proc"
)

// Each example upstream is a chat, and takes requests only from who has the key.
func TestExampleUpstreams(t *testing.T) {
	t.Parallel()
	js := jsclient.Start(t)
	for name, command := range map[string][]string{
		"go": {"go", "run", "main.go"}, "node": {"node", "main.js"}, "python": {"python3", "main.py"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			listen := freeAddress(t)
			node := nodes.Start(t, nodes.Options{Args: []string{"-upstream", "http://" + listen + "/{event}", "-upstream-keys", upstreamKey}})
			startExample(t, name, command, listen, node.URL)
			conn := js.Open(t, jsclient.Options{URL: node.URL + "/hubs/chat?user=ann", Targets: []string{"joined", "said", "left"}})
			conn.Expect("joined", "ann")
			if got, err := conn.Invoke("Say", "hello"); err != nil || got != `"ok"` {
				t.Fatalf("Say: %s %v", got, err)
			}
			conn.Expect("said", "ann", "hello")
			other := js.Open(t, jsclient.Options{URL: node.URL + "/hubs/chat?user=bob", Targets: []string{"joined"}})
			conn.Expect("joined", "bob")
			if err := other.Stop(); err != nil {
				t.Fatal(err)
			}
			conn.Expect("left", "bob")
			if _, err := conn.Invoke("Shout"); err == nil || !strings.Contains(err.Error(), "status code 404") {
				t.Errorf("an unknown method: %v", err)
			}

			stranger := nodes.Start(t, nodes.Options{Name: "stranger", Args: []string{"-upstream", "http://" + listen + "/{event}", "-upstream-keys", "another-key-that-the-example-has-not"}})
			lost := js.Open(t, jsclient.Options{URL: stranger.URL + "/hubs/chat"})
			if _, err := lost.Invoke("Say", "hello"); err == nil || !strings.Contains(err.Error(), "status code 401") {
				t.Errorf("with another key: %v", err)
			}
		})
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	port, err := proc.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint("127.0.0.1:", port)
}

func startExample(t *testing.T, name string, command []string, listen, node string) {
	t.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	if name == "go" { // what go run starts would outlive it
		bin := filepath.Join(t.TempDir(), "example")
		build := exec.Command("go", "build", "-o", bin, "main.go")
		build.Dir = filepath.Join("..", "docs", "examples", name)
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		cmd = exec.Command(bin)
	}
	cmd.Dir = filepath.Join("..", "docs", "examples", name)
	cmd.Env = append(os.Environ(), "KEY="+upstreamKey, "LISTEN="+listen, "HUBSTREAM="+node)
	p, err := proc.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Kill() })
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if conn, err := net.Dial("tcp", listen); err == nil {
			_ = conn.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the example does not listen:\n%s", p.Output())
		}
	}
}
