package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"unicode/utf8"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

func gobwasInHandler(n *node) accept {
	return func(w http.ResponseWriter, r *http.Request) error {
		conn, rw, _, err := ws.UpgradeHTTP(r, w)
		if err != nil {
			return closeRejected(conn, err)
		}
		n.addConn(conn)
		readGobwas(n, rw, conn)
		return nil
	}
}

func gobwasBuffered(n *node) accept {
	return func(w http.ResponseWriter, r *http.Request) error {
		conn, rw, _, err := ws.UpgradeHTTP(r, w)
		if err != nil {
			return closeRejected(conn, err)
		}
		n.addConn(conn)
		go readGobwas(n, bufio.NewReaderSize(unread(rw.Reader, conn), 512), conn)
		return nil
	}
}

func gobwasBare(n *node) accept {
	return func(w http.ResponseWriter, r *http.Request) error {
		conn, rw, _, err := ws.UpgradeHTTP(r, w)
		if err != nil {
			return closeRejected(conn, err)
		}
		n.addConn(conn)
		go readGobwas(n, unread(rw.Reader, conn), conn)
		return nil
	}
}

// gobwasReader leaves fragments, the limit and UTF-8 to the library's wsutil.
func gobwasReader(n *node) accept {
	return func(w http.ResponseWriter, r *http.Request) error {
		conn, rw, _, err := ws.UpgradeHTTP(r, w)
		if err != nil {
			return closeRejected(conn, err)
		}
		n.addConn(conn)
		go readGobwasReader(n, bufio.NewReaderSize(unread(rw.Reader, conn), 512), conn)
		return nil
	}
}

// closeRejected ends a connection whose upgrade was refused: the library has
// answered on it already, and leaves closing to us.
func closeRejected(conn net.Conn, err error) error {
	if conn != nil {
		conn.Close()
	}
	return err
}

// unread keeps what net/http has already read of the client's first frames,
// and lets the buffer it was read into go.
func unread(br *bufio.Reader, conn net.Conn) io.Reader {
	if br.Buffered() == 0 {
		return conn
	}
	p, _ := br.Peek(br.Buffered())
	return io.MultiReader(bytes.NewReader(bytes.Clone(p)), conn)
}

var (
	errTooLarge = errors.New("message over the read limit")
	errNotUTF8  = errors.New("text message is not UTF-8")
)

// readGobwas is what the library leaves to its user: limit, fragments, UTF-8
// and control frames. It does the work of the measured path only: a server
// would also answer errors with a close code, check the peer's close code, set
// deadlines, close the connection, and let its one writer send the answers.
func readGobwas(n *node, src io.Reader, conn net.Conn) error {
	header := make([]byte, ws.MaxHeaderSize)
	reply := ws.MustCompileFrame(ws.NewTextFrame(protocolReply))
	state := ws.StateServerSide
	var opCode ws.OpCode
	var message *bytes.Buffer
	for {
		h, err := ws.ReadHeaderBuffer(src, header)
		if err != nil {
			return err
		}
		if err := ws.CheckHeader(h, state); err != nil {
			return err
		}
		if h.OpCode.IsControl() {
			if err := answerControl(h, src, conn); err != nil {
				return err
			}
			continue
		}
		if message == nil {
			opCode = h.OpCode
			message = payloads.Get().(*bytes.Buffer)
			message.Reset()
		}
		if h.Length > int64(maxMessageBytes-message.Len()) {
			return errTooLarge
		}
		if err := appendPayload(message, src, h); err != nil {
			return err
		}
		if !h.Fin {
			state = state.Set(ws.StateFragmented)
			continue
		}
		state = state.Clear(ws.StateFragmented)
		if opCode == ws.OpText && !utf8.Valid(message.Bytes()) {
			return errNotUTF8
		}
		if n.message(message.Bytes()) {
			if _, err := conn.Write(reply); err != nil {
				return err
			}
		}
		payloads.Put(message)
		message = nil
	}
}

func readGobwasReader(n *node, src io.Reader, conn net.Conn) error {
	reply := ws.MustCompileFrame(ws.NewTextFrame(protocolReply))
	control := func(h ws.Header, payload io.Reader) error {
		h.Mask = [4]byte{} // wsutil has unmasked the payload
		return answerControl(h, payload, conn)
	}
	reader := &wsutil.Reader{
		Source:         src,
		State:          ws.StateServerSide,
		CheckUTF8:      true,
		MaxMessageSize: maxMessageBytes,
		OnIntermediate: control,
	}
	for {
		h, err := reader.NextFrame()
		if err != nil {
			return err
		}
		if h.OpCode.IsControl() {
			if err := control(h, reader); err != nil {
				return err
			}
			continue
		}
		message := payloads.Get().(*bytes.Buffer)
		message.Reset()
		_, err = message.ReadFrom(reader)
		if err == nil && n.message(message.Bytes()) {
			_, err = conn.Write(reply)
		}
		payloads.Put(message)
		if err != nil {
			return err
		}
	}
}

func appendPayload(message *bytes.Buffer, src io.Reader, h ws.Header) error {
	length := int(h.Length)
	message.Grow(length)
	p := message.AvailableBuffer()[:length]
	if _, err := io.ReadFull(src, p); err != nil {
		return err
	}
	ws.Cipher(p, h.Mask, 0)
	message.Write(p)
	return nil
}

func answerControl(h ws.Header, src io.Reader, conn net.Conn) error {
	p := make([]byte, h.Length)
	if _, err := io.ReadFull(src, p); err != nil {
		return err
	}
	ws.Cipher(p, h.Mask, 0)
	switch h.OpCode {
	case ws.OpPing:
		_, err := conn.Write(ws.MustCompileFrame(ws.NewPongFrame(p)))
		return err
	case ws.OpClose:
		conn.Write(ws.MustCompileFrame(ws.NewCloseFrame(p)))
		return io.EOF
	}
	return nil
}
