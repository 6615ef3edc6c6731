package streams_test

import (
	"bytes"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// relay is a proxy in front of a server, which can lose answers, cut connections, and
// lead to another server.
type relay struct {
	tb       testing.TB
	listener net.Listener

	mu sync.Mutex
	// guarded by mu
	target string
	conns  map[net.Conn]struct{}
	lose   bool // the next answer, and its connection
	die    bool // when it is lost, as shut
	lost   int  // answers
	down   bool
}

func startRelay(tb testing.TB, target string) *relay {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	r := &relay{tb: tb, listener: l, target: target, conns: map[net.Conn]struct{}{}}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { r.serve(conn) })
		}
	})
	tb.Cleanup(func() {
		l.Close()
		r.cut()
		running.Wait()
	})
	return r
}

func (r *relay) addr() string { return r.listener.Addr().String() }

func (r *relay) serve(client net.Conn) {
	defer client.Close()
	r.mu.Lock()
	target, down := r.target, r.down
	r.mu.Unlock()
	if down {
		return
	}
	server, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer server.Close()
	r.mu.Lock()
	r.conns[client], r.conns[server] = struct{}{}, struct{}{}
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.conns, client)
		delete(r.conns, server)
		r.mu.Unlock()
	}()
	var loads atomic.Bool
	go func() {
		io.Copy(io.MultiWriter(infoFinder{&loads}, server), client)
		server.Close()
	}()
	buffer := make([]byte, 64<<10)
	for greeted := false; ; greeted = true {
		n, err := server.Read(buffer)
		if err != nil || (greeted && !loads.Load() && r.loses()) {
			return
		}
		if _, err := client.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// infoFinder tells whether INFO was asked for, with which the connection begins that scripts are loaded on: beside the test, at any time.
type infoFinder struct{ found *atomic.Bool }

func (f infoFinder) Write(request []byte) (int, error) {
	if bytes.Contains(request, []byte("\r\nINFO\r\n")) {
		f.found.Store(true)
	}
	return len(request), nil
}

func (r *relay) loses() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	lose := r.lose
	if lose {
		r.lose = false
		r.lost++
		if r.die {
			r.down = true
			for conn := range r.conns {
				conn.Close()
			}
		}
	}
	return lose
}

// loseAnswer makes the next answer vanish after its request was forwarded. The answer
// to a connection's greeting is not counted, nor are those that nobody waits for (scripts being loaded).
func (r *relay) loseAnswer() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lose = true
}

// loseAnswerAndDie is loseAnswer, and then shut.
func (r *relay) loseAnswerAndDie() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lose, r.die = true, true
}

// wantLost checks how many answers have been lost.
func (r *relay) wantLost(n int) {
	r.tb.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lost != n {
		r.tb.Errorf("%d answers were lost, want %d: the test tests nothing", r.lost, n)
	}
}

// cut closes every connection.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for conn := range r.conns {
		conn.Close()
	}
}

// lead makes new connections lead to another server.
func (r *relay) lead(target string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.target = target
}

// shut makes connections close as soon as they are accepted, as a proxy without a
// server behind it does; or ends that.
func (r *relay) shut(down bool) {
	r.mu.Lock()
	r.down = down
	r.mu.Unlock()
	if down {
		r.cut()
	}
}
