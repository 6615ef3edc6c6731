package transports

import (
	"bufio"
	"errors"
	"io"
	"sync"

	"github.com/gobwas/ws"
)

// frames reads a client's WebSocket frames. The payloads of data frames are a byte
// stream to the hub protocol: neither the borders of WebSocket messages nor their
// opcode mean anything there (Java sends JSON in binary frames, .NET may split a hub message).
type frames struct {
	in         *bufio.Reader
	header     [ws.MaxHeaderSize]byte
	fragmented bool
}

// readBufferBytes is what an idle connection keeps for reading.
const readBufferBytes = 512

// payloadBytes is how much of a payload is read at once.
const payloadBytes = 4 << 10 // 4 KiB

var payloads = sync.Pool{New: func() any { return new([payloadBytes]byte) }}

// isFrameError tells whether the client sent what is not a WebSocket frame.
func isFrameError(err error) bool {
	var protocol ws.ProtocolError
	return errors.As(err, &protocol) || errors.Is(err, ws.ErrHeaderLengthMSB)
}

// next reads the next frame. A data frame's payload goes to receive piece by piece; a
// control frame's is returned.
func (f *frames) next(receive func([]byte) error) (op ws.OpCode, control []byte, err error) {
	h, err := ws.ReadHeaderBuffer(f.in, f.header[:])
	if err != nil {
		return 0, nil, err
	}
	state := ws.StateServerSide
	if f.fragmented {
		state |= ws.StateFragmented
	}
	if err := ws.CheckHeader(h, state); err != nil {
		return 0, nil, err
	}
	if h.OpCode.IsControl() {
		control = make([]byte, h.Length)
		if _, err := io.ReadFull(f.in, control); err != nil {
			return 0, nil, err
		}
		ws.Cipher(control, h.Mask, 0)
		return h.OpCode, control, nil
	}
	f.fragmented = !h.Fin
	return h.OpCode, nil, f.payload(h, receive)
}

func (f *frames) payload(h ws.Header, receive func([]byte) error) error {
	buf := payloads.Get().(*[payloadBytes]byte)
	defer payloads.Put(buf)
	for offset := int64(0); offset < h.Length; {
		piece := buf[:min(payloadBytes, h.Length-offset)]
		n, err := io.ReadAtLeast(f.in, piece, 1)
		if err != nil {
			return err
		}
		ws.Cipher(piece[:n], h.Mask, int(offset%4))
		offset += int64(n)
		if err := receive(piece[:n]); err != nil {
			return err
		}
	}
	return nil
}
