package streams

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// workerLease is how long a worker's lists stay its own without a sign of life.
	workerLease = 10 * time.Second
	// workLinger is how long a node keeps its lease in a bucket after it last worked there.
	workLinger = time.Minute
	// adoptContact is how long the store must have been in reach before this node takes work from others, which may only
	// not have been able to renew their leases.
	adoptContact = 15 * time.Second
	adoptBatch   = 500
	// acceptLimit is how many of a connection's messages may wait to be executed.
	acceptLimit = 256
)

// employed is what a node does for connections' work.
type employed struct {
	worker    atomic.Pointer[employee] // nil: none
	dismissed atomic.Bool              // it takes no more

	mu      sync.Mutex
	buckets map[int]time.Time // in which it works, since when last
	calls   map[string]chan<- *Entry
	gone    map[string][]chan<- *Entry // by connection
}

// employee is this node's worker.
type employee struct {
	token string
	work  func(hub, id string)
}

func (e *employed) tell(hub, id string) {
	if w := e.worker.Load(); w != nil {
		w.work(hub, id)
	}
}

// Employ makes the node execute connections' work: work is called, as Attach's wake is, when there may be
// some of a connection for NextWork. To be called once.
func (n *Node) Employ(work func(hub, id string)) {
	n.employed.worker.Store(&employee{token: n.NewOwner(), work: work})
}

// Dismiss makes the node take no more work: it may finish or release what it has, and what comes is for other nodes.
func (n *Node) Dismiss() { n.employed.dismissed.Store(true) }

// takes tells whether the node takes work.
func (e *employed) takes() bool { return e.worker.Load() != nil && !e.dismissed.Load() }

// taker is the node's worker for a step that may give it a connection's work, if it takes any.
func (n *Node) taker(hubName string) Worker {
	if !n.employed.takes() {
		return Worker{}
	}
	return n.worker(hubName)
}

// worker is the node's worker, whose lease in the hub's bucket is kept from now on. None, if the node has none.
func (n *Node) worker(hubName string) Worker {
	e := &n.employed
	w := e.worker.Load()
	if w == nil {
		return Worker{}
	}
	e.mu.Lock()
	e.buckets[Bucket(hubName)] = time.Now()
	e.mu.Unlock()
	return Worker{Token: w.token, Lease: workerLease}
}

// keepWorker renews the leases.
func (n *Node) keepWorker(ctx context.Context) {
	e := &n.employed
	w := e.worker.Load()
	if w == nil {
		return
	}
	e.mu.Lock()
	var buckets []int
	for b, at := range e.buckets {
		if time.Since(at) > workLinger {
			delete(e.buckets, b)
			continue
		}
		buckets = append(buckets, b)
	}
	e.mu.Unlock()
	for _, b := range buckets {
		if n.store.KeepWorker(ctx, b, Worker{Token: w.token, Lease: workerLease}) != nil {
			return
		}
	}
}

// adoptWork takes the work of workers that are gone, and looks at what this node's worker has already: it may have got that in a step
// whose answer was lost, and not know.
func (n *Node) adoptWork(ctx context.Context, hubName string) {
	if !n.employed.takes() || !n.contact.lasts(min(n.cfg.Contact, adoptContact)) {
		return
	}
	for cursor := ""; ; {
		reply, err := n.store.Adopt(ctx, hubName, AdoptRequest{Worker: n.worker(hubName), Cursor: cursor, Limit: adoptBatch})
		if err != nil {
			return
		}
		for _, id := range reply.IDs {
			n.employed.tell(hubName, id)
		}
		if cursor = reply.Next; cursor == "" {
			return
		}
	}
}

// bell is the entry that tells of more work.
func bell(id string) []byte {
	return AppendEntry(nil, &Entry{Kind: KindWork, Connections: []string{id}})
}

// Accept adds what a client has sent to its work; see AcceptRequest, of which it fills in Limit, Worker and Bell, and Token if it is
// empty: who repeats a call whose outcome is not known gives the same.
func (n *Node) Accept(ctx context.Context, hubName string, r AcceptRequest) error {
	r.Limit, r.Bell, r.Worker = acceptLimit, bell(r.ID), n.taker(hubName)
	if r.Token == "" {
		r.Token = random64()
	}
	run, err := n.store.Accept(ctx, hubName, r)
	if run || errors.Is(err, ErrUnavailable) { // then it may be this worker's all the same
		n.employed.tell(hubName, r.ID)
	}
	return err
}

// NextWork finishes an item of a connection's work and returns the next; see NextRequest, of which it fills in Worker. ErrOwner
// if this node does not have the work.
func (n *Node) NextWork(ctx context.Context, hubName string, r NextRequest) (NextReply, error) {
	r.Worker = n.worker(hubName).Token
	return n.store.NextWork(ctx, hubName, r)
}

// ReleaseWork gives up a connection's work for another node.
func (n *Node) ReleaseWork(ctx context.Context, hubName, id string) error {
	free := AppendEntry(nil, &Entry{Kind: KindWork, Flags: FlagFree, Connections: []string{id}})
	_, err := n.NextWork(ctx, hubName, NextRequest{ID: id, Release: true, Bell: free})
	return err
}

// Reply appends what a call in the background has to say; see ReplyRequest, of which it fills in Worker.
func (n *Node) Reply(ctx context.Context, hubName string, r ReplyRequest) (ReplyReply, error) {
	r.Worker = n.worker(hubName).Token
	return n.store.Reply(ctx, hubName, r)
}

// Watch makes the node follow the hub's log until release is called, so that it is told of work and of results.
func (n *Node) Watch(ctx context.Context, hubName string) (release func(), err error) {
	h := n.acquire(hubName)
	for range maxAttachTries {
		if err = h.verify(ctx); err != nil {
			break
		}
		var reply RangeReply
		if reply, err = n.store.Range(ctx, hubName, Position{}, 1); err != nil {
			break
		}
		if err = h.tail(ctx, reply.Gen, reply.Last); !errors.Is(err, errWindowMoved) {
			break
		}
	}
	if err != nil {
		h.release()
		return nil, err
	}
	return sync.OnceFunc(h.release), nil
}

// forNodes tells whether an entry is of interest to nodes, and not only to connections.
func forNodes(e *Entry) bool {
	return e.Kind == KindWork || e.Kind == KindResult || e.Kind == KindClose && e.Flags&FlagEnded != 0
}

// tell passes on an entry that is for nodes.
func (n *Node) tell(hubName string, e *Entry) {
	if len(e.Connections) != 1 {
		return
	}
	id, employed := e.Connections[0], &n.employed
	switch e.Kind {
	case KindWork:
		if e.Flags&FlagFree != 0 {
			if employed.takes() { // not what this node itself gives up when it stops
				go n.adoptOne(hubName, id)
			}
			return
		}
		employed.tell(hubName, id)
	case KindResult:
		if len(e.Named) != 1 {
			return
		}
		employed.mu.Lock()
		defer employed.mu.Unlock()
		employed.offer(employed.calls[hubName+"\n"+id+"\n"+e.Named[0]], e)
	case KindClose:
		employed.mu.Lock()
		defer employed.mu.Unlock()
		for _, waiting := range employed.gone[hubName+"\n"+id] {
			employed.offer(waiting, e)
		}
	}
}

// offer does not wait: the first answer is the one that counts.
func (e *employed) offer(to chan<- *Entry, entry *Entry) {
	select {
	case to <- entry:
	default:
	}
}

func (n *Node) adoptOne(hubName, id string) {
	ctx, cancel := context.WithTimeout(context.Background(), workerLease)
	defer cancel()
	reply, err := n.store.Adopt(ctx, hubName, AdoptRequest{Worker: n.worker(hubName), ID: id})
	if err == nil && len(reply.IDs) > 0 {
		n.employed.tell(hubName, id)
	}
}

// CallPrefix begins the IDs of calls of clients, which no client's own begin with.
const CallPrefix = "s-"

// Call sends a connection a message that its client answers, and waits for the KindResult entry that is the answer. message
// makes it, with the call's ID. ErrGone if there is no such connection, or when it ends; the context's error at its end.
func (n *Node) Call(ctx context.Context, hubName, id string, message func(callID string) (*Entry, error)) (*Entry, error) {
	release, err := n.Watch(ctx, hubName)
	if err != nil {
		return nil, err
	}
	defer release()
	callID := CallPrefix + random64()
	e, err := message(callID)
	if err != nil {
		return nil, err
	}
	answer := make(chan *Entry, 1)
	defer n.employed.await(hubName, id, callID, answer)()
	reply, err := n.store.Lookup(ctx, hubName, id) // only now: of an end from here on there will be an entry
	switch {
	case err != nil:
		return nil, err
	case reply.Record.State != StateOpen:
		return nil, fmt.Errorf("%w: it is %s", ErrGone, reply.Record.State)
	}
	if _, err := n.Publish(ctx, hubName, e); err != nil {
		return nil, err
	}
	select {
	case e := <-answer:
		if e.Kind == KindClose {
			return nil, ErrGone
		}
		return e, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// await has the answer of a call, or the end of its connection, sent to a channel until stop.
func (e *employed) await(hubName, id, callID string, answer chan<- *Entry) (stop func()) {
	call, connection := hubName+"\n"+id+"\n"+callID, hubName+"\n"+id
	e.mu.Lock()
	defer e.mu.Unlock()
	e.calls[call] = answer
	e.gone[connection] = append(e.gone[connection], answer)
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.calls, call)
		e.gone[connection] = slices.DeleteFunc(e.gone[connection], func(c chan<- *Entry) bool { return c == answer })
		if len(e.gone[connection]) == 0 {
			delete(e.gone, connection)
		}
	}
}
