package node_test

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"hubstream/integration/valkeytest"
)

// BenchmarkConnect is the way in of a client, over loopback: negotiation on a connection of its own, the connection, its handshake
// (an event stream's on a third), until the handshake's answer has come. "cpu-ns/op" is the process's CPU, the clients' included,
// "srv-ns/op" Valkey's.
func BenchmarkConnect(b *testing.B) {
	for _, store := range []string{"memory", "valkey"} {
		for name, connect := range map[string]func(*visitor){"websocket": (*visitor).webSocket, "events": (*visitor).events} {
			b.Run(name+"/"+store, func(b *testing.B) {
				var args []string
				var server *valkeytest.Server
				if store == "valkey" {
					server = valkeytest.Start(b)
					args = []string{"-valkey", server.Addr}
				}
				n := start(b, args...)
				visits(b, n, visitors, connect) // what is made once
				b.ReportAllocs()
				b.ResetTimer()
				var cpu, valkeys time.Duration
				// In lots, as both ends of all that are open are descriptors of this process.
				for left := b.N; left > 0; left -= lot {
					if server != nil {
						valkeys -= server.CPU()
					}
					cpu += visits(b, n, min(left, lot), connect)
					if server != nil {
						valkeys += server.CPU()
					}
				}
				b.ReportMetric(float64(cpu)/float64(b.N), "cpu-ns/op")
				if server != nil {
					b.ReportMetric(float64(valkeys)/float64(b.N), "srv-ns/op")
				}
			})
		}
	}
}

// visitors is how many clients connect at once, lot how many are connected at most.
const visitors, lot = 16, 2000

// visits connects clients, disconnects all of them at the end, and returns the CPU that connecting took.
func visits(b *testing.B, n *running, count int, connect func(*visitor)) time.Duration {
	before := processCPU(b)
	var left atomic.Int64
	left.Store(int64(count))
	var all sync.WaitGroup
	guests := make([]*visitor, visitors)
	for i := range guests {
		guests[i] = &visitor{tb: b, addr: strings.TrimPrefix(n.url, "http://"), buffer: make([]byte, 4096)}
		all.Go(func() {
			for left.Add(-1) >= 0 && !b.Failed() {
				connect(guests[i])
			}
		})
	}
	all.Wait()
	b.StopTimer()
	spent := processCPU(b) - before
	for _, v := range guests {
		for _, conn := range v.open {
			_ = conn.Close()
		}
	}
	b.StartTimer()
	return spent
}

// visitor is one client after the other.
type visitor struct {
	tb     testing.TB
	addr   string
	buffer []byte
	out    []byte
	open   []net.Conn
}

// ask writes a request on a new connection, and returns what comes until it ends with last.
func (v *visitor) ask(request []byte, last string) (net.Conn, []byte) {
	conn, err := net.Dial("tcp", v.addr)
	if err != nil {
		v.tb.Error(err)
		return nil, nil
	}
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second)) // instead of the whole test's: a node without descriptors does not answer
	if _, err := conn.Write(request); err != nil {
		v.tb.Error(err)
	}
	return conn, v.read(conn, last)
}

func (v *visitor) read(conn net.Conn, last string) []byte {
	n := 0
	for {
		more, err := conn.Read(v.buffer[n:])
		n += more
		if bytes.HasSuffix(v.buffer[:n], []byte(last)) {
			return v.buffer[:n]
		}
		if err != nil {
			v.tb.Errorf("%v after %q, want %q", err, v.buffer[:n], last)
			return nil
		}
	}
}

// negotiate returns a connection token.
func (v *visitor) negotiate() string {
	conn, answer := v.ask([]byte("POST /hubs/bench/negotiate?negotiateVersion=1 HTTP/1.1\r\nHost: node\r\nContent-Length: 0\r\n\r\n"), "}")
	if answer == nil {
		return ""
	}
	_ = conn.Close()
	_, rest, _ := bytes.Cut(answer, []byte(`"connectionToken":"`))
	token, _, ok := bytes.Cut(rest, []byte(`"`))
	if !ok {
		v.tb.Errorf("negotiate: %q", answer)
	}
	return string(token)
}

const handshakeJSON = `{"protocol":"json","version":1}` + "\x1e"

func (v *visitor) webSocket() {
	token := v.negotiate()
	v.out = fmt.Appendf(v.out[:0], "GET /hubs/bench?id=%s HTTP/1.1\r\nHost: node\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", token)
	conn, answer := v.ask(v.out, "\r\n\r\n")
	if answer == nil {
		return
	}
	v.out = append(v.out[:0], 0x81, 0x80|byte(len(handshakeJSON)), 0, 0, 0, 0) // masked with nothing
	v.out = append(v.out, handshakeJSON...)
	if _, err := conn.Write(v.out); err != nil {
		v.tb.Error(err)
	}
	v.read(conn, "{}\x1e")
	v.open = append(v.open, conn)
}

func (v *visitor) events() {
	token := v.negotiate()
	v.out = fmt.Appendf(v.out[:0], "GET /hubs/bench?id=%s HTTP/1.1\r\nHost: node\r\nAccept: text/event-stream\r\n\r\n", token)
	conn, answer := v.ask(v.out, ":\r\n\r\n")
	if answer == nil {
		return
	}
	v.out = fmt.Appendf(v.out[:0], "POST /hubs/bench?id=%s HTTP/1.1\r\nHost: node\r\nContent-Length: %d\r\n\r\n%s", token, len(handshakeJSON), handshakeJSON)
	post, answer := v.ask(v.out, "\r\n\r\n")
	if answer == nil {
		return
	}
	_ = post.Close()
	v.read(conn, "{}\x1e\r\n\r\n\r\n")
	v.open = append(v.open, conn)
}

func processCPU(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
