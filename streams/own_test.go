package streams_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"hubstream/streams"
)

// follower is a node and a stream that follows a hub there.
type follower struct {
	faulty
	node *streams.Node
	att  *streams.Attachment
}

func (f *follower) publish(body string) streams.Position {
	f.Helper()
	r, err := f.node.Publish(f.ctx, faultyHub, &streams.Entry{Kind: streams.KindMessage, Flags: streams.FlagAll, Body: []byte(body)})
	f.must(err)
	return r.Position
}

// publishLater publishes at a position of its own, before the node looks at the store again.
func (f *follower) publishLater(body string) {
	f.Helper()
	time.Sleep(5 * time.Millisecond)
	f.publish(body)
}

// takes waits for the next messages.
func (f *follower) takes(want string) {
	f.Helper()
	synctest.Wait()
	items, err := f.att.Next(f.ctx, nil, 1<<20)
	got := ""
	for _, i := range items {
		got += string(i.Body)
	}
	if err != nil || got != want {
		f.Fatalf("got %q %v, want %q", got, err, want)
	}
}

// A node appends to what is left after a failover before it has noticed: that entry is there, and says nothing of those
// that its connections were sent before, or that it had accepted and not read yet.
func TestAnAppendAfterAFailoverProvesNothing(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(f *follower, first streams.Position){
		"what was read is lost": func(f *follower, first streams.Position) {
			f.publish("2")
			f.takes("2")
			f.SetAvailable(false)
			synctest.Wait()
			f.RollBack(faultyHub, first)
			f.ChangeRun()
			f.SetAvailable(true)
			f.publishLater("3")
		},
		"what was accepted is lost": func(f *follower, first streams.Position) {
			f.SetAvailable(false)
			synctest.Wait()
			f.SetAvailable(true)
			f.publish("2")
			f.RollBack(faultyHub, first)
			f.ChangeRun()
			f.publishLater("3")
		},
		"what was accepted is lost, and no process says so": func(f *follower, first streams.Position) {
			f.SetAvailable(false)
			synctest.Wait()
			f.SetAvailable(true)
			f.publish("2")
			f.RollBack(faultyHub, first)
			f.publishLater("3")
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := follow(t)
				first := f.publish("1")
				f.takes("1")
				fault(f, first)
				time.Sleep(10 * time.Second)
				if items, err := f.att.Next(f.ctx, nil, 1<<20); !errors.Is(err, streams.ErrLost) {
					t.Errorf("got %d messages and %v, want %v", len(items), err, streams.ErrLost)
				}
			})
		})
	}
}

// A node that does not read a hub's log has accepted a message for it, and begins to read for a connection that was opened before. The store
// has failed over without the message: the connection is not served on as if there had been none.
func TestWhatWasAcceptedBeforeTheTailBeganIsMissed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLosing(t)
		owner := l.node.NewOwner()
		opened, err := l.node.Open(l.ctx, faultyHub, streams.OpenRequest{
			Mode: streams.OpenEvents, ID: "c", Owner: owner, Lease: time.Minute, NewLease: time.Minute, CreateUntil: time.Now().Add(time.Minute).UnixMilli(),
		})
		l.must(err)
		l.publish("1")
		l.RollBack(faultyHub, opened.Last)
		l.ChangeRun()
		att, err := l.node.Attach(l.ctx, faultyHub, opened, owner, time.Minute, func() {})
		if err != nil {
			return
		}
		l.Disconnect()
		time.Sleep(lossSpread + 10*time.Second)
		if items, err := att.Next(l.ctx, nil, 1<<20); !errors.Is(err, streams.ErrLost) {
			t.Errorf("got %d messages and %v, want %v", len(items), err, streams.ErrLost)
		}
	})
}

// A blank entry is the same in every log: that it is lost is no loss, and that there is one is no proof.
func TestABlankEntryProvesNothing(t *testing.T) {
	t.Parallel()
	blank := string(streams.AppendEntry(nil, &streams.Entry{Kind: streams.KindBlank}))
	for name, tc := range map[string]struct {
		keeps func(first, second streams.Position) streams.Position
		// others append meanwhile, at positions that were given before
		others []string
		lost   bool
	}{
		"it is lost": {
			keeps: func(_, second streams.Position) streams.Position { return second },
		},
		"it is lost, and there is another": {
			keeps: func(_, second streams.Position) streams.Position { return second }, others: []string{blank},
		},
		"another entry has its position": {
			keeps: func(_, second streams.Position) streams.Position { return second }, others: []string{"x"}, lost: true,
		},
		"what it came after is lost, and there is another": {
			keeps: func(first, _ streams.Position) streams.Position { return first }, others: []string{"x", blank}, lost: true,
		},
	} {
		proves := func(t *testing.T, begins bool) {
			synctest.Test(t, func(t *testing.T) {
				f := &newLosing(t).follower
				broadcast := func(body string) streams.Position {
					time.Sleep(5 * time.Millisecond)
					return appendBroadcast(t, f.ctx, f, body)
				}
				_, err := f.Verify(f.ctx, faultyHub, streams.VerifyRequest{}) // makes the log
				f.must(err)
				first := broadcast("1")
				if !begins {
					f.follow()
				}
				second := broadcast("2")
				at := f.send(blank)
				if begins {
					f.follow()
				} else {
					f.takes("2")
				}
				synctest.Wait()
				f.SetAvailable(false)
				synctest.Wait()
				f.RollBack(faultyHub, tc.keeps(first, second))
				f.ChangeRun()
				f.SetAvailable(true)
				for i, body := range tc.others {
					if p := f.send(body); i == len(tc.others)-1 && p != at {
						t.Fatalf("an entry came to %v, want %v", p, at)
					}
				}
				time.Sleep(10 * time.Second)
				f.publish("3")
				if !tc.lost {
					f.takes("3")
					return
				}
				synctest.Wait()
				if items, err := f.att.Next(f.ctx, nil, 1<<20); !errors.Is(err, streams.ErrLost) {
					t.Errorf("got %d messages and %v, want %v", len(items), err, streams.ErrLost)
				}
			})
		}
		t.Run(name, func(t *testing.T) { proves(t, false) })
		t.Run(name+", where the tail begins", func(t *testing.T) { proves(t, true) })
	}
}

// A failover that loses nothing is noticed by nobody, whatever the node appends meanwhile.
func TestAppendsAroundACleanFailover(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := follow(t)
		f.publish("1")
		f.takes("1")
		f.SetAvailable(false)
		synctest.Wait()
		f.SetAvailable(true)
		f.publish("2")
		f.ChangeRun()
		f.publish("3")
		time.Sleep(10 * time.Second)
		f.takes("23")
	})
}

func follow(t *testing.T) *follower {
	store := streams.NewFaultyMemory()
	ctx, cancel := context.WithCancel(context.Background())
	f := &follower{faulty: faulty{t, store, ctx}, node: streams.NewNode(store, streams.Config{Name: "n1"})}
	f.must(f.node.Start(ctx))
	f.follow()
	t.Cleanup(func() {
		cancel()
		f.node.Wait()
		store.Close()
	})
	return f
}

// follow begins at the log's end.
func (f *follower) follow() {
	f.Helper()
	att, _, err := f.node.Follow(f.ctx, faultyHub, streams.Audience{}, streams.Receipt{}, func() {})
	f.must(err)
	f.att = att
}
