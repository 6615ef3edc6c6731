package main

import (
	"net/http"

	"github.com/lxzan/gws"
)

// events receives the library's callbacks.
type events struct {
	gws.BuiltinEventHandler
	node *node
}

func (e *events) OnMessage(c *gws.Conn, m *gws.Message) {
	defer m.Close()
	if e.node.message(m.Bytes()) {
		c.WriteMessage(gws.OpcodeText, protocolReply)
	}
}

func gwsDefaults(n *node) accept {
	u := gws.NewUpgrader(&events{node: n}, &gws.ServerOption{ReadMaxPayloadSize: maxMessageBytes, CheckUtf8Enabled: true})
	return func(w http.ResponseWriter, r *http.Request) error {
		c, err := u.Upgrade(w, r)
		if err != nil {
			return err
		}
		n.add(func(b *batch) error {
			for _, cast := range b.casts {
				if err := cast.Broadcast(c); err != nil {
					return err
				}
			}
			return nil
		})
		c.ReadLoop()
		return nil
	}
}

// gwsLean writes to the net.Conn past the library's own lock, as gorillaLean.
func gwsLean(n *node) accept {
	u := gws.NewUpgrader(&events{node: n}, &gws.ServerOption{
		ReadMaxPayloadSize: maxMessageBytes, CheckUtf8Enabled: true, ReadBufferSize: 512, ParallelGolimit: 1})
	return func(w http.ResponseWriter, r *http.Request) error {
		c, err := u.Upgrade(w, r)
		if err != nil {
			return err
		}
		n.addConn(c.NetConn())
		go c.ReadLoop()
		return nil
	}
}
