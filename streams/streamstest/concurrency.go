package streamstest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"hubstream/streams"
)

var concurrencyTests = []func(*hub){
	oneOfManyHandshakesSucceeds,
	everythingAtOnce,
}

// Several upgrades of one new connection, each followed by its handshake: the
// connection has one of them in the end.
func oneOfManyHandshakesSucceeds(h *hub) {
	h.opens(request(streams.OpenPost, "c", ""), streams.OpenCreated)
	var shaken atomic.Value
	var n atomic.Int32
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			owner := fmt.Sprint("n", i)
			if _, err := h.store.Open(h.ctx, h.name, request(streams.OpenWebSocket, "c", owner)); err != nil {
				h.want("upgrade", err, streams.ErrConflict) // after another's handshake
				return
			}
			_, err := h.store.Handshake(h.ctx, h.name, streams.HandshakeRequest{ID: "c", Owner: owner, Version: 1, Lease: long})
			if err == nil {
				shaken.Store(owner)
				n.Add(1)
			}
		})
	}
	wg.Wait()
	equal(h, "handshakes that succeeded", n.Load(), 1)
	equal(h, "owner", h.record("c").Owner, shaken.Load().(string))
}

// chaos is what several nodes do to a few connections of one hub.
type chaos struct {
	*hub
	mu        sync.Mutex
	positions map[streams.Position]string // guarded by mu: what appends told
	ends      map[string]int              // guarded by mu: ends done, by connection
}

func everythingAtOnce(h *hub) {
	c := &chaos{hub: h, positions: make(map[streams.Position]string), ends: make(map[string]int)}
	const nodes, steps, connections = 6, 60, 5
	var wg sync.WaitGroup
	for node := range nodes {
		wg.Go(func() {
			for step := range steps {
				c.step(fmt.Sprint("n", node), fmt.Sprint("c", rand.IntN(connections)), step)
			}
		})
	}
	wg.Wait()

	entries := h.log()
	closes := make(map[string]int)
	at := make(map[streams.Position]string)
	for i, e := range entries {
		at[e.Position] = e.Data
		h.check(i == 0 || e.Position.After(entries[i-1].Position), "the log is out of order")
		d, err := streams.DecodeEntry(e.Data)
		h.must("decode", err)
		if d.Kind == streams.KindClose {
			closes[d.Connections[0]]++
		}
	}
	for p, data := range c.positions {
		equal(h, fmt.Sprintf("entry at %v", p), at[p], data)
	}
	for id := range closes {
		equal(h, "close entries of "+id, closes[id], 1)
		equal(h, "ends of "+id, c.ends[id], 1)
		h.gone(id)
	}
	equal(h, "connections that ended", len(c.ends), len(closes))
}

// told notes where an entry was appended.
func (c *chaos) told(p streams.Position, data []byte, err error) {
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.positions[p] = string(data)
}

func (c *chaos) step(node, id string, step int) {
	s, owner := c.store, fmt.Sprint(node, "-", step)
	switch rand.IntN(9) {
	case 0:
		entry := message(owner)
		p, err := s.Append(c.ctx, c.name, entry)
		if err != nil {
			c.Errorf("append: %v", err)
		}
		c.told(p, entry, err)
	case 1:
		p, _, err := s.AppendOnce(c.ctx, c.name, once("k", "s", "once"))
		c.told(p, message("once"), err)
	case 2:
		entry := control(id, streams.VerbJoin, owner)
		r, err := s.Join(c.ctx, c.name, streams.JoinRequest{ID: id, Verb: streams.VerbJoin, Groups: []string{owner}, Entry: entry})
		c.told(r.Position, entry, err)
	case 3, 4, 5:
		c.serve(id, owner)
	case 6:
		_, err := s.Lookup(c.ctx, c.name, id)
		if err != nil {
			c.want("look up", err, streams.ErrGone)
		}
	case 7:
		if step < 30 { // let them live for a while
			return
		}
		r, err := s.End(c.ctx, c.name, streams.EndRequest{ID: id, Token: owner, Entry: ended(id), Tombstone: long})
		if err == nil && r.Outcome == streams.EndDone {
			c.told(r.Position, ended(id), nil)
			c.mu.Lock()
			c.ends[id]++
			c.mu.Unlock()
		}
	case 8:
		_, err := s.Range(c.ctx, c.name, streams.Position{}, 10)
		if err != nil {
			c.Errorf("range: %v", err)
		}
	}
}

// serve polls as a node does: who answers was the owner until then.
func (c *chaos) serve(id, owner string) {
	r, err := c.store.Open(c.ctx, c.name, poll(id, owner, owner))
	if err != nil || r.Outcome != streams.OpenAttached {
		return
	}
	n, err := c.store.Answer(c.ctx, c.name, streams.AnswerRequest{
		ID: id, Owner: owner, Sent: r.Last, Mark: owner, Lease: long,
	})
	if err == nil {
		err = c.store.Wrote(c.ctx, c.name, id, n, true)
	}
	if err != nil && !errors.Is(err, streams.ErrOwner) && !errors.Is(err, streams.ErrGone) {
		c.Errorf("poll: %v", err)
	}
}
