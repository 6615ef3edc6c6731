package transports

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/gobwas/ws"

	"hubstream/transports/hubprotocol"
)

// wheel looks after all WebSockets and event streams of the node with one ticker: pings, Acks, and
// clients that do not begin, or have fallen silent.
type wheel struct {
	// static
	began                    time.Time
	interval                 int64 // of the ticks, ms
	keepAlive, clientTimeout int64 // ms

	// Of run: when it last ticked, and until when no client is blamed for its silence.
	ticked, lenient int64 // ms

	mu      sync.Mutex
	sockets map[*webSocket]struct{}
	streams map[*stream]struct{}
	stop    chan struct{}
	done    chan struct{}
}

func (w *wheel) start(cfg Config) {
	w.began = time.Now()
	w.keepAlive = cfg.KeepAlive.Milliseconds()
	w.clientTimeout = cfg.ClientTimeout.Milliseconds()
	w.sockets, w.streams = map[*webSocket]struct{}{}, map[*stream]struct{}{}
	w.stop, w.done = make(chan struct{}), make(chan struct{})
	shortest := min(cfg.KeepAlive, cfg.ClientTimeout, cfg.HandshakeTimeout)
	interval := min(time.Second, max(shortest/8, time.Millisecond))
	w.interval = interval.Milliseconds()
	go w.run(interval)
}

func (w *wheel) run(interval time.Duration) {
	defer close(w.done)
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			sockets, streams := w.due()
			for _, c := range sockets {
				c.schedule()
			}
			for _, t := range streams {
				t.schedule()
			}
		case <-w.stop:
			return
		}
	}
}

func (w *wheel) close() {
	close(w.stop)
	<-w.done
}

// now is the server's clock in ms.
func (w *wheel) now() int64 { return time.Since(w.began).Milliseconds() }

func (w *wheel) add(c *webSocket) {
	w.mu.Lock()
	w.sockets[c] = struct{}{}
	w.mu.Unlock()
}

func (w *wheel) remove(c *webSocket) {
	w.mu.Lock()
	delete(w.sockets, c)
	w.mu.Unlock()
}

func (w *wheel) follow(t *stream) {
	w.mu.Lock()
	w.streams[t] = struct{}{}
	w.mu.Unlock()
}

func (w *wheel) forget(t *stream) {
	w.mu.Lock()
	delete(w.streams, t)
	w.mu.Unlock()
}

// all returns the sockets and streams.
func (w *wheel) all() ([]*webSocket, []*stream) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Collect(maps.Keys(w.sockets)), slices.Collect(maps.Keys(w.streams))
}

// due returns those that have something to write.
func (w *wheel) due() (sockets []*webSocket, streams []*stream) {
	now, clock := w.now(), time.Now().UnixMilli()
	w.notice(now)
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.sockets {
		if c.expires(clock) {
			continue
		}
		if c.tick(w, now) {
			sockets = append(sockets, c)
		}
	}
	for t := range w.streams {
		if t.tick(w, now) {
			streams = append(streams, t)
		}
	}
	return sockets, streams
}

// notice notes a tick that is late: the process stood still. What clients have sent meanwhile waits in their sockets, and is
// given some time to be read before any of them counts as silent.
func (w *wheel) notice(now int64) {
	if now-w.ticked > w.clientTimeout/4 {
		w.lenient = now + w.clientTimeout/4
	}
	w.ticked = now
}

// tick tells whether the socket has something to write at a time.
func (c *webSocket) tick(w *wheel, now int64) (due bool) {
	switch {
	case c.over.Load():
		return false
	case !c.ready.Load():
		c.tickWaiting(w, now)
		return false
	}
	// The next tick would be too late.
	if now-c.pinged.Load() > w.keepAlive-w.interval {
		c.pinged.Store(now)
		c.ping.Store(true)
		due = true
	}
	if c.held.Load() && now-c.opened.Load() >= maxHold.Milliseconds() && c.held.CompareAndSwap(true, false) {
		due = true
	}
	if c.ackDue.Load() > 0 && now-c.acked.Load() >= ackInterval.Milliseconds() {
		due = true
	}
	// Only a client that has pinged is timed out: JavaScript clients that once polled never ping.
	if now >= w.lenient && c.clientPings.Load() && now-c.received.Load() > w.clientTimeout {
		c.clientPings.Store(false)
		go c.timeOut()
	}
	return due
}

// tickWaiting looks after a socket that is told nothing yet.
func (c *webSocket) tickWaiting(w *wheel, now int64) {
	switch lenient := now < w.lenient; {
	case c.protocol() == 0:
		if !lenient && now-c.opened.Load() >= c.handshakeTime && c.decided.CompareAndSwap(false, true) {
			go c.refuseHandshake(hubprotocol.HandshakeCanceled)
		}
	case !lenient && now >= c.silent.Load():
		c.silent.Store(now + silentAgain.Milliseconds())
		go c.abandoned()
	case now-c.pinged.Load() > w.keepAlive-w.interval:
		// An abandoned socket must not end while its client lives. A ping of the WebSocket protocol keeps proxies from
		// closing it for its silence, and is seen by no script.
		c.pinged.Store(now)
		go c.write(ws.CompiledPing)
	}
}

// timeOut gives up a client that has been silent for too long.
func (c *webSocket) timeOut() {
	if !c.isStateful() {
		c.close(closing{text: "Connection closed with an error. The client did not send anything in time.", reconnect: true, reason: "client_timeout"})
		return
	}
	// It may come back, and then misses nothing. A Close would reach a JavaScript client that has a new connection by now as if it
	// were for that one.
	c.s.counters.close("client_timeout")
	c.timedOut.Store(true)
	c.drop()
}
