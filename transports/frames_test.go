package transports

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/iotest"
	"time"

	"github.com/gobwas/ws"
)

// readConn is a connection that can only be read.
type readConn struct {
	net.Conn
	io.Reader
}

func (c readConn) Read(b []byte) (int, error) { return c.Reader.Read(b) }

// readFrames reads frames to the end, and returns the payloads of data frames as one
// stream and those of control frames one by one.
func readFrames(in io.Reader) (data []byte, controls []string, err error) {
	f := frames{in: input{conn: readConn{Reader: in}}}
	for {
		op, control, err := f.next(func(b []byte) error {
			data = append(data, b...)
			return nil
		})
		if err != nil {
			return data, controls, err
		}
		if op.IsControl() {
			controls = append(controls, string(op)+string(control))
		}
	}
}

func masked(op ws.OpCode, fin bool, payload []byte, mask [4]byte) []byte {
	return ws.MustCompileFrame(ws.MaskFrameWith(ws.NewFrame(op, fin, payload), mask))
}

// FuzzFrames reads what a client may send: never a panic, the same however the bytes
// are cut into packets, and what another reader makes of it.
func FuzzFrames(f *testing.F) {
	mask := [4]byte{0x9a, 0, 0xff, 1}
	f.Add(masked(ws.OpText, true, []byte(`{"type":6}`+"\x1e"), mask))
	f.Add(append(masked(ws.OpBinary, false, []byte("one"), mask), masked(ws.OpContinuation, true, []byte("two"), mask)...))
	f.Add(append(masked(ws.OpPing, true, []byte("ping"), mask), masked(ws.OpClose, true, []byte("\x03\xe8"), mask)...))
	f.Add(masked(ws.OpBinary, true, bytes.Repeat([]byte("long"), 20_000), mask))
	f.Add([]byte("\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x02\x03\x04"))
	f.Add([]byte("\x81\x05hello"))
	f.Fuzz(func(t *testing.T, b []byte) {
		data, controls, err := readFrames(bytes.NewReader(b))
		if err == nil {
			t.Fatal("the end of the input is no error")
		}
		again, controlsAgain, errAgain := readFrames(iotest.OneByteReader(bytes.NewReader(b)))
		if !bytes.Equal(data, again) || len(controls) != len(controlsAgain) || isFrameError(err) != isFrameError(errAgain) {
			t.Fatalf("byte by byte: %q %q %v, at once: %q %q %v", again, controlsAgain, errAgain, data, controls, err)
		}
		want, wantControls := reference(b)
		if !bytes.HasPrefix(data, want) || len(data) > len(b) {
			t.Fatalf("got %q, want %q first", data, want)
		}
		if len(controls) != len(wantControls) {
			t.Fatalf("got control frames %q, want %q", controls, wantControls)
		}
		for i := range controls {
			if controls[i] != wantControls[i] {
				t.Fatalf("got control frames %q, want %q", controls, wantControls)
			}
		}
	})
}

// reference reads whole frames with the library's own reader, up to the first that is bad.
func reference(b []byte) (data []byte, controls []string) {
	in := bytes.NewReader(b)
	state := ws.StateServerSide
	for {
		h, err := ws.ReadHeader(in)
		if err != nil || ws.CheckHeader(h, state) != nil || h.Length > int64(in.Len()) {
			return data, controls
		}
		payload := make([]byte, h.Length)
		_, _ = io.ReadFull(in, payload)
		ws.Cipher(payload, h.Mask, 0)
		if h.OpCode.IsControl() {
			controls = append(controls, string(h.OpCode)+string(payload))
			continue
		}
		data = append(data, payload...)
		state = ws.StateServerSide
		if !h.Fin {
			state |= ws.StateFragmented
		}
	}
}

// Whatever comes of a frame before the socket is cut is a part of it, and the cut is an error.
func TestTruncatedFrames(t *testing.T) {
	t.Parallel()
	payload := bytes.Repeat([]byte("0123456789"), 700) // needs a long header and several pieces
	whole := append(masked(ws.OpText, false, payload, [4]byte{1, 2, 3, 4}), masked(ws.OpContinuation, true, payload, [4]byte{5, 6, 7, 8})...)
	want := append(bytes.Clone(payload), payload...)
	closing := masked(ws.OpClose, true, []byte("\x03\xe8bye"), [4]byte{1, 2, 3, 4})
	for n := range closing {
		if _, controls, err := readFrames(bytes.NewReader(closing[:n])); len(controls) > 0 || !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("%d of %d bytes of a close frame: got %q and %v", n, len(closing), controls, err)
		}
	}
	for n := range whole {
		data, _, err := readFrames(bytes.NewReader(whole[:n]))
		if !bytes.HasPrefix(want, data) || !(errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)) {
			t.Fatalf("%d of %d bytes: got %d bytes of payload and %v", n, len(whole), len(data), err)
		}
	}
	if data, _, err := readFrames(bytes.NewReader(whole)); !bytes.Equal(data, want) || err != io.EOF {
		t.Errorf("got %d bytes of payload and %v, want %d", len(data), err, len(want))
	}
}

// What a frame announces is not allocated, and receive decides how much is read.
func TestHugeFrameIsReadPieceByPiece(t *testing.T) {
	t.Parallel()
	head := []byte("\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00") // 2^63-1 bytes
	f := frames{in: input{conn: readConn{Reader: io.MultiReader(bytes.NewReader(head), zeros{})}}}
	enough := errors.New("enough")
	read := 0
	_, _, err := f.next(func(b []byte) error {
		if read += len(b); read > 1<<20 {
			return enough
		}
		return nil
	})
	if err != enough || read > 1<<20+blockBytes {
		t.Errorf("got %v after %d bytes, want the error of receive", err, read)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

func TestReadingFramesAllocatesNothing(t *testing.T) {
	in := bytes.NewReader(nil)
	f := frames{in: input{conn: readConn{Reader: in}}}
	b := masked(ws.OpText, true, bytes.Repeat([]byte("x"), 1000), [4]byte{1, 2, 3, 4})
	receive := func([]byte) error { return nil }
	if n := testing.AllocsPerRun(100, func() {
		in.Reset(b)
		if _, _, err := f.next(receive); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations a frame, want none", n)
	}
}

// Over the network, a connection from which nothing comes holds no buffer.
func TestReadingOverTheNetwork(t *testing.T) {
	if !waitsForInput {
		t.Skip("connections cannot be waited for here")
	}
	server, client := pair(t)
	f := frames{in: newInput(server, []byte{0x81})} // which came along with the upgrade
	got := ""
	receive := func(b []byte) error { got += string(b); return nil }
	payload := bytes.Repeat([]byte("0123456789"), 1000)
	frame := masked(ws.OpText, true, payload, [4]byte{1, 2, 3, 4})
	for i, message := range [][]byte{frame[1:], frame, append(frame[:len(frame):len(frame)], frame...)} {
		go func() {
			for len(message) > 0 {
				n := min(len(message), 777)
				_, _ = client.Write(message[:n])
				message = message[n:]
			}
		}()
		for range 1 + i/2 {
			got = ""
			if _, _, err := f.next(receive); err != nil || got != string(payload) {
				t.Fatalf("message %d: got %d bytes and %v, want %d", i, len(got), err, len(payload))
			}
		}
	}
	f.in.release()
	if f.in.buffered() || f.in.block != nil {
		t.Error("a buffer is held with nothing in it")
	}
	waiting := make(chan error)
	go func() {
		_, _, err := f.next(receive)
		waiting <- err
	}()
	client.Close()
	if err := <-waiting; err != io.EOF {
		t.Errorf("got %v, want the end", err)
	}
	_ = server.SetReadDeadline(time.Now().Add(-time.Second))
	if _, _, err := f.next(receive); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v, want that the time is over", err)
	}
}
