package command_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"testing"

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
			r, err := c.measure(line)
			if err != nil || r.Sent == 0 || r.Delivered == 0 || r.Rate > 0 && r.Latency.Count == 0 || r.SendFailed > 0 || r.Connections != 20 {
				t.Fatalf("got %v, %+v", err, r)
			}
			if strings.Contains(line, "-cut-every") && (r.Cuts == 0 || r.Returns.Count == 0) {
				t.Errorf("nobody was cut off, or came back: %+v", r)
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

func TestBenchForPeople(t *testing.T) {
	t.Parallel()
	c := guarded(t)
	c.want(`(?s)connections +5 WebSockets, json, stateful;.*0 lost.*latency +p50 .*bench .*401`,
		"bench", "-hub", "load", "-connections", "5", "-warm", "0s", "-duration", "100ms", "-stateful")
	c.refused("-nodes", "bench", "-hub", "load", "-nodes", "http://127.0.0.1:1,nowhere")
	c.refused("-size", "bench", "-hub", "load", "-size", "1")
	c.refused("2 of 2 clients could not connect", "bench", "-hub", "load", "-connections", "2", "-nodes", "http://127.0.0.1:1")
}
