package proxytest_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"hubstream/integration/internal/proxytest"
)

// backends are three servers that answer with the Upgrade header they saw.
func backends(t *testing.T) (addrs []string) {
	for range 3 {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "upgrade="+r.Header.Get("Upgrade"))
		}))
		t.Cleanup(s.Close)
		addrs = append(addrs, s.Listener.Addr().String())
	}
	return addrs
}

func get(t *testing.T, url string, upgrade bool) (status int, node, body string) {
	t.Helper()
	r, err := http.NewRequest("GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if upgrade {
		r.Header.Set("Connection", "Upgrade")
		r.Header.Set("Upgrade", "websocket")
		r.Header.Set("Sec-WebSocket-Version", "13")
		r.Header.Set("Sec-WebSocket-Key", "MDEyMzQ1Njc4OWFiY2RlZg==")
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	b, _ := io.ReadAll(answer.Body)
	return answer.StatusCode, answer.Header.Get(proxytest.Header), string(b)
}

func TestSteadyProxyStaysWithAConnectionsNode(t *testing.T) {
	p := proxytest.HAProxy(t, backends(t), proxytest.Steady())
	all := map[string]bool{}
	for _, id := range strings.Split("a b c d e f g h i j", " ") {
		_, first, _ := get(t, p.URL+"/hub?id="+id, false)
		_, second, _ := get(t, p.URL+"/hub?_=1&id="+id, false)
		if first != second {
			t.Errorf("connection %s: node %s, then %s", id, first, second)
		}
		all[first] = true
	}
	if len(all) != 3 {
		t.Errorf("ten connections at %d nodes", len(all))
	}
}

func TestProxiesAreRoundRobinWithoutAffinity(t *testing.T) {
	for name, start := range proxies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := start(t, backends(t))
			seen := map[string]int{}
			for range 9 { // on one keep-alive connection
				status, node, _ := get(t, p.URL+"/hub?id=1", false)
				if status != http.StatusOK {
					t.Fatalf("got %d", status)
				}
				seen[node]++
			}
			if len(seen) != 3 {
				t.Errorf("9 requests reached %v, want 3 nodes", seen)
			}
			for end := time.Now().Add(5 * time.Second); len(p.Log()) < 9; time.Sleep(10 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("the log has %d lines, want 9", len(p.Log()))
				}
			}
			first := p.Log()[0]
			if !strings.HasPrefix(first, "200 GET /hub?id=1 127.0.0.1:") {
				t.Errorf("first line of the log: %q", first)
			}
		})
	}
}

func TestProxiesRefuseOrStripUpgrades(t *testing.T) {
	for name, start := range proxies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nodes := backends(t)
			if status, _, _ := get(t, start(t, nodes, proxytest.RefuseWebSockets()).URL, true); status != http.StatusForbidden {
				t.Errorf("refusing: got %d, want 403", status)
			}
			if _, _, body := get(t, start(t, nodes, proxytest.StripWebSockets()).URL, true); body != "upgrade=" {
				t.Errorf("stripping: the node saw %q", body)
			}
			if _, _, body := get(t, start(t, nodes).URL, true); body != "upgrade=websocket" {
				t.Errorf("plain: the node saw %q", body)
			}
		})
	}
}

var proxies = map[string]func(testing.TB, []string, ...proxytest.Option) *proxytest.Proxy{
	"haproxy": proxytest.HAProxy,
	"nginx":   proxytest.Nginx,
}
