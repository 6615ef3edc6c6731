package rawclient

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/r3labs/sse/v2"
	"gopkg.in/cenkalti/backoff.v1"
)

// Events is a server-sent event stream as r3labs' independent client reads it.
type Events struct {
	tb      testing.TB
	records chan string // without their separators; closed at the stream's end
	cancel  context.CancelFunc
	Header  http.Header
}

// eventLimit is the longest event that the client takes; its default of 64 KiB ends the stream.
const eventLimit = 1 << 20 // 1 MiB

// TryEvents opens the event stream of a negotiated connection; a refusal is returned with its status.
func (h *HubClient) TryEvents(token string) (*Events, int, error) {
	ctx, cancel := context.WithCancel(h.tb.Context())
	client := sse.NewClient(h.With(token), sse.ClientMaxBufferSize(eventLimit))
	client.Connection = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	client.ReconnectStrategy = &backoff.StopBackOff{} // a token must not be used twice
	e := &Events{tb: h.tb, records: make(chan string, 1024), cancel: cancel}
	opened := make(chan int, 1)
	client.ResponseValidator = func(_ *sse.Client, resp *http.Response) error {
		e.Header = resp.Header
		opened <- resp.StatusCode
		if resp.StatusCode != http.StatusOK {
			resp.Body.Close()
			return errors.New(resp.Status)
		}
		return nil
	}
	done := make(chan error, 1)
	go func() {
		done <- client.SubscribeRawWithContext(ctx, func(event *sse.Event) {
			for _, r := range Records(string(event.Data)) {
				e.records <- r
			}
		})
		close(e.records)
	}()
	select {
	case status := <-opened:
		if status != http.StatusOK {
			cancel()
			return nil, status, fmt.Errorf("event stream refused with %d", status)
		}
		return e, status, nil
	case err := <-done:
		cancel()
		return nil, 0, fmt.Errorf("event stream: no answer: %w", err)
	case <-time.After(Patience):
		cancel()
		return nil, 0, errors.New("event stream: no answer")
	}
}

// Events opens the stream or ends the test.
func (h *HubClient) Events(token string) *Events {
	h.tb.Helper()
	e, _, err := h.TryEvents(token)
	if err != nil {
		h.tb.Fatal(err)
	}
	return e
}

// OpenEvents negotiates, opens the stream and makes the handshake.
func (h *HubClient) OpenEvents() (*Events, Negotiated) {
	h.tb.Helper()
	n := h.Connect()
	e := h.Events(n.Token())
	if a := h.Post(n.Token(), Handshake); a.Status != http.StatusOK {
		h.tb.Fatalf("handshake: %d %s", a.Status, a.Body)
	}
	if got := e.Next(); got != "{}" {
		h.tb.Fatalf("handshake: got %q", got)
	}
	return e, n
}

// Next waits for the next record that is no ping.
func (e *Events) Next() string {
	e.tb.Helper()
	deadline := time.After(Patience)
	for {
		select {
		case r, open := <-e.records:
			if !open {
				e.tb.Fatal("the event stream has ended")
			}
			if r != strings.TrimSuffix(Ping, Separator) {
				return r
			}
		case <-deadline:
			e.tb.Fatalf("no event within %v", Patience)
		}
	}
}

// Expect waits for the next record and compares it.
func (e *Events) Expect(want string) {
	e.tb.Helper()
	if got := e.Next(); got != want {
		e.tb.Fatalf("next record: got %q, want %q", got, want)
	}
}

// ExpectEnd reads to the stream's end and returns what came before it.
func (e *Events) ExpectEnd(limit time.Duration) (records []string) {
	e.tb.Helper()
	deadline := time.After(limit)
	for {
		select {
		case r, open := <-e.records:
			if !open {
				return records
			}
			records = append(records, r)
		case <-deadline:
			e.tb.Fatalf("the stream did not end within %v; got %q", limit, records)
		}
	}
}

// Cancel closes the stream from this side.
func (e *Events) Cancel() { e.cancel() }

// RawEvents is an event stream as bytes.
type RawEvents struct {
	Answer
	tb     testing.TB
	in     *bufio.Reader
	cancel context.CancelFunc
}

// RawEvents opens the stream for a look at its bytes.
func (h *HubClient) RawEvents(token string) *RawEvents {
	h.tb.Helper()
	ctx, cancel := context.WithCancel(h.tb.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, h.With(token), nil)
	if err != nil {
		h.tb.Fatal(err)
	}
	r.Header.Set("Accept", "text/event-stream")
	r.Header.Set("Accept-Encoding", "gzip") // an offer that must be declined
	timer := time.AfterFunc(Patience, cancel)
	resp, err := httpClient.Do(r)
	if err != nil {
		h.tb.Fatal(err)
	}
	h.tb.Cleanup(func() { timer.Stop(); cancel(); resp.Body.Close() })
	return &RawEvents{Answer: Answer{Status: resp.StatusCode, Header: resp.Header}, tb: h.tb, in: bufio.NewReader(resp.Body), cancel: cancel}
}

// ExpectBytes reads exactly as many bytes as want has, and compares them.
func (r *RawEvents) ExpectBytes(want string) {
	r.tb.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(r.in, got); err != nil || string(got) != want {
		r.tb.Fatalf("got %q (%v), want %q", got[:n], err, want)
	}
}

// NextEvent reads one event up to its empty line.
func (r *RawEvents) NextEvent() string {
	r.tb.Helper()
	var event strings.Builder
	for {
		line, err := r.in.ReadString('\n')
		if err != nil {
			r.tb.Fatalf("after %q: %v", event.String()+line, err)
		}
		event.WriteString(line)
		if strings.Trim(line, "\r\n") == "" {
			return event.String()
		}
	}
}

// Rest reads to the stream's end.
func (r *RawEvents) Rest() (string, error) {
	b, err := io.ReadAll(r.in)
	return string(b), err
}
