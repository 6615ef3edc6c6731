package rawclient

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// WS is a WebSocket at the level of frames.
type WS struct {
	tb   testing.TB
	conn net.Conn
	in   io.Reader
}

// Message is one whole WebSocket message.
type Message struct {
	Op      ws.OpCode
	Payload string
}

// TryWebSocket upgrades; a refusal is returned with its status.
func (h *HubClient) TryWebSocket(token string, headers ...string) (*WS, int, error) {
	status := 0
	d := ws.Dialer{
		Timeout:       Patience,
		Header:        ws.HandshakeHeaderHTTP(pairs(headers)),
		OnStatusError: func(code int, _ []byte, _ io.Reader) { status = code },
	}
	conn, buffered, _, err := d.Dial(h.tb.Context(), "ws"+strings.TrimPrefix(h.With(token), "http"))
	if err != nil {
		var refused ws.StatusError
		if errors.As(err, &refused) {
			return nil, int(refused), err
		}
		return nil, status, err
	}
	w := &WS{tb: h.tb, conn: conn, in: conn}
	if buffered != nil {
		w.in = io.MultiReader(io.LimitReader(buffered, int64(buffered.Buffered())), conn)
	}
	context.AfterFunc(h.tb.Context(), func() { conn.Close() })
	return w, 101, nil
}

func pairs(headers []string) map[string][]string {
	m := map[string][]string{}
	for i := 0; i+1 < len(headers); i += 2 {
		m[headers[i]] = []string{headers[i+1]}
	}
	return m
}

// WebSocket upgrades or ends the test.
func (h *HubClient) WebSocket(token string, headers ...string) *WS {
	h.tb.Helper()
	w, status, err := h.TryWebSocket(token, headers...)
	if err != nil {
		h.tb.Fatalf("upgrade: status %d: %v", status, err)
	}
	return w
}

// OpenWebSocket negotiates, upgrades and makes the JSON handshake.
func (h *HubClient) OpenWebSocket() (*WS, Negotiated) {
	h.tb.Helper()
	n := h.Connect()
	w := h.WebSocket(n.Token())
	w.SendText(Handshake)
	w.ExpectText(Accepted)
	return w, n
}

// SendText, SendBinary and SendFrame write; a failing write ends the test.
func (w *WS) SendText(payload string) { w.SendFrame(ws.NewTextFrame([]byte(payload))) }

// SendBinary writes one binary message.
func (w *WS) SendBinary(payload string) { w.SendFrame(ws.NewBinaryFrame([]byte(payload))) }

// SendFrame masks and writes one frame.
func (w *WS) SendFrame(f ws.Frame) {
	w.tb.Helper()
	if err := w.TrySendFrame(f); err != nil {
		w.tb.Fatalf("write: %v", err)
	}
}

// TrySendFrame is SendFrame for peers that may have closed already.
func (w *WS) TrySendFrame(f ws.Frame) error {
	_ = w.conn.SetWriteDeadline(time.Now().Add(Patience))
	defer w.conn.SetWriteDeadline(time.Time{}) // reading writes too: answers to control frames
	return ws.WriteFrame(w.conn, ws.MaskFrame(f))
}

// Read waits for the next message, control frames aside; a close frame is returned as a wsutil.ClosedError.
func (w *WS) Read(limit time.Duration) (Message, error) {
	_ = w.conn.SetReadDeadline(time.Now().Add(limit))
	control := wsutil.ControlFrameHandler(w.conn, ws.StateClientSide)
	r := wsutil.Reader{Source: w.in, State: ws.StateClientSide, OnIntermediate: control}
	for {
		head, err := r.NextFrame()
		if err != nil {
			return Message{}, err
		}
		if head.OpCode.IsControl() {
			if err := control(head, &r); err != nil {
				return Message{}, err
			}
			continue
		}
		payload, err := io.ReadAll(&r)
		return Message{head.OpCode, string(payload)}, err
	}
}

// Next waits for the next message that is no hub ping.
func (w *WS) Next() Message {
	w.tb.Helper()
	for {
		m, err := w.Read(Patience)
		if err != nil {
			w.tb.Fatalf("read: %v", err)
		}
		if m.Payload != Ping && m.Payload != "\x02\x91\x06" {
			return m
		}
	}
}

// ExpectText waits for a text message with exactly that payload.
func (w *WS) ExpectText(want string) {
	w.tb.Helper()
	if got := w.Next(); got.Op != ws.OpText || got.Payload != want {
		w.tb.Fatalf("got %v %q, want text %q", got.Op, got.Payload, want)
	}
}

// ExpectClosed reads until the other side closes and returns what came before, and the close code (0 without a close
// frame).
func (w *WS) ExpectClosed(limit time.Duration) (records []string, code ws.StatusCode) {
	w.tb.Helper()
	end := time.Now().Add(limit)
	for {
		m, err := w.Read(time.Until(end))
		if err == nil {
			records = append(records, Records(m.Payload)...)
			continue
		}
		var closed wsutil.ClosedError
		if errors.As(err, &closed) {
			return records, closed.Code
		}
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			w.tb.Fatalf("not closed within %v: %v; got %q", limit, err, records)
		}
		return records, 0
	}
}

// Abort cuts the TCP connection.
func (w *WS) Abort() {
	if tcp, ok := w.conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	w.conn.Close()
}
