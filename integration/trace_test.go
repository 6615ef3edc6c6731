package integration_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"hubstream/integration/internal/nodes"
	"hubstream/integration/internal/rawclient"
	"hubstream/integration/valkeytest"
	"hubstream/internal/traces/tracestest"
)

const (
	traceID    = "0af7651916cd43dd8448eb211c80319c"
	traceAfter = "00-" + traceID + "-b7ad6b7169203331-01"
)

// traced starts n1 and n2, whose spans go to one collector.
func traced(t *testing.T, sample string) (*cluster, *tracestest.Collector) {
	t.Helper()
	collector, valkey := tracestest.Start(t), valkeytest.Start(t)
	c := &cluster{}
	for _, name := range []string{"n1", "n2"} {
		c.nodes = append(c.nodes, nodes.Start(t, nodes.Options{
			Name: name, Valkey: valkey.Addr, Args: []string{"-trace-endpoint", collector.URL, "-trace-sample", sample},
		}))
	}
	return c, collector
}

func (c *cluster) sendTraced(t *testing.T, hub string, headers ...string) {
	t.Helper()
	a, err := rawclient.Do(t.Context(), http.MethodPost, c.nodes[0].URL+"/api/hubs/"+hub+"/send", `{"target":"message","arguments":["hello"]}`,
		append(headers, "Content-Type", "application/json")...)
	if err != nil || a.Status != http.StatusAccepted {
		t.Fatalf("got %d %s, %v", a.Status, a.Body, err)
	}
}

// One send is one trace: from the backend's span over the node that it was sent to, through the log, to the
// socket, event stream, poll and plain stream on another node.
func TestOneSendIsOneTraceOverTwoNodes(t *testing.T) {
	t.Parallel()
	c, collector := traced(t, "0")
	name := newHub(t)
	here := c.hub(t, name, 0)
	there := c.hub(t, name, 1)
	socket, _ := here.OpenWebSocket()
	other, _ := there.OpenWebSocket()
	events, _ := there.OpenEvents()
	polling := there.Connect()
	there.Poll(polling.Token())
	there.Post(polling.Token(), rawclient.Handshake)
	there.Poll(polling.Token())
	poll := there.StartPoll(polling.Token())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	plain, err := http.NewRequestWithContext(ctx, http.MethodGet, c.nodes[1].URL+"/api/hubs/"+name+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := http.DefaultClient.Do(plain)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()

	c.sendTraced(t, name, "traceparent", traceAfter)
	const want = `{"type":1,"target":"message","arguments":["hello"]}`
	socket.ExpectText(want + rawclient.Separator)
	other.ExpectText(want + rawclient.Separator)
	events.Expect(want)
	if a := poll.Answer(rawclient.Patience); !strings.Contains(a.Body, want) {
		t.Errorf("the poll is answered with %q", a.Body)
	}

	spans := collector.Wait(t, traceID, 7)
	byName := map[string][]tracestest.Span{}
	for _, s := range spans {
		byName[s.Name] = append(byName[s.Name], s)
	}
	request, appended, delivered := byName["POST /api/hubs/:hub/send"], byName["append "+name], byName["deliver "+name]
	if len(request) != 1 || len(appended) != 1 || len(delivered) != 5 {
		t.Fatalf("got %d, %d and %d spans: %+v", len(request), len(appended), len(delivered), spans)
	}
	if request[0].Parent != "b7ad6b7169203331" || request[0].Node != "n1" || appended[0].Parent != request[0].ID || appended[0].Node != "n1" {
		t.Errorf("the send's spans: %+v %+v", request[0], appended[0])
	}
	ways := map[string]int{}
	for _, d := range delivered {
		if d.Parent != appended[0].ID || d.Failed || d.End.Before(d.Start) {
			t.Errorf("a delivery: %+v", d)
		}
		ways[d.Node+" "+d.Attributes["hubstream.transport"]]++
	}
	for _, way := range []string{"n1 WebSockets", "n2 WebSockets", "n2 ServerSentEvents", "n2 LongPolling", "n2 EventStream"} {
		if ways[way] != 1 {
			t.Errorf("%d deliveries by %s, want 1: %v", ways[way], way, ways)
		}
	}
}

// Who sends may forbid a trace, and without a word nothing is traced that is not sampled.
func TestSendsThatAreNotSampledLeaveNoTrace(t *testing.T) {
	t.Parallel()
	c, collector := traced(t, "0")
	name := newHub(t)
	socket, _ := c.hub(t, name, 1).OpenWebSocket()
	c.sendTraced(t, name)
	c.sendTraced(t, name, "traceparent", strings.TrimSuffix(traceAfter, "01")+"00")
	c.sendTraced(t, name, "traceparent", traceAfter) // of which there are spans, so that we know when to look
	for range 3 {
		socket.ExpectText(`{"type":1,"target":"message","arguments":["hello"]}` + rawclient.Separator)
	}
	collector.Wait(t, traceID, 3)
	if spans := collector.Spans(""); len(spans) != 3 {
		t.Errorf("got %d spans, want 3: %+v", len(spans), spans)
	}
}
