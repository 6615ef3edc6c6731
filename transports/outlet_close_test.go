package transports

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"
)

// pair returns both ends of a connection.
func pair(t testing.TB) (here, there net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialed := make(chan net.Conn, 1)
	go func() {
		c, _ := net.Dial("tcp", l.Addr().String())
		dialed <- c
	}()
	if here, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	there = <-dialed
	t.Cleanup(func() { _ = here.Close(); _ = there.Close() })
	return here, there
}

func newOutlet(conn net.Conn) *outlet {
	s := &Server{cfg: Config{SendTimeout: time.Second}}
	s.writers.list = []*writer{{}}
	o := &outlet{}
	o.init(s, conn, s.writers.list[0].talker(nil))
	return o
}

// A connection that is closed while it is written to is closed after that, by who has written, and only once.
func TestCloseWaitsForTheWriteThatDoesNotWait(t *testing.T) {
	here, there := pair(t)
	o := newOutlet(here)
	o.hold()
	for range 2 {
		o.hangUp()
	}
	if _, err := here.Write([]byte("x")); err != nil {
		t.Fatalf("closed under a write: %v", err)
	}
	if o.letGo() || o.hold() {
		t.Error("may be written to after it was closed")
	}
	if _, err := here.Write([]byte("y")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a write after close: %v", err)
	}
	if got, err := io.ReadAll(there); string(got) != "x" || err != nil {
		t.Errorf("got %q %v, want what was written before", got, err)
	}
}

// Whoever gets the number of a file descriptor next is not written what was for the connection that had it.
func TestNothingIsWrittenToWhoeverComesNext(t *testing.T) {
	eachWay(t, func(t *testing.T, r *round) {
		company := crowd(t, 1)
		for range 200 {
			here, there := pair(t)
			go func() { _, _ = io.Copy(io.Discard, there) }()
			o := newOutlet(here)
			var both sync.WaitGroup
			both.Go(func() {
				for !o.isClosed() {
					o.state.Store(flushing)
					r.add(pendingWrite{outlet: o, out: []byte("for the one before"), complete: true})
					tell(r, company, ".")
				}
			})
			o.hangUp()
			read, write, err := os.Pipe() // takes the lowest numbers that are free
			if err != nil {
				t.Fatal(err)
			}
			both.Wait()
			_ = write.Close()
			if got, _ := io.ReadAll(read); len(got) > 0 {
				t.Fatalf("the next has got %.40q", got)
			}
			_ = read.Close()
			_ = there.Close()
			if _, err := here.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
				t.Fatalf("the connection is not closed: %v", err)
			}
		}
	})
}
