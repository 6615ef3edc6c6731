package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"hubstream/negotiate/access"
	"hubstream/transports/hubprotocol"
)

// pingInterval is that of the official clients.
const pingInterval = 15 * time.Second

// listen connects as a client, and prints the hub messages that come.
func listen(asked context.Context, c *call, s *service, user string) error {
	address := "ws" + strings.TrimPrefix(s.address, "http") + "/hubs/" + url.PathEscape(c.hub)
	dialer := ws.Dialer{}
	if s.key != "" {
		token, err := access.Sign(s.key, access.Token{Audience: access.ClientAudience(s.endpoint, c.hub), User: user}, time.Now())
		if err != nil {
			return err
		}
		dialer.Header = ws.HandshakeHeaderHTTP(http.Header{"Authorization": {"Bearer " + token}})
	} else if user != "" {
		address += "?user=" + url.QueryEscape(user)
	}
	conn, early, _, err := dialer.Dial(asked, address)
	if err != nil {
		var status ws.StatusError
		if errors.As(err, &status) {
			return fmt.Errorf("%d %s", int(status), http.StatusText(int(status)))
		}
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(asked, func() { _ = conn.Close() })
	defer stop()
	var in io.Reader = conn
	if early != nil { // frames that came along with the answer
		in = io.MultiReader(early, conn)
	}
	if err := wsutil.WriteClientText(conn, []byte(`{"protocol":"json","version":1}`+"\x1e")); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(asked)
	defer cancel()
	go keepAlive(ctx, conn)
	err = printMessages(c, readWriter{in, conn})
	if asked.Err() != nil {
		return nil
	}
	return err
}

// readWriter reads what came early, too.
type readWriter struct {
	io.Reader
	io.Writer
}

func keepAlive(ctx context.Context, conn io.Writer) {
	ticker := time.NewTicker(pingInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			ping := ws.MaskFrameInPlace(ws.NewTextFrame(hubprotocol.AppendPing(nil, hubprotocol.JSON)))
			if _, err := conn.Write(ws.MustCompileFrame(ping)); err != nil { // in one write: the reader answers, too
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// printMessages prints one message in a line, but for pings and the handshake's answer, until the connection ends.
func printMessages(c *call, conn io.ReadWriter) error {
	for {
		data, err := wsutil.ReadServerText(conn)
		if err != nil {
			var closed wsutil.ClosedError
			if errors.As(err, &closed) {
				return errors.New("the node closed the connection")
			}
			return err
		}
		for text := range bytes.SplitSeq(data, []byte{hubprotocol.RecordSeparator}) {
			if len(text) > 0 && string(text) != "{}" && string(text) != `{"type":6}` {
				fmt.Fprintf(c.out, "%s\n", text)
			}
		}
	}
}
