package transports

import (
	"context"
	"errors"
	"fmt"
	"time"

	"hubstream/internal/sleep"
	"hubstream/streams"
	"hubstream/transports/hubprotocol"
)

// takes tells whether the call still takes items of a stream.
func (c *call) takes(streamID string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.uploads[streamID]
}

// upload passes an item of a client's stream, or its end, on to the call that takes it. It waits until the upstream reads: what the
// client sends meanwhile waits, too. What belongs to no stream is dropped: a client may go on
// sending after the call is over, and there is nobody to answer.
func (w *session) upload(m *hubprotocol.Message) {
	c := w.uploadOf(m.InvocationID)
	if c == nil {
		w.s.counters.strayItems.Add(1)
		return
	}
	err := c.write(uploadLine(w.who.Protocol, m.Raw))
	c.active()
	if err != nil || m.Type == hubprotocol.Completion {
		c.endUpload(m.InvocationID)
	}
}

// write writes to the request.
func (c *call) write(line []byte) error {
	ctx, written := context.WithCancel(c.ctx)
	defer written()
	first := min(idleLook, c.w.s.cfg.StreamIdle)
	unread := time.AfterFunc(first, func() { c.unread(ctx, first) })
	defer unread.Stop()
	_, err := c.body.Write(line)
	return err
}

// unread ends the call if its upstream, which has not read for a time, goes on so for StreamIdle, whatever it answers meanwhile; or once
// the connection has ended: the work's item that says so stands behind what is not read. ctx ends when it reads.
func (c *call) unread(ctx context.Context, waited time.Duration) {
	for ; waited < c.w.s.cfg.StreamIdle; waited += idleLook {
		if c.w.gone(ctx) {
			c.stop(connectionEnded)
			return
		}
		if sleep.For(ctx, idleLook) != nil {
			return
		}
	}
	c.stop(fmt.Sprintf("The stream was ended: the upstream did not read it for %v.", c.w.s.cfg.StreamIdle))
}

// gone tells whether the connection is known to have ended.
func (w *session) gone(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, w.s.cfg.StoreTimeout)
	defer cancel()
	_, err := w.s.node.Lookup(ctx, w.hub, w.id)
	return errors.Is(err, streams.ErrGone)
}

func (w *session) uploadOf(streamID string) *call {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.calls {
		if c.takes(streamID) {
			return c
		}
	}
	return nil
}

// endUpload ends one of the streams; with the last of them the request's body ends.
func (c *call) endUpload(streamID string) {
	c.mu.Lock()
	delete(c.uploads, streamID)
	last := len(c.uploads) == 0
	c.mu.Unlock()
	if last {
		_ = c.body.Close()
	}
}
