package streams

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// truth is the one-page model of a hub: it reads the log once, in order, and notes for
// each connection which entries it must be sent. It knows no cursors, windows,
// indexes and records, and shares nothing with the filter but the entries themselves.
type truth struct {
	hub   string
	after Position
	conns map[string]*truthConn
	// users are the groups that users are in.
	users map[string]map[string]bool
	// until is when a membership of a user may end by itself, of those that were for some time.
	until map[userGroup]time.Time
	// times says when an entry was in the log at the latest, for trims.
	times []truthTime
	// losses counts the entries by which a node told that a part of the log was lost.
	losses int
	// rolledBack: a part of the log was lost once.
	rolledBack bool
}

type userGroup struct{ user, group string }

type truthTime struct {
	position Position
	at       int64 // ms
}

// truthConn is a connection in the model.
type truthConn struct {
	id, user string
	hub      *truth
	groups   map[string]bool // that it has joined on its own
	start    Position        // zero before the handshake is answered
	want     []truthMatch
	// closed: its own close or end was at this position; nothing after it matches.
	closed Position
	ended  int // how often the log says that it ended
	// ever has every match that there was, also what was lost since.
	ever map[string]bool
	// moved is where owner took it over.
	moved Position
	owner string
}

type truthMatch struct {
	position Position
	body     string
}

func newTruth(hub string) *truth {
	return &truth{hub: hub, conns: map[string]*truthConn{}, users: map[string]map[string]bool{}, until: map[userGroup]time.Time{}}
}

// take takes the log's next entry.
func (t *truth) take(raw RawEntry, now int64) {
	e, err := DecodeEntry(raw.Data)
	if err != nil {
		panic(fmt.Sprintf("the log holds what is no entry: %v", err))
	}
	t.after = raw.Position
	t.times = append(t.times, truthTime{raw.Position, now})
	if e.Kind == KindGen && e.Flags&FlagLost != 0 {
		t.losses++
	}
	for _, c := range t.conns {
		c.take(raw.Position, &e)
	}
	if e.Kind == KindControl {
		for _, user := range e.Users {
			if t.users[user] == nil {
				t.users[user] = map[string]bool{}
			}
			changeTruth(t.users[user], &e)
		}
	}
}

func (c *truthConn) take(p Position, e *Entry) {
	named := slices.Contains(e.Connections, c.id)
	switch e.Kind {
	case KindMessage:
		if !c.start.IsZero() && p.After(c.start) && c.hears(e) {
			c.match(p, e)
		}
	case KindReply:
		if named {
			c.match(p, e)
			if e.Flags&FlagHandshake != 0 {
				c.start = p
			}
		}
	case KindControl:
		if named {
			changeTruth(c.groups, e)
		}
	case KindMoved:
		if named {
			c.moved, c.owner = p, e.Owner
		}
	case KindClose:
		if e.Flags&FlagEnded != 0 {
			if named {
				c.ended++
				c.close(p)
			}
		} else if c.hears(e) {
			c.close(p)
		}
	}
}

func (c *truthConn) match(p Position, e *Entry) {
	if c.closed.IsZero() {
		c.want = append(c.want, truthMatch{p, string(e.Body)})
		c.ever[string(e.Body)] = true
	}
}

func (c *truthConn) close(p Position) {
	if c.closed.IsZero() {
		c.closed = p
	}
}

func (c *truthConn) hears(e *Entry) bool {
	heard := e.Flags&FlagAll != 0 || slices.Contains(e.Connections, c.id) ||
		c.user != "" && slices.Contains(e.Users, c.user)
	for _, group := range e.Groups {
		heard = heard || c.groups[group] || c.user != "" && c.hub.users[c.user][group]
	}
	return heard && !slices.Contains(e.Excluded, c.id)
}

func changeTruth(groups map[string]bool, e *Entry) {
	switch e.Verb {
	case VerbJoin:
		for _, group := range e.Named {
			groups[group] = true
		}
	case VerbLeave:
		for _, group := range e.Named {
			delete(groups, group)
		}
	case VerbLeaveAll:
		clear(groups)
	}
}

// upTo counts the matches at or before p.
func (c *truthConn) upTo(p Position) int {
	n := 0
	for n < len(c.want) && !c.want[n].position.After(p) {
		n++
	}
	return n
}

// clone is the model as it is now.
func (t *truth) clone() *truth {
	c := &truth{hub: t.hub, after: t.after, conns: map[string]*truthConn{}, users: map[string]map[string]bool{}, until: maps.Clone(t.until), times: slices.Clone(t.times)}
	for user, groups := range t.users {
		c.users[user] = maps.Clone(groups)
	}
	for id, conn := range t.conns {
		old := *conn
		old.groups, old.want = maps.Clone(conn.groups), slices.Clone(conn.want)
		c.conns[id] = &old
	}
	return c
}

// restore takes the model back to what it was. Connections that were not there yet have never been.
func (t *truth) restore(old *truth) {
	t.after, t.times, t.users, t.until = old.after, old.times, old.users, old.until
	for id, conn := range t.conns {
		if was := old.conns[id]; was != nil {
			*conn = *was
		} else {
			*conn = truthConn{id: id, user: conn.user, hub: t, groups: map[string]bool{}, ever: conn.ever}
		}
	}
}
