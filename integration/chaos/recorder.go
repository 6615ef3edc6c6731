package chaos

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"hubstream/internal/sleep"
)

// recorder keeps one client's sessions. Its methods may be called concurrently.
type recorder struct {
	run *run

	// static
	name     string
	kind     Kind
	official bool
	hub      int
	user     string
	base     string // http://host:port of its relay

	stall atomic.Int64 // until when it does not read, in ns of the run

	mu       sync.Mutex
	frozen   bool // the run is over: nothing is recorded any more
	sessions []*Session
	current  *Session // nil between two
	notes    []string // what else happened to an official client
}

func (r *recorder) note(format string, args ...any) {
	text := fmt.Sprintf("%9.3fs %s: ", r.run.now().Seconds(), r.name) + fmt.Sprintf(format, args...)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notes = append(r.notes, text)
}

// begin begins a session, before its first request.
func (r *recorder) begin() *Session { return r.beginAt(r.run.now()) }

// beginAt begins a session that was begun before; one learns of it late where scripts are frozen.
func (r *recorder) beginAt(opening time.Duration) *Session {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &Session{Client: r.name, Kind: r.kind, Official: r.official, Hub: r.hub, User: r.user, Opening: opening}
	if !r.frozen {
		r.current = s
		r.sessions = append(r.sessions, s)
	}
	return s
}

// update changes the current session, if there is one.
func (r *recorder) update(change func(s *Session)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.current != nil && !r.frozen {
		change(r.current)
	}
}

// opened tells that the client knows that it is connected.
func (r *recorder) opened(connection string) {
	r.update(func(s *Session) { s.Connection, s.Opened = connection, r.run.now() })
}

func (r *recorder) received(m Message) {
	r.update(func(s *Session) {
		s.Received = append(s.Received, m)
		s.marked = s.marked || m.Publisher == finalPublisher
	})
}

// end ends the current session.
func (r *recorder) end(how End, reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.current == nil || r.frozen {
		return
	}
	r.current.End, r.current.Reason, r.current.Ended = how, reason, r.run.now()
	r.current = nil
}

// connected returns the ID of the connection, if it is open.
func (r *recorder) connected() (connection string, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.current == nil || r.current.Opened == 0 {
		return "", false
	}
	return r.current.Connection, r.current.Connection != ""
}

// complete tells whether the client has nothing to wait for: it has the final message, sent at a time, or began too late for it.
func (r *recorder) complete(final time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.current
	return s != nil && s.Opened != 0 && (s.marked && len(s.Completions) >= s.Invocations || s.Opened > final)
}

// freeze ends the recording, and returns all sessions.
func (r *recorder) freeze() []*Session {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.frozen = true
	if r.current != nil {
		r.current.Ended = r.run.now()
	}
	return r.sessions
}

// wait is called before every read: a stalled reader reads nothing for a while.
func (r *recorder) wait() {
	for {
		left := time.Duration(r.stall.Load()) - r.run.now()
		if left <= 0 || sleep.For(r.run.ctx, left) != nil {
			return
		}
	}
}

func (r *recorder) stallFor(d time.Duration) { r.stall.Store(int64(r.run.now() + d)) }
