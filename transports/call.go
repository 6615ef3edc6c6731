package transports

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"hubstream/internal/sleep"
	"hubstream/internal/upstream"
	"hubstream/streams"
	"hubstream/transports/hubprotocol"
)

const (
	// maxCalls limits the calls of a connection that go on in the background, maxUploads the streams of one.
	maxCalls   = 100
	maxUploads = 16

	callByID, callByKey = "i", "k"
)

// call is a call that goes on in the background: a stream invocation, or one whose client uploads streams.
type call struct {
	// static
	w            *session
	name         string // in the store: callByID and the invocation ID, or else callByKey and the request's key
	invocationID string // empty: nobody waits for an answer
	streaming    bool   // items are wanted, and not one result
	binary       bool   // and they come as MessagePack; set by run
	ctx          context.Context
	cancel       context.CancelFunc
	done         chan struct{} // closed when it is over, and said so
	body         *io.PipeWriter
	request      *upstream.Request

	idle *time.Timer // ends the call when nothing moves

	mu      sync.Mutex
	uploads map[string]bool // streams that the client has not ended; guarded by mu
	ended   string          // why it was ended here, empty if it was not
	stopped bool            // it was

	// owned by run
	replies uint64
	pace    pace
}

// newCall prepares a call. It begins with start.
func (w *session) newCall(proto hubprotocol.Protocol, m *hubprotocol.Message, r *upstream.Request) *call {
	c := &call{
		w: w, name: callByID + m.InvocationID, invocationID: m.InvocationID, streaming: m.Type == hubprotocol.StreamInvocation,
		done: make(chan struct{}), request: r, uploads: map[string]bool{},
	}
	if m.InvocationID == "" {
		c.name = callByKey + r.Key
	}
	c.ctx, c.cancel = context.WithCancel(w.s.works.ctx)
	if len(m.StreamIDs) > 0 {
		for _, id := range m.StreamIDs {
			c.uploads[id] = true
		}
		reader, writer := io.Pipe()
		c.body = writer
		r.Stream = io.MultiReader(bytes.NewReader(uploadLine(proto, m.Raw)), reader)
		r.Body = nil
		if proto != hubprotocol.MessagePack {
			r.ContentType = contentNDJSON
		}
	}
	c.idle = time.AfterFunc(w.s.cfg.StreamIdle, func() {
		c.stop(fmt.Sprintf("The stream was ended: nothing came for %v.", w.s.cfg.StreamIdle))
	})
	return c
}

// uploadLine is a client's message as part of a streaming request: a line of JSON, or MessagePack with its length before it.
func uploadLine(proto hubprotocol.Protocol, raw []byte) []byte {
	if proto == hubprotocol.MessagePack {
		return bytes.Clone(raw)
	}
	line := bytes.ReplaceAll(hubprotocol.Unframe(proto, raw), []byte("\n"), []byte(" ")) // between values: within strings it is escaped
	return append(bytes.ReplaceAll(line, []byte("\r"), []byte(" ")), '\n')
}

// start begins a call once its invocation is finished; r is the request that finishes it. From then on its client is
// told, by whichever node, how it ends.
func (w *session) start(c *call, r *streams.NextRequest) {
	_, err := w.watched(*r)
	*r = streams.NextRequest{ID: w.id} // what came next is asked for again
	if err != nil {
		c.over() // if the store knows of it, whoever has the work next ends it
		return
	}
	w.mu.Lock()
	w.calls[c.name] = c // only now: calls that are there are waited for when the node stops, and this one would not end
	w.mu.Unlock()
	go c.run()
}

// watched finishes an item after making sure that this node follows the log, where it is told of more work.
func (w *session) watched(r streams.NextRequest) (streams.NextReply, error) {
	for w.release == nil {
		ctx, cancel := context.WithTimeout(w.s.works.ctx, w.s.cfg.StoreTimeout)
		release, err := w.s.node.Watch(ctx, w.hub)
		cancel()
		if err == nil {
			w.release = release
		} else if sleep.For(w.s.works.ctx, storeRetry) != nil {
			return streams.NextReply{}, errStopping
		}
	}
	return w.next(r)
}

// over forgets the call.
func (c *call) over() {
	c.idle.Stop()
	c.cancel()
	if c.body != nil {
		_ = c.body.Close()
	}
	c.w.mu.Lock()
	delete(c.w.calls, c.name)
	c.w.mu.Unlock()
	close(c.done)
	ring(c.w.bell)
}

// stop ends the call from outside; its client is told why, or with an empty text nothing but that it is over.
func (c *call) stop(why string) {
	c.mu.Lock()
	if !c.stopped {
		c.stopped, c.ended = true, why
	}
	c.mu.Unlock()
	c.cancel()
	if c.body != nil {
		_ = c.body.CloseWithError(errStopping)
	}
}

// active notes that the call moves.
func (c *call) active() { c.idle.Reset(c.w.s.cfg.StreamIdle) }

func (c *call) run() {
	defer c.over()
	answer, err := c.w.s.cfg.Upstream.Stream(c.ctx, c.request)
	if err != nil {
		c.fail(err.Error())
		return
	}
	defer answer.Close()
	if c.streaming {
		c.download(answer)
		return
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxCompletionBytes+1))
	got := &upstream.Answer{Status: answer.Status, ContentType: answer.ContentType, Body: body}
	if err != nil {
		err = errCutOff
	}
	c.finish(c.w.completion(c.invocationID, got, err))
}

var errCutOff = errors.New("Invocation failed: the upstream cut off its answer.")

// fail ends the call with an error, or with the reason for which it was stopped.
func (c *call) fail(text string) {
	c.finish(hubprotocol.AppendCompletionError(nil, hubprotocol.JSON, c.invocationID, text), hubprotocol.JSON)
}

// finish says the call's last word. A call that was stopped says why, whatever came of that.
func (c *call) finish(body []byte, p hubprotocol.Protocol) {
	c.mu.Lock()
	stopped, why := c.stopped, c.ended
	c.mu.Unlock()
	switch {
	case stopped && why == "":
		body, p = hubprotocol.AppendCompletionVoid(nil, hubprotocol.JSON, c.invocationID), hubprotocol.JSON
	case stopped:
		body, p = hubprotocol.AppendCompletionError(nil, hubprotocol.JSON, c.invocationID, why), hubprotocol.JSON
	}
	var entries [][]byte
	if c.invocationID != "" {
		entries = [][]byte{c.w.reply(body, p, 0)}
	}
	_, _ = c.say(entries, true)
}

// say appends what the call has to say, for as long as it takes to reach the store, unless the work is another's by now.
func (c *call) say(entries [][]byte, final bool) (streams.ReplyReply, error) {
	if len(entries) > 0 || final {
		c.replies++
	}
	r := streams.ReplyRequest{ID: c.w.id, Call: c.name, Number: c.replies, Entries: entries, Final: final}
	for tries := 0; ; tries++ {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(c.ctx), c.w.s.cfg.StoreTimeout)
		reply, err := c.w.s.node.Reply(ctx, c.w.hub, r)
		cancel()
		if !isAway(err) {
			return reply, err
		}
		if c.ctx.Err() != nil && (!final || c.w.s.works.ctx.Err() != nil && tries > 3) {
			return reply, err
		}
		time.Sleep(storeRetry)
	}
}

// cancelCall is a client's CancelInvocation. One of a call that is over, or never was, means nothing.
func (w *session) cancelCall(invocationID string) {
	w.mu.Lock()
	c := w.calls[callByID+invocationID]
	w.mu.Unlock()
	if c != nil {
		c.stop("")
	}
}

// endCalls ends all calls, and returns when their client has been told why.
func (w *session) endCalls(why string) {
	w.mu.Lock()
	calls := slices.Collect(maps.Values(w.calls))
	w.mu.Unlock()
	for _, c := range calls {
		c.stop(why)
		<-c.done
	}
}
