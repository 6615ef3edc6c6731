package node_test

import (
	"bytes"
	"log/slog"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"hubstream/cmd/api/node"
)

// full is a listener of a process that has no file descriptors left.
type full struct{ net.Listener }

func (full) Accept() (net.Conn, error) {
	return nil, &net.OpError{Op: "accept", Net: "tcp", Err: syscall.EMFILE}
}

func TestThatFileDescriptorsHaveRunOutIsLogged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		log := slog.New(slog.NewTextHandler(&text, nil)) // at info, as nodes do
		l := node.Accepting(full{}, log)
		for range 90 { // the server tries every second
			if _, err := l.Accept(); err == nil {
				t.Fatal("it is accepted")
			}
			time.Sleep(time.Second)
		}
		if got := text.String(); strings.Count(got, "too many open files\"") != 2 {
			t.Errorf("in a minute and a half it logs: %s", got)
		}
	})
}

func TestThatTheListenerIsClosedIsNotLogged(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	var text bytes.Buffer
	if _, err := node.Accepting(l, slog.New(slog.NewTextHandler(&text, nil))).Accept(); err == nil || text.Len() > 0 {
		t.Errorf("got %v, and it logs: %s", err, text.String())
	}
}
