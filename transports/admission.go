package transports

import (
	"fmt"
	"net/http"
	"sync"
)

// admission counts the sockets and event streams that are open at this node, by user and by address, and refuses those
// that are too many. Polls are not counted: they come and go.
type admission struct {
	perUser, perAddress int // 0: no limit

	mu   sync.Mutex
	open map[string]int
}

// departure counts out what was counted in; nil where nothing was.
type departure func()

func (d departure) call() {
	if d != nil {
		d()
	}
}

// Sockets of connections that were there already have more room. A client that comes back to its connection may have an old socket that is
// not known to be gone, and others that it has abandoned: it is not refused for these. But a connection takes any number of sockets
// that say nothing.
const (
	returningTimes = 4
	returningMore  = 16
)

// enter counts a request's socket or stream in. leave counts it out; full is the limit that does not let it in, or empty. returning says that
// the connection was there already, and its client comes back to it.
func (a *admission) enter(c *request, user string, returning bool) (leave departure, full string) {
	var keys [2]string
	if a.perUser > 0 && user != "" {
		keys[0] = "u" + c.hub + "\x00" + user
	}
	if a.perAddress > 0 && c.who.Address != "" {
		keys[1] = "a" + c.who.Address
	}
	if keys[0] == "" && keys[1] == "" {
		return nil, ""
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	perUser, perAddress := a.perUser, a.perAddress
	if returning {
		perUser, perAddress = returningTimes*perUser+returningMore, returningTimes*perAddress+returningMore
	}
	switch {
	case keys[0] != "" && a.open[keys[0]] >= perUser:
		return nil, fmt.Sprintf("the user has %d connections in the hub open at this node, which is the limit", perUser)
	case keys[1] != "" && a.open[keys[1]] >= perAddress:
		return nil, fmt.Sprintf("the address has %d connections open at this node, which is the limit", perAddress)
	}
	a.add(keys, 1)
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.add(keys, -1)
	}, ""
}

func (a *admission) add(keys [2]string, n int) {
	if a.open == nil {
		a.open = map[string]int{}
	}
	for _, key := range keys {
		if key == "" {
			continue
		}
		if a.open[key] += n; a.open[key] == 0 {
			delete(a.open, key)
		}
	}
}

// tooMany refuses what admission does not let in, for the limit that is full.
func (s *Server) tooMany(c *request, full string) {
	s.counters.tooMany.Add(1)
	c.w.Header().Set("Retry-After", "5") // one of the others must end
	c.refuse(http.StatusTooManyRequests, full)
}
