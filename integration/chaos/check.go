package chaos

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"time"
)

// Fault is a kind of error that Check finds.
type Fault string

const (
	Lost         Fault = "lost"
	Repeated     Fault = "repeated"
	Reordered    Fault = "reordered"
	Misdelivered Fault = "delivered to a non-member"
	AfterLeaving Fault = "delivered after leaving"
	AfterClose   Fault = "delivered after close"
	EndedTwice   Fault = "ended twice"
	// Invented: received, but never sent, refused, or sent before the session began.
	Invented Fault = "delivered though not sent"
	// LogOrder: the positions that publishers were told contradict the order of their calls.
	LogOrder Fault = "positions out of order"
)

// Problems are the errors of one run, each in words.
type Problems map[Fault][]string

func (p Problems) add(f Fault, format string, args ...any) {
	p[f] = append(p[f], fmt.Sprintf(format, args...))
}

// examples is how many errors of a kind String shows: the first of each session, and how many more that session has.
const examples = 30

func (p Problems) String() string {
	var b strings.Builder
	for _, f := range slices.Sorted(maps.Keys(p)) {
		fmt.Fprintf(&b, "%s: %d\n", f, len(p[f]))
		bySession := map[string]int{}
		var first []string
		for _, text := range p[f] {
			session := sessionOf(text)
			if bySession[session]++; bySession[session] == 1 {
				first = append(first, text)
			}
		}
		for _, text := range first[:min(examples, len(first))] {
			fmt.Fprintf(&b, "\t%d x %s\n", bySession[sessionOf(text)], text)
		}
	}
	return b.String()
}

// sessionOf is the part of an error's words that names the session.
func sessionOf(text string) string {
	session, _, _ := strings.Cut(text, "): ")
	return session
}

// Check compares what the sessions received with what was sent.
func Check(h *History) Problems {
	c := &checker{h: h, problems: Problems{}, ranges: map[Message]bounds{}}
	c.index()
	c.logOrder()
	c.placeUnknown()
	for _, s := range h.Sessions {
		c.session(s)
	}
	c.ends()
	return c.problems
}

// bounds is where a message whose position nobody learned is in the log: after lo, before hi.
type bounds struct{ lo, hi Position }

// audienceKey is one name that messages are sent to.
type audienceKey struct {
	hub        int
	kind, name string
}

type placed struct {
	Message
	*Send
}

type checker struct {
	h        *History
	problems Problems

	// accepted holds the accepted messages by audience, in the log's order.
	accepted map[audienceKey][]placed
	answered [][]placed // accepted, by hub, in the order of the answers
	newest   [][]Position
	ranges   map[Message]bounds // of the messages with unknown outcome that somebody received
	groups   map[groupsKey]map[string][]span
	closes   map[groupsKey][]Close
}

type groupsKey struct {
	hub        int
	connection string
}

func (c *checker) index() {
	c.accepted = map[audienceKey][]placed{}
	c.answered = make([][]placed, len(c.h.Final))
	for publisher, sends := range c.h.Sends {
		for i := range sends {
			s := &sends[i]
			if s.Outcome != Accepted {
				continue
			}
			p := placed{Message{uint32(publisher), uint32(i + 1)}, s}
			c.answered[s.Hub] = append(c.answered[s.Hub], p)
			for _, key := range keys(s) {
				c.accepted[key] = append(c.accepted[key], p)
			}
		}
	}
	for _, list := range c.accepted {
		slices.SortFunc(list, func(a, b placed) int { return compare(a.Position, b.Position) })
	}
	c.newest = make([][]Position, len(c.answered))
	for hub, list := range c.answered {
		slices.SortFunc(list, func(a, b placed) int { return cmp.Compare(a.Answered, b.Answered) })
		var newest Position
		for _, p := range list {
			newest = later(newest, p.Position)
			c.newest[hub] = append(c.newest[hub], newest)
		}
	}
	c.groups = map[groupsKey]map[string][]span{}
	for m, changes := range c.h.Changes {
		key := groupsKey{m.Hub, m.Connection}
		if c.groups[key] == nil {
			c.groups[key] = map[string][]span{}
		}
		c.groups[key][m.Group] = spans(changes)
	}
	c.closes = map[groupsKey][]Close{}
	for _, cl := range c.h.Closes {
		key := groupsKey{cl.Hub, cl.Connection}
		c.closes[key] = append(c.closes[key], cl)
	}
}

func keys(s *Send) []audienceKey {
	var all []audienceKey
	if s.Audience.All {
		all = append(all, audienceKey{s.Hub, "all", ""})
	}
	add := func(kind string, names []string) {
		for _, name := range names {
			all = append(all, audienceKey{s.Hub, kind, name})
		}
	}
	add("group", s.Audience.Groups)
	add("user", s.Audience.Users)
	add("connection", s.Audience.Connections)
	return all
}

func compare(a, b Position) int {
	switch {
	case a.Before(b):
		return -1
	case b.Before(a):
		return 1
	}
	return 0
}

func later(a, b Position) Position {
	if a.Before(b) {
		return b
	}
	return a
}

// newestAt is the largest position that anybody had been told at a time: everything sent afterwards comes after it.
func (c *checker) newestAt(hub int, at time.Duration) Position {
	list := c.answered[hub]
	i := sort.Search(len(list), func(i int) bool { return list[i].Answered >= at })
	if i == 0 {
		return Position{}
	}
	return c.newest[hub][i-1]
}

// logOrder: a message that was sent after another was accepted comes after it.
func (c *checker) logOrder() {
	for hub, list := range c.answered {
		for _, p := range list {
			if before := c.newestAt(hub, p.Invoked); !before.Before(p.Position) {
				c.problems.add(LogOrder, "hub %d: message %v has position %v, but was sent when %v had been answered", hub, p.Message, p.Position, before)
			}
		}
	}
}

// placeUnknown finds out from all sessions together between which others the messages with unknown outcome are.
func (c *checker) placeUnknown() {
	for _, s := range c.h.Sessions {
		var last Position
		var waiting []Message // unknown ones since last
		for _, m := range s.Received {
			send := c.h.send(m)
			if send == nil {
				continue
			}
			if send.Outcome == Accepted {
				for _, u := range waiting {
					c.narrow(u, bounds{Position{}, send.Position})
				}
				waiting = waiting[:0]
				last = send.Position
				continue
			}
			c.narrow(m, bounds{last, end})
			waiting = append(waiting, m)
		}
	}
	for m, b := range c.ranges {
		if !b.lo.Before(b.hi) {
			c.problems.add(Reordered, "message %v (outcome unknown) came after %v here and before %v there", m, b.lo, b.hi)
		}
	}
}

func (c *checker) narrow(m Message, b bounds) {
	known, ok := c.ranges[m]
	if !ok {
		send := c.h.send(m)
		known = bounds{c.newestAt(send.Hub, send.Invoked), end}
	}
	known.lo = later(known.lo, b.lo)
	if b.hi.Before(known.hi) {
		known.hi = b.hi
	}
	c.ranges[m] = known
}

// place returns the bounds of a message that was sent.
func (c *checker) place(m Message, s *Send) bounds {
	if s.Outcome == Accepted {
		return bounds{s.Position, s.Position}
	}
	return c.ranges[m]
}

func (c *checker) session(s *Session) {
	received := make(map[Message]bool, len(s.Received))
	var first, last Position
	for _, m := range s.Received {
		send := c.h.send(m)
		if send == nil || send.Hub != s.Hub {
			c.problems.add(Invented, "%v: message %v was never sent there", s, m)
			continue
		}
		if received[m] {
			c.problems.add(Repeated, "%v: message %v (%v)", s, m, send.Position)
			continue
		}
		received[m] = true
		c.delivered(s, m, send)
		if send.Outcome != Accepted {
			continue
		}
		if !last.Before(send.Position) {
			c.problems.add(Reordered, "%v: message %v at %v after one at %v", s, m, send.Position, last)
		}
		last = later(last, send.Position)
		if first == (Position{}) {
			first = send.Position
		}
	}
	c.missing(s, received, first, last)
	c.completions(s)
	if s.Closes > 1 {
		c.problems.add(EndedTwice, "%v: got %d Close messages", s, s.Closes)
	}
}

// delivered checks one message that a session received.
func (c *checker) delivered(s *Session, m Message, send *Send) {
	if send.Outcome == Refused {
		c.problems.add(Invented, "%v: message %v was refused", s, m)
	}
	if send.Answered < s.Opening && send.Outcome == Accepted {
		c.problems.add(Invented, "%v: message %v (%v) was accepted before the session began", s, m, send.Position)
	}
	place := c.place(m, send)
	switch match := c.match(s, send, place); {
	case match.could:
	case match.left:
		c.problems.add(AfterLeaving, "%v: message %v (%v) to %+v", s, m, send.Position, send.Audience)
	default:
		c.problems.add(Misdelivered, "%v: message %v (%v) to %+v", s, m, send.Position, send.Audience)
	}
	for _, cl := range c.closes[groupsKey{s.Hub, s.Connection}] {
		if cl.Outcome == Accepted && cl.Answered < send.Invoked && !c.h.mayHaveLost(cl.Invoked, cl.Answered) {
			c.problems.add(AfterClose, "%v: message %v was sent at %v, but the connection was closed at %v", s, m, send.Invoked, cl.Answered)
			break
		}
	}
}

// missing finds what a session should have received. How a session ends decides what may be missing from its end;
// nothing may be missing in the middle.
func (c *checker) missing(s *Session, received map[Message]bool, first, last Position) {
	if s.Opened == 0 {
		return
	}
	upTo := last
	if s.End == Alive {
		upTo = c.h.Final[s.Hub]
	}
	closed := c.closedInOrder(s)
	check := func(key audienceKey) {
		list := c.accepted[key]
		floor := c.newestAt(s.Hub, s.Opening)
		i := sort.Search(len(list), func(i int) bool { return floor.Before(list[i].Position) })
		for _, p := range list[i:] {
			if upTo.Before(p.Position) && p.Answered >= closed {
				continue
			}
			begun := p.Invoked > s.Opened || first != Position{} && first.Before(p.Position)
			if !begun || received[p.Message] || !c.match(s, p.Send, bounds{p.Position, p.Position}).must {
				continue
			}
			received[p.Message] = true // reported once, however many of its audiences match
			c.problems.add(Lost, "%v: message %v (%v, sent at %v) to %+v", s, p.Message, p.Position, p.Invoked.Round(time.Millisecond), p.Audience)
		}
	}
	check(audienceKey{s.Hub, "all", ""})
	if s.User != "" {
		check(audienceKey{s.Hub, "user", s.User})
	}
	if s.Connection != "" {
		check(audienceKey{s.Hub, "connection", s.Connection})
	}
	for _, group := range s.Groups {
		check(audienceKey{s.Hub, "group", group})
	}
	for group := range c.groups[groupsKey{s.Hub, s.Connection}] {
		check(audienceKey{s.Hub, "group", group})
	}
}

// closedInOrder is when a backend began to close the session, if the client was told so: what had been accepted by
// then must have come before the Close. Zero if it was not.
func (c *checker) closedInOrder(s *Session) (at time.Duration) {
	if s.End != Closed || !strings.Contains(s.Reason, CloseReason) {
		return 0
	}
	for _, cl := range c.closes[groupsKey{s.Hub, s.Connection}] {
		if cl.Outcome != Refused && (at == 0 || cl.Invoked < at) {
			at = cl.Invoked
		}
	}
	return at
}

// completions: a client's messages are processed once each and in order, so their answers are 1, 2, 3 and so on.
func (c *checker) completions(s *Session) {
	for i, n := range s.Completions {
		want := i + 1
		switch {
		case n < want && slices.Contains(s.Completions[:i], n):
			c.problems.add(Repeated, "%v: completion of invocation %d", s, n)
			return
		case n > want && slices.Contains(s.Completions[i:], want):
			c.problems.add(Reordered, "%v: completion %d before %d", s, n, want)
			return
		case n != want:
			c.problems.add(Lost, "%v: completion %d; got %d instead", s, want, n)
			return
		}
	}
	if s.End == Alive && len(s.Completions) < s.Invocations {
		c.problems.add(Lost, "%v: completions from %d to %d", s, len(s.Completions)+1, s.Invocations)
	}
}

// ends: each connection ends once, and stays ended.
func (c *checker) ends() {
	for key, closes := range c.closes {
		accepted := 0
		for _, cl := range closes {
			if cl.Outcome == Accepted && !c.h.mayHaveLost(cl.Invoked, cl.Answered) {
				accepted++
			}
		}
		if accepted > 1 {
			c.problems.add(EndedTwice, "hub %d: %d calls to close connection %s were accepted", key.hub, accepted, key.connection)
		}
	}
	seen := map[groupsKey]*Session{}
	for _, s := range c.h.Sessions {
		if s.Connection == "" {
			continue
		}
		key := groupsKey{s.Hub, s.Connection}
		if other := seen[key]; other != nil {
			c.problems.add(EndedTwice, "%v and %v are the same connection", other, s)
		}
		seen[key] = s
	}
}
