package transports

import (
	"context"
	"io"
	"net"
	"sync"
	"time"
)

// net/http writes through a buffer of 4 KiB: a larger answer goes out in two pieces, which are two packets, and wake whoever
// reads them twice.

// maxWhole is how much is held back at most, so that it goes out in one piece.
const maxWhole = 64 << 10 // 64 KiB

// WholeAnswers is a listener whose connections can hold back what is written, and end if their client does not read that for timeout. It
// is for an http.Server with ConnContext. Without it, or over connections that are not TCP's, answers are written as they come.
func WholeAnswers(l net.Listener, timeout time.Duration) net.Listener {
	return &wholeListener{l, timeout}
}

type wholeListener struct {
	net.Listener
	timeout time.Duration
}

func (l *wholeListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if tcp, ok := conn.(*net.TCPConn); ok {
		return &wholeConn{TCPConn: tcp, timeout: l.timeout}, nil
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

// wholeConn is a connection that can hold back what is written. Whoever reaches the node may ask, again and again, and not read
// the answers: each write has a deadline, also where nobody sets one.
type wholeConn struct {
	*net.TCPConn
	held    *[]byte // nil: nothing is held back
	timeout time.Duration
	until   time.Time // the deadline, if it is of this connection's own
	given   bool      // it is not: who writes has set it
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
	return c.write(b)
}

// write writes in pieces: a large answer may take its time as long as it is read.
func (c *wholeConn) write(b []byte) (n int, err error) {
	for {
		c.limit()
		piece := b[n:min(len(b), n+maxWhole)]
		wrote, err := c.TCPConn.Write(piece)
		if n += wrote; err != nil || n == len(b) {
			return n, err
		}
	}
}

// limit sees to it that there is a deadline, timeout ahead or up to twice that: one does for many answers.
func (c *wholeConn) limit() {
	if now := time.Now(); !c.given && c.until.Sub(now) < c.timeout {
		c.until = now.Add(2 * c.timeout)
		_ = c.TCPConn.SetWriteDeadline(c.until)
	}
}

// SetWriteDeadline implements net.Conn. After each answer net/http takes away what was set, which leaves the connection's own.
func (c *wholeConn) SetWriteDeadline(t time.Time) error {
	if t.IsZero() && !c.given {
		return nil
	}
	c.given, c.until = !t.IsZero(), time.Time{}
	return c.TCPConn.SetWriteDeadline(t)
}

// SetDeadline implements net.Conn. Who takes the connection over from net/http begins with none.
func (c *wholeConn) SetDeadline(t time.Time) error {
	c.given, c.until = !t.IsZero(), time.Time{}
	return c.TCPConn.SetDeadline(t)
}

// ReadFrom implements io.ReaderFrom, by Write.
func (c *wholeConn) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{c}, r)
}

// release writes what was held back; c may be nil. After an error the connection is closed: net/http takes it for written.
func (c *wholeConn) release() error {
	if c == nil || c.held == nil {
		return nil
	}
	held := c.held
	c.held = nil
	_, err := c.write(*held)
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
