package transports

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"hubstream/internal/sleep"
	"hubstream/streams"
	"hubstream/transports/hubprotocol"
)

// answer commits and writes an answer. It is committed before its bytes are written:
// what a client may have received is known to whichever node gets its next poll. It returns false, and nothing is answered, if
// there are messages, and the log that they are from is lost.
func (p *poll) answer(ctx context.Context, items []*streams.Item) bool {
	before := p.proto
	if len(items) > 0 {
		// From here on the answer may have been committed, and any other, even an empty one,
		// would tell the next poll that it has arrived: so it takes whatever time there is.
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(p.Context(), p.arrived.Add(maxPollTime))
		defer cancel()
	}
	body, final := p.body(items)
	n, committed, err := p.commit(ctx, len(items) > 0)
	switch {
	case errors.Is(err, streams.ErrLost):
		p.proto = before
		return false
	case isAway(err) && len(items) > 0:
		panic(http.ErrAbortHandler)
	case err != nil:
		p.refused(err)
		return true
	}
	if p.send(n, items, body, final) {
		p.att.Answered(n, committed, p.token.User, uint8(p.proto))
	}
	return true
}

// endLost ends a poll whose messages are of a lost log: when its connection's turn comes, see streams.Config.LossSpread, or its time is
// over. Whatever else it were answered would tell the next poll that they have arrived.
func (p *poll) endLost() {
	timeout := time.NewTimer(time.Until(p.deadline))
	defer timeout.Stop()
	for {
		if _, err := p.att.Next(p.Context(), nil, 1); err != nil && !isAway(err) {
			break
		}
		select {
		case <-p.wake:
			continue
		case <-timeout.C:
		case <-p.s.draining:
		case <-p.Context().Done():
		}
		break
	}
	if p.Context().Err() == nil {
		p.over(streams.ErrLost)
	}
}

// send writes a committed answer, and tells whether all of it went out.
func (p *poll) send(n uint64, items []*streams.Item, body *[]byte, final bool) bool {
	if final { // a refused handshake: nothing follows
		p.s.end(p.hub, p.token.ConnectionID, "")
	}
	told := wanted(p.s.cfg.Tracer, items)
	ok := p.write(http.StatusOK, *body)
	if len(items) != 1 && cap(*body) <= maxPollBytes {
		bodies.Put(body)
	}
	told.wrote(Write{p.hub, p.token.ConnectionID, streams.TransportLongPolling}, !ok)
	p.wrote(n, ok)
	return ok
}

var bodies = sync.Pool{New: func() any { return new([]byte) }}

func sizeOf(items []*streams.Item) (size int) {
	for _, item := range items {
		size += len(item.Body)
	}
	return size
}

// body joins the items' messages. final says that the last of them ends the connection. That of several is of bodies, and goes back
// there; that of one is shared by all who are sent it, large as it may be, and must not be written to.
func (p *poll) body(items []*streams.Item) (body *[]byte, final bool) {
	if len(items) == 1 {
		item := items[0]
		p.follow(item)
		one := message(item, p.proto)
		return &one, item.Flags&streams.FlagFinal != 0
	}
	body = bodies.Get().(*[]byte)
	*body = slices.Grow((*body)[:0], sizeOf(items)) // MessagePack is smaller, or little larger
	for _, item := range items {
		p.follow(item)
		*body = append(*body, message(item, p.proto)...)
		if item.Flags&streams.FlagFinal != 0 {
			return body, true
		}
	}
	return body, false
}

// follow learns the connection's protocol from its handshake's answer.
func (p *poll) follow(item *streams.Item) {
	if item.Flags&streams.FlagHandshake != 0 {
		p.proto = hubprotocol.Protocol(item.Protocol)
	}
}

// answerTo is the poll's answer, but for where it ends.
func (p *poll) answerTo() streams.AnswerRequest {
	return streams.AnswerRequest{
		ID: p.token.ConnectionID, Owner: p.owner, Mark: p.mark, Unique: p.unique, Arrived: p.arrived, Lease: pollLease,
	}
}

// commit commits the answer, for as long as the poll may wait: a store that is away
// may come back. It returns the answer's number, and what was committed, or ErrLost if the answer has messages of a log that is lost.
func (p *poll) commit(ctx context.Context, messages bool) (uint64, streams.AnswerRequest, error) {
	r := p.answerTo()
	r.Sent = p.att.Cursor()
	for {
		if messages && p.att.Lost() {
			return 0, r, streams.ErrLost
		}
		// The answer must be tried even when the poll's time is up.
		try, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.s.cfg.StoreTimeout)
		n, err := p.s.node.Answer(try, p.hub, r)
		cancel()
		if !isAway(err) || sleep.For(ctx, storeRetry) != nil {
			return n, r, err
		}
	}
}

// refused answers a poll whose answer could not be committed.
func (p *poll) refused(err error) {
	switch {
	case isAway(err):
		p.write(http.StatusOK, nil)
	case errors.Is(err, streams.ErrOwner), errors.Is(err, streams.ErrGone): // another poll has taken over, or the connection has ended
		p.finish(err)
	default:
		p.over(err)
	}
}

// over ends the poll of a connection that is over, or that another poll has taken over.
func (p *poll) over(err error) {
	c := closingFor(err)
	p.s.counters.close(c.reason)
	if c.silent {
		p.finish(err)
		return
	}
	owner := p.owner
	if errors.Is(err, streams.ErrLost) {
		owner = "" // its answer may have been committed, and then nobody owns the connection
	}
	if outcome, _ := p.s.endFor(p.hub, p.token.ConnectionID, owner, c.text); outcome == streams.EndRefused {
		p.finish(streams.ErrOwner) // the client is told where it waits
		return
	}
	p.s.log.Debug("connection closed", "hub", p.hub, "connection_id", p.token.ConnectionID, "reason", c.reason)
	if p.proto == 0 {
		p.write(http.StatusNoContent, nil)
		return
	}
	p.write(http.StatusOK, hubprotocol.AppendClose(nil, p.proto, c.text, c.reconnect))
}

// finish ends a poll that has nothing more to say. Its client goes on if another poll has taken over: that may be one
// which a node sent to the store before it was killed, and this the one that a proxy sent in its place.
func (p *poll) finish(err error) {
	p.s.log.Debug("poll ended", "hub", p.hub, "connection_id", p.token.ConnectionID, "reason", err)
	switch displaced := errors.Is(err, streams.ErrOwner); {
	case displaced && (p.unique || p.repeats()):
		// Or one of which a proxy sent this in place, that came to the store after this and may commit an answer: then an
		// empty one would tell the next poll that it has arrived. A poll that is given up needs none, and what a proxy sends again
		// finds out.
		panic(http.ErrAbortHandler)
	case displaced && p.proto != 0:
		p.write(http.StatusOK, nil)
	default:
		p.write(http.StatusNoContent, nil)
	}
}

// write writes an answer and tells whether all of it went out.
func (p *poll) write(status int, body []byte) bool {
	h := p.w.Header()
	h.Set("Cache-Control", "no-cache, no-store")
	h.Set("Pragma", "no-cache")
	h.Set("Expires", "Thu, 01 Jan 1970 00:00:00 GMT")
	h.Set("X-Accel-Buffering", "no")
	if status == http.StatusOK {
		h.Set("Content-Type", "application/octet-stream")
		h.Set("Content-Length", strconv.Itoa(len(body)))
	}
	_ = p.rc.SetWriteDeadline(time.Now().Add(p.s.cfg.SendTimeout))
	// Only before: a client that has read everything may close before Flush returns.
	gone := p.Context().Err() != nil
	out := hold(p.Context())
	p.w.WriteHeader(status)
	_, err := p.w.Write(body)
	if err == nil {
		err = p.rc.Flush()
	}
	if released := out.release(); err == nil {
		err = released
	}
	return err == nil && !gone
}

// wrote tells the next poll, wherever it goes, whether this answer went out. That it did is asked only by a poll with
// the same mark: if there is none, or no other poll has it, there is nothing to tell.
func (p *poll) wrote(n uint64, ok bool) {
	if ok && (p.mark == "" || p.unique) {
		return
	}
	s, hub, id := p.s, p.hub, p.token.ConnectionID
	if !s.active.begin() {
		return
	}
	go func() {
		defer s.active.Done()
		ctx, cancel := context.WithTimeout(context.Background(), s.cfg.StoreTimeout)
		defer cancel()
		_ = s.node.Wrote(ctx, hub, id, n, ok)
	}()
}
