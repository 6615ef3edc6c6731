package transports

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"time"

	"hubstream/internal/sleep"
	"hubstream/streams"
)

// works are the connections whose work this node executes now; see docs/architecture.md, "From client to server".
type works struct {
	mu       sync.Mutex
	sessions map[string]*session // by hub and connection
	stopped  bool
	running  sync.WaitGroup

	stopping chan struct{} // closed when nothing new is begun
	ctx      context.Context
	cancel   context.CancelFunc // ends what is under way
}

func newWorks() *works {
	w := &works{sessions: map[string]*session{}, stopping: make(chan struct{})}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	return w
}

// session executes one connection's work, for as long as there is some. One goroutine takes the items in their order;
// calls that go on in the background have one each.
type session struct {
	// static
	s       *Server
	hub, id string
	bell    chan struct{} // rings when there may be more

	// owned by run
	who     client
	begun   bool
	release func() // of the hub's log, which is followed while calls go on

	mu    sync.Mutex
	calls map[string]*call // by name; guarded by mu
}

// work makes sure that a connection's work is looked at. It does not block.
func (s *Server) work(hub, id string) {
	w := s.works
	w.mu.Lock()
	defer w.mu.Unlock()
	key := hub + "\n" + id
	one := w.sessions[key]
	if one == nil {
		if w.stopped {
			return // another node adopts it
		}
		one = &session{s: s, hub: hub, id: id, bell: make(chan struct{}, 1), calls: map[string]*call{}}
		w.sessions[key] = one
		w.running.Go(one.run)
	}
	ring(one.bell)
}

// leave ends the session, unless the bell has rung meanwhile or it must.
func (w *session) leave(must bool) bool {
	all := w.s.works
	all.mu.Lock()
	defer all.mu.Unlock()
	select {
	case <-w.bell:
		if !must {
			return false
		}
	default:
	}
	delete(all.sessions, w.hub+"\n"+w.id)
	return true
}

// idleLook is the pause between two looks at work whose calls go on in the background: the log tells when there is more, unless this
// node has lost its place there.
const idleLook = 5 * time.Second

func (w *session) run() {
	defer func() {
		if w.release != nil {
			w.release()
		}
	}()
	<-w.bell
	r := streams.NextRequest{ID: w.id}
	for {
		next, err := w.next(r)
		if err != nil { // it is another's, or nobody's, or this node stops
			w.endCalls(stoppedRunning)
			if w.leave(w.s.works.ctx.Err() != nil) {
				return
			}
			w.begun, r = false, streams.NextRequest{ID: w.id} // it has become this node's again
			continue
		}
		w.begin(next)
		r = streams.NextRequest{ID: w.id}
		switch {
		case next.Number > 0 && w.s.works.ctx.Err() == nil:
			done, start, ok := w.execute(next)
			if ok {
				r = done
			}
			if start != nil {
				w.start(start, &r)
			}
		case next.Number == 0 && len(next.Calls) == 0:
			if w.leave(false) {
				return
			}
		default:
			w.wait()
		}
	}
}

// wait returns when there may be more to do.
func (w *session) wait() {
	t := time.NewTimer(idleLook)
	defer t.Stop()
	select {
	case <-w.bell:
	case <-t.C:
	case <-w.s.works.ctx.Done():
	}
}

// next finishes an item and gets the next, for as long as it takes to reach the store. When the node stops, it gives the work up.
func (w *session) next(r streams.NextRequest) (streams.NextReply, error) {
	for {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(w.s.works.ctx), w.s.cfg.StoreTimeout)
		reply, err := w.s.node.NextWork(ctx, w.hub, r)
		if (err == nil && (reply.Number > 0 || len(reply.Calls) > 0) || isAway(err)) && w.s.works.ctx.Err() != nil {
			w.endCalls(stoppedRunning)
			_ = w.s.node.ReleaseWork(ctx, w.hub, w.id) // with the store away it is free when this node's lease has passed
			err = errStopping
		}
		cancel()
		if err == nil || !isAway(err) {
			return reply, err
		}
		_ = sleep.For(w.s.works.ctx, storeRetry)
	}
}

var errStopping = errors.New("the node is stopping")

// begin learns who the client is, and ends calls that another worker left behind.
func (w *session) begin(next streams.NextReply) {
	if w.begun {
		return
	}
	w.begun = true
	_ = json.Unmarshal([]byte(next.Context), &w.who) // what is missing is empty
	for _, name := range next.Calls {
		invocationID, answered := strings.CutPrefix(name, callByID)
		if !answered {
			invocationID = ""
		}
		orphan := &call{w: w, name: name, invocationID: invocationID, replies: orphanReplies, ctx: w.s.works.ctx}
		orphan.fail(stoppedRunning)
	}
}

// connectionEnded is why calls end with their connection.
const connectionEnded = "The connection has ended."

// stoppedRunning is what clients are told of streams that cannot be moved with the rest of their connection's work.
const stoppedRunning = "The node that ran the stream has stopped."

// orphanReplies is above the number of replies that any call has made.
const orphanReplies = 1 << 50

// stop ends all work on this node: what has begun may finish until ctx ends, and what is left is given up for other nodes.
func (w *works) stop(ctx context.Context) {
	w.mu.Lock()
	w.stopped = true
	w.mu.Unlock()
	idle := make(chan struct{})
	go func() { w.running.Wait(); close(idle) }()
	select {
	case <-idle:
	case <-ctx.Done():
	}
	w.cancel()
	<-idle
}
