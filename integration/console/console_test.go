// Package console_test uses the console as people do: in a real browser, on whole nodes.
package console_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"hubstream/integration/internal/jsclient"
	"hubstream/integration/internal/nodes"
	"hubstream/integration/internal/proxytest"
	"hubstream/integration/internal/rawclient"
	"hubstream/integration/valkeytest"
	"hubstream/negotiate/access"
	"hubstream/web"
)

func TestMain(m *testing.M) {
	code := m.Run()
	valkeytest.StopShared()
	nodes.RemoveBinary()
	os.Exit(code)
}

// scenarioTimeout ends a browser that hangs.
const scenarioTimeout = 3 * time.Minute

// browse plays a scenario of browser.js; do is what it may ask for.
func browse(t *testing.T, scenario string, options map[string]any, do map[string]func()) {
	t.Helper()
	if !web.Built() {
		t.Fatal("the console is not built: run scripts/web")
	}
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		if chromium, err = exec.LookPath("google-chrome"); err != nil {
			t.Fatal("chromium is missing: run scripts/setup")
		}
	}
	given, err := json.Marshal(options)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), scenarioTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "browser.js", scenario, string(given))
	cmd.Env = append(os.Environ(), "CHROMIUM="+chromium)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.WaitDelay = 5 * time.Second
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	last := ""
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		last = lines.Text()
		if f := do[last]; f != nil {
			f()
			_, _ = io.WriteString(stdin, "done\n")
		}
	}
	if err := cmd.Wait(); err != nil || last != "ok" {
		t.Errorf("%s: %v: %s\n%s", scenario, err, strings.ReplaceAll(last, " | ", "\n"), &stderr)
	}
}

func TestTryEveryTransportAndAudience(t *testing.T) {
	n := nodes.Start(t, nodes.Options{Name: "n1"})
	browse(t, "try", map[string]any{"url": n.URL, "hub": "chat", "nodes": []string{"n1"}}, nil)
}

func TestTryFallsBackWhereWebSocketsAreBlocked(t *testing.T) {
	valkey := valkeytest.Shared(t)
	one := nodes.Start(t, nodes.Options{Name: "n1", Valkey: valkey.Addr})
	two := nodes.Start(t, nodes.Options{Name: "n2", Valkey: valkey.Addr})
	proxy := proxytest.HAProxy(t, []string{one.Addr, two.Addr}, proxytest.RefuseWebSockets())
	browse(t, "fallback", map[string]any{"url": proxy.URL, "hub": "fallback", "nodes": []string{"n1", "n2"}}, nil)
}

func TestConsoleAsksForAnAdminKey(t *testing.T) {
	const key, admin = "an-access-key-of-the-tests", "an-admin-key-of-the-tests"
	n := nodes.Start(t, nodes.Options{Name: "n1", Args: []string{"-access-keys", key, "-admin-keys", admin}})
	token, err := access.Sign(key, access.Token{Audience: access.ClientAudience(n.URL, "chat"), User: "ada"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	browse(t, "keys", map[string]any{"url": n.URL, "hub": "chat", "key": admin, "token": token}, nil)
}

func TestLookBackAndOneConnection(t *testing.T) {
	n := nodes.Start(t, nodes.Options{Name: "n1"})
	browse(t, "lookback", map[string]any{"url": n.URL, "hub": "chat"}, nil)
}

// A stateful client comes back from a node that is drained, and from one that is killed.
func TestConnectionSaysWhyItsClientCameBack(t *testing.T) {
	valkey := valkeytest.Start(t)
	watches := nodes.Start(t, nodes.Options{Name: "watches", Valkey: valkey.Addr})
	do := map[string]func(){}
	var addrs []string
	for _, name := range []string{"n1", "n2", "n3"} {
		n := nodes.StartProcess(t, nodes.Options{Name: name, Valkey: valkey.Addr, Fast: true})
		addrs = append(addrs, n.Addr)
		do["drain "+name], do["kill "+name] = n.Drain, n.Kill
	}
	proxy := proxytest.HAProxy(t, addrs, proxytest.CheckHealth())
	conn := jsclient.Start(t).Open(t, jsclient.Options{URL: proxy.URL + "/hubs/returned", Transport: jsclient.WebSockets, Stateful: true})
	browse(t, "returned", map[string]any{"url": watches.URL, "hub": "returned", "id": conn.ConnectionID}, do)
}

func TestTablesAreInPagesAndAct(t *testing.T) {
	n := nodes.Start(t, nodes.Options{Name: "n1"})
	js := jsclient.Start(t)
	users := []string{"grace", "zoë", "zoë"}
	const others = 60
	for i := range others {
		users = append(users, fmt.Sprintf("user-%02d", i))
	}
	for _, user := range users {
		js.Open(t, jsclient.Options{URL: n.URL + "/hubs/chat?user=" + url.QueryEscape(user), Transport: jsclient.WebSockets})
	}
	browse(t, "tables", map[string]any{"url": n.URL, "hub": "chat", "connections": len(users), "users": others + 2}, nil)
}

func TestPageIsStrictAndFitsPhoneAndKeyboard(t *testing.T) {
	n := nodes.Start(t, nodes.Options{Name: "n1"})
	browse(t, "page", map[string]any{"url": n.URL}, nil)
}

func TestWatchChartsMoveAndAKilledNodeIsGone(t *testing.T) {
	valkey := valkeytest.Start(t)
	stays := nodes.Start(t, nodes.Options{Name: "n1", Valkey: valkey.Addr})
	victim := nodes.StartProcess(t, nodes.Options{Name: "n2", Valkey: valkey.Addr, Fast: true})
	drained := nodes.StartProcess(t, nodes.Options{Name: "n3", Valkey: valkey.Addr, Fast: true, Drain: 10 * time.Second})
	rawclient.Hub(t, drained.URL+"/hubs/watch").OpenWebSocket() // keeps the node busy draining
	js := jsclient.Start(t)
	traffic := func() {
		js.Open(t, jsclient.Options{URL: stays.URL + "/hubs/watch", Transport: jsclient.WebSockets})
		ctx := t.Context()
		go func() {
			for ctx.Err() == nil {
				send(ctx, stays.URL+"/api/hubs/watch/send")
				time.Sleep(50 * time.Millisecond) // some twenty a second
			}
		}()
	}
	browse(t, "watch", map[string]any{"url": stays.URL, "nodes": []string{"n1", "n2", "n3"}, "victim": "n2", "drained": "n3"},
		map[string]func(){"traffic": traffic, "kill": victim.Kill, "drain": drained.Drain})
}

// send sends one message; while nodes end it may fail.
func send(ctx context.Context, url string) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(`{"target":"message","arguments":[1]}`))
	if err != nil {
		return
	}
	r.Header.Set("Content-Type", "application/json")
	if answer, err := http.DefaultClient.Do(r); err == nil {
		_, _ = io.Copy(io.Discard, answer.Body)
		_ = answer.Body.Close()
	}
}
