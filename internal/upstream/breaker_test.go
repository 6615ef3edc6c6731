package upstream_test

import (
	"context"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"hubstream/internal/upstream"
)

// A client that gives up says nothing of the upstream: were it counted as an answer, impatient clients of an upstream that hangs would
// keep it from ever being left alone.
func TestWhatIsCancelledIsNoAnswer(t *testing.T) {
	t.Parallel()
	c := server(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/chat/Hang" {
			_, _ = io.Copy(io.Discard, r.Body) // else nobody notices that the client has gone
			<-r.Context().Done()
		}
		panic(http.ErrAbortHandler)
	})
	for range 9 {
		_, err := c.Call(t.Context(), request())
		wantError(t, err, upstream.Failed, "")
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	hang := request()
	hang.Event = "Hang"
	_, err := c.Stream(ctx, hang)
	wantError(t, err, upstream.Cancelled, "")
	_, err = c.Call(t.Context(), request())
	wantError(t, err, upstream.Failed, "")
	_, err = c.Call(t.Context(), request())
	wantError(t, err, upstream.Broken, "left alone")
}

// A stream that does not begin in time is as bad as a call that is not answered.
func TestStreamsThatDoNotBeginBreakAnUpstream(t *testing.T) {
	t.Parallel()
	c := server(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}, func(c *upstream.Config) { c.Timeout = 30 * time.Millisecond })
	for range 10 {
		_, err := c.Stream(t.Context(), request())
		wantError(t, err, upstream.TimedOut, "")
	}
	_, err := c.Stream(t.Context(), request())
	wantError(t, err, upstream.Broken, "left alone")
}

// An upload is answered when its client ends it, which may be never. As the one call that tries an upstream again it must not keep all
// others waiting for that.
func TestAnUploadDoesNotHoldBackTheRest(t *testing.T) {
	t.Parallel()
	broken := atomic.Bool{}
	broken.Store(true)
	c := server(t, func(w http.ResponseWriter, r *http.Request) {
		if broken.Load() {
			panic(http.ErrAbortHandler)
		}
		_, _ = io.Copy(io.Discard, r.Body)
	})
	for range 10 {
		_, err := c.Call(t.Context(), request())
		wantError(t, err, upstream.Failed, "")
	}
	broken.Store(false)
	time.Sleep(5200 * time.Millisecond)

	reader, writer := io.Pipe()
	upload := request()
	upload.Body, upload.Stream = nil, reader
	done := make(chan error, 1)
	go func() {
		s, err := c.Stream(context.Background(), upload)
		if err == nil {
			s.Close()
		}
		done <- err
	}()
	_, _ = io.WriteString(writer, "{}\n") // returns when it is under way
	if _, err := c.Call(t.Context(), request()); err != nil {
		t.Errorf("while something is uploaded: %v", err)
	}
	writer.Close()
	if err := <-done; err != nil {
		t.Errorf("upload: %v", err)
	}
}
