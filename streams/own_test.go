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
	att, _, err := f.node.Follow(ctx, faultyHub, streams.Audience{}, streams.Receipt{}, func() {})
	f.must(err)
	f.att = att
	t.Cleanup(func() {
		cancel()
		f.node.Wait()
		store.Close()
	})
	return f
}
