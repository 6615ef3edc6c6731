package metrics_test

import (
	"fmt"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"hubstream/internal/metrics"
	"hubstream/internal/upstream"
	"hubstream/negotiate"
	"hubstream/streams"
	"hubstream/transports"
)

// upstreams is what calls an application.
var upstreams = func() *upstream.Client {
	template, err := upstream.ParseTemplate("http://a.example/", nil)
	if err != nil {
		panic(err)
	}
	return upstream.New(upstream.Config{Rules: []upstream.Rule{{Template: template}}})
}()

func serve(t *testing.T) (*metrics.Node, *streams.Node) {
	t.Helper()
	node := streams.NewNode(streams.NewMemory(streams.MemoryConfig{}), streams.Config{Name: "n1"})
	if err := node.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	keyring, err := negotiate.NewKeyring(negotiate.Secret(strings.Repeat("s", 32)))
	if err != nil {
		t.Fatal(err)
	}
	server := transports.NewServer(node, keyring, transports.Config{})
	t.Cleanup(func() { server.Drain(t.Context()) })
	n := &metrics.Node{
		Name: "n1", Version: "v1",
		Refusals: func() map[string]int64 { return map[string]int64{"invalid": 3} }, LinesDropped: func() int64 { return 2 },
		Upstream: func() *upstream.Client { return upstreams },
		State:    func() (bool, bool) { return true, false },
	}
	n.Serve(node, server)
	return n, node
}

func scrape(n *metrics.Node) string {
	w := httptest.NewRecorder()
	metrics.Handler(n).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return w.Body.String()
}

// What happens in hubs is counted, and never changes which series there are: their number is that of an idle node's.
func TestSeriesAreBounded(t *testing.T) {
	t.Parallel()
	n, node := serve(t)
	idle := series(scrape(n))
	for i := range 50 {
		e := &streams.Entry{Kind: streams.KindMessage, Users: []string{fmt.Sprint("user", i)}, Body: []byte("x")}
		if _, err := node.Publish(t.Context(), fmt.Sprint("hub", i), e); err != nil {
			t.Fatal(err)
		}
	}
	text := scrape(n)
	if busy := series(text); busy != idle {
		t.Errorf("%d series when idle, %d after 50 sends to 50 users of 50 hubs", idle, busy)
	}
	for _, want := range []string{
		"hubstream_sends_total 50", "hubstream_hubs 50", "hubstream_hubs_unread 0", `hubstream_errors_total{reason="invalid"} 3`,
		`hubstream_connections{transport="EventStream"} 0`, `hubstream_build_info{node="n1",version="v1"} 1`,
		"hubstream_serving 1", "go_goroutines", "process_resident_memory_bytes",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %s in:\n%s", want, text)
		}
	}
}

var ours = regexp.MustCompile(`(?m)^hubstream_.*$`)

func series(text string) int { return len(ours.FindAllString(text, -1)) }

// Deliveries and their delays follow what a follower is handed.
func TestDeliveriesAndDelaysAreCounted(t *testing.T) {
	t.Parallel()
	n, node := serve(t)
	woken := make(chan struct{}, 1)
	a, _, err := node.Follow(t.Context(), "chat", streams.Audience{}, streams.Receipt{}, func() { woken <- struct{}{} })
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.Detach(t.Context(), 0, streams.LeavingNone) }()
	if _, err := a.Next(t.Context(), nil, 1<<20); err != nil {
		t.Fatal(err)
	}
	if _, err := node.Publish(t.Context(), "chat", &streams.Entry{Kind: streams.KindMessage, Flags: streams.FlagAll, Body: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	for items := []*streams.Item(nil); len(items) == 0; {
		<-woken
		if items, err = a.Next(t.Context(), nil, 1<<20); err != nil {
			t.Fatal(err)
		}
	}
	text := scrape(n)
	for _, want := range []string{
		"hubstream_deliveries_total 1", "hubstream_publish_to_write_seconds_count 1", `hubstream_publish_to_write_seconds_bucket{le="+Inf"} 1`,
		`hubstream_connections{transport="EventStream"} 1`, `hubstream_attaches_total{transport="EventStream"} 1`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %s in:\n%s", want, text)
		}
	}
}

// Names, units and help are as Prometheus' guide wants them.
func TestNamesFollowPrometheusGuide(t *testing.T) {
	t.Parallel()
	n, _ := serve(t)
	problems, err := promlint.New(strings.NewReader(scrape(n))).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// A node that waits for its store says so, and has no counters that would seem to start again.
func TestNodeWithoutItsStore(t *testing.T) {
	t.Parallel()
	n := &metrics.Node{Name: "n1", Refusals: func() map[string]int64 { return nil }, LinesDropped: func() int64 { return 0 }, State: func() (bool, bool) { return false, false }}
	if text := scrape(n); !strings.Contains(text, "hubstream_serving 0") || strings.Contains(text, "hubstream_sends_total") {
		t.Errorf("got:\n%s", text)
	}
}
