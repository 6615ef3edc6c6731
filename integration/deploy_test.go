package integration_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"hubstream/integration/internal/jsclient"
	"hubstream/integration/internal/nodes"
	"hubstream/integration/internal/proc"
	"hubstream/integration/internal/rawclient"
	"hubstream/negotiate/access"
)

// composed is what of deploy/compose.yaml matters here.
type composed struct {
	Services map[string]struct {
		Command         []string
		Environment     map[string]string
		EnvFile         []string `yaml:"env_file"`
		Volumes, Ports  []string
		StopGracePeriod string `yaml:"stop_grace_period"`
	}
}

func readCompose(t *testing.T) composed {
	t.Helper()
	text, err := os.ReadFile("../deploy/compose.yaml")
	var c composed
	if err == nil {
		err = yaml.Unmarshal(text, &c)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// composeKey is in the file of keys that the nodes are given.
const composeKey access.Key = "an-access-key-of-the-tests"

// composeUp starts what the file describes by processes: its Valkey's command, its nodes' environments, on other addresses.
func composeUp(t *testing.T, c composed) []*nodes.Node {
	t.Helper()
	valkey := startComposedValkey(t, c.Services["valkey"].Command)
	var all []*nodes.Node
	for _, name := range slices.Sorted(maps.Keys(c.Services)) {
		if !strings.HasPrefix(name, "node") {
			continue
		}
		settings := c.Services[name].Environment
		if settings["HUBSTREAM_NODE"] != name || settings["HUBSTREAM_VALKEY"] != "valkey:6379" {
			t.Fatalf("%s is called %q and uses Valkey at %q", name, settings["HUBSTREAM_NODE"], settings["HUBSTREAM_VALKEY"])
		}
		drain, err := time.ParseDuration(settings["HUBSTREAM_DRAIN"])
		grace, graceErr := time.ParseDuration(c.Services[name].StopGracePeriod)
		if err != nil || graceErr != nil || grace < drain+5*time.Second {
			t.Errorf("%s drains for %v and is killed after %v (%v, %v)", name, drain, grace, err, graceErr)
		}
		if files := c.Services[name].EnvFile; len(files) != 1 || files[0] != "hubstream.env" {
			t.Errorf("%s has its keys from %v", name, files)
		}
		env := []string{"HUBSTREAM_ACCESS_KEYS=" + string(composeKey)}
		for key, value := range settings {
			env = append(env, key+"="+strings.ReplaceAll(value, "valkey:6379", valkey))
		}
		all = append(all, nodes.StartProcess(t, nodes.Options{Name: name, Env: env, Drain: 4 * time.Second}))
	}
	if len(all) != 3 {
		t.Fatalf("there are %d nodes", len(all))
	}
	return all
}

func startComposedValkey(t *testing.T, command []string) (address string) {
	t.Helper()
	return startOnFreePort(t, func(address string) *exec.Cmd {
		host, port, _ := net.SplitHostPort(address)
		args := append(slices.Clone(command), "--port", port, "--bind", host, "--dir", t.TempDir())
		return exec.Command(args[0], args[1:]...)
	})
}

// startOnFreePort starts a server that listens where it is told to, and ends it with the test.
func startOnFreePort(t *testing.T, command func(address string) *exec.Cmd) (address string) {
	t.Helper()
	for try := 1; ; try++ {
		port, err := proc.FreePort()
		if err != nil {
			t.Fatal(err)
		}
		address = fmt.Sprintf("127.0.0.1:%d", port)
		p, err := proc.Start(command(address))
		if err != nil {
			t.Fatal(err)
		}
		if err = awaitPort(p, address); err == nil {
			t.Cleanup(func() { _ = p.Stop() })
			return address
		}
		_ = p.Kill()
		if try == 3 {
			t.Fatalf("%v:\n%s", err, p.Output())
		}
	}
}

func awaitPort(p *proc.Proc, address string) error {
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-p.Done():
			return fmt.Errorf("it ended: %w", p.Err())
		default:
		}
		if time.Now().After(end) {
			return err
		}
	}
}

// startProxyFile runs a proxy with a file of deploy/, in which only addresses are others.
func startProxyFile(t *testing.T, program string, all []*nodes.Node) (url string) {
	t.Helper()
	file := map[string]string{"haproxy": "haproxy.cfg", "nginx": "nginx.conf"}[program]
	b, err := os.ReadFile("../deploy/" + file)
	if err != nil {
		t.Fatal(err)
	}
	return "http://" + startOnFreePort(t, func(address string) *exec.Cmd {
		dir := t.TempDir()
		text := regexp.MustCompile(`(?m)^(\s*)(bind :8080|listen 8080;)$`).ReplaceAllStringFunc(string(b), func(line string) string {
			return strings.Replace(strings.Replace(line, ":8080", address, 1), " 8080;", " "+address+";", 1)
		})
		for _, n := range all {
			if !strings.Contains(text, n.Name+":8080") {
				t.Fatalf("%s does not know %s", file, n.Name)
			}
			text = strings.ReplaceAll(text, n.Name+":8080", n.Addr)
		}
		if program == "nginx" { // the file is for the level of http
			text = fmt.Sprintf("daemon off; pid %[1]s/pid; worker_processes 1;\n%[2]sevents { worker_connections 1024; }\nhttp {\n%[3]s\n%[4]s}\n",
				dir, map[bool]string{true: "user root;\n"}[os.Getuid() == 0], nginxTemps(dir), text)
		}
		path := filepath.Join(dir, file)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if program == "nginx" {
			return exec.Command("nginx", "-p", dir, "-c", path, "-e", "stderr")
		}
		return exec.Command("haproxy", "-db", "-f", path)
	})
}

func nginxTemps(dir string) string {
	var b strings.Builder
	b.WriteString("access_log off;\n")
	for _, temp := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&b, "%s_temp_path %s/%s;\n", temp, dir, temp)
	}
	return b.String()
}

// The files of deploy/ are what makes three nodes one service: every transport through each proxy, with a node drained
// as "docker compose stop" does it, then one killed, and nothing lost.
func TestDeployedFilesMakeOneService(t *testing.T) {
	t.Parallel()
	c := readCompose(t)
	if v := c.Services["proxy"].Volumes; len(v) != 1 || !strings.HasPrefix(v[0], "./haproxy.cfg:") {
		t.Errorf("the proxy does not use haproxy.cfg: %v", v)
	}
	if p := c.Services["proxy"].Ports; len(p) != 1 || !strings.HasPrefix(p[0], "127.0.0.1:") {
		t.Errorf("without TLS the proxy is published on %v", p)
	}
	sign := func(audience string) string {
		token, err := access.Sign(composeKey, access.Token{Audience: audience}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	for _, program := range []string{"haproxy", "nginx"} {
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			all := composeUp(t, c)
			proxy := startProxyFile(t, program, all)
			awaitThroughProxy(t, proxy)
			name := newHub(t)
			var going, others []*jsclient.Conn
			open := func(o jsclient.Options) *jsclient.Conn {
				o.URL, o.Reconnect, o.AccessToken = proxy+"/hubs/"+name, []time.Duration{}, sign(access.ClientAudience(proxy, name))
				return sharedJS(t).Open(t, o)
			}
			for range 3 { // one for each node
				going = append(going, open(jsclient.Options{Transport: jsclient.WebSockets, Stateful: true}), open(jsclient.Options{Transport: jsclient.LongPolling}))
				others = append(others, open(jsclient.Options{Transport: jsclient.WebSockets}), open(jsclient.Options{Transport: jsclient.ServerSentEvents}))
			}
			if _, err := sharedJS(t).TryOpen(t, jsclient.Options{URL: proxy + "/hubs/" + name}); err == nil {
				t.Error("a client needs no token")
			}
			b := &backend{t: t, hub: name, bases: []string{proxy}, token: sign(access.HubAudience(proxy, name))}
			sent := 0
			for ; sent < 6; sent++ {
				b.toAll(sent)
			}
			for _, conn := range append(going, others...) {
				for i := range sent {
					conn.Expect("message", i)
				}
			}
			passesBatches(t, proxy+"/api/hubs/"+newHub(t)+"/batch", sign)
			if a, err := rawclient.Do(t.Context(), "GET", proxy+"/metrics", ""); err != nil || a.Status != 404 {
				t.Errorf("clients see the metrics: %d %v", a.Status, err)
			}
			b.bases = []string{all[1].URL, all[2].URL}
			all[0].Drain()
			first := sent
			for ended := false; !ended; sent++ {
				b.toAll(sent)
				select {
				case <-all[0].Done():
					ended = true
				case <-time.After(20 * time.Millisecond):
				}
			}
			expect := func() {
				t.Helper()
				for _, conn := range going {
					for i := first; i < sent; i++ {
						conn.Expect("message", i)
					}
				}
			}
			expect()
			// A node dies: its polls are sent again by the proxy, its stateful clients come back through it.
			first, b.bases = sent, []string{all[2].URL}
			all[1].Kill()
			for range 20 {
				b.toAll(sent)
				sent++
			}
			expect()
		})
	}
}

// passesBatches checks that a proxy lets large batches through, and of one that is a stream of lines each before the next is there.
func passesBatches(t *testing.T, url string, sign func(audience string) string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	post := func(contentType string, body io.Reader) (*http.Response, *bufio.Reader) {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, body)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", contentType)
		r.Header.Set("Authorization", "Bearer "+sign(url))
		a, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatalf("%s: %v", contentType, err)
		}
		t.Cleanup(func() { _ = a.Body.Close() })
		return a, bufio.NewReader(a.Body)
	}
	large := `{"target":"m","arguments":["` + strings.Repeat("x", 900<<10) + `"]}`
	if a, _ := post("application/json", strings.NewReader("["+strings.Repeat(large+",", 4)+large+"]")); a.StatusCode != http.StatusOK {
		t.Errorf("a batch of more than 4 MiB: got %d", a.StatusCode)
	}
	body, lines := io.Pipe()
	defer lines.Close()
	context.AfterFunc(ctx, func() { _ = lines.Close() }) // the client waits for it, even when its time has passed
	written := make(chan error, 1)
	go func() { _, err := io.WriteString(lines, `{"target":"m"}`+"\n"); written <- err }()
	a, results := post("application/x-ndjson", body)
	if result, err := results.ReadString('\n'); a.StatusCode != http.StatusOK || !strings.HasPrefix(result, `{"status":202,`) {
		t.Errorf("the first line of a stream: got %d %q %v", a.StatusCode, result, err)
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
}

// awaitThroughProxy returns when the proxy has found the nodes to be ready.
func awaitThroughProxy(t *testing.T, proxy string) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if a, err := rawclient.Do(t.Context(), "GET", proxy+"/readyz", ""); err == nil && a.Status == 200 {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the proxy finds no node")
		}
	}
}
