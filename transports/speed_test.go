package transports_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/gobwas/ws"

	"hubstream/negotiate/access"
)

// sink is a server's side of a connection whose peer takes everything at once.
type sink struct {
	in     chan []byte
	rest   []byte
	closed chan struct{}
	once   sync.Once
	write  func([]byte)
	hold   atomic.Pointer[chan struct{}] // its peer takes nothing until this is closed; nil: it takes all
}

func (s *sink) Read(b []byte) (int, error) {
	if len(s.rest) == 0 {
		select {
		case s.rest = <-s.in:
		case <-s.closed:
			return 0, io.EOF
		}
	}
	n := copy(b, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

func (s *sink) Write(b []byte) (int, error) {
	if hold := s.hold.Load(); hold != nil {
		<-*hold
	}
	s.write(b)
	return len(b), nil
}

func (s *sink) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

func (s *sink) LocalAddr() net.Addr              { return nil }
func (s *sink) RemoteAddr() net.Addr             { return nil }
func (s *sink) SetDeadline(time.Time) error      { return nil }
func (s *sink) SetReadDeadline(time.Time) error  { return nil }
func (s *sink) SetWriteDeadline(time.Time) error { return nil }

// hijacked is the response to an upgrade.
type hijacked struct {
	*httptest.ResponseRecorder
	conn net.Conn
}

func (h *hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.conn, bufio.NewReadWriter(bufio.NewReader(h.conn), bufio.NewWriter(h.conn)), nil
}

// audience is many WebSockets of one node, and counts what is written to them.
type audience struct {
	*cluster
	sinks    []*sink
	wrote    atomic.Int64
	expected atomic.Int64
	arrived  chan struct{}
	check    atomic.Pointer[func([]byte)]
}

func newAudience(t testing.TB, n int, handshake string) *audience {
	t.Helper()
	a := &audience{cluster: newCluster(t, 1), arrived: make(chan struct{}, 1)}
	t.Cleanup(func() {
		for _, s := range a.sinks {
			_ = s.Close()
		}
	})
	a.expected.Store(2 * int64(n)) // the upgrade's answer and the handshake's
	for range n {
		s := &sink{in: make(chan []byte, 1), closed: make(chan struct{}), write: a.written}
		s.in <- []byte(frameOf(ws.OpText, true, handshake))
		r := httptest.NewRequest(http.MethodGet, "/"+hubName+"?id="+a.negotiate().token, nil)
		for line := range strings.SplitSeq(strings.TrimSuffix(upgradeHeader, "\r\n"), "\r\n") {
			name, value, _ := strings.Cut(line, ": ")
			r.Header.Set(name, value)
		}
		a.nodes[0].server.ServeHub(&hijacked{httptest.NewRecorder(), s}, r, hubName, access.Identity{})
		a.sinks = append(a.sinks, s)
	}
	<-a.arrived
	return a
}

func (a *audience) written(b []byte) {
	if check := a.check.Load(); check != nil {
		(*check)(b)
	}
	if a.wrote.Add(1) == a.expected.Load() {
		a.arrived <- struct{}{}
	}
}

// tell publishes to everybody and waits until everybody has it.
func (a *audience) tell(n int) {
	a.expected.Store(a.wrote.Load() + int64(len(a.sinks)))
	a.publish(0, n)
	<-a.arrived
}

// Every receiver of a broadcast is written the very same bytes: nothing is encoded, copied or allocated for one of them, but
// the goroutine of a connection that is no socket, such as one with TLS.
func TestBroadcastCostsNothingPerReceiverButItsWrite(t *testing.T) {
	for name, handshake := range map[string]string{"json": handshakeJSON, "messagepack": handshakeMessagePack} {
		t.Run(name, func(t *testing.T) {
			const receivers, messages = 1000, 50
			a := newAudience(t, receivers, handshake)
			var mu sync.Mutex
			distinct := map[*byte]bool{}
			check := func(b []byte) {
				mu.Lock()
				distinct[unsafe.SliceData(b)] = true
				mu.Unlock()
			}
			a.check.Store(&check)
			a.tell(0)
			a.check.Store(nil)
			if len(distinct) != 1 {
				t.Errorf("the message was written from %d places, want one that all share", len(distinct))
			}
			if raceEnabled {
				return // the race detector allocates
			}
			defer debug.SetGCPercent(debug.SetGCPercent(-1)) // it empties the pools
			for n := range messages {
				a.tell(n)
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for n := range messages {
				a.tell(n)
			}
			runtime.ReadMemStats(&after)
			if perReceiver := float64(after.Mallocs-before.Mallocs) / (messages * receivers); perReceiver > 1.1 {
				t.Errorf("%.2f allocations for each receiver of a message, want the goroutine's", perReceiver)
			}
		})
	}
}

// A client that does not read costs references, not copies of what it does not read.
func TestMemoryOfSlowReadersIsBounded(t *testing.T) {
	const readers, messages = 200, 300
	a := newAudience(t, readers, handshakeJSON)
	release := make(chan struct{})
	stuck := func([]byte) { <-release }
	a.check.Store(&stuck)
	t.Cleanup(func() { close(release) })
	text := strings.Repeat("x", 10_000)
	publish := func() {
		for range messages {
			a.publishBody(0, fmt.Sprintf(`{"type":1,"target":"m","arguments":["%s"]}`+"\x1e", text))
		}
	}
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	publish()
	time.Sleep(time.Second)
	// The log, the window and a frame of each message, and at most one write of each reader.
	const each, all = 128 << 10, messages * 10_000 * 6
	if grown := heap() - before; grown > readers*each+all {
		t.Errorf("%d readers hold up %d KiB, want at most %d", readers, grown>>10, (readers*each+all)>>10)
	}
}

// While 5 % of the clients do not read, the memory that goes on being sent takes is what it takes when all of them read.
func TestMemoryStaysFlatWhileSomeDoNotRead(t *testing.T) {
	const readers, stuck, rounds, messages = 200, 10, 3, 200
	a := newAudience(t, readers, handshakeJSON)
	var read atomic.Int64
	count := func(b []byte) { read.Add(int64(len(b))) }
	a.check.Store(&count)
	body := fmt.Sprintf(`{"type":1,"target":"m","arguments":["%s"]}`+"\x1e", strings.Repeat("x", 10_000))
	var before runtime.MemStats
	// round returns by how much the heap has grown: by what the log and the window hold, at least.
	round := func(reading int64) int64 {
		want := read.Load() + reading*messages*int64(len(ws.MustCompileFrame(ws.NewTextFrame([]byte(body)))))
		for range messages {
			a.publishBody(0, body)
		}
		for end := time.Now().Add(time.Minute); read.Load() < want; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("those that read have %d bytes, want %d", read.Load(), want)
			}
		}
		last := int64(before.HeapAlloc)
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&before)
		return int64(before.HeapAlloc) - last
	}
	round(readers)
	var usual int64 // the most of three: what earlier tests leave may be freed in any of them
	for range 3 {
		usual = max(usual, round(readers))
	}
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	for _, s := range a.sinks[:stuck] {
		s.hold.Store(&release)
	}
	for range rounds {
		if grown := round(readers - stuck); grown > usual+usual/4+stuck*(128<<10) {
			t.Errorf("with %d clients that do not read the heap grows by %d KiB, without by %d KiB", stuck, grown>>10, usual>>10)
		}
	}
}

func BenchmarkBroadcast(b *testing.B) {
	for name, handshake := range map[string]string{"json": handshakeJSON, "messagepack": handshakeMessagePack} {
		for _, receivers := range []int{1, 100, 1000} {
			b.Run(fmt.Sprintf("%s/to %d", name, receivers), func(b *testing.B) {
				a := newAudience(b, receivers, handshake)
				b.ReportAllocs()
				for b.Loop() {
					a.tell(1)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*receivers), "ns/receiver")
			})
		}
	}
}

// The same over the network: with the kernel's share, and that of clients that read.
func BenchmarkBroadcastLoopback(b *testing.B) {
	const receivers = 1000
	c := startCluster(b, 1, newLoopback)
	var got atomic.Int64
	arrived := make(chan struct{}, 1)
	var expected atomic.Int64
	for range receivers {
		s := c.negotiate().openSocket(0, handshakeJSON)
		go func() {
			for range s.in {
				if got.Add(1) == expected.Load() {
					arrived <- struct{}{}
				}
			}
		}()
	}
	b.ReportAllocs()
	for b.Loop() {
		expected.Store(got.Load() + receivers)
		c.publish(0, 1)
		<-arrived
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*receivers), "ns/receiver")
}

// Many messages at once are joined into few writes.
func BenchmarkBurst(b *testing.B) {
	const receivers, burst = 100, 100
	a := newAudience(b, receivers, handshakeJSON)
	var bytes atomic.Int64
	check := func(p []byte) {
		if bytes.Add(int64(len(p))) == 0 {
			a.arrived <- struct{}{}
		}
	}
	a.check.Store(&check)
	a.expected.Store(-1)
	frame := int64(len(ws.MustCompileFrame(ws.NewTextFrame([]byte(invocation(1))))))
	b.ReportAllocs()
	for b.Loop() {
		bytes.Store(-frame * receivers * burst)
		for range burst {
			a.publish(0, 1)
		}
		<-a.arrived
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*receivers*burst), "ns/message")
	b.ReportMetric(float64(a.wrote.Load())/float64(b.N*receivers), "writes/receiver")
}
