package transports

import (
	"io"
	"net"
	"sync"
	"syscall"
)

// input is what a client sends. While there is nothing it holds no buffer: it waits for the connection to become
// readable first, and only then takes a shared one to read into.
type input struct {
	conn net.Conn
	raw  syscall.RawConn // nil: the connection cannot be waited for, and is read in small pieces

	unread []byte
	block  *[blockBytes]byte // what unread is a part of; nil: of nothing shared
	piece  *[pieceBytes]byte // of this connection alone, if it cannot be waited for
	err    error             // of readReady
}

// blockBytes is how much is read at once, pieceBytes where each connection needs its own buffer for it.
const (
	blockBytes = 4 << 10 // 4 KiB
	pieceBytes = 512
)

var blocks = sync.Pool{New: func() any { return new([blockBytes]byte) }}

// newInput returns what comes over a connection, after what was read of it already.
func newInput(conn net.Conn, early []byte) input {
	in := input{conn: conn, unread: early}
	if c, ok := conn.(*net.TCPConn); ok && waitsForInput {
		in.raw, _ = c.SyscallConn()
	}
	return in
}

// buffered tells whether something is there that need not be waited for.
func (in *input) buffered() bool { return len(in.unread) > 0 }

// next returns what comes next, at most limit bytes and at least one. The bytes may be changed, and are good until
// the next call.
func (in *input) next(limit int64) ([]byte, error) {
	if len(in.unread) == 0 {
		if err := in.fill(); err != nil {
			return nil, err
		}
	}
	n := min(limit, int64(len(in.unread)))
	b := in.unread[:n:n]
	in.unread = in.unread[n:]
	return b, nil
}

// Read implements io.Reader.
func (in *input) Read(b []byte) (int, error) {
	got, err := in.next(int64(len(b)))
	return copy(b, got), err
}

func (in *input) fill() error {
	in.release()
	if in.raw == nil {
		return in.fillPiece()
	}
	in.err = nil
	if err := in.raw.Read(in.readReady); err != nil {
		return err
	}
	return in.orEnd(in.err)
}

func (in *input) fillPiece() error {
	if in.piece == nil {
		in.piece = new([pieceBytes]byte)
	}
	n, err := in.conn.Read(in.piece[:])
	in.unread = in.piece[:n]
	return in.orEnd(err)
}

// orEnd makes nothing read the end.
func (in *input) orEnd(err error) error {
	switch {
	case len(in.unread) > 0:
		return nil
	case err == nil:
		return io.EOF
	}
	return err
}

// release gives back the buffer; what next has returned is no longer good.
func (in *input) release() {
	if in.block != nil && len(in.unread) == 0 {
		blocks.Put(in.block)
		in.block, in.unread = nil, nil
	}
}
