package transports

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"hubstream/internal/upstream"
	"hubstream/streams"
	"hubstream/transports/hubprotocol"
)

// maxMethodBytes limits the name of a hub method, which goes into a header and perhaps a URL.
const maxMethodBytes = 256

// execute does what an item of the connection's work says. done finishes it; start, if not nil, is a call that goes on once
// it is finished. ok is false if it was not executed to its end, and is for another node to do again.
func (w *session) execute(next streams.NextReply) (done streams.NextRequest, start *call, ok bool) {
	done = streams.NextRequest{ID: w.id, Number: next.Number}
	switch item := next.Item; item[0] {
	case streams.WorkConnected:
		ok = w.event(upstream.EventConnected, item[1:], "")
	case streams.WorkDisconnected:
		w.endCalls(connectionEnded)
		sequence, reason, _ := strings.Cut(item[1:], " ")
		ok = w.event(upstream.EventDisconnected, sequence, reason)
	default:
		start, ok = w.message(item[1:], &done)
	}
	return done, start, ok
}

// event tells of the connection's begin or end. It is given up, and counted, when its upstream does not take it for long.
func (w *session) event(name, sequence, reason string) bool {
	up := w.s.cfg.Upstream
	if up == nil || name == upstream.EventConnected && w.who.Told || !up.Matches(w.hub, upstream.CategoryConnections, name) {
		return true
	}
	r := w.request(upstream.CategoryConnections, name)
	r.Sequence, _ = strconv.ParseUint(sequence, 10, 64)
	r.Body = []byte(`{"type":10}`)
	if name == upstream.EventDisconnected {
		r.Body = hubprotocol.AppendDisconnected(nil, reason)
	}
	_, err := up.Call(w.s.works.ctx, r)
	return !wasCancelled(err)
}

func wasCancelled(err error) bool {
	var e *upstream.Error
	return errors.As(err, &e) && e.Outcome == upstream.Cancelled
}

func (w *session) request(category, event string) *upstream.Request {
	return w.who.request(w.hub, w.id, category, event)
}

const (
	contentJSON        = "application/json"
	contentMessagePack = "application/x-msgpack"
	contentNDJSON      = "application/x-ndjson"
)

func contentType(p hubprotocol.Protocol) string {
	if p == hubprotocol.MessagePack {
		return contentMessagePack
	}
	return contentJSON
}

// message executes what the client has sent.
func (w *session) message(item string, done *streams.NextRequest) (start *call, ok bool) {
	proto, raw := hubprotocol.Protocol(item[0]-'0'), []byte(item[1:])
	parser := hubprotocol.NewParser(proto, len(raw))
	parser.Feed(raw)
	m, ok, err := parser.Next()
	if err != nil || !ok {
		return nil, true // it was read when it came
	}
	switch m.Type {
	case hubprotocol.Invocation, hubprotocol.StreamInvocation:
		return w.invoke(proto, &m, done)
	case hubprotocol.StreamItem, hubprotocol.Completion:
		w.upload(&m)
	case hubprotocol.CancelInvocation:
		w.cancelCall(m.InvocationID)
	}
	return nil, true
}

// invoke calls a hub method: a built-in one that the client may call, or else the upstream's.
func (w *session) invoke(proto hubprotocol.Protocol, m *hubprotocol.Message, done *streams.NextRequest) (start *call, ok bool) {
	answer := func(body []byte) {
		if m.InvocationID != "" {
			done.Entries = append(done.Entries, w.reply(body, 0, 0))
		}
	}
	refuse := func(text string) {
		answer(hubprotocol.AppendCompletionError(nil, hubprotocol.JSON, m.InvocationID, text))
	}
	if text := w.impossible(m); text != "" {
		refuse(text)
		return nil, true
	}
	if handled, text := w.builtIn(proto, m, done.Number); handled {
		if text != "" {
			refuse(text)
		} else {
			answer(hubprotocol.AppendCompletionVoid(nil, hubprotocol.JSON, m.InvocationID))
		}
		return nil, w.s.works.ctx.Err() == nil
	}
	up := w.s.cfg.Upstream
	if up == nil || !up.Matches(w.hub, upstream.CategoryMessages, m.Target) {
		refuse(fmt.Sprintf("Unknown hub method '%s': no upstream takes it.", clip(m.Target, 100)))
		return nil, true
	}
	r := w.request(upstream.CategoryMessages, m.Target)
	r.Key = fmt.Sprint(w.id, ":", done.Number)
	r.ContentType = contentType(proto)
	r.Body = hubprotocol.Unframe(proto, m.Raw)
	if m.Type == hubprotocol.StreamInvocation || len(m.StreamIDs) > 0 {
		start = w.newCall(proto, m, r)
		done.Call = start.name
		return start, true
	}
	got, err := up.Call(w.s.works.ctx, r)
	if wasCancelled(err) {
		return nil, false
	}
	if m.InvocationID != "" {
		body, p := w.completion(m.InvocationID, got, err)
		done.Entries = append(done.Entries, w.reply(body, p, 0))
	}
	return nil, true
}

// impossible says why an invocation cannot be executed; empty if it can.
func (w *session) impossible(m *hubprotocol.Message) string {
	if len(m.Target) > maxMethodBytes {
		return fmt.Sprintf("The method's name has %d bytes, the limit is %d.", len(m.Target), maxMethodBytes)
	}
	if len(m.InvocationID) > streams.MaxIDBytes {
		return fmt.Sprintf("The invocation ID has %d bytes, the limit is %d.", len(m.InvocationID), streams.MaxIDBytes)
	}
	if m.Type != hubprotocol.StreamInvocation && len(m.StreamIDs) == 0 {
		return ""
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.calls) >= maxCalls {
		return fmt.Sprintf("The connection has %d streams under way, which is the limit.", maxCalls)
	}
	if len(m.StreamIDs) > maxUploads {
		return fmt.Sprintf("The invocation has %d streams, the limit is %d.", len(m.StreamIDs), maxUploads)
	}
	for _, c := range w.calls {
		if m.InvocationID != "" && c.invocationID == m.InvocationID {
			return fmt.Sprintf("Invocation ID '%s' is already in use.", m.InvocationID)
		}
		for _, id := range m.StreamIDs {
			if c.takes(id) {
				return fmt.Sprintf("Stream ID '%s' is already in use.", clip(id, 100))
			}
		}
	}
	return ""
}

// reply is a message for the client as an entry of the log.
func (w *session) reply(body []byte, p hubprotocol.Protocol, flags streams.Flags) []byte {
	e := streams.Entry{Kind: streams.KindReply, Flags: flags, Connections: []string{w.id}, Body: body}
	if p == hubprotocol.MessagePack {
		e.Protocol = uint8(p)
	}
	return streams.AppendEntry(nil, &e)
}
