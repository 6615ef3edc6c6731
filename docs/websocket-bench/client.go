package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"
)

// server is the other process, as seen from here. Orders are answered in turn.
type server struct {
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	answers *json.Decoder
	addr    string
}

func startServer(variant string) (*server, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, "-server", variant)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &server{cmd: cmd, stdin: stdin, answers: json.NewDecoder(stdout)}
	return s, s.answers.Decode(&s.addr)
}

func (s *server) order(line string) (state, error) {
	var st state
	if _, err := fmt.Fprintln(s.stdin, line); err != nil {
		return st, err
	}
	return st, s.answers.Decode(&st)
}

// stop closes the client's end first, by reset: thousands of ports must not
// wait out TIME_WAIT between variants.
func (s *server) stop(conns []*net.TCPConn) {
	for _, c := range conns {
		c.SetLinger(0)
		c.Close()
	}
	s.stdin.Close()
	s.cmd.Wait()
}

const upgradeRequest = "GET /hub?id=0123456789abcdef HTTP/1.1\r\nHost: bench\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n" +
	"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

// SignalR's first exchange; a connection is idle only after it.
var (
	handshakeFrame = maskedText([]byte(`{"protocol":"json","version":1}` + "\x1e"))
	handshakeReply = []byte("\x81\x03{}\x1e")
)

// maskedText is one final text frame of a client, of at most 125 bytes.
func maskedText(payload []byte) []byte {
	mask := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	frame := append([]byte{0x81, 0x80 | byte(len(payload))}, mask[:]...)
	for i, b := range payload {
		frame = append(frame, b^mask[i%4])
	}
	return frame
}

func connect(addr string) (*net.TCPConn, error) {
	c, err := net.DialTimeout("tcp", addr, 30*time.Second)
	if err != nil {
		return nil, err
	}
	c.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.WriteString(c, upgradeRequest); err != nil {
		return nil, err
	}
	br := bufio.NewReaderSize(c, 512)
	for {
		line, err := br.ReadSlice('\n')
		if err != nil {
			return nil, err
		}
		if len(line) == 2 {
			break
		}
	}
	if _, err := c.Write(handshakeFrame); err != nil {
		return nil, err
	}
	reply := make([]byte, len(handshakeReply))
	if _, err := io.ReadFull(br, reply); err != nil {
		return nil, err
	}
	if !bytes.Equal(reply, handshakeReply) {
		return nil, fmt.Errorf("handshake reply %q", reply)
	}
	return c.(*net.TCPConn), c.SetDeadline(time.Time{})
}

func connectAll(addr string, n int) ([]*net.TCPConn, error) {
	conns := make([]*net.TCPConn, n)
	errs := make(chan error, connectAtOnce)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range connectAtOnce {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				c, err := connect(addr)
				if err != nil {
					errs <- err
					return
				}
				conns[i] = c
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		return nil, err
	default:
		return conns, nil
	}
}

func measureIdle(variant string, n int) ([]float64, error) {
	s, err := startServer(variant)
	if err != nil {
		return nil, err
	}
	// One connection first, so that what is made once is in the baseline.
	first, err := connectAll(s.addr, 1)
	if err != nil {
		return nil, err
	}
	before, err := s.order("settle")
	if err != nil {
		return nil, err
	}
	start := time.Now()
	conns, err := connectAll(s.addr, n)
	if err != nil {
		return nil, err
	}
	took := time.Since(start)
	busy, err := s.order("state")
	if err != nil {
		return nil, err
	}
	after, err := s.order("settle")
	if err != nil {
		return nil, err
	}
	s.stop(append(conns, first...))

	each := float64(n)
	kib := each * 1024
	return []float64{
		float64(after.RSS-before.RSS) / kib,
		float64(after.Heap-before.Heap) / kib,
		float64(after.Stack-before.Stack) / kib,
		float64(after.Goroutines-before.Goroutines) / each,
		each / took.Seconds(),
		(busy.CPU - before.CPU).Seconds() * 1e6 / each,
	}, nil
}

func measureBusy(variant string, n int) ([]float64, error) {
	s, err := startServer(variant)
	if err != nil {
		return nil, err
	}
	conns, err := connectAll(s.addr, n)
	if err != nil {
		return nil, err
	}
	defer s.stop(conns)
	received := drain(conns)

	var row []float64
	for _, joined := range []int{1, joinedFrames} {
		cpu, took, err := broadcast(s, received, n, joined)
		if err != nil {
			return nil, err
		}
		frames := float64(n * broadcastRounds * joined)
		row = append(row, cpu.Seconds()*1e6/frames, took.Seconds()*1e3/broadcastRounds)
	}
	figures, err := receive(s, conns)
	if err != nil {
		return nil, err
	}
	row = append(row, figures...)
	return append(row, earlyFrame(s.addr)), nil
}

// drain reads and counts whatever arrives, until the connections close.
func drain(conns []*net.TCPConn) *atomic.Int64 {
	received := new(atomic.Int64)
	for _, c := range conns {
		go func() {
			buf := make([]byte, 16<<10)
			for {
				n, err := c.Read(buf)
				received.Add(int64(n))
				if err != nil {
					return
				}
			}
		}()
	}
	return received
}

// broadcast repeats one broadcast, each from the order until the last byte
// has arrived here. Without that wait a library that only queues its writes
// would look faster, sending several rounds to one connection in a row.
func broadcast(s *server, received *atomic.Int64, conns, joined int) (cpu, took time.Duration, err error) {
	const frameSize = payloadSize + 4 // 126..65,535 bytes: two bytes of header, two of length
	want := received.Load()

	before, err := s.order("state")
	if err != nil {
		return 0, 0, err
	}
	for range broadcastRounds {
		want += int64(conns * joined * frameSize)
		start := time.Now()
		if _, err := s.order(fmt.Sprintf("broadcast %d", joined)); err != nil {
			return 0, 0, err
		}
		for received.Load() < want {
			if time.Since(start) > time.Minute {
				return 0, 0, fmt.Errorf("broadcast: %d bytes missing", want-received.Load())
			}
			time.Sleep(100 * time.Microsecond)
		}
		took += time.Since(start)
	}
	after, err := s.order("state")
	if got := received.Load(); got != want {
		return 0, 0, fmt.Errorf("broadcast: %d bytes too many", got-want)
	}
	return after.CPU - before.CPU, took, err
}

// receive sends one small message on each connection in turn, so that most
// reads of the server find a single message.
func receive(s *server, conns []*net.TCPConn) ([]float64, error) {
	before, err := s.order("state")
	if err != nil {
		return nil, err
	}
	for range receiveRounds {
		for _, c := range conns {
			if _, err := c.Write(smallFrame); err != nil {
				return nil, err
			}
		}
	}
	want := before.Received + int64(receiveRounds*len(conns))
	deadline := time.Now().Add(2 * time.Minute)
	for {
		after, err := s.order("state")
		if err != nil {
			return nil, err
		}
		if after.Received < want {
			if time.Now().After(deadline) {
				return nil, fmt.Errorf("receive: %d messages missing", want-after.Received)
			}
			time.Sleep(time.Millisecond)
			continue
		}
		messages := float64(want - before.Received)
		return []float64{
			float64(after.Mallocs-before.Mallocs) / messages,
			float64(after.Allocated-before.Allocated) / messages,
			(after.CPU - before.CPU).Seconds() * 1e6 / messages,
		}, nil
	}
}

var smallFrame = maskedText([]byte(`{"type":1,"target":"Echo","arguments":["hello"]}` + "\x1e"))

// earlyFrame reports, as 1 or 0, whether a frame that arrives together with
// the upgrade request is answered. RFC 6455 has clients wait for the response,
// but a library that drops the frame loses a message without a word.
func earlyFrame(addr string) float64 {
	c, err := net.DialTimeout("tcp", addr, 30*time.Second)
	if err != nil {
		return 0
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Second))
	c.Write(append([]byte(upgradeRequest), handshakeFrame...))
	var got []byte
	buf := make([]byte, 1024)
	for !bytes.HasSuffix(got, handshakeReply) {
		n, err := c.Read(buf)
		if err != nil {
			return 0
		}
		got = append(got, buf[:n]...)
	}
	return 1
}
