package web_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hubstream/streams"
)

// watcher is a viewer's end: it counts what it is written, or does not read at all.
type watcher struct {
	header http.Header
	stuck  bool
	end    context.CancelFunc // of the request, as net/http does when a write fails
	events atomic.Int64
	over   <-chan struct{} // the test is

	mu       sync.Mutex
	deadline time.Time
}

func (w *watcher) Header() http.Header { return w.header }
func (w *watcher) WriteHeader(int)     {}
func (w *watcher) Flush()              {}

func (w *watcher) SetWriteDeadline(t time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deadline = t
	return nil
}

func (w *watcher) Write(p []byte) (int, error) {
	if !w.stuck {
		if len(p) == 1 { // the line that ends an event
			w.events.Add(1)
		}
		return len(p), nil
	}
	w.mu.Lock()
	deadline := w.deadline
	w.mu.Unlock()
	if deadline.IsZero() {
		<-w.over // for ever
		return 0, os.ErrDeadlineExceeded
	}
	time.Sleep(time.Until(deadline))
	w.end()
	return 0, os.ErrDeadlineExceeded
}

// watch lets a viewer watch the feed; it has left when left is closed.
func watch(ctx context.Context, f http.Handler, stuck bool) (w *watcher, left chan struct{}) {
	ctx, cancel := context.WithCancel(ctx)
	w, left = &watcher{header: http.Header{}, stuck: stuck, end: cancel, over: ctx.Done()}, make(chan struct{})
	go func() {
		defer close(left)
		defer cancel()
		f.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil).WithContext(ctx))
	}()
	return w, left
}

// The server of the feed waits for whoever does not take an event, and with it all others would.
func TestAViewerThatDoesNotReadHoldsUpNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, stop := feedOf(t, streams.NewMemory(streams.MemoryConfig{}), "n1")
		defer stop()
		ctx, over := context.WithCancel(t.Context())
		defer over()
		_, gone := watch(ctx, f, true)
		reads, _ := watch(t.Context(), f, false)
		time.Sleep(time.Minute)
		select {
		case <-gone:
		default:
			t.Error("it is still there after a minute")
		}
		time.Sleep(9 * time.Minute)
		if got := reads.events.Load(); got < 290 || got > 310 { // one each two seconds
			t.Errorf("the other has seen %d events in ten minutes", got)
		}
	})
}

func TestViewersAreLimited(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, stop := feedOf(t, streams.NewMemory(streams.MemoryConfig{}), "n1")
		defer stop()
		ctx, leave := context.WithCancel(t.Context())
		for range 200 {
			watch(ctx, f, false)
		}
		synctest.Wait()
		w := httptest.NewRecorder()
		f.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
			t.Errorf("one more is answered %d %v", w.Code, w.Header())
		}
		leave()
		synctest.Wait()
		_, left := watch(t.Context(), f, false)
		synctest.Wait()
		select {
		case <-left:
			t.Error("there is no room when they have left")
		default:
		}
	})
}
