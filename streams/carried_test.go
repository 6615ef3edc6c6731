package streams_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hubstream/streams"
)

// hooked is a store that calls hooks, each once: before an Open or a Restamp; and after an Open, an Answer or a Continue, whose caller
// gets the hook's error, if there is one, instead of the reply.
type hooked struct {
	*streams.FaultyMemory
	opening, restamping func()
	opened, answered    func() error // answered is Continue's, too
	opens               atomic.Int64 // so far
}

func (h *hooked) Restamp(ctx context.Context, hub, node string, items []streams.RestampItem, from, to string) error {
	if hook := h.restamping; hook != nil {
		h.restamping = nil
		hook()
	}
	return h.FaultyMemory.Restamp(ctx, hub, node, items, from, to)
}

func (h *hooked) Open(ctx context.Context, hub string, r streams.OpenRequest) (streams.OpenReply, error) {
	h.opens.Add(1)
	if hook := h.opening; hook != nil {
		h.opening = nil
		hook()
	}
	reply, err := h.FaultyMemory.Open(ctx, hub, r)
	if hook := h.opened; hook != nil && err == nil {
		h.opened = nil
		if err := hook(); err != nil {
			return streams.OpenReply{}, err
		}
	}
	return reply, err
}

func (h *hooked) Answer(ctx context.Context, hub string, r streams.AnswerRequest) (uint64, error) {
	n, err := h.FaultyMemory.Answer(ctx, hub, r)
	if hook := h.answered; hook != nil && err == nil {
		h.answered = nil
		if err := hook(); err != nil {
			return 0, err
		}
	}
	return n, err
}

func (h *hooked) Continue(ctx context.Context, hub string, r streams.ContinueRequest) (uint64, error) {
	n, err := h.FaultyMemory.Continue(ctx, hub, r)
	if hook := h.answered; hook != nil && err == nil {
		h.answered = nil
		if err := hook(); err != nil {
			return 0, err
		}
	}
	return n, err
}

// carrier is a cluster of nodes whose store fails over with all its data.
type carrier struct {
	faulty
	nodes [2]*streams.Node
	hooks [2]*hooked
}

// carry runs a test in fake time.
func carry(t *testing.T, f func(c *carrier)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		c := &carrier{faulty: faulty{t, streams.NewFaultyMemory(), ctx}}
		for i, name := range []string{"n1", "n2"} {
			c.hooks[i] = &hooked{FaultyMemory: c.FaultyMemory}
			c.nodes[i] = streams.NewNode(c.hooks[i], streams.Config{Name: name})
			c.must(c.nodes[i].Start(ctx))
			_, _, err := c.nodes[i].Follow(ctx, faultyHub, streams.Audience{}, streams.Receipt{}, func() {}) // so that it tails the hub
			c.must(err)
		}
		defer func() {
			cancel()
			for _, n := range c.nodes {
				n.Wait()
			}
		}()
		f(c)
	})
}

func (c *carrier) request(owner string) streams.OpenRequest {
	return streams.OpenRequest{
		Mode: streams.OpenPoll, ID: "c", Owner: owner, NewLease: time.Minute, Lease: time.Minute,
		CreateUntil: time.Now().Add(24 * time.Hour).UnixMilli(),
	}
}

func (c *carrier) poll(n int, owner string) streams.OpenReply {
	c.Helper()
	reply, err := c.nodes[n].Open(c.ctx, faultyHub, c.request(owner))
	c.must(err)
	return reply
}

func (c *carrier) attach(n int, reply streams.OpenReply, owner string) *streams.Attachment {
	c.Helper()
	att, err := c.nodes[n].Attach(c.ctx, faultyHub, reply, owner, 0, func() {})
	c.must(err)
	return att
}

// answer commits an answer; it is tried again for as long as the store is away.
func (c *carrier) answer(n int, att *streams.Attachment) {
	c.Helper()
	r := streams.AnswerRequest{ID: "c", Owner: att.Owner(), Sent: att.Cursor(), Lease: time.Minute}
	for {
		if _, err := c.nodes[n].Answer(c.ctx, faultyHub, r); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	c.must(att.Detach(c.ctx, 0, streams.LeavingNone))
}

// begin makes the connection; only n2 has served it.
func (c *carrier) begin() {
	c.Helper()
	c.poll(1, "n2.first")
	c.answer(1, c.attach(1, c.poll(1, "n2.second"), "n2.second"))
}

// failOver returns when both nodes have found out.
func (c *carrier) failOver() {
	c.Helper()
	c.SetAvailable(false)
	c.ChangeRun()
	c.SetAvailable(true)
	time.Sleep(1500 * time.Millisecond)
	synctest.Wait()
}

// A poll waits while Valkey fails over, and is answered as soon as it is there: before its node, which knows of no answer
// yet, has carried the record over.
func TestAnAnswerAtTheMomentOfAFailoverIsCarriedOver(t *testing.T) {
	carry(t, func(c *carrier) {
		c.begin()
		att := c.attach(0, c.poll(0, "n1.third"), "n1.third")
		c.hooks[0].answered = func() error {
			c.failOver()
			return streams.ErrUnavailable
		}
		c.answer(0, att)
		c.attach(1, c.poll(1, "n2.fourth"), "n2.fourth")
	})
}

// Valkey is killed when it has opened a poll, and before it has said so: no node has served the connection in the
// name of the owner that the record has.
func TestAPollThatWasOpenedAtTheMomentOfAFailoverIsCarriedOver(t *testing.T) {
	carry(t, func(c *carrier) {
		c.begin()
		c.hooks[0].opened = func() error {
			c.failOver()
			return streams.ErrUnavailable
		}
		_, err := c.nodes[0].Open(c.ctx, faultyHub, c.request("n1.third"))
		c.refused(err, streams.ErrUnavailable)
		c.attach(0, c.poll(0, "n1.third"), "n1.third")
	})
}

// The same, but the reply arrives, after the node has carried over what it knew of.
func TestAReplyThatOutlivesAFailover(t *testing.T) {
	carry(t, func(c *carrier) {
		c.begin()
		c.hooks[0].opened = func() error {
			c.failOver()
			return nil
		}
		reply := c.poll(0, "n1.third")
		for try := 0; ; try++ {
			att, err := c.nodes[0].Attach(c.ctx, faultyHub, reply, "n1.third", 0, func() {})
			if err == nil {
				c.answer(0, att)
				break
			}
			c.refused(err, streams.ErrUnavailable)
			if try > 10 {
				c.Fatal("nobody carries it over")
			}
			if again, err := c.nodes[0].Reopen(c.ctx, faultyHub, streams.OpenReply{Record: streams.Record{ID: "c"}}, "n1.third"); err == nil {
				reply = again
			}
			time.Sleep(100 * time.Millisecond)
		}
		c.attach(1, c.poll(1, "n2.fourth"), "n2.fourth")
	})
}

// What is carried over is what names the caller, in a generation that the log goes on with.
func TestWhatIsNotItsOwnIsNotCarriedOver(t *testing.T) {
	carry(t, func(c *carrier) {
		c.begin()
		gen := c.poll(1, "n2.third").Gen
		held := make(chan struct{}) // the nodes, which would carry it over themselves
		defer close(held)
		for _, hook := range c.hooks {
			hook.restamping = func() { <-held }
		}
		c.ChangeRun()
		last := c.send("1")
		next := c.verify(last, last, "1").Gen
		restamp := func(owner, from string) {
			c.Helper()
			c.must(c.Restamp(c.ctx, faultyHub, owner[:2], []streams.RestampItem{{ID: "c", Owner: owner}}, from, next))
		}
		is := func(want string) {
			c.Helper()
			r, err := c.Lookup(c.ctx, faultyHub, "c")
			c.must(err)
			if r.Record.Gen != want {
				c.Fatalf("the record is of generation %s, want %s", r.Record.Gen, want)
			}
		}
		restamp("n1.third", next)
		restamp("n2.second", next)
		is(gen)
		restamp("n2.third", next) // the owner that it has
		is(next)
	})
}

// A loss that was found is a loss, whoever the record names.
func TestALostGenerationIsNotCarriedOver(t *testing.T) {
	carry(t, func(c *carrier) {
		c.begin()
		c.poll(1, "n2.third")
		c.ChangeRun()
		v, err := c.Verify(c.ctx, faultyHub, streams.VerifyRequest{
			Proof: c.send("1"), ProofEntry: "what is lost", Gen: c.generation(),
		})
		c.must(err)
		c.must(c.Restamp(c.ctx, faultyHub, "n2", []streams.RestampItem{{ID: "c", Owner: "n2.third"}}, v.Gen, v.Gen))
		_, err = c.FaultyMemory.Open(c.ctx, faultyHub, c.request("n2.fourth"))
		c.refused(err, streams.ErrGeneration)
	})
}

func (c *carrier) generation() string {
	c.Helper()
	r, err := c.Range(c.ctx, faultyHub, streams.Position{}, 1)
	c.must(err)
	return r.Gen
}

// How long a record may take to be carried over begins when the store says that it is not, not with a call that had
// to wait for the store.
func TestACallThatWaitedForTheStoreWaitsForItsRecord(t *testing.T) {
	carry(t, func(c *carrier) {
		c.begin() // n2 has answered last
		c.hooks[1].restamping = func() { time.Sleep(1500 * time.Millisecond) }
		c.hooks[0].opening = func() {
			time.Sleep(3 * time.Second) // as Valkey does that is about to fail
			c.SetAvailable(false)
			c.ChangeRun()
			c.SetAvailable(true)
		}
		c.attach(0, c.poll(0, "n1.third"), "n1.third")
	})
}

// Valkey commits an answer and replies, and fails over to a replica that has all of the log, and not the answer. Its node carries the
// records over before whoever waits for the reply runs: if the bytes are written then, no node may give them again.
func TestReplyThatOutlivesAFailoverWithoutItsAnswer(t *testing.T) {
	for name, continues := range map[string]bool{"answer": false, "continue": true} {
		t.Run(name, func(t *testing.T) {
			carry(t, func(c *carrier) {
				n, hook := c.nodes[0], c.hooks[0]
				c.poll(0, "n1.first")
				_, err := c.Handshake(c.ctx, faultyHub, streams.HandshakeRequest{ID: "c", Protocol: 1, Version: 1, Lease: time.Minute})
				c.must(err)
				publish := func() {
					c.send(string(streams.AppendEntry(nil, &streams.Entry{Kind: streams.KindMessage, Flags: streams.FlagAll, Body: []byte("m")})))
					synctest.Wait()
				}
				take := func(owner string) *streams.Attachment {
					att := c.attach(0, c.poll(0, owner), owner)
					_, err := att.Next(c.ctx, nil, 1000)
					c.must(err)
					return att
				}
				publish()
				att := take("n1.second")
				r := streams.AnswerRequest{ID: "c", Owner: att.Owner(), Sent: att.Cursor(), Lease: time.Minute}
				number, err := n.Answer(c.ctx, faultyHub, r)
				c.must(err)
				att.Answered(number, r, "", 1)
				publish()

				var restore func()
				hook.answered = func() error {
					c.SetAvailable(false)
					restore()
					c.ChangeRun()
					c.SetAvailable(true)
					time.Sleep(1500 * time.Millisecond)
					synctest.Wait()
					return nil
				}
				var sent streams.Position
				if continues {
					next := n.Continue(faultyHub, "c", "", "", 1000)
					if next == nil {
						t.Fatal("it does not continue")
					}
					restore = c.Checkpoint(faultyHub)
					number, err = next.Commit(c.ctx, streams.AnswerRequest{ID: "c", Owner: "n1.third", Lease: time.Minute})
					if number == 0 && errors.Is(err, streams.ErrOutcomeUnknown) {
						return // nothing is written, and the poll is opened
					}
					c.must(err)
					next.Answered()
					sent = next.Items[len(next.Items)-1].Position
				} else {
					att := take("n1.third")
					restore = c.Checkpoint(faultyHub)
					sent = att.Cursor()
					c.answer(0, att)
				}
				reply, err := c.nodes[1].Open(c.ctx, faultyHub, c.request("n2.fourth"))
				if err == nil && reply.Record.Cursor.Before(sent) {
					t.Error("the session goes on from before the answer that was written")
				}
			})
		})
	}
}

// A node and the store's process are gone at once, as they were on one machine: nobody carries over the records of that node's connections, whose
// clients all come back. While they are waited for, others are opened.
func TestWhoWaitsForARecordDoesNotHoldUpOthers(t *testing.T) {
	carry(t, func(c *carrier) {
		request := func(id, owner string) streams.OpenRequest {
			r := c.request(owner)
			r.Mode, r.ID = streams.OpenWebSocket, id
			return r
		}
		const returning = 600 // more than are opened at once
		for i := range returning {
			_, err := c.FaultyMemory.Open(c.ctx, faultyHub, request(fmt.Sprint(i), "n3.first"))
			c.must(err)
		}
		c.ChangeRun()
		began, looks := time.Now(), c.hooks[0].opens.Load()
		var opens sync.WaitGroup
		for i := range returning {
			opens.Go(func() {
				_, err := c.nodes[0].Open(c.ctx, faultyHub, request(fmt.Sprint(i), "n1.second"))
				if !errors.Is(err, streams.ErrGone) {
					t.Errorf("who comes back gets %v, want %v", err, streams.ErrGone)
				}
			})
		}
		time.Sleep(time.Second)
		_, err := c.nodes[0].Open(c.ctx, faultyHub, request("new", "n1.first"))
		c.must(err)
		if took := time.Since(began); took > 1500*time.Millisecond {
			t.Errorf("another connection is opened after %v", took)
		}
		opens.Wait()
		took := time.Since(began)
		if took > 7*time.Second {
			t.Errorf("who comes back is refused after %v", took)
		}
		if rate := float64(c.hooks[0].opens.Load()-looks) / took.Seconds(); rate > 8000 {
			t.Errorf("their records are looked at %.0f times a second", rate)
		}
	})
}
