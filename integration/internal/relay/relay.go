// Package relay is a TCP relay with faults: it stands between a client and a node, or between a node and Valkey, and
// cuts, holds back or delays what passes.
//
//	r := relay.Start(t, server.Addr)   // clients connect to r.Addr
//	r.Hold()                           // a black hole: nothing passes, nothing is closed
//	r.Release()
//	r.Cut()                            // every connection is reset; new ones are welcome
//	r.Refuse(true)                     // new connections are reset too
package relay

import (
	"net"
	"sync"
	"testing"
	"time"
)

// chunk is how many bytes one read takes; chunks in flight per direction bound what a slow reader makes us keep.
const (
	chunkBytes   = 16 << 10
	chunksQueued = 64
)

// Relay forwards between those who connect to Addr and its target. Its methods may be called concurrently.
type Relay struct {
	Addr string

	listener net.Listener
	wg       sync.WaitGroup

	mu      sync.Mutex // guards all below
	target  string
	refuse  bool
	closed  bool
	latency time.Duration
	open    chan struct{} // closed while bytes pass
	pairs   map[*pair]struct{}
}

type pair struct {
	near, far net.Conn
	once      sync.Once
	cut       chan struct{}
}

// Start relays to target, a host:port, until the test ends.
func Start(tb testing.TB, target string) *Relay {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	open := make(chan struct{})
	close(open)
	r := &Relay{Addr: l.Addr().String(), listener: l, target: target, open: open, pairs: map[*pair]struct{}{}}
	r.wg.Go(r.accept)
	tb.Cleanup(r.close)
	return r
}

func (r *Relay) close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.listener.Close()
	r.Release()
	r.Cut()
	r.wg.Wait()
}

// Target changes where new connections go.
func (r *Relay) Target(addr string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.target = addr
}

// Cut resets every open connection on both sides; bytes that are held or delayed are lost.
func (r *Relay) Cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for p := range r.pairs {
		p.reset()
	}
}

// Refuse makes new connections be reset at once, until Refuse(false).
func (r *Relay) Refuse(on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refuse = on
}

// Hold stops all bytes in both directions and closes nothing: a black hole to both ends. Since nothing is read either,
// the senders' buffers fill up.
func (r *Relay) Hold() {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.open:
		r.open = make(chan struct{})
	default: // held already
	}
}

// Release lets the bytes pass again, those held first.
func (r *Relay) Release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.open:
	default:
		close(r.open)
	}
}

// Latency delays every byte by d in each direction from now on, without changing the order.
func (r *Relay) Latency(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.latency = d
}

// Connections is how many connections are open.
func (r *Relay) Connections() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.pairs)
}

func (r *Relay) accept() {
	for {
		near, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.wg.Go(func() { r.serve(near) })
	}
}

func (r *Relay) serve(near net.Conn) {
	r.mu.Lock()
	refuse, target := r.refuse || r.closed, r.target
	r.mu.Unlock()
	if refuse {
		reset(near)
		return
	}
	far, err := net.DialTimeout("tcp", target, 5*time.Second)
	if err != nil {
		reset(near)
		return
	}
	p := &pair{near: near, far: far, cut: make(chan struct{})}
	r.mu.Lock()
	r.pairs[p] = struct{}{}
	if r.closed {
		p.reset()
	}
	r.mu.Unlock()

	var pumps sync.WaitGroup
	pumps.Go(func() { r.pump(p, near, far) })
	pumps.Go(func() { r.pump(p, far, near) })
	pumps.Wait()
	near.Close()
	far.Close()
	r.mu.Lock()
	delete(r.pairs, p)
	r.mu.Unlock()
}

type delayed struct {
	at    time.Time
	bytes []byte
}

// pump moves bytes from one side to the other until either ends. A half-close passes on as a half-close.
func (r *Relay) pump(p *pair, from, to net.Conn) {
	queue := make(chan delayed, chunksQueued)
	var writer sync.WaitGroup
	writer.Go(func() { r.write(p, queue, to) })
	for r.pass(p) {
		buf := make([]byte, chunkBytes)
		n, err := from.Read(buf)
		if n > 0 {
			r.mu.Lock()
			at := time.Now().Add(r.latency)
			r.mu.Unlock()
			select {
			case queue <- delayed{at, buf[:n]}:
			case <-p.cut:
			}
		}
		if err != nil {
			break
		}
	}
	close(queue)
	writer.Wait()
	if tcp, ok := to.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
	}
}

func (r *Relay) write(p *pair, queue <-chan delayed, to net.Conn) {
	for chunk := range queue {
		if wait := time.Until(chunk.at); wait > 0 {
			select {
			case <-time.After(wait):
			case <-p.cut:
			}
		}
		if !r.pass(p) {
			continue // cut: the rest is lost
		}
		if _, err := to.Write(chunk.bytes); err != nil {
			p.reset()
		}
	}
}

// pass waits while the relay holds, and says whether the pair still lives.
func (r *Relay) pass(p *pair) bool {
	r.mu.Lock()
	open := r.open
	r.mu.Unlock()
	select {
	case <-p.cut:
		return false
	case <-open:
	}
	select {
	case <-p.cut:
		return false
	default:
		return true
	}
}

func (p *pair) reset() {
	p.once.Do(func() {
		close(p.cut)
		reset(p.near)
		reset(p.far)
	})
}

func reset(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // close with RST
	}
	conn.Close()
}
