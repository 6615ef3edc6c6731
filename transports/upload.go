package transports

import (
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
	_, err := c.body.Write(uploadLine(w.who.Protocol, m.Raw))
	c.active()
	if err != nil || m.Type == hubprotocol.Completion {
		c.endUpload(m.InvocationID)
	}
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
