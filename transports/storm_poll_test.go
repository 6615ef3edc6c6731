package transports_test

import (
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"hubstream/transports"
)

// Clients poll through a proxy that sends a poll again when it has got no answer. Answers are lost, polls are given up, doubled and
// late, and each goes to another node; the rest is as in storm. Every client gets each number once, in order, and the
// handshake's answer and each completion once.
//
// In every fourth seed the clients are those of Java, whose polls are no script's: the nodes cannot know that no two have the same mark, and are
// given the second in which they take an equal one for the next poll.
func TestPollsInAStorm(t *testing.T) {
	runStorm(t, func(*storm) transports.Upstream { return nil }, func(s *storm, i int) {
		p := &stormPoller{storm: s, name: "c" + strconv.Itoa(i), connection: s.negotiate(), java: s.seed%4 == 3, owed: map[string]debt{}}
		p.run()
	})
}

// stormPoller is a client that polls.
type stormPoller struct {
	*storm
	connection *connection
	name       string
	java       bool

	mark   int64 // of the last poll
	shaken bool
	stormNumbers

	mu   sync.Mutex
	owed map[string]debt // completions
	done bool            // there is nothing more to call for
}

// debt is what a call may expect.
type debt bool

const (
	mustCome debt = true
	mayCome  debt = false // it is not known whether the call has arrived
)

func (p *stormPoller) run() {
	if !p.poll() {
		return
	}
	var calling sync.WaitGroup
	calling.Go(p.shakeAndCall)
	for !p.has() && p.poll() {
	}
	p.mu.Lock()
	p.done = true
	p.mu.Unlock()
	calling.Wait()
	p.note("%s ends at %d", p.name, p.next)
}

// has tells whether the client has all that was sent.
func (p *stormPoller) has() bool {
	if !p.isOver() {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, d := range p.owed {
		if d == mustCome {
			return false
		}
	}
	return p.next == p.sent
}

// shakeAndCall posts the handshake, and then calls.
func (p *stormPoller) shakeAndCall() {
	if a := p.post(handshakeJSON); a.status != http.StatusOK {
		p.fault("%s: the handshake got %d %q %v", p.name, a.status, a.body, a.err)
		return
	}
	for n := 1; ; n++ {
		select {
		case <-p.over:
			return
		case <-time.After(time.Duration(p.n(3000)) * time.Millisecond):
		}
		if p.isDone() {
			return
		}
		id := strconv.Itoa(n)
		p.owe(id, mustCome)
		switch a := p.post(call(n)); {
		case a.status == http.StatusOK:
		case a.err != nil || a.status == http.StatusServiceUnavailable:
			p.note("%s: the POST of %d got %d %q %v", p.name, n, a.status, a.body, a.err)
			p.mu.Lock()
			if _, open := p.owed[id]; open {
				p.owed[id] = mayCome
			}
			p.mu.Unlock()
		default:
			p.fault("%s: the POST of %d got %d %q", p.name, n, a.status, a.body)
			return
		}
	}
}

func (p *stormPoller) post(body string) answer {
	return p.connection.do(p.node(), http.MethodPost, "", body, script...)
}

func (p *stormPoller) isDone() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.done
}

func (p *stormPoller) owe(id string, d debt) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.owed[id] = d
}

const (
	stormRetries = 6 // of a poll that are lost or given up at will
	stormCuts    = 200
)

// poll makes a poll, as often as it takes, and takes its answer. It returns false when there is nothing more to do.
func (p *stormPoller) poll() bool {
	mark := p.newMark()
	head := script
	if p.java {
		head = []string{"User-Agent", java}
	}
	for try := 0; ; try++ {
		node := p.node()
		p.note("%s polls %s at %d, try %d", p.name, mark, node, try)
		sent := p.connection.poll(node, mark, head...)
		defer sent.cancel()
		var impatient <-chan time.Time
		if try <= stormRetries && p.n(8) == 0 {
			impatient = time.After(time.Duration(p.n(1500)) * time.Millisecond)
		}
		select {
		case a := <-sent.answered:
			switch {
			case a.err != nil && try > stormCuts:
				p.fault("%s cannot poll: %v", p.name, a.err)
				return false
			case a.err != nil:
				p.note("%s: cut at %d: %v", p.name, node, a.err)
				p.sleep(5 * time.Millisecond)
			case try <= stormRetries && (p.n(8) == 0 || p.isDeaf()):
				p.lose(a)
			default:
				return p.take(a)
			}
		case <-impatient:
			p.note("%s gives up the poll at %d", p.name, node)
			if a, answered := p.giveUp(sent); answered {
				return p.take(a)
			}
		case <-time.After(stormPatience):
			p.fault("%s: the poll at %d hangs", p.name, node)
			return false
		}
	}
}

// lose loses an answer on its way. What is no script's comes again after the second in which it would be the next poll.
func (p *stormPoller) lose(a answer) {
	p.note("%s: lost %d %.80q", p.name, a.status, a.body)
	if p.java {
		time.Sleep(1100 * time.Millisecond)
	}
	p.sleep(40 * time.Millisecond)
}

// giveUp cancels a poll, of which its node learns at once or later; that of a client that is no script is over then, or has an answer.
func (p *stormPoller) giveUp(sent *pending) (a answer, answered bool) {
	switch {
	case p.java:
		sent.cancel()
		a = <-sent.answered
		return a, a.err == nil
	case p.n(2) == 0:
		time.AfterFunc(time.Duration(p.n(400))*time.Millisecond, sent.cancel)
	default:
		sent.cancel()
	}
	return a, false
}

// newMark is the time, as the clients send it. A script is answered no sooner than it stands for another poll.
func (p *stormPoller) newMark() string {
	now := time.Now().Add(20 * 365 * 24 * time.Hour).UnixMilli() // the bubble's clock begins before marks are times
	if now <= p.mark && !p.java {
		p.fault("%s was answered within the millisecond", p.name)
	}
	p.mark = max(now, p.mark+1)
	return strconv.FormatInt(p.mark, 10)
}

// take handles an answer that has arrived.
func (p *stormPoller) take(a answer) bool {
	p.note("%s takes %d %.80q", p.name, a.status, a.body)
	if a.status != http.StatusOK {
		p.fault("%s: a poll got %d %q", p.name, a.status, a.body)
		return false
	}
	for m := range strings.SplitAfterSeq(a.body, "\x1e") {
		if m != "" && !p.handle(m) {
			return false
		}
	}
	return true
}

var (
	stormNumber     = regexp.MustCompile(`^{"type":1.*"arguments":\[(\d+)\]`)
	stormCompletion = regexp.MustCompile(`^{"type":3.*"invocationId":"(\d+)"`)
)

func (p *stormPoller) handle(m string) bool {
	if !p.shaken {
		p.shaken = m == accepted
		if !p.shaken {
			p.fault("%s got %q before the handshake's answer", p.name, m)
		}
		return p.shaken
	}
	if x := stormCompletion.FindStringSubmatch(m); x != nil {
		return p.complete(x[1])
	}
	x := stormNumber.FindStringSubmatch(m)
	if x == nil {
		p.fault("%s got %q", p.name, m)
		return false
	}
	n, _ := strconv.Atoi(x[1])
	return p.takes(p.storm, p.name, n)
}

func (p *stormPoller) complete(id string) bool {
	p.mu.Lock()
	_, owed := p.owed[id]
	delete(p.owed, id)
	p.mu.Unlock()
	if !owed {
		p.fault("%s got a completion of %s, which it has got or not called for", p.name, id)
	}
	return owed
}
