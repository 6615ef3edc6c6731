package transports

import (
	"context"
	"net"
	"sync"
)

// net/http writes through a buffer of 4 KiB: a larger answer goes out in two pieces, which are two packets, and wake whoever
// reads them twice.

// maxWhole is how much is held back at most, so that it goes out in one piece.
const maxWhole = 64 << 10 // 64 KiB

// WholeAnswers is a listener whose connections can hold back what is written. It is for an http.Server with ConnContext. Without it, or
// over connections that are not TCP's, answers are written as they come.
func WholeAnswers(l net.Listener) net.Listener { return &wholeListener{l} }

type wholeListener struct{ net.Listener }

func (l *wholeListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if tcp, ok := conn.(*net.TCPConn); ok {
		return &wholeConn{TCPConn: tcp}, nil
	}
	return conn, err
}

type wholeKey struct{}

// ConnContext lets requests find the connections of WholeAnswers.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	if whole, ok := c.(*wholeConn); ok {
		return context.WithValue(ctx, wholeKey{}, whole)
	}
	return ctx
}

// wholeConn is a connection that can hold back what is written.
type wholeConn struct {
	*net.TCPConn
	held *[]byte // nil: nothing is held back
}

var heldBuffers = sync.Pool{New: func() any { return new([]byte) }}

// hold holds back what is written to a request's connection until release. It returns nil if the connection cannot do that.
func hold(request context.Context) *wholeConn {
	c, _ := request.Value(wholeKey{}).(*wholeConn)
	if c != nil {
		c.held = heldBuffers.Get().(*[]byte)
	}
	return c
}

// Write implements net.Conn.
func (c *wholeConn) Write(b []byte) (int, error) {
	if c.held != nil && len(*c.held)+len(b) <= maxWhole {
		*c.held = append(*c.held, b...)
		return len(b), nil
	}
	if err := c.release(); err != nil {
		return 0, err
	}
	return c.TCPConn.Write(b)
}

// release writes what was held back; c may be nil. After an error the connection is closed: net/http takes it for written.
func (c *wholeConn) release() error {
	if c == nil || c.held == nil {
		return nil
	}
	held := c.held
	c.held = nil
	_, err := c.TCPConn.Write(*held)
	*held = (*held)[:0]
	heldBuffers.Put(held)
	if err != nil {
		_ = c.Close()
	}
	return err
}

// unwrapped is a connection that was taken over from the http.Server.
func unwrapped(c net.Conn) net.Conn {
	if whole, ok := c.(*wholeConn); ok {
		return whole.TCPConn
	}
	return c
}
