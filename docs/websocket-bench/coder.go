package main

import (
	"bytes"
	"context"
	"net/http"

	"github.com/coder/websocket"
)

func coderInHandler(n *node) accept {
	return func(w http.ResponseWriter, r *http.Request) error {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return err
		}
		addCoder(n, c)
		readCoder(n, c)
		return nil
	}
}

func coderFresh(n *node) accept {
	return func(w http.ResponseWriter, r *http.Request) error {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return err
		}
		addCoder(n, c)
		go readCoder(n, c)
		return nil
	}
}

// addCoder has no way to hand over finished frames: Write makes a header and
// flushes for each message, and the net.Conn cannot be reached.
func addCoder(n *node, c *websocket.Conn) {
	ctx := context.Background()
	n.add(func(b *batch) error {
		for range b.count {
			if err := c.Write(ctx, websocket.MessageText, b.payload); err != nil {
				return err
			}
		}
		return nil
	})
}

func readCoder(n *node, c *websocket.Conn) {
	ctx := context.Background()
	c.SetReadLimit(maxMessageBytes)
	for {
		_, r, err := c.Reader(ctx)
		if err != nil {
			return
		}
		buf := payloads.Get().(*bytes.Buffer)
		buf.Reset()
		_, err = buf.ReadFrom(r)
		if err == nil && n.message(buf.Bytes()) {
			err = c.Write(ctx, websocket.MessageText, protocolReply)
		}
		payloads.Put(buf)
		if err != nil {
			return
		}
	}
}
