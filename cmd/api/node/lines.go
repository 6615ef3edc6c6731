package node

import (
	"bytes"
	"io"
	"sync/atomic"
	"time"
)

const (
	// linePatience is how long a line waits to be written before it is left to be written later.
	linePatience = 500 * time.Millisecond
	// maxLines is how many lines wait for a reader that does not read; those that come then are dropped.
	maxLines = 1024
	// endPatience is how long the last lines may take when the node ends.
	endPatience = time.Second
)

// lines writes lines to a log whose reader may stand still, as a pipe's does or a disk: what logs must not stand still with it.
// A line is written before Write returns as long as the reader reads.
type lines struct {
	w       io.Writer
	dropped func(n int64) // is told, when the reader reads again, how many are missing

	queue   chan line
	behind  atomic.Bool  // the reader stands still: nobody waits for it
	missing atomic.Int64 // dropped, and not told yet
	total   atomic.Int64 // dropped in all

	end   chan struct{} // closed when no more lines are waited for
	ended chan struct{} // closed when no more are written
}

// line is one line, or several at once.
type line struct {
	text    []byte
	written chan struct{} // closed when it is
}

// newLines makes a writer to w, to which dropped may write, too. It must be closed.
func newLines(w io.Writer, dropped func(n int64)) *lines {
	l := &lines{w: w, dropped: dropped, queue: make(chan line, maxLines), end: make(chan struct{}), ended: make(chan struct{})}
	go l.run()
	return l
}

// Write implements io.Writer. It never fails: there is nobody to tell.
func (l *lines) Write(p []byte) (int, error) {
	next := line{bytes.Clone(p), make(chan struct{})}
	select {
	case l.queue <- next:
	default:
		l.missing.Add(1)
		l.total.Add(1)
		return len(p), nil
	}
	if l.behind.Load() {
		return len(p), nil
	}
	patience := time.NewTimer(linePatience)
	defer patience.Stop()
	select {
	case <-next.written:
	case <-l.ended:
	case <-patience.C:
		l.behind.Store(true)
	}
	return len(p), nil
}

func (l *lines) run() {
	defer close(l.ended)
	for {
		select {
		case next := <-l.queue:
			l.write(next)
		case <-l.end:
			for len(l.queue) > 0 {
				l.write(<-l.queue)
			}
			return
		}
	}
}

func (l *lines) write(next line) {
	if n := l.missing.Swap(0); n > 0 {
		l.dropped(n)
	}
	_, _ = l.w.Write(next.text)
	if len(l.queue) == 0 {
		l.behind.Store(false)
	}
	close(next.written)
}

// close is called once, and returns when all is written, or the reader has had its time: then a write may be left that nobody reads.
func (l *lines) close() {
	close(l.end)
	select {
	case <-l.ended:
	case <-time.After(endPatience):
	}
}
