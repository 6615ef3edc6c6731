package relay_test

import (
	"bufio"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"hubstream/integration/internal/relay"
)

// echo answers every line with itself.
func echo(t *testing.T) (addr string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				io.Copy(conn, conn)
			}()
		}
	}()
	return l.Addr().String()
}

func dial(t *testing.T, addr string) (net.Conn, *bufio.Reader) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	return conn, bufio.NewReader(conn)
}

func TestRelayPassesHoldsAndCuts(t *testing.T) {
	r := relay.Start(t, echo(t))
	conn, in := dial(t, r.Addr)
	expect := func(want string) {
		t.Helper()
		if got, err := in.ReadString('\n'); err != nil || got != want {
			t.Fatalf("got %q, %v; want %q", got, err, want)
		}
	}
	io.WriteString(conn, "a\n")
	expect("a\n")

	r.Hold()
	io.WriteString(conn, "b\n")
	conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := in.ReadByte(); !os.IsTimeout(err) {
		t.Fatalf("something passed a relay that holds: %v", err)
	}
	conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	r.Release()
	expect("b\n")

	r.Latency(50 * time.Millisecond)
	start := time.Now()
	io.WriteString(conn, "c\n")
	expect("c\n")
	if took := time.Since(start); took < 100*time.Millisecond {
		t.Errorf("an echo with 50 ms each way took %v", took)
	}

	r.Cut()
	if _, err := in.ReadByte(); err == nil {
		t.Fatal("a cut connection still delivers")
	}
	r.Refuse(true)
	refused, err := net.Dial("tcp", r.Addr)
	if err != nil {
		return // reset before it was seen to be open
	}
	defer refused.Close()
	refused.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := refused.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Fatalf("a refused connection is open: %v", err)
	}
}
