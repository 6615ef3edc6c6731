package transports_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"hubstream/transports/hubprotocol"
)

// socket is the client's side of a WebSocket.
type socket struct {
	*connection
	conn net.Conn
	in   chan ws.Frame
	end  chan error // why in has ended

	rest  string // of the last message, not expected yet
	pause pause
	deaf  atomic.Bool // to the ping that comes with the handshake's answer
}

const upgradeHeader = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

// upgrade asks a node for a WebSocket, with frames along with the request. Without one the
// answer tells why.
func (k *connection) upgrade(by int, header, early string) (*socket, answer) {
	k.Helper()
	query := ""
	if k.token != "" {
		query = "?id=" + k.token
	}
	conn := k.nodes[by].dial()
	go io.WriteString(conn, "GET /"+hubName+query+" HTTP/1.1\r\nHost: node\r\n"+header+"\r\n"+early)
	_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
	r := bufio.NewReader(conn)
	response, err := http.ReadResponse(r, nil)
	if err != nil {
		_ = conn.Close()
		return nil, answer{err: err}
	}
	if response.StatusCode != http.StatusSwitchingProtocols {
		defer conn.Close()
		body, err := io.ReadAll(response.Body)
		return nil, answer{status: response.StatusCode, header: response.Header, body: string(body), err: err}
	}
	_ = conn.SetReadDeadline(time.Time{})
	s := &socket{connection: k, conn: conn, in: make(chan ws.Frame, 1<<16), end: make(chan error, 1)}
	k.Cleanup(func() { _ = conn.Close() })
	go s.receive(r)
	return s, answer{status: response.StatusCode, header: response.Header}
}

func readFrame(r io.Reader) (f ws.Frame, err error) {
	if f.Header, err = ws.ReadHeader(r); err == nil {
		err = ws.CheckHeader(f.Header, ws.StateClientSide)
	}
	if err == nil {
		f.Payload = make([]byte, f.Header.Length)
		_, err = io.ReadFull(r, f.Payload)
	}
	return f, err
}

func (s *socket) receive(r *bufio.Reader) {
	for {
		f, err := readFrame(r)
		if err != nil {
			s.end <- err
			close(s.in)
			return
		}
		s.pause.wait()
		if f.Header.OpCode == ws.OpPing && string(f.Payload) == "handled" {
			if !s.deaf.Load() {
				s.sendRaw(frameOf(ws.OpPong, true, "handled"))
			}
			continue
		}
		s.in <- f
	}
}

// pause keeps a client from reading on.
type pause struct{ gate atomic.Pointer[chan struct{}] }

func (p *pause) wait() {
	if gate := p.gate.Load(); gate != nil {
		<-*gate
	}
}

// hold makes the client read nothing until the returned function is called.
func (p *pause) hold() (release func()) {
	gate := make(chan struct{})
	p.gate.Store(&gate)
	return func() { close(gate) }
}

// dialSocket opens a WebSocket, which must be accepted.
func (k *connection) dialSocket(by int) *socket {
	k.Helper()
	s, a := k.upgrade(by, upgradeHeader, "")
	if s == nil {
		k.Fatalf("upgrade: got %d %q %v, want 101", a.status, a.body, a.err)
	}
	return s
}

// openSocket opens a WebSocket and shakes hands.
func (k *connection) openSocket(by int, handshake string) *socket {
	k.Helper()
	s := k.dialSocket(by)
	s.sendText(handshake)
	s.expectFrame(accepted, ws.OpText, ws.OpBinary)
	return s
}

// openHeard opens a socket of a stateful client that is heard of after the handshake: it may come back.
func (k *connection) openHeard(by int) *socket {
	k.Helper()
	s := k.openSocket(by, handshakeStateful)
	s.sendText(pingText)
	synctest.Wait()
	return s
}

func (k *connection) wantRefused(by int, status int, body string) {
	k.Helper()
	s, a := k.upgrade(by, upgradeHeader, "")
	if s != nil {
		k.Fatalf("the upgrade was accepted, want %d %q", status, body)
	}
	k.want("upgrade", a, status, body)
}

func frameOf(op ws.OpCode, fin bool, payload string) string {
	return string(ws.MustCompileFrame(ws.MaskFrameInPlaceWith(ws.NewFrame(op, fin, []byte(payload)), [4]byte{1, 2, 3, 4})))
}

func (s *socket) sendText(messages ...string) {
	s.sendRaw(frameOf(ws.OpText, true, strings.Join(messages, "")))
}
func (s *socket) sendBinary(messages ...string) {
	s.sendRaw(frameOf(ws.OpBinary, true, strings.Join(messages, "")))
}

func (s *socket) sendRaw(b string) {
	_ = s.conn.SetWriteDeadline(time.Now().Add(soon))
	if _, err := io.WriteString(s.conn, b); err != nil {
		s.Logf("send: %v", err)
	}
}

func (s *socket) next() (ws.Frame, error) {
	select {
	case f, ok := <-s.in:
		if !ok {
			err := <-s.end
			s.end <- err
			return f, err
		}
		return f, nil
	case <-time.After(soon):
		return ws.Frame{}, errors.New("nothing came")
	}
}

// expect takes messages, of which each WebSocket message must hold whole ones in text.
func (s *socket) expect(messages string) {
	s.Helper()
	s.expectIn(messages, ws.OpText)
}

// expectBoth takes two messages, of which either may come first.
func (s *socket) expectBoth(a, b string) {
	s.Helper()
	f, err := s.next()
	if err != nil {
		s.Fatalf("got the end (%v), want %q and %q", err, a, b)
	}
	s.rest = string(f.Payload)
	if strings.HasPrefix(s.rest, b) {
		a, b = b, a
	}
	s.expect(a + b)
}

// expectBinary is expect for MessagePack.
func (s *socket) expectBinary(messages string) {
	s.Helper()
	s.expectIn(messages, ws.OpBinary)
}

func (s *socket) expectIn(want string, op ws.OpCode) {
	s.Helper()
	for want != "" {
		if s.rest == "" {
			f, err := s.next()
			if err != nil {
				s.Fatalf("got the end (%v), want %q", err, want)
			}
			if f.Header.OpCode != op || !f.Header.Fin {
				s.Fatalf("got a frame with opcode %d, fin %v, %q; want opcode %d and %q", f.Header.OpCode, f.Header.Fin, f.Payload, op, want)
			}
			if op == ws.OpText && !bytes.HasSuffix(f.Payload, []byte{hubprotocol.RecordSeparator}) {
				s.Fatalf("a WebSocket message ends inside a hub message: %q", f.Payload)
			}
			s.rest = string(f.Payload)
		}
		n := min(len(s.rest), len(want))
		if s.rest[:n] != want[:n] {
			s.Fatalf("got %q, want %q", s.rest, want)
		}
		s.rest, want = s.rest[n:], want[n:]
	}
}

// expectFrame takes one whole frame.
func (s *socket) expectFrame(payload string, ops ...ws.OpCode) {
	s.Helper()
	f, err := s.next()
	if err != nil {
		s.Fatalf("got the end (%v), want %q", err, payload)
	}
	for _, op := range ops {
		if f.Header.OpCode == op && string(f.Payload) == payload {
			return
		}
	}
	s.Fatalf("got opcode %d %q, want opcode in %v %q", f.Header.OpCode, f.Payload, ops, payload)
}

// expectClose takes a close frame, answers it, and takes the end of the connection.
func (s *socket) expectClose(code ws.StatusCode) {
	s.Helper()
	f, err := s.next()
	if err != nil || f.Header.OpCode != ws.OpClose {
		s.Fatalf("got opcode %d %q %v, want a close frame", f.Header.OpCode, f.Payload, err)
	}
	if got, _ := ws.ParseCloseFrameData(f.Payload); got != code {
		s.Fatalf("got close code %d, want %d", got, code)
	}
	answered := time.Now()
	s.sendRaw(frameOf(ws.OpClose, true, ""))
	s.expectEnd()
	if waited := time.Since(answered); waited > time.Second {
		s.Fatalf("the connection was ended %v after both close frames", waited)
	}
}

// expectEnd takes the end of the connection, without a close frame.
func (s *socket) expectEnd() {
	s.Helper()
	f, err := s.next()
	if err == nil {
		s.Fatalf("got opcode %d %q, want the end", f.Header.OpCode, f.Payload)
	}
	if err.Error() == "nothing came" {
		s.Fatal("the connection is still open, want its end")
	}
}

// expectNothing lets time pass in which nothing may come.
func (s *socket) expectNothing(d time.Duration) {
	s.Helper()
	time.Sleep(d)
	synctest.Wait()
	select {
	case f, ok := <-s.in:
		s.Fatalf("got %v %q (open %v), want nothing for %v", f.Header.OpCode, f.Payload, ok, d)
	default:
	}
	if s.rest != "" {
		s.Fatalf("got %q, want nothing", s.rest)
	}
}

// expectSilence lets time pass in which nothing may come but pings of the WebSocket protocol, which scripts do not see.
func (s *socket) expectSilence(d time.Duration) {
	s.Helper()
	time.Sleep(d)
	synctest.Wait()
	pings := 0
	for {
		select {
		case f, ok := <-s.in:
			if !ok || f.Header.OpCode != ws.OpPing {
				s.Fatalf("got %v %q (open %v), want WebSocket pings only", f.Header.OpCode, f.Payload, ok)
			}
			pings++
		default:
			if d >= time.Minute && pings < int(d/(20*time.Second)) {
				s.Fatalf("got %d pings in %v: proxies would close the socket", pings, d)
			}
			return
		}
	}
}

// skipAcks drops what has come, which must be Acks only.
func (s *socket) skipAcks() {
	s.Helper()
	synctest.Wait()
	for len(s.in) > 0 {
		if f := <-s.in; !strings.HasPrefix(string(f.Payload), `{"type":8,`) {
			s.Fatalf("got %q, want Acks only", f.Payload)
		}
	}
}

// skipWebSocketPings lets the next thing be something else.
func (s *socket) skipWebSocketPings() {
	s.Helper()
	for {
		f, err := s.next()
		if err != nil {
			s.Fatal(err)
		}
		if f.Header.OpCode != ws.OpPing {
			s.rest = string(f.Payload)
			return
		}
	}
}

// skipPings drops what has come, which must be pings only.
func (s *socket) skipPings() (n int) {
	s.Helper()
	synctest.Wait()
	for {
		select {
		case f, ok := <-s.in:
			if !ok || string(f.Payload) != ping {
				s.Fatalf("got %q (open %v), want pings only", f.Payload, ok)
			}
			n++
		default:
			return n
		}
	}
}

// waiting returns what has come and was not taken yet.
func (s *socket) waiting() (all string) {
	for len(s.in) > 0 {
		f, _ := s.next()
		all += string(f.Payload)
	}
	return all
}

// cut ends the TCP connection without a word.
func (s *socket) cut() { _ = s.conn.Close() }

func ack(n int) string      { return fmt.Sprintf(`{"type":8,"sequenceId":%d}`+"\x1e", n) }
func sequence(n int) string { return fmt.Sprintf(`{"type":9,"sequenceId":%d}`+"\x1e", n) }

// call is an invocation of a client that wants an answer, failure what it gets.
func call(id int) string {
	return fmt.Sprintf(`{"type":1,"target":"M","invocationId":"%d","arguments":[]}`+"\x1e", id)
}

func failure(id int) string {
	return fmt.Sprintf(`{"type":3,"invocationId":"%d","error":"Unknown hub method 'M': no upstream is configured that hub methods are sent to."}`+"\x1e", id)
}
