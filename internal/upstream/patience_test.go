package upstream_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hubstream/internal/upstream"
)

// far is an upstream in fake time.
type far func(*http.Request) (*http.Response, error)

func (f far) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// bubble runs a test in fake time with a client of an upstream.
func bubble(t *testing.T, upstreams far, f func(t *testing.T, c *upstream.Client), change ...func(*upstream.Config)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f(t, client(t, "http://upstream", append(change, func(c *upstream.Config) { c.Transport = upstreams })...))
	})
}

func says(status int, text string) (*http.Response, error) {
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(text))}, nil
}

var errAway = errors.New("it is away")

// A client's messages wait until the upstream knows of it, or for half a minute; that it has gone is told for minutes. Meanwhile the upstream,
// which keeps failing, is left alone now and then.
func TestForHowLongEventsAreTold(t *testing.T) {
	bubble(t, func(*http.Request) (*http.Response, error) { return nil, errAway }, func(t *testing.T, c *upstream.Client) {
		for _, event := range []struct {
			name        string
			least, most time.Duration
		}{
			{upstream.EventConnected, 15 * time.Second, 30 * time.Second},
			{upstream.EventDisconnected, 4 * time.Minute, 5 * time.Minute},
		} {
			r := request()
			r.Category, r.Event = upstream.CategoryConnections, event.name
			began := time.Now()
			if _, err := c.Call(t.Context(), r); err == nil {
				t.Error("it was told")
			}
			if d := time.Since(began); d < event.least || d > event.most {
				t.Errorf("%s was told for %v, want %v to %v", event.name, d, event.least, event.most)
			}
		}
	})
}

// What an application answers says that it is there, whatever it is; that nobody is behind its proxy says that it is not.
func TestAnswersDoNotBreakAnUpstream(t *testing.T) {
	const limit = 8
	var status int
	var text string
	bubble(t, func(*http.Request) (*http.Response, error) { return says(status, text) }, func(t *testing.T, c *upstream.Client) {
		for _, answer := range []struct {
			status  int
			text    string
			outcome upstream.Outcome
		}{{200, "", ""}, {404, "", ""}, {500, "", ""}, {200, strings.Repeat("x", limit), ""}, {200, strings.Repeat("x", limit+1), upstream.TooLarge}} {
			status, text = answer.status, answer.text
			for range 20 {
				if _, err := c.Call(t.Context(), request()); err != nil || answer.outcome != "" {
					wantError(t, err, answer.outcome, "")
				}
			}
		}
		status, text = 503, ""
		for range 10 {
			if _, err := c.Call(t.Context(), request()); err != nil {
				t.Error(err)
			}
		}
		_, err := c.Call(t.Context(), request())
		wantError(t, err, upstream.Broken, "left alone")
	}, func(c *upstream.Config) { c.MaxAnswerBytes = limit })
}

// What was executed is not asked again.
func TestAnAnswerThatIsTooLargeIsAskedForOnce(t *testing.T) {
	var asked atomic.Int64
	bubble(t, func(*http.Request) (*http.Response, error) { asked.Add(1); return says(200, "four") }, func(t *testing.T, c *upstream.Client) {
		_, err := c.Call(t.Context(), request())
		wantError(t, err, upstream.TooLarge, "too large")
		if n := asked.Load(); n != 1 {
			t.Errorf("asked %d times", n)
		}
	}, func(c *upstream.Config) { c.MaxAnswerBytes, c.Retries = 3, 3 })
}

// Who does not get its turn in time is told so, and takes nobody's.
func TestACallThatDoesNotGetItsTurn(t *testing.T) {
	release := make(chan struct{})
	bubble(t, func(r *http.Request) (*http.Response, error) {
		if strings.HasSuffix(r.URL.Path, "Slow") {
			<-release
		}
		return says(200, "")
	}, func(t *testing.T, c *upstream.Client) {
		release = make(chan struct{})
		slow := request()
		slow.Event = "Slow"
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = c.Call(t.Context(), slow)
		}()
		synctest.Wait()
		began := time.Now()
		_, err := c.Call(t.Context(), request())
		wantError(t, err, upstream.Busy, "too many calls are under way")
		if d := time.Since(began); d != 5*time.Second {
			t.Errorf("waited for %v", d)
		}
		close(release)
		<-done
		if n := c.Counts(); n.Running != 0 || n.Waiting != 0 {
			t.Errorf("%d are under way and %d wait, with nobody there", n.Running, n.Waiting)
		}
		if _, err := c.Call(t.Context(), request()); err != nil {
			t.Error(err)
		}
	}, func(c *upstream.Config) { c.MaxCalls, c.Timeout = 1, 5*time.Second })
}

// A stream has its turn until it is closed, and none if it does not begin; one that begins says that the upstream is there again.
func TestStreamsMakeRoomForOthers(t *testing.T) {
	var away atomic.Bool
	var last *http.Request
	bubble(t, func(r *http.Request) (*http.Response, error) {
		if last = r; away.Load() {
			return nil, errAway
		}
		return says(200, "")
	}, func(t *testing.T, c *upstream.Client) {
		begins := func() {
			t.Helper()
			s, err := c.Stream(t.Context(), request())
			if err != nil {
				t.Fatal(err)
			}
			if err := last.Context().Err(); err != nil {
				t.Errorf("the request ends before its stream: %v", err)
			}
			if n := c.Counts().Running; n != 1 {
				t.Errorf("%d are under way", n)
			}
			s.Close()
			s.Close()
			if last.Context().Err() == nil {
				t.Error("a stream that was closed goes on")
			}
		}
		for range 3 {
			begins()
		}
		away.Store(true)
		for range 10 {
			_, err := c.Stream(t.Context(), request())
			wantError(t, err, upstream.Failed, "")
		}
		for range 3 {
			_, err := c.Stream(t.Context(), request())
			wantError(t, err, upstream.Broken, "left alone")
		}
		away.Store(false)
		time.Sleep(6 * time.Second)
		for range 3 {
			begins()
		}
		if n := c.Counts(); n.Running != 0 || n.Broken["upstream"] != 0 || n.Calls["messages"][upstream.OK] != 6 || n.Calls["messages"][upstream.Failed] != 10 {
			t.Errorf("counted %+v", n)
		}
	}, func(c *upstream.Config) { c.MaxStreams, c.Timeout = 1, 5*time.Second })
}

// The time for a call is none for an upload, which is answered when its client ends it.
func TestAnUploadMayTakeItsTime(t *testing.T) {
	bubble(t, func(r *http.Request) (*http.Response, error) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return nil, err
		}
		return says(200, "")
	}, func(t *testing.T, c *upstream.Client) {
		reader, writer := io.Pipe()
		r := request()
		r.Body, r.Stream = nil, reader
		go func() {
			_, _ = io.WriteString(writer, "{}\n")
			time.Sleep(time.Minute)
			_ = writer.Close()
		}()
		s, err := c.Stream(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
	}, func(c *upstream.Config) { c.Timeout = 5 * time.Second })
}

// A rule's header, which may be what lets the request in, goes along, and an event's number.
func TestARequestHasItsRulesHeader(t *testing.T) {
	var got http.Header
	bubble(t, func(r *http.Request) (*http.Response, error) { got = r.Header; return says(200, "") }, func(t *testing.T, c *upstream.Client) {
		for sequence, want := range map[uint64]string{0: "", 7: "7"} {
			r := request()
			r.Sequence = sequence
			if _, err := c.Call(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			if got.Get("Authorization") != "Bearer x" || got.Get("X-Hubstream-Sequence") != want {
				t.Errorf("number %d: %v", sequence, got)
			}
		}
	}, func(c *upstream.Config) { c.Rules[0].Header = http.Header{"Authorization": {"Bearer x"}} })
}
