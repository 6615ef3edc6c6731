package streams_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"hubstream/integration/valkeytest"
	"hubstream/streams"
)

// poller is a long polling connection whose polls continue, one after the other.
type poller struct {
	u    user
	id   string
	gen  string
	sent streams.Position
	n    uint64 // its last answer's number
	last string // and owner
}

// answered opens a long polling connection, and answers a poll.
func (u user) answered(id string) *poller {
	u.t.Helper()
	u.open(request(streams.OpenPoll, id, "n.1"))
	_, err := u.Handshake(u.t.Context(), hub, streams.HandshakeRequest{ID: id, Protocol: 1, Version: 1, Reply: message("{}"), Lease: time.Minute})
	must(u.t, "handshake", err)
	opened := u.open(request(streams.OpenPoll, id, "n.2"))
	n, err := u.Answer(u.t.Context(), hub, streams.AnswerRequest{ID: id, Owner: "n.2", Sent: opened.Last, Lease: time.Minute})
	must(u.t, "answer", err)
	return &poller{u: u, id: id, gen: opened.Gen, sent: opened.Last, n: n, last: "n.2"}
}

// next is the poll that follows on the last answer.
func (p *poller) next() streams.ContinueRequest {
	return streams.ContinueRequest{
		AnswerRequest: streams.AnswerRequest{ID: p.id, Owner: fmt.Sprint("n.", p.n+1), Sent: p.sent, Lease: time.Minute},
		Gen:           p.gen, Last: p.last, Answers: p.n, From: p.sent,
	}
}

// changesNothing makes the server know the script.
func (p *poller) changesNothing() {
	p.u.t.Helper()
	r := p.next()
	r.Answers = 0
	n, err := p.u.Continue(p.u.t.Context(), hub, r)
	if must(p.u.t, "a poll that must be opened", err); n != 0 {
		p.u.t.Errorf("it continued with number %d", n)
	}
}

// answers is how many a store knows of.
func (p *poller) answers(u user) uint64 {
	u.t.Helper()
	reply, err := u.Lookup(u.t.Context(), hub, p.id)
	must(u.t, "look up", err)
	return reply.Record.Answers
}

// Whose reply was lost is not repeated by the store: what follows is for the poll to decide, which may have been overtaken.
func TestValkeyContinueKnowsWhatItDoesNotKnow(t *testing.T) {
	server := valkeytest.Start(t, valkeytest.Args())
	r := startRelay(t, server.Addr)
	u := use(t, streams.ValkeyConfig{Addresses: []string{r.addr()}})
	p := u.answered("c")
	p.changesNothing()

	r.loseAnswer()
	q := p.next()
	_, err := u.Continue(t.Context(), hub, q)
	want(t, "a Continue whose reply is lost", err, streams.ErrOutcomeUnknown)
	r.wantLost(1)
	if got := p.answers(u); got != p.n+1 {
		t.Errorf("%d answers, want %d", got, p.n+1)
	}
	n, err := u.Continue(t.Context(), hub, q)
	if must(t, "the same again", err); n != p.n+1 {
		t.Errorf("the same again has number %d, want %d", n, p.n+1)
	}

	p.n, p.last = n, q.Owner
	r.shut(true)
	untilUnavailable(t, func() error {
		_, err := u.Continue(t.Context(), hub, p.next())
		return err
	})
	r.shut(false)
	if got := p.answers(u); got != n {
		t.Errorf("%d answers, want %d", got, n)
	}
}

// While one script is on its way, polls that continue wait for the next turn. One that is given up before it was sent is not made, and
// its caller knows it.
func TestValkeyContinuationsThatWait(t *testing.T) {
	const pollers = 100
	server := valkeytest.Start(t, valkeytest.Args())
	u := use(t, streams.ValkeyConfig{Addresses: []string{server.Addr}, CallTimeout: 20 * time.Second})
	patient := make([]*poller, pollers)
	for i := range patient {
		patient[i] = u.answered(fmt.Sprint("c", i))
	}
	hasty := u.answered("hasty")
	hasty.changesNothing()

	server.Pause()
	var on sync.WaitGroup
	on.Go(func() {
		_, err := u.Lookup(t.Context(), hub, "hasty")
		must(t, "the script on its way", err)
	})
	refused := false
	for !refused && len(patient) > 1 {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		_, err := u.Continue(ctx, hub, hasty.next())
		cancel()
		if refused = errors.Is(err, streams.ErrUnavailable); !refused { // nothing was on its way yet
			want(t, "a Continue that was sent and given up", err, streams.ErrOutcomeUnknown)
			hasty, patient = patient[0], patient[1:]
		}
	}
	if !refused {
		t.Error("no Continue has waited behind the script that is on its way")
	}
	for _, p := range patient {
		on.Go(func() {
			n, err := u.Continue(t.Context(), hub, p.next())
			if must(t, "a Continue that waits", err); n != p.n+1 {
				t.Errorf("a Continue that waits has number %d, want %d", n, p.n+1)
			}
		})
	}
	server.Resume()
	on.Wait()
	if got := hasty.answers(u); got != hasty.n {
		t.Errorf("%d answers, want %d: one was made, and its caller was told that it was not", got, hasty.n)
	}
}

// Of many that go together, while connections break and callers give up, each caller knows what has become of its own.
func TestValkeyContinuationsThatGoTogether(t *testing.T) {
	const pollers, each = 32, 60
	server := valkeytest.Start(t, valkeytest.Args())
	r := startRelay(t, server.Addr)
	u := use(t, streams.ValkeyConfig{Addresses: []string{r.addr()}, Prefix: "together"})
	all := make([]*poller, pollers)
	for i := range all {
		all[i] = u.answered(fmt.Sprint("c", i))
	}
	direct := use(t, streams.ValkeyConfig{Addresses: []string{server.Addr}, Prefix: "together"})
	var running sync.WaitGroup
	var mu sync.Mutex
	outcomes := map[string]int{}
	for _, p := range all {
		running.Go(func() {
			for range each {
				q := p.next()
				ctx, cancel := context.WithCancel(t.Context())
				switch rand.N(40) {
				case 0:
					r.loseAnswer()
				case 1, 2, 3, 4, 5:
					cancel()
					ctx, cancel = context.WithTimeout(t.Context(), rand.N(time.Millisecond))
				}
				n, err := u.Continue(ctx, hub, q)
				cancel()
				outcome := "made"
				switch {
				case errors.Is(err, streams.ErrUnavailable):
					outcome = "not sent"
					if got := p.answers(direct); got != p.n {
						t.Errorf("%v: there were %d answers, and are %d", err, p.n, got)
					}
				case err != nil:
					outcome = "unknown"
					want(t, "a Continue whose connection broke, or whose caller gave up", err, streams.ErrOutcomeUnknown)
				}
				mu.Lock()
				outcomes[outcome]++
				mu.Unlock()
				if err != nil {
					eventually(t, "the same again", func() error {
						n, err = u.Continue(t.Context(), hub, q)
						return err
					})
				}
				if n != p.n+1 {
					t.Errorf("the answer after number %d has number %d", p.n, n)
				}
				p.n, p.last = n, q.Owner
			}
		})
	}
	running.Wait()
	t.Log(outcomes)
	for _, outcome := range []string{"made", "unknown", "not sent"} {
		if outcomes[outcome] == 0 {
			t.Errorf("none was %s: the test tests nothing", outcome)
		}
	}
}
