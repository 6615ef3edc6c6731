package transports_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"hubstream/transports"
)

// Clients with stateful reconnect are cut, or leave a socket open and come back on another, at times on two at once, at any node, while they
// call an upstream; the rest is as in storm. They count as the official clients do, so that a number which two nodes
// do not agree on is a number lost or repeated. Every client gets each number once, in order, and each completion once; the
// upstream gets each client's calls once, in order, unless nodes are killed while it executes them.
func TestStatefulSocketsInAStorm(t *testing.T) {
	upstream := func(s *storm) transports.Upstream {
		if s.seed%3 == 0 {
			return nil
		}
		s.app = &stormApp{storm: s, calls: map[string][]string{}}
		return s.app
	}
	runStorm(t, upstream, func(s *storm, i int) {
		c := &stormSocket{storm: s, name: "c" + strconv.Itoa(i), number: i, connection: s.negotiate(stateful), expected: 1, owed: map[string]bool{}}
		c.run()
	})
}

// stormSocket is a client with stateful reconnect.
type stormSocket struct {
	*storm
	connection *connection
	name       string
	number     int
	socket     *socket
	left       []*socket // that it does not use any more, and that are open

	shaken bool
	spoken bool // it may come back: something has been heard of it
	stormNumbers
	owed  map[string]bool
	calls int

	// What the official clients count.
	expected, latest uint64 // of what is received: what comes next, and what came last
	waiting          bool   // for the Sequence of a socket that is new
	returned         time.Time
	sent             uint64
	buffer           []stormMessage // that are not acknowledged

	// When it does what it does by itself; acks is zero when there is nothing to acknowledge.
	pings, acks, callsNext, cuts time.Time
}

type stormMessage struct {
	id   uint64
	text string
}

const (
	stormPings    = 15 * time.Second
	stormAcks     = time.Second
	stormReturns  = 40 * time.Second // the longest that a Sequence may take
	stormIdle     = 50 * time.Millisecond
	stormCalls    = 60 * time.Second // for so long they are made
	stormHangs    = 5 * time.Minute
	stormTwice    = 8 // in one of so many cases it comes back on two sockets at once
	stormFirstCut = time.Second
)

func (c *stormSocket) run() {
	defer c.leave()
	if !c.open() {
		return // as an official client, which begins anew
	}
	c.socket.sendText(handshakeStateful)
	now := time.Now()
	c.pings, c.callsNext, c.cuts = now, now.Add(100*time.Millisecond), now.Add(stormFirstCut+time.Duration(c.n(6000))*time.Millisecond)
	for !c.ends() && c.act() && c.receive() {
	}
}

func (c *stormSocket) leave() {
	for _, s := range append(c.left, c.socket) {
		if s != nil {
			s.cut()
		}
	}
}

// ends tells whether the client has everything, or never will.
func (c *stormSocket) ends() bool {
	if !c.isOver() {
		return false
	}
	c.cuts = time.Now().Add(time.Hour)
	if c.next == c.storm.sent && len(c.owed) == 0 && len(c.buffer) == 0 {
		c.note("%s ends well at %d, with %d calls", c.name, c.next, c.calls)
		if c.app != nil && !c.kills {
			c.app.check(c.number, c.calls)
		}
		return true
	}
	if time.Since(c.began) > stormHangs {
		c.fault("%s hangs: it is at %d of %d, is owed %v, has %d messages that are not acknowledged, waits %v", c.name, c.next, c.storm.sent, c.owed, len(c.buffer), c.waiting)
		return true
	}
	return false
}

// act does what is due.
func (c *stormSocket) act() bool {
	now := time.Now()
	if c.waiting {
		if now.Sub(c.returned) > stormReturns {
			c.fault("%s: no Sequence came", c.name)
			return false
		}
	} else if c.shaken {
		c.speak(now)
	}
	if now.After(c.cuts) && c.spoken {
		return c.cut()
	}
	return true
}

func (c *stormSocket) speak(now time.Time) {
	if now.After(c.pings) {
		c.socket.sendText(ping)
		c.spoken, c.pings = true, now.Add(stormPings)
	}
	if now.After(c.callsNext) && now.Sub(c.began) < stormCalls {
		c.callNext()
		c.callsNext = now.Add(time.Duration(c.n(1500)) * time.Millisecond)
	}
	if !c.acks.IsZero() && now.After(c.acks) {
		c.socket.sendText(ack(int(c.latest)))
		c.acks = time.Time{}
	}
}

func (c *stormSocket) callNext() {
	c.calls++
	c.sent++
	id := strconv.Itoa(c.calls)
	text := fmt.Sprintf(`{"type":1,"target":"M","invocationId":"%s","arguments":[%d,%d]}`+"\x1e", id, c.number, c.calls)
	c.owed[id] = true
	c.buffer = append(c.buffer, stormMessage{c.sent, text})
	c.socket.sendText(text)
}

// cut ends the socket, or leaves it open, and comes back.
func (c *stormSocket) cut() bool {
	c.note("%s is cut", c.name)
	if c.n(3) == 0 {
		c.left = append(c.left, c.socket)
	} else {
		c.socket.cut()
	}
	if c.n(4) > 0 {
		c.sleep(100 * time.Millisecond)
	}
	if !c.comeBack() {
		c.fault("%s cannot come back", c.name)
		return false
	}
	c.cuts = time.Now().Add(time.Duration(c.n(5000)) * time.Millisecond)
	return true
}

// stormTries is how often a client that comes back asks again where a node was killed meanwhile, or could not serve it for now.
const stormTries = 300

// open opens a socket at any node.
func (c *stormSocket) open() bool {
	for range stormTries {
		node := c.ready()
		c.note("%s opens a socket at %d", c.name, node)
		s, a := c.connection.upgrade(node, upgradeHeader, "")
		if s != nil {
			c.socket = s
			return true
		}
		c.note("%s is refused: %d %q %v", c.name, a.status, a.body, a.err)
		if a.err == nil && a.status != http.StatusServiceUnavailable {
			return false
		}
		time.Sleep(100 * time.Millisecond)
	}
	return false
}

// comeBack opens a socket, and at times another at once, and sends again what is not acknowledged.
func (c *stormSocket) comeBack() bool {
	if c.n(stormTwice) == 0 {
		c.note("%s comes back twice", c.name)
		if !c.resend() {
			return false
		}
		c.left = append(c.left, c.socket)
		if c.n(2) == 0 {
			c.sleep(60 * time.Millisecond)
		}
	}
	if !c.resend() {
		return false
	}
	c.returned = time.Now()
	return true
}

func (c *stormSocket) resend() bool {
	if !c.open() {
		return false
	}
	c.waiting = true
	from := c.sent + 1
	if len(c.buffer) > 0 {
		from = c.buffer[0].id
	}
	text := []string{sequence(int(from))}
	for _, m := range c.buffer {
		text = append(text, m.text)
	}
	c.note("%s sends from %d on, %d messages", c.name, from, len(c.buffer))
	if c.n(3) > 0 {
		text = []string{strings.Join(text, "")}
	}
	for _, t := range text {
		c.socket.sendText(t)
	}
	return true
}

// receive takes a frame, if one comes soon.
func (c *stormSocket) receive() bool {
	select {
	case frame, ok := <-c.socket.in:
		if !ok {
			return c.ended(<-c.socket.end)
		}
		return c.take(frame)
	case <-time.After(stormIdle):
		return true
	}
}

// ended comes back, if the client may: one that has said nothing begins anew.
func (c *stormSocket) ended(err error) bool {
	c.note("%s: the socket ended: %v", c.name, err)
	if !c.shaken || !c.spoken {
		return false
	}
	if !c.comeBack() {
		c.fault("%s cannot come back after its socket ended", c.name)
		return false
	}
	return true
}

func (c *stormSocket) take(frame ws.Frame) bool {
	switch frame.Header.OpCode {
	case ws.OpPing:
		return true
	case ws.OpClose:
		c.fault("%s got a close frame", c.name)
		return false
	}
	for m := range strings.SplitAfterSeq(string(frame.Payload), "\x1e") {
		if m != "" && !c.handle(m) {
			return false
		}
	}
	return true
}

// handle handles a message as the official clients do.
func (c *stormSocket) handle(text string) bool {
	if !c.shaken {
		c.shaken = text == accepted
		if !c.shaken {
			c.fault("%s got %q before the handshake's answer", c.name, text)
		}
		return c.shaken
	}
	var m struct {
		Type         int    `json:"type"`
		SequenceID   uint64 `json:"sequenceId"`
		InvocationID string `json:"invocationId"`
		Arguments    []int  `json:"arguments"`
		Error        string `json:"error"`
	}
	if err := json.Unmarshal([]byte(strings.TrimSuffix(text, "\x1e")), &m); err != nil {
		c.fault("%s got %q", c.name, text)
		return false
	}
	switch m.Type {
	case 6:
		return true
	case 7:
		c.fault("%s was closed: %q", c.name, text)
		return false
	case 8:
		return c.waiting || c.acknowledged(m.SequenceID)
	case 9:
		return c.resume(m.SequenceID)
	}
	if c.waiting || c.repeated() {
		return true
	}
	if m.Type == 3 {
		return c.complete(m.InvocationID, m.Error)
	}
	return c.takes(c.storm, c.name, m.Arguments[0])
}

// acknowledged forgets what has arrived.
func (c *stormSocket) acknowledged(id uint64) bool {
	if id > c.sent {
		c.fault("%s: %d messages are acknowledged, and %d were sent", c.name, id, c.sent)
		return false
	}
	for len(c.buffer) > 0 && c.buffer[0].id <= id {
		c.buffer = c.buffer[1:]
	}
	return true
}

func (c *stormSocket) resume(id uint64) bool {
	if id > c.expected {
		c.fault("%s: the next message is said to be the %d., and is the %d.", c.name, id, c.expected)
		return false
	}
	c.note("%s goes on from %d", c.name, id)
	c.expected, c.waiting = id, false
	return true
}

// repeated counts a message, and tells whether it was there already.
func (c *stormSocket) repeated() bool {
	id := c.expected
	c.expected++
	if c.acks.IsZero() && id >= c.latest {
		c.acks = time.Now().Add(stormAcks)
	}
	if id <= c.latest {
		return true
	}
	c.latest = id
	return false
}

func (c *stormSocket) complete(id, failure string) bool {
	if !c.owed[id] || failure != "" && c.app != nil {
		c.fault("%s got a completion of %s %q, and is owed %v", c.name, id, failure, c.owed)
		return false
	}
	delete(c.owed, id)
	return true
}
