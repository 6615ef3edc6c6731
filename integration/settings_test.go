package integration_test

import (
	"bytes"
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"

	"hubstream/cmd/api/node"
	"hubstream/integration/internal/jsclient"
	"hubstream/integration/internal/nodes"
	"hubstream/integration/internal/rawclient"
	"hubstream/integration/valkeytest"
)

// A typing error ends the start with one line that names the setting, and no secret.
func TestInvalidSettingsEndTheStart(t *testing.T) {
	t.Parallel()
	for _, v := range []struct {
		args []string
		env  map[string]string
		name string
	}{
		{args: []string{"-nope"}, name: "-nope"},
		{args: []string{"left", "over"}, name: "left"},
		{args: []string{"-listen", "nonsense"}, name: "-listen"},
		{args: []string{"-drain", "soon"}, name: "-drain"},
		{args: []string{"-valkey", "no port"}, name: "-valkey"},
		{env: map[string]string{"HUBSTREAM_LISTEN": "nonsense"}, name: "HUBSTREAM_LISTEN"},
		{env: map[string]string{"HUBSTREAM_DRAIN": "soon"}, name: "HUBSTREAM_DRAIN"},
		{env: map[string]string{"HUBSTREAM_VALKEY": "valkey://user:hunter2@:no"}, name: "valkey"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		var out bytes.Buffer
		err := node.Run(ctx, append([]string{"-listen", "127.0.0.1:0"}, v.args...), func(name string) string { return v.env[name] }, &out, &out)
		if v.env["HUBSTREAM_LISTEN"] != "" {
			err = node.Run(ctx, nil, func(name string) string { return v.env[name] }, &out, &out)
		}
		cancel()
		if err == nil || ctx.Err() == context.DeadlineExceeded {
			t.Errorf("%v %v: started", v.args, v.env)
			continue
		}
		if text := err.Error(); !strings.Contains(text, v.name) || strings.Contains(text, "\n") || strings.Contains(text, "hunter2") {
			t.Errorf("%v %v: got %q, want one line that names %s", v.args, v.env, text, v.name)
		}
	}
}

func TestUnknownVariableEndsTheProcess(t *testing.T) {
	t.Parallel()
	n, err := nodes.RunProcess(nodes.Options{Env: []string{"HUBSTREAM_LISTNE=127.0.0.1:0"}})
	if err == nil {
		t.Error("the process started")
	}
	out := strings.TrimSpace(n.Output())
	if !strings.Contains(out, "HUBSTREAM_LISTNE") || strings.Contains(out, "\n") {
		t.Errorf("it said %q, want one line that names the variable", out)
	}
}

// What the start prints can be pasted into a shell.
func TestTheCommandThatIsPrintedWorks(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("no curl here to try it with")
	}
	n := nodes.StartProcess(t, nodes.Options{})
	c := &cluster{[]*nodes.Node{n}}
	w, _ := c.hub(t, "chat", 0).OpenWebSocket()
	command := ""
	for end := time.Now().Add(rawclient.Patience); command == ""; time.Sleep(10 * time.Millisecond) {
		for line := range strings.Lines(n.Output()) {
			if i := strings.Index(line, "curl "); i >= 0 {
				command = strings.TrimSpace(line[i:])
			}
		}
		if time.Now().After(end) {
			t.Fatalf("no curl command in:\n%s", n.Output())
		}
	}
	out, err := exec.Command("sh", "-c", command).CombinedOutput()
	if err != nil || !strings.Contains(string(out), `"position"`) {
		t.Errorf("%s: %v\n%s", command, err, out)
	}
	w.ExpectText(`{"type":1,"target":"hello","arguments":["world"]}` + rawclient.Separator)
}

// A node whose Valkey is not there yet lives, is not ready, and starts to serve when it comes.
func TestNodeWaitsForItsValkey(t *testing.T) {
	t.Parallel()
	server := valkeytest.Start(t)
	server.Stop()
	n := nodes.Start(t, nodes.Options{Valkey: server.Addr})
	awaitReadiness(t, n, 503)
	if a, err := rawclient.Do(t.Context(), "GET", n.URL+"/healthz", ""); err != nil || a.Status != 200 {
		t.Errorf("/healthz: %d %v, want 200", a.Status, err)
	}
	server.Start()
	awaitReadiness(t, n, 200)
	c := &cluster{[]*nodes.Node{n}}
	p := openPolling(t, c, newHub(t))
	c.backend(t, p.hub).toAll(1)
	p.expectMessage(1)
}

// Hubs spread over a cluster by bucket; every one of them works.
func TestValkeyCluster(t *testing.T) {
	t.Parallel()
	servers := valkeytest.StartCluster(t)
	c := &cluster{}
	for _, name := range []string{"n1", "n2", "n3"} {
		c.nodes = append(c.nodes, nodes.Start(t, nodes.Options{
			Name: name, Valkey: strings.Join(servers.Addrs(), ","), Args: []string{"-valkey-mode", "cluster"},
		}))
	}
	for range 6 {
		for _, k := range kindsOf("10") {
			t.Run(k.String(), func(t *testing.T) {
				t.Parallel()
				testDelivery(t, c, sharedJS(t), k)
			})
		}
	}
}

// When the primary is killed its replica takes over, and polling clients, whose cursors are in the store, go on.
func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	group := valkeytest.StartSentinel(t, 3)
	c := &cluster{}
	for _, name := range []string{"n1", "n2", "n3"} {
		c.nodes = append(c.nodes, nodes.Start(t, nodes.Options{
			Name: name, Valkey: strings.Join(group.Sentinels, ","), Args: []string{"-valkey-mode", "sentinel", "-valkey-master", group.Name},
		}))
	}
	hub := newHub(t)
	proxy := c.haproxy(t)
	var conns []*jsclient.Conn
	for _, k := range kindsOf("10") {
		conns = append(conns, sharedJS(t).Open(t, jsclient.Options{URL: proxy + "/hubs/" + hub, Transport: k.transport, Protocol: k.protocol}))
	}
	b := c.backend(t, hub)
	b.toAll("before")
	for _, conn := range conns {
		conn.Expect("message", "before")
	}
	// All that was written has reached the replica: with its tail, a failover is noticed by nobody.
	group.WaitReplicated(t)
	group.Primary.Kill()
	group.WaitPromoted(t)
	for _, n := range c.nodes {
		awaitReadiness(t, n, 200)
	}
	b.toAll("after")
	for _, conn := range conns {
		conn.Expect("message", "after")
		if events := conn.Events(); len(events) > 0 {
			t.Errorf("over %s the failover was noticed: %v", conn.Transport, events)
		}
	}
}
