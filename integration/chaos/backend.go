package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"hubstream/internal/sleep"
)

const (
	// finalPublisher sends the last message of each hub.
	finalPublisher = 0
	// callTimeout is how long a backend waits for an answer.
	callTimeout = 10 * time.Second
)

// backend calls the service's API, at any node that takes connections.
type backend struct {
	run    *run
	client *http.Client
}

func newBackend(r *run) *backend {
	return &backend{r, &http.Client{Timeout: callTimeout, Transport: &http.Transport{MaxIdleConnsPerHost: 4}}}
}

// errNotSent says that no node took the connection.
var errNotSent = errors.New("not sent")

// call makes a request at a node that takes connections, whichever.
func (b *backend) call(method, path, body string) (status int, answer []byte, err error) {
	for _, p := range rand.Perm(nodeCount) {
		status, answer, err = b.callAt(b.run.nodes[p].addr, method, path, body)
		if !errors.Is(err, errNotSent) {
			break
		}
	}
	return status, answer, err
}

func (b *backend) callAt(addr, method, path, body string) (status int, answer []byte, err error) {
	req, err := http.NewRequestWithContext(b.run.ctx, method, "http://"+addr+path, bytes.NewReader([]byte(body)))
	if err != nil {
		return 0, nil, err
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := b.client.Do(req)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) && op.Op == "dial" {
			return 0, nil, errNotSent
		}
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}

// outcome reads what an answer with want or another status says of the call's outcome.
func outcome(want, status int, answer []byte, err error) Outcome {
	switch {
	case errors.Is(err, errNotSent):
		return Refused
	case err != nil:
		return Unknown
	case status == want:
		return Accepted
	case bytes.Contains(answer, []byte(`"outcome":"unknown"`)):
		return Unknown
	}
	return Refused
}

// publisher sends one message after the other. Only its own goroutine uses it.
type publisher struct {
	*backend
	id     uint32
	random *rand.Rand
	sends  []Send
	odd    map[string]int // answers that should not be
}

// publish sends one message, and notes the outcome.
func (p *publisher) publish(hub int, audience Audience) Outcome {
	s := Send{Hub: hub, Audience: audience, Invoked: p.run.now()}
	body, _ := json.Marshal(p.message(1, audience))
	status, answer, err := p.call(http.MethodPost, "/api/hubs/"+p.run.hubs[hub]+"/send", string(body))
	s.Answered = p.run.now()
	p.note(&s, status, answer, err)
	return s.Outcome
}

// publishAll sends messages in one batch, and notes the outcome of each.
func (p *publisher) publishAll(hub int, audiences []Audience) {
	batch := make([]message, len(audiences))
	for i, a := range audiences {
		batch[i] = p.message(1+i, a)
	}
	body, _ := json.Marshal(batch)
	invoked := p.run.now()
	status, answer, err := p.call(http.MethodPost, "/api/hubs/"+p.run.hubs[hub]+"/batch", string(body))
	answered := p.run.now()
	var results struct{ Results []json.RawMessage }
	if err == nil && status == http.StatusOK {
		if err := json.Unmarshal(answer, &results); err != nil || len(results.Results) != len(batch) {
			p.odd[fmt.Sprintf("a batch with %s", answer)]++
		}
	}
	for i, audience := range audiences {
		s := Send{Hub: hub, Audience: audience, Invoked: invoked, Answered: answered}
		if i < len(results.Results) {
			var one struct{ Status int }
			_ = json.Unmarshal(results.Results[i], &one)
			p.note(&s, one.Status, results.Results[i], nil)
		} else {
			p.note(&s, status, answer, err)
		}
	}
}

// message is what a backend sends.
type message struct {
	Target      string   `json:"target"`
	Arguments   []any    `json:"arguments"`
	Groups      []string `json:"groups,omitempty"`
	Users       []string `json:"users,omitempty"`
	Connections []string `json:"connections,omitempty"`
	Excluded    []string `json:"excluded,omitempty"`
}

// message is the one that is sent next, or as many as that after what was sent.
func (p *publisher) message(next int, audience Audience) message {
	return message{
		target, []any{p.id, len(p.sends) + next, padding(p.random)}, audience.Groups, audience.Users, audience.Connections, audience.Excluded,
	}
}

// note notes what became of a message.
func (p *publisher) note(s *Send, status int, answer []byte, err error) {
	s.Outcome = outcome(http.StatusAccepted, status, answer, err)
	if s.Outcome == Accepted {
		var receipt struct{ Position string }
		_ = json.Unmarshal(answer, &receipt)
		if s.Position, err = ParsePosition(receipt.Position); err != nil {
			p.odd[fmt.Sprintf("202 with %s", answer)]++
			s.Outcome = Unknown
		}
	} else if err == nil && status != http.StatusServiceUnavailable {
		p.odd[fmt.Sprintf("%d %s", status, answer)]++
	}
	p.sends = append(p.sends, *s)
}

// padding makes messages of different sizes, a few of them large.
func padding(random *rand.Rand) string {
	n := random.IntN(100)
	if random.IntN(200) == 0 {
		n = 10_000 + random.IntN(20_000)
	}
	return strings.Repeat("x", n)
}

// serve sends messages at a steady rate until ctx ends.
func (p *publisher) serve(ctx context.Context, interval time.Duration) {
	next := time.Now().Add(time.Duration(p.random.Int64N(int64(interval))))
	for sleep.For(ctx, time.Until(next)) == nil {
		hub := p.random.IntN(len(p.run.hubs))
		n := 1
		if p.random.IntN(10) == 0 { // some are sent together, which the log may hold together
			n = 2 + p.random.IntN(20)
			audiences := make([]Audience, n)
			for i := range audiences {
				audiences[i] = p.audience(hub)
			}
			p.publishAll(hub, audiences)
		} else {
			p.publish(hub, p.audience(hub))
		}
		if next = next.Add(time.Duration(n) * interval); time.Since(next) > time.Second {
			next = time.Now() // what was not sent while the service was away is not made up for
		}
	}
}

// audience draws whom a message is for.
func (p *publisher) audience(hub int) Audience {
	r := p.random
	group := func() string { return p.run.groups[r.IntN(len(p.run.groups))] }
	user := func() string { return p.run.users[hub][r.IntN(len(p.run.users[hub]))] }
	var a Audience
	switch n := r.IntN(100); {
	case n < p.run.cfg.Broadcasts:
		a.All = true
	case n < 35:
		a.Groups = []string{group()}
	case n < 40:
		a.Groups = []string{group(), group()}
	case n < 45:
		a.Groups, a.Users = []string{group()}, []string{user()}
	case n < 70:
		a.Users = []string{user()}
	default:
		if id, ok := p.run.anyConnection(hub, r); ok {
			a.Connections = []string{id}
		} else {
			a.Users = []string{user()}
		}
	}
	if len(a.Groups) == 2 && a.Groups[0] == a.Groups[1] {
		a.Groups = a.Groups[:1]
	}
	if a.Connections == nil && r.IntN(10) == 0 {
		if id, ok := p.run.anyConnection(hub, r); ok {
			a.Excluded = []string{id}
		}
	}
	return a
}

// members joins connections to groups, takes them out, and closes some.
type members struct {
	*backend
	mu      sync.Mutex
	busy    map[Membership]bool // a call about it is under way
	changes map[Membership][]Change
	closes  []Close
}

func newMembers(r *run) *members {
	return &members{backend: newBackend(r), busy: map[Membership]bool{}, changes: map[Membership][]Change{}}
}

func (m *members) serve(ctx context.Context, random *rand.Rand, interval time.Duration) {
	for sleep.For(ctx, time.Duration(random.Int64N(2*int64(interval)))) == nil {
		hub := random.IntN(len(m.run.hubs))
		id, ok := m.run.anyConnection(hub, random)
		if !ok {
			continue
		}
		if random.IntN(m.run.cfg.CloseOneIn) == 0 {
			m.close(hub, id)
			continue
		}
		m.change(ctx, Membership{hub, id, m.run.groups[random.IntN(len(m.run.groups))]}, random.IntN(3) != 0)
	}
}

// change joins or leaves. The call is repeated until its outcome is known, which it may be: a join of a member
// changes nothing, and is answered with the position of the join that made it one.
func (m *members) change(ctx context.Context, member Membership, join bool) {
	if !m.take(member) {
		return
	}
	method := http.MethodDelete
	if join {
		method = http.MethodPut
	}
	path := fmt.Sprintf("/api/hubs/%s/groups/%s/connections/%s", m.run.hubs[member.Hub], url.PathEscape(member.Group), member.Connection)
	open := false // whether something may have changed
	for {
		status, body, err := m.call(method, path, "")
		var answer struct {
			Position string
			Changed  bool
		}
		if err == nil && status == http.StatusOK && json.Unmarshal(body, &answer) == nil {
			p, err := ParsePosition(answer.Position)
			if err == nil {
				m.done(member, &Change{join, p})
				return
			}
			if answer.Position == "" && !join && !answer.Changed {
				m.done(member, nil) // it never was a member
				return
			}
		}
		if status == http.StatusNotFound && err == nil {
			break
		}
		open = open || !errors.Is(err, errNotSent)
		if sleep.For(ctx, 100*time.Millisecond) != nil {
			break
		}
	}
	if open {
		m.done(member, &Change{Join: join})
	} else {
		m.done(member, nil)
	}
}

func (m *members) take(member Membership) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.busy[member] {
		return false
	}
	m.busy[member] = true
	return true
}

func (m *members) done(member Membership, change *Change) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.busy[member] = false
	if change == nil {
		return
	}
	if list := m.changes[member]; len(list) > 0 && list[len(list)-1] == *change {
		return
	}
	m.changes[member] = append(m.changes[member], *change)
}

// close closes a connection, twice at once: only one of the calls may have done it.
func (m *members) close(hub int, id string) {
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			cl := Close{Hub: hub, Connection: id, Invoked: m.run.now()}
			status, body, err := m.call(http.MethodDelete,
				fmt.Sprintf("/api/hubs/%s/connections/%s?allowReconnect=true&reason=%s", m.run.hubs[hub], id, url.QueryEscape(CloseReason)), "")
			cl.Answered = m.run.now()
			cl.Outcome = outcome(http.StatusAccepted, status, body, err)
			if err == nil && status == http.StatusServiceUnavailable {
				cl.Outcome = Unknown
			}
			m.mu.Lock()
			m.closes = append(m.closes, cl)
			m.mu.Unlock()
		})
	}
	both.Wait()
}
