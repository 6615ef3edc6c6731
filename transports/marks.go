package transports

import (
	"net/http"
	"strings"
	"time"

	"hubstream/streams"
)

// A poll's mark is the client's clock. A proxy, or a browser, sends a poll again when its connection breaks, with the same mark, and
// whether the answer had arrived nobody at this end can tell: its bytes may have been on the way. If no other poll of the
// client has the mark, then that it comes again says that it had not.

// uniqueHold is how long a poll is held at least. A clock that moves every millisecond shows the client another time when it
// has the answer, and polls again.
const uniqueHold = 2 * time.Millisecond

// readsMilliseconds tells whether a client's clock moves every millisecond: that of the official JavaScript clients does. Not in
// Firefox, which resists fingerprinting with steps of 16.7 ms; and Java's moves every 15.6 ms on Windows.
func readsMilliseconds(h http.Header) bool {
	browser := h.Get("User-Agent")
	agent := h.Get("X-SignalR-User-Agent") // a browser does not let the client set the other
	if agent == "" {
		agent = browser
	}
	return strings.HasPrefix(agent, "Microsoft SignalR/") &&
		(strings.Contains(agent, "; NodeJS;") || strings.Contains(agent, "; Browser;") && !strings.Contains(browser, "Firefox/"))
}

// hold waits until the client's next poll cannot have the mark of this one, and for pollPace. It tells whether it had to.
func (p *poll) hold() bool {
	until := p.paced
	if p.unique {
		until = later(until, p.arrived.Add(uniqueHold))
	}
	d := time.Until(until)
	time.Sleep(d)
	return d > 0
}

// holdBusy waits for busyPace, if that is for what there is, and tells whether it had to. An answer that has half of all that may go
// into one, or more, waits for nothing.
func (p *poll) holdBusy(items []*streams.Item) bool {
	if len(items) < busyItems || sizeOf(items) >= maxPollBytes/2 {
		return false
	}
	p.paced = p.paced.Add(busyPace - pollPace)
	return p.hold()
}
