package streams

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"sort"
	"sync"
	"sync/atomic"
)

const (
	pageEntries = 1000 // entries of a page
	pagesKept   = 32   // pages of a hub that stay in memory
	// pageBytes is about how much is read for a page at most; more, if the entries are larger than the newest ones, and than those that
	// were read before.
	pageBytes = 4 << 20 // 4 MiB
)

// pages is a hub's cache of the log behind the window: receivers that have fallen
// behind together read the store once, not each for itself.
type pages struct {
	log  Log
	name string
	// size returns how many entries a page has at the most.
	size func() int
	// The pages of a hub take maxBytes at most, as items are measured, and those of a node's hubs, which held counts, nodeMaxBytes; but
	// each hub keeps the one that was used last.
	maxBytes     int
	held         *atomic.Int64
	nodeMaxBytes int64
	// tip is up to where the node's tail has read the log, and its generation: nothing after it is in a page. What the
	// tail has not read proves nothing, and if it is lost nobody must have been sent it.
	tip func() (Position, string)

	mu     sync.Mutex
	byFrom map[Position]*list.Element // of *page
	recent list.List                  // most recently used first
	bytes  int
	// bundled is how many entries each of the store's held that were read last, and mean their size; zero: nothing was read yet. The window
	// does not tell: what is older than it may be much larger.
	bundled, mean int
	// shrunk is how often the size of a page is halved. Slow clients, each at another place of the log, of which every one takes a little of
	// its page at a time, would have all of it read again each time, where there is not the room to keep so many.
	shrunk int
}

// page is the entries after from, up to end. What it holds does not change: if it was read at the log's end, what came
// later is on the next one, or in the window.
type page struct {
	from  Position
	ready chan struct{}
	// Set when ready is closed.
	items []*Item
	end   Position
	bytes int
	err   error

	// guarded by pages.mu
	shrunk int // as of the pages, when it was to be read
	taken  int // how many entries were, by all together
}

// errShortLog says that nothing follows a position in the store although something
// does in the window: a tail was lost, and the next Verify finds it out.
var errShortLog = fmt.Errorf("%w: the log is shorter than it was", ErrUnavailable)

// errOtherLog says that the log is of another generation than this node has verified: it is about to.
var errOtherLog = fmt.Errorf("%w: the log is not verified", ErrUnavailable)

// after returns a page that reaches beyond p. It returns ErrGap if the log no longer
// reaches back to p.
func (c *pages) after(ctx context.Context, p Position) (*page, error) {
	for {
		pg, mine := c.find(p)
		if mine {
			c.load(ctx, pg)
		}
		select {
		case <-pg.ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if mine || !errors.Is(pg.err, ErrUnavailable) {
			return pg, pg.err
		}
		// Who loaded it may have been given less time than there is here.
	}
}

// find returns the page that covers p, or a new one from p on that the caller must load.
func (c *pages) find(p Position) (pg *page, mine bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for e := c.recent.Front(); e != nil; e = e.Next() {
		pg := e.Value.(*page)
		select {
		case <-pg.ready:
			if p.Before(pg.from) || !p.Before(pg.end) {
				continue
			}
		default:
			if p != pg.from {
				continue
			}
		}
		c.recent.MoveToFront(e)
		return pg, false
	}
	pg = &page{from: p, ready: make(chan struct{}), shrunk: c.shrunk}
	c.byFrom[p] = c.recent.PushFront(pg)
	if c.recent.Len() > pagesKept {
		c.evict()
	}
	return pg, true
}

// took notes that a receiver went over the entries of a page between two positions.
func (c *pages) took(pg *page, from, to Position) {
	n := pg.after(to) - pg.after(from)
	c.mu.Lock()
	defer c.mu.Unlock()
	pg.taken += n
}

// evict takes out the page that was not used for longest. If most of it was read in vain the next are smaller, and if none of it was,
// larger again. c.mu is held.
func (c *pages) evict() {
	pg := c.drop(c.recent.Back())
	select {
	case <-pg.ready:
	default:
		return
	}
	switch {
	case pg.shrunk != c.shrunk:
	case pg.taken >= len(pg.items):
		c.shrunk = max(0, c.shrunk-1)
	case len(pg.items) > 1 && pg.taken <= len(pg.items)/2:
		c.shrunk++
	}
}

// drop takes a page out. c.mu is held.
func (c *pages) drop(e *list.Element) *page {
	pg := c.recent.Remove(e).(*page)
	delete(c.byFrom, pg.from)
	c.grow(-pg.bytes)
	pg.bytes = 0
	return pg
}

func (c *pages) grow(bytes int) {
	c.bytes += bytes
	c.held.Add(int64(bytes))
}

// keep counts a page that has been read, and drops for it those that were not used for longest.
func (c *pages) keep(pg *page) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.byFrom[pg.from]; e == nil || e.Value != pg {
		return // it was dropped meanwhile
	}
	for _, item := range pg.items {
		pg.bytes += item.size()
	}
	c.grow(pg.bytes)
	for c.recent.Len() > 1 && (c.bytes > c.maxBytes || c.held.Load() > c.nodeMaxBytes) {
		c.evict()
	}
}

func (c *pages) load(ctx context.Context, pg *page) {
	defer close(pg.ready)
	tip, gen := c.tip()
	most := max(1, c.size()>>pg.shrunk)
	reply, err := c.read(ctx, pg.from, most)
	read := reply.Entries[:min(len(reply.Entries), most)] // each of the store's may hold hundreds
	for len(read) > 0 && read[len(read)-1].Position.After(tip) {
		read = read[:len(read)-1]
	}
	switch {
	case err != nil:
		pg.err = err
	case reply.Gen != gen:
		pg.err = errOtherLog
	case pg.from.Before(reply.Floor):
		pg.err = ErrGap
	case len(reply.Entries) == 0 && !reply.Last.After(pg.from):
		pg.err = errShortLog
	case len(read) == 0:
		pg.end = tip
	default:
		pg.items = make([]*Item, len(read))
		for i, e := range read {
			pg.items[i], _ = newItem(e) // the tail has counted and logged what it could not decode
		}
		pg.end = read[len(read)-1].Position
	}
	if pg.err != nil || len(pg.items) == 0 {
		c.forget(pg) // errors pass
		return
	}
	c.keep(pg)
}

// read reads about most entries after a position, if as many are bundled there as were where it read last.
func (c *pages) read(ctx context.Context, after Position, most int) (RangeReply, error) {
	c.mu.Lock()
	stored := max(1, min(most/max(1, c.bundled), c.fit()))
	c.mu.Unlock()
	reply, err := c.log.Range(ctx, c.name, after, stored)
	if err == nil && reply.Stored > 0 {
		c.mu.Lock()
		c.bundled, c.mean = len(reply.Entries)/reply.Stored, meanSize(reply.Entries, reply.Stored)
		c.mu.Unlock()
	}
	return reply, err
}

// fit is how many of the store's entries a page has room for, if they are as large as those that were read last. c.mu is held.
func (c *pages) fit() int {
	if c.mean == 0 {
		return fewEntries
	}
	return min(pageBytes, c.maxBytes/4) / c.mean
}

func (c *pages) forget(pg *page) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.byFrom[pg.from]; e != nil && e.Value == pg {
		c.drop(e)
	}
}

// clear drops every page.
func (c *pages) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.recent.Len() > 0 {
		c.drop(c.recent.Back())
	}
}

// after is the place of the first entry after p.
func (pg *page) after(p Position) int {
	return sort.Search(len(pg.items), func(i int) bool { return pg.items[i].Position.After(p) })
}

// visit is window.visit for a page.
func (pg *page) visit(f *filter, after Position, offer func(*Item, verdict) want) Position {
	items := pg.items[pg.after(after):]
	at := after
	for _, item := range items {
		if v := f.step(item.Position, &item.Entry); v != skip {
			switch offer(item, v) {
			case enough:
				return item.Position
			case reject:
				return at
			}
		}
		at = item.Position
	}
	return pg.end
}
