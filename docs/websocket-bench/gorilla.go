package main

import (
	"bytes"
	"net/http"
	"sync"

	"github.com/gorilla/websocket"
)

func gorillaDefaults(n *node) accept {
	u := new(websocket.Upgrader)
	return func(w http.ResponseWriter, r *http.Request) error {
		c, err := u.Upgrade(w, r, nil)
		if err != nil {
			return err
		}
		n.add(func(b *batch) error {
			for range b.count {
				if err := c.WritePreparedMessage(b.prepared); err != nil {
					return err
				}
			}
			return nil
		})
		readGorilla(n, c)
		return nil
	}
}

// gorillaLean writes to the net.Conn past the library's own lock: no frame is
// torn, because net.Conn.Write is atomic, but a batch may follow a close frame
// that the library has sent on its own.
func gorillaLean(n *node) accept {
	u := &websocket.Upgrader{ReadBufferSize: 512, WriteBufferSize: 512, WriteBufferPool: new(sync.Pool)}
	return func(w http.ResponseWriter, r *http.Request) error {
		c, err := u.Upgrade(w, r, nil)
		if err != nil {
			return err
		}
		n.addConn(c.NetConn())
		go readGorilla(n, c)
		return nil
	}
}

func readGorilla(n *node, c *websocket.Conn) {
	c.SetReadLimit(maxMessageBytes)
	for {
		_, r, err := c.NextReader()
		if err != nil {
			return
		}
		buf := payloads.Get().(*bytes.Buffer)
		buf.Reset()
		_, err = buf.ReadFrom(r)
		if err == nil && n.message(buf.Bytes()) {
			err = c.WriteMessage(websocket.TextMessage, protocolReply)
		}
		payloads.Put(buf)
		if err != nil {
			return
		}
	}
}
