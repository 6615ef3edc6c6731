package web

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/r3labs/sse/v2"
)

const (
	feedInterval = 2 * time.Second
	// goneAfter is how long a node may be silent: two reports may be late.
	goneAfter = 7 * time.Second
	// keepReports is how long a node that has stopped is shown.
	keepReports = 10 * time.Minute
	// historyLength is how many events a page begins its charts with: five minutes.
	historyLength = 150
	// maxViewers limits the feed's viewers on a node.
	maxViewers = 200
	// viewerTimeout is how long one write to a viewer may take. A viewer that is slower ends, before the others
	// wait for it.
	viewerTimeout = 10 * time.Second
	reportTimeout = 3 * time.Second
	// lastReportTimeout is how long the node's end may wait for the others to be told of it: they notice without.
	lastReportTimeout = 500 * time.Millisecond

	streamName = "nodes"
)

// Feed reports this node's figures to the store, reads what the other nodes reported, and shows it to viewers.
type Feed struct {
	// static
	figures func() Report
	report  func(ctx context.Context, data []byte, keep time.Duration) ([]Told, error)
	server  *sse.Server
	kick    chan struct{}

	ctx     context.Context // of the viewers
	end     context.CancelFunc
	viewers sync.WaitGroup

	mu      sync.Mutex
	ended   bool
	count   int
	history [][]byte
}

// NewFeed returns a feed. figures returns what this node reports, and report does so, returning the reports of all nodes
// that are younger than keep. Run makes it work, Close ends it.
func NewFeed(figures func() Report, report func(ctx context.Context, data []byte, keep time.Duration) ([]Told, error)) *Feed {
	f := &Feed{figures: figures, report: report, server: sse.New(), kick: make(chan struct{}, 1)}
	f.server.AutoReplay = false // a page asks for the history once; events that it missed are in there
	f.server.CreateStream(streamName)
	f.ctx, f.end = context.WithCancel(context.Background())
	return f
}

// Run reports until ctx ends, and last that the node has stopped.
func (f *Feed) Run(ctx context.Context) {
	ticker := time.NewTicker(feedInterval)
	defer ticker.Stop()
	for {
		f.step(ctx, "")
		select {
		case <-ticker.C:
		case <-f.kick:
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastReportTimeout)
			defer cancel()
			f.step(last, StateStopped)
			return
		}
	}
}

// step reports once, and publishes what all have reported.
func (f *Feed) step(ctx context.Context, state string) {
	own := f.figures()
	if state != "" {
		own.State = state
	}
	data, err := json.Marshal(own)
	if err != nil {
		panic(fmt.Sprintf("web: %v", err)) // numbers and strings
	}
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	told, err := f.report(ctx, data, keepReports)
	event := snapshot{At: time.Now().UnixMilli(), Nodes: rowsOf(told)}
	if err != nil {
		event.Error = err.Error()
		event.Nodes = []nodeRow{{Name: own.Node, Report: data}} // it knows itself
	}
	shown, err := json.Marshal(event)
	if err != nil {
		panic(fmt.Sprintf("web: %v", err)) // what others wrote was checked
	}
	f.mu.Lock()
	f.history = append(f.history, shown)
	if len(f.history) > historyLength {
		f.history = f.history[1:]
	}
	f.mu.Unlock()
	f.server.TryPublish(streamName, &sse.Event{Data: shown})
}

// ServeHTTP shows the feed to one viewer.
func (f *Feed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !f.enter() {
		w.Header().Set("Retry-After", "5")
		http.Error(w, "the feed has no room, or the node is stopping", http.StatusServiceUnavailable)
		return
	}
	defer f.leave()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel() // without it the server's own goroutine for this viewer would stay
	defer context.AfterFunc(f.ctx, cancel)()
	r = r.Clone(ctx)
	r.URL.RawQuery = "stream=" + streamName
	r.Header.Del("Last-Event-ID")
	w.Header().Set("X-Accel-Buffering", "no")
	select {
	case f.kick <- struct{}{}: // so that the page need not wait
	default:
	}
	f.server.ServeHTTP(&viewer{ResponseWriter: w, rc: http.NewResponseController(w)}, r)
}

func (f *Feed) enter() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended || f.count >= maxViewers {
		return false
	}
	f.count++
	f.viewers.Add(1)
	return true
}

func (f *Feed) leave() {
	f.mu.Lock()
	f.count--
	f.mu.Unlock()
	f.viewers.Done()
}

// Close ends the viewers and waits for them. It may be called more than once.
func (f *Feed) Close() {
	f.mu.Lock()
	f.ended = true
	f.mu.Unlock()
	f.end()
	f.viewers.Wait()
	f.server.Close()
}

// serveHistory answers with the last minutes of the feed, oldest first.
func (f *Feed) serveHistory(w http.ResponseWriter) {
	f.mu.Lock()
	events := f.history
	f.mu.Unlock()
	body := []byte("[")
	for i, event := range events {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, event...)
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(body, ']'))
}

// viewer is a writer whose every write has a deadline. After one that failed none is tried: the feed's server
// ignores errors, and what it still has for this viewer would take as long again.
type viewer struct {
	http.ResponseWriter
	rc     *http.ResponseController
	failed error
}

func (v *viewer) Write(p []byte) (int, error) {
	if v.failed != nil {
		return 0, v.failed
	}
	_ = v.rc.SetWriteDeadline(time.Now().Add(viewerTimeout)) // a writer without deadlines, as in tests, does without
	n, err := v.ResponseWriter.Write(p)
	v.failed = err
	return n, err
}

func (v *viewer) Flush() { _ = v.rc.Flush() }
