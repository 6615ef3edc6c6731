package transports

import (
	"errors"
	"io"

	"github.com/gobwas/ws"
)

// frames reads a client's WebSocket frames. The payloads of data frames are a byte
// stream to the hub protocol: neither the borders of WebSocket messages nor their
// opcode mean anything there (Java sends JSON in binary frames, .NET may split a hub message).
type frames struct {
	in         input
	header     [ws.MaxHeaderSize]byte
	fragmented bool
}

// isFrameError tells whether the client sent what is not a WebSocket frame.
func isFrameError(err error) bool {
	var protocol ws.ProtocolError
	return errors.As(err, &protocol) || errors.Is(err, ws.ErrHeaderLengthMSB)
}

// next reads the next frame. A data frame's payload goes to receive piece by piece; a
// control frame's is returned.
func (f *frames) next(receive func([]byte) error) (op ws.OpCode, control []byte, err error) {
	h, err := ws.ReadHeaderBuffer(&f.in, f.header[:])
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
		if _, err := io.ReadFull(&f.in, control); err != nil {
			return 0, nil, err
		}
		ws.Cipher(control, h.Mask, 0)
		return h.OpCode, control, nil
	}
	f.fragmented = !h.Fin
	return h.OpCode, nil, f.payload(h, receive)
}

func (f *frames) payload(h ws.Header, receive func([]byte) error) error {
	for offset := int64(0); offset < h.Length; {
		piece, err := f.in.next(h.Length - offset)
		if err != nil {
			return err
		}
		ws.Cipher(piece, h.Mask, int(offset%4))
		offset += int64(len(piece))
		if err := receive(piece); err != nil {
			return err
		}
	}
	return nil
}
