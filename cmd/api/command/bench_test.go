package command_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"hubstream/cmd/api/bench"
)

// measure runs hubstream bench. Latency and rates are whatever this machine has time for: what must be right is who gets what.
func (c *cli) measure(line string, args ...string) (r bench.Report, err error) {
	c.t.Helper()
	args = append([]string{"bench", "-hub", "load", "-json", "-connections", "20", "-warm", "100ms", "-duration", "1s", "-settle", "60s"}, args...)
	out, err := c.run(append(args, strings.Fields(line)...)...)
	if wrong := json.Unmarshal([]byte(out), &r); wrong != nil {
		c.t.Fatalf("%s: %v, %v: %s", line, err, wrong, out)
	}
	return r, err
}

func TestBenchFindsNothingWrong(t *testing.T) {
	t.Parallel()
	c := guarded(t)
	for _, line := range []string{
		"-under-way 4",
		"-under-way 4 -protocol messagepack -stateful",
		"-rate 100 -transport ServerSentEvents -groups 5",
		"-rate 100 -transport LongPolling -protocol messagepack -users 7",
		"-rate 100 -transport LongPolling -hubs 3 -groups 40 -group-size 3",
		"-rate 100 -slow 0.2 -size 20000",
		"-rate 100 -cut-every 200ms -cut-share 0.5 -transport ServerSentEvents -groups 5",
		"-rate 100 -cut-every 200ms -cut-share 0.5 -transport LongPolling",
	} {
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			c := &cli{t, c.env}
			var r bench.Report
			// A busy machine may come to nothing of what is to be sent in the time that is measured, or send too little to those who are cut off.
			for seconds, measured := 1, false; !measured; seconds *= 2 {
				var err error
				r, err = c.measure(line, "-duration", fmt.Sprintf("%ds", seconds))
				if err != nil || r.Sent == 0 || r.Delivered == 0 || r.SendFailed > 0 || r.Connections != 20 || seconds > 16 {
					t.Fatalf("got %v, %+v", err, r)
				}
				measured = r.Latency.Count > 0 && (!strings.Contains(line, "-cut-every") || r.Cuts > 0 && r.Returns.Count > 0)
			}
			if strings.Contains(line, "-under-way") && r.Delivered != 20*r.Sent {
				t.Errorf("%d sent to 20 clients, %d delivered", r.Sent, r.Delivered)
			}
			if len(r.Nodes) != 1 || !strings.Contains(r.Nodes[0].Error, "401") { // the metrics need the admin key
				t.Errorf("got %+v of the nodes", r.Nodes)
			}
		})
	}
}

func TestBenchReturnsToTheSameConnection(t *testing.T) {
	t.Parallel()
	c := &cli{t, nil}
	r, err := c.measure("-stateful -rate 200 -cut-every 100ms -cut-share 0.5", "-node", startNode(t))
	if err != nil || r.Cuts == 0 || r.Returns.Count == 0 || r.Refused != 0 || r.Delivered != 20*r.Sent {
		t.Errorf("got %v, %+v", err, r)
	}
	if len(r.Nodes) != 1 || r.Nodes[0].Error != "" || r.Nodes[0].Memory == 0 || r.Bench.Memory == 0 {
		t.Errorf("CPU and memory are not there: %+v, %+v", r.Bench, r.Nodes)
	}
}

// tamper is a proxy that loses the 2nd message, repeats the 4th, and exchanges the 6th and the 7th of those in answers to polls.
func tamper(t *testing.T, node string) string {
	t.Helper()
	target, err := url.Parse(node)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	seen, held := 0, []byte(nil)
	proxy.ModifyResponse = func(answer *http.Response) error {
		if answer.Request.Method != http.MethodGet {
			return nil
		}
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			return err
		}
		var tampered []byte
		for record := range bytes.SplitAfterSeq(body, []byte{0x1E}) {
			if !bytes.Contains(record, []byte(`"bench"`)) {
				tampered = append(tampered, record...)
				continue
			}
			switch seen++; seen {
			case 2:
				continue
			case 4:
				tampered = append(tampered, record...)
			case 6:
				held = record
				continue
			}
			tampered = append(append(tampered, record...), held...)
			held = nil
		}
		answer.Body = io.NopCloser(bytes.NewReader(tampered))
		answer.ContentLength = int64(len(tampered))
		answer.Header.Set("Content-Length", strconv.Itoa(len(tampered)))
		return nil
	}
	server := httptest.NewServer(proxy)
	t.Cleanup(server.Close)
	return server.URL
}

func TestBenchFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	c := &cli{t, nil}
	r, err := c.measure("-connections 1 -transport LongPolling -publishers 1 -rate 100 -duration 3s -settle 1s", "-node", tamper(t, startNode(t)))
	if err == nil || r.Lost != 1 || r.Repeated != 1 || r.Reordered != 1 {
		t.Errorf("got %v, %+v, want one lost, one repeated, one out of order", err, r)
	}
}

// slowly is a proxy that keeps the answers that match back for some time.
func slowly(t *testing.T, node string, by time.Duration, matches func(r *http.Request, body []byte) bool) string {
	t.Helper()
	target, err := url.Parse(node)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.ModifyResponse = func(answer *http.Response) error {
		body, err := io.ReadAll(answer.Body)
		if err == nil && matches(answer.Request, body) {
			time.Sleep(by)
		}
		answer.Body = io.NopCloser(bytes.NewReader(body))
		return err
	}
	server := httptest.NewServer(proxy)
	t.Cleanup(server.Close)
	return server.URL
}

func isDelivery(_ *http.Request, body []byte) bool { return bytes.Contains(body, []byte(`"bench"`)) }

func TestBenchLatencyHasWhatCameWhenTheTimeWasOver(t *testing.T) {
	t.Parallel()
	c := &cli{t, nil}
	const held = 1500 * time.Millisecond // longer than is measured
	r, err := c.measure("-connections 1 -transport LongPolling -rate 20 -duration 1s -warm 0s", "-node", slowly(t, startNode(t), held, isDelivery))
	if err != nil || r.Latency.Count == 0 || r.Latency.P50 < float64(held.Milliseconds()) {
		t.Errorf("got %v, %+v, want a latency of %v at least", err, r, held)
	}
}

func TestBenchSaysThatTheRateWasNotReached(t *testing.T) {
	t.Parallel()
	c := &cli{t, nil}
	node := slowly(t, startNode(t), 300*time.Millisecond, func(r *http.Request, _ []byte) bool { return strings.HasSuffix(r.URL.Path, "/send") })
	c.want(`sends +[\d.]+/s of 100\.0/s that were asked for;`, "bench", "-hub", "load", "-connections", "1", "-transport", "LongPolling", "-duration", "1s", "-warm", "0s",
		"-publishers", "1", "-rate", "100", "-node", node)
}

func TestBenchThatIsEndedEarlyHasLostNothing(t *testing.T) {
	t.Parallel()
	c := &cli{t, nil}
	ctx, end := context.WithCancel(t.Context())
	defer end()
	node := slowly(t, startNode(t), 500*time.Millisecond, func(r *http.Request, body []byte) bool {
		if !isDelivery(r, body) {
			return false
		}
		end() // while something is on its way
		return true
	})
	out, _, ended := c.start(ctx, "bench", "-hub", "load", "-connections", "1", "-transport", "LongPolling", "-duration", "1h", "-node", node)
	if err := <-ended; err != nil {
		t.Errorf("got %v: %s", err, out)
	}
}

func TestBenchKnowsThatANodeWasStartedAnew(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	metrics := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "process_cpu_seconds_total %d\n", 100/asked.Add(1))
	}))
	defer metrics.Close()
	c := &cli{t, nil}
	r, err := c.measure("-connections 1 -duration 100ms", "-node", startNode(t), "-metrics", metrics.URL)
	if err != nil || len(r.Nodes) != 1 || !strings.Contains(r.Nodes[0].Error, "anew") || r.Nodes[0].Cores != 0 {
		t.Errorf("got %v, %+v, want no CPU of the node", err, r.Nodes)
	}
}

func TestBenchForPeople(t *testing.T) {
	t.Parallel()
	c := guarded(t)
	c.want(`(?s)connections +5 WebSockets, json, stateful;.*0 lost.*latency +p50 .*bench .*401`,
		"bench", "-hub", "load", "-connections", "5", "-warm", "0s", "-duration", "100ms", "-stateful")
	c.refused("-nodes", "bench", "-hub", "load", "-nodes", "http://127.0.0.1:1,nowhere")
	c.refused("-size", "bench", "-hub", "load", "-size", "1")
	c.refused("2 of 2 clients could not connect", "bench", "-hub", "load", "-connections", "2", "-nodes", "http://127.0.0.1:1")
}
