package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gobwas/ws"
	"github.com/gorilla/websocket"
	"github.com/labstack/echo/v4"
	"github.com/lxzan/gws"
)

// state is the server's answer to an order.
type state struct {
	RSS        int64         // bytes resident
	Heap       int64         // bytes of live and not yet swept objects
	Stack      int64         // bytes in stack spans
	Goroutines int64         // all of the process
	CPU        time.Duration // user and system time of the process
	Mallocs    int64         // objects allocated since the start
	Allocated  int64         // bytes allocated since the start
	Received   int64         // messages
}

// batch is one step of a broadcast in every shape a library may want.
type batch struct {
	payload  []byte
	count    int    // how often the payload is sent
	frames   []byte // count finished frames, one after the other
	prepared *websocket.PreparedMessage
	casts    []*gws.Broadcaster // one for each frame
}

// sender writes a batch to one connection.
type sender func(b *batch) error

// accept upgrades a connection, adds its sender to the node and sees to it that
// each message reaches node.message.
type accept func(w http.ResponseWriter, r *http.Request) error

// variant is one way of using one library.
type variant struct {
	name string
	open func(n *node) accept
}

var variants = []variant{
	{"coder: handler goroutine", coderInHandler},
	{"coder: fresh goroutine", coderFresh},
	{"gorilla: defaults, handler goroutine", gorillaDefaults},
	{"gorilla: fresh goroutine, 512 B reader, write pool, direct writes", gorillaLean},
	{"gws: defaults, handler goroutine", gwsDefaults},
	{"gws: fresh goroutine, 512 B reader, direct writes", gwsLean},
	{"gobwas: handler goroutine, net/http's buffers", gobwasInHandler},
	{"gobwas: fresh goroutine, 512 B reader", gobwasBuffered},
	{"gobwas: fresh goroutine, 512 B reader, wsutil.Reader", gobwasReader},
	{"gobwas: fresh goroutine, net.Conn only", gobwasBare},
}

// node is the part of the server that is the same for every library.
type node struct {
	received atomic.Int64

	mu      sync.Mutex
	senders []sender
}

func (n *node) add(s sender) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.senders = append(n.senders, s)
}

// addConn is for the libraries that let go of the net.Conn: the finished
// frames of a batch leave in one write.
func (n *node) addConn(conn net.Conn) {
	n.add(func(b *batch) error {
		_, err := conn.Write(b.frames)
		return err
	})
}

var (
	protocolPrefix = []byte(`{"protocol"`)
	protocolReply  = []byte("{}\x1e")
)

// message counts a message, and reports whether protocolReply is due.
func (n *node) message(p []byte) bool {
	n.received.Add(1)
	return bytes.HasPrefix(p, protocolPrefix)
}

// payloads lends the memory messages are read into where a library leaves
// that to its user; an idle connection holds none.
var payloads = sync.Pool{New: func() any { return bytes.NewBuffer(make([]byte, 0, 4<<10)) }}

func serve(name string, orders io.Reader, answers io.Writer) error {
	n := new(node)
	e := echo.New()
	for _, v := range variants {
		if v.name == name {
			upgrade := v.open(n)
			e.GET("/hub", func(c echo.Context) error {
				return upgrade(c.Response(), c.Request())
			})
		}
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: e, ReadHeaderTimeout: 10 * time.Second}
	go srv.Serve(ln)

	out := json.NewEncoder(answers)
	if err := out.Encode(ln.Addr().String()); err != nil {
		return err
	}
	lines := bufio.NewScanner(orders)
	for lines.Scan() {
		if err := n.obey(lines.Text()); err != nil {
			return fmt.Errorf("order %q: %w", lines.Text(), err)
		}
		if err := out.Encode(n.state()); err != nil {
			return err
		}
	}
	return lines.Err()
}

func (n *node) obey(order string) error {
	switch order {
	case "state":
		return nil
	case "settle":
		// Handlers that have just answered get time to end, and sync.Pool
		// needs two collections to let go.
		time.Sleep(300 * time.Millisecond)
		runtime.GC()
		runtime.GC()
		debug.FreeOSMemory()
		return nil
	}
	var count int
	if _, err := fmt.Sscanf(order, "broadcast %d", &count); err != nil {
		return err
	}
	return n.broadcast(count)
}

func (n *node) broadcast(count int) error {
	payload := bytes.Repeat([]byte("x"), payloadSize)
	frame := ws.MustCompileFrame(ws.NewTextFrame(payload))
	prepared, err := websocket.NewPreparedMessage(websocket.TextMessage, payload)
	if err != nil {
		return err
	}
	b := &batch{payload: payload, count: count, frames: bytes.Repeat(frame, count), prepared: prepared}
	for range count {
		b.casts = append(b.casts, gws.NewBroadcaster(gws.OpcodeText, payload))
	}
	for _, send := range n.senders {
		if err := send(b); err != nil {
			return err
		}
	}
	return nil
}

func (n *node) state() state {
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	var use syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &use)
	return state{
		RSS:        residentBytes(),
		Heap:       int64(mem.HeapAlloc),
		Stack:      int64(mem.StackInuse),
		Goroutines: int64(runtime.NumGoroutine()),
		CPU:        time.Duration(use.Utime.Nano() + use.Stime.Nano()),
		Mallocs:    int64(mem.Mallocs),
		Allocated:  int64(mem.TotalAlloc),
		Received:   n.received.Load(),
	}
}

func residentBytes() int64 {
	var size, resident int64
	statm, err := os.ReadFile("/proc/self/statm")
	if err == nil {
		_, err = fmt.Sscan(string(statm), &size, &resident)
	}
	if err != nil {
		panic(err)
	}
	return resident * int64(os.Getpagesize())
}
