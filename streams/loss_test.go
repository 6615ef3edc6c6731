package streams_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"hubstream/streams"
)

const lossSpread = 30 * time.Second

// losing is a node over a store that loses a part of its log.
type losing struct {
	follower
	conns map[string]*streams.Attachment
}

func newLosing(t *testing.T) *losing {
	store := streams.NewFaultyMemory()
	ctx, cancel := context.WithCancel(context.Background())
	l := &losing{conns: map[string]*streams.Attachment{}}
	l.faulty, l.node = faulty{t, store, ctx}, streams.NewNode(store, streams.Config{Name: "n1", LossSpread: lossSpread})
	l.must(l.node.Start(ctx))
	t.Cleanup(func() {
		cancel()
		l.node.Wait()
		store.Close()
	})
	return l
}

// connect opens connections by WebSockets, of version 2 with stateful reconnect.
func (l *losing) connect(version uint8, ids ...string) {
	l.Helper()
	for _, id := range ids {
		owner := l.node.NewOwner()
		opened, err := l.node.Open(l.ctx, faultyHub, streams.OpenRequest{
			Mode: streams.OpenWebSocket, ID: id, Owner: owner, Lease: 30 * time.Second, NewLease: 15 * time.Second,
			CreateUntil: time.Now().Add(time.Minute).UnixMilli(),
		})
		l.must(err)
		att, err := l.node.Attach(l.ctx, faultyHub, opened, owner, 30*time.Second, func() {})
		l.must(err)
		reply, err := l.node.Handshake(l.ctx, faultyHub, streams.HandshakeRequest{ID: id, Owner: owner, Version: version, Lease: 30 * time.Second})
		l.must(err)
		att.Start(reply.Start, version == 2)
		l.conns[id] = att
	}
}

// both opens a connection of each version, which get a message.
func (l *losing) both() {
	l.Helper()
	l.connect(1, "plain")
	l.connect(2, "stateful")
	l.publish("1")
	for id := range l.conns {
		l.gets(id, "1")
	}
}

// gets waits for what a connection is sent now.
func (l *losing) gets(id, want string) {
	l.Helper()
	l.att = l.conns[id]
	l.takes(want)
}

// sendTo sends to one connection.
func (l *losing) sendTo(id, body string) {
	l.Helper()
	_, err := l.node.Publish(l.ctx, faultyHub, &streams.Entry{Kind: streams.KindMessage, Connections: []string{id}, Body: []byte(body)})
	l.must(err)
}

// lose lets another process take the store's place that back has made older. Before the node notices the entry of body is appended.
func (l *losing) lose(body string, back func()) {
	synctest.Wait()
	l.SetAvailable(false)
	synctest.Wait()
	back()
	l.ChangeRun()
	time.Sleep(5 * time.Millisecond) // after what was read before
	l.SetAvailable(true)
	l.send(string(streams.AppendEntry(nil, &streams.Entry{Kind: streams.KindMessage, Flags: streams.FlagAll, Body: []byte(body)})))
	time.Sleep(time.Second)
	synctest.Wait()
}

// ended takes what there is for a connection and tells whether it is over.
func (l *losing) ended(id string) bool {
	l.Helper()
	_, err := l.conns[id].Next(l.ctx, nil, 1<<20)
	if err != nil && !errors.Is(err, streams.ErrLost) {
		l.Fatalf("%s: got %v, want %v", id, err, streams.ErrLost)
	}
	return err != nil
}

// lasts returns when each connection has ended, at the latest.
func (l *losing) lasts(ids ...string) (ends []time.Duration) {
	l.Helper()
	for at := time.Duration(0); at <= lossSpread+time.Second; at += time.Second {
		var left []string
		for _, id := range ids {
			if l.ended(id) {
				ends = append(ends, at)
			} else {
				left = append(left, id)
			}
		}
		ids = left
		time.Sleep(time.Second)
	}
	if len(ids) > 0 {
		l.Fatalf("%v did not end", ids)
	}
	return ends
}

// A connection that has been there for long, of which the node has heard nothing since, is carried over as others are.
func TestConnectionThatHasLongBeenThereIsCarriedOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLosing(t)
		l.both()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		l.lose("2", func() {}) // but nothing is lost
		log, err := l.Range(l.ctx, faultyHub, streams.Position{}, 1)
		l.must(err)
		for id := range l.conns {
			l.gets(id, "2")
			found, err := l.Lookup(l.ctx, faultyHub, id) // as another node would
			l.must(err)
			if found.Record.Gen != log.Gen {
				t.Errorf("the record of %q is of generation %s, the log of %s", id, found.Record.Gen, log.Gen)
			}
		}
	})
}

// They would all come back together.
func TestConnectionsOfALostLogAreClosedByAndBy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLosing(t)
		var plain []string
		for i := range 10 {
			plain = append(plain, fmt.Sprint("plain", i))
		}
		l.connect(1, plain...)
		l.connect(1, "joined")
		l.connect(2, "untouched", "touched")
		first := l.publish("1")
		l.gets("touched", "1")
		l.sendTo("touched", "2")
		l.sendTo(plain[0], "2")
		_, err := l.node.Join(l.ctx, faultyHub, "joined", streams.VerbJoin, "g")
		l.must(err)
		l.gets("touched", "2")
		l.gets(plain[0], "12")
		l.lose("between", func() { l.RollBack(faultyHub, first) })

		// Their clients count what is gone, or are in a group that nobody else knows of.
		for _, id := range []string{"touched", "joined"} {
			if !l.ended(id) {
				t.Errorf("%s goes on", id)
			}
		}
		rest := append(plain, "untouched")
		for id, att := range l.conns {
			if !att.Lost() {
				t.Errorf("%s is not lost", id)
			}
		}
		l.publish("3")
		for _, id := range rest[1:] {
			l.gets(id, "") // what is gone would be missing before it
		}
		ends := l.lasts(rest...)
		together := map[time.Duration]int{}
		for _, at := range ends {
			if together[at]++; together[at] > 1 {
				t.Errorf("some end together: %v", ends)
				break
			}
		}
		if ends[len(ends)-1] < lossSpread-5*time.Second {
			t.Errorf("they end after %v, want them spread over %v", ends, lossSpread)
		}
		if n := l.node.Figures().Losses; n != 1 {
			t.Errorf("%d losses are counted", n)
		}
	})
}

// Another node has lost what this one never had: it was perhaps for those that are here.
func TestNodeThatReadsOfALossSendsNothingMore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLosing(t)
		l.both()
		known := l.verify(streams.Position{}, streams.Position{}, "")
		found, err := l.Verify(l.ctx, faultyHub, streams.VerifyRequest{
			Last: known.Last, Proof: known.Last, ProofEntry: "what the other node had", Gen: known.Gen,
		})
		l.must(err)
		if found.Proven {
			t.Fatal("there is no loss")
		}
		l.publish("2")
		for id := range l.conns {
			l.gets(id, "")
		}
		l.lasts("plain", "stateful")
	})
}

// FLUSHALL, for one: no connection of the store ends, and who appends next makes the log anew.
func TestNothingComesAfterALossThatEndedNoConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLosing(t)
		l.both()
		time.Sleep(5 * time.Millisecond) // after what was read before
		l.Empty(faultyHub)
		l.send(string(streams.AppendEntry(nil, &streams.Entry{Kind: streams.KindMessage, Flags: streams.FlagAll, Body: []byte("2")}))) // by another node
		synctest.Wait()
		for id, att := range l.conns {
			items, err := att.Next(l.ctx, nil, 1<<20)
			if len(items) > 0 || err != nil && !errors.Is(err, streams.ErrLost) {
				t.Errorf("%s: got %v, %v, want nothing, or the end", id, items, err)
			}
		}
		time.Sleep(time.Second)
		l.lasts("plain", "stateful")
		if n := l.node.Figures().Losses; n != 1 {
			t.Errorf("%d losses are counted", n)
		}
	})
}

func TestClientsThatCountEndAtOnceWhenABroadcastIsLost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLosing(t)
		l.connect(1, "plain")
		l.connect(2, "stateful")
		first := l.publish("1")
		l.publish("2")
		l.lose("between", func() { l.RollBack(faultyHub, first) })
		if !l.ended("stateful") || l.ended("plain") {
			t.Error("want the stateful connection to end at once, the other one later")
		}
		l.lasts("plain")
	})
}

// A plain stream has not been told yet that the log is lost when it says once more where it is. Its connection breaks then: with what it was told
// last its client learns of the loss.
func TestWhereAStreamIsInALostLogIsNotInTheNext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLosing(t)
		att, _, err := l.node.Follow(l.ctx, faultyHub, streams.Audience{}, streams.Receipt{}, func() {})
		l.must(err)
		first := l.publish("1")
		synctest.Wait()
		items, err := att.Next(l.ctx, nil, 1<<20)
		l.must(err)
		l.publish("2")
		l.lose("between", func() { l.RollBack(faultyHub, first) })
		for what, at := range map[string]streams.Receipt{"the cursor": att.At(), "what was sent": att.Of(items[0])} {
			if _, _, err := l.node.Follow(l.ctx, faultyHub, streams.Audience{}, at, func() {}); !errors.Is(err, streams.ErrGeneration) {
				t.Errorf("going on from %s gives %v, want %v", what, err, streams.ErrGeneration)
			}
		}
	})
}

// Its client would be told nothing, as one whose connection was taken over.
func TestConnectionWhoseRecordIsLostIsToldSo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLosing(t)
		l.connect(1, "a", "b")
		l.publish("1")
		synctest.Wait()
		back := l.Checkpoint(faultyHub)
		l.connect(1, "c")
		l.publish("2")
		l.lose("between", back)
		if l.ended("c") {
			t.Error("it ends at once")
		}
		l.lasts("a", "b", "c")
	})
}

// The store comes back empty, and is asked to renew leases before the tail looks at the log. The records are not there, and not because others
// own them: the connections end by and by, as ever.
func TestConnectionsWhoseRecordsAreMissedFirstAreToldSo(t *testing.T) {
	t.Parallel()
	for away := 500 * time.Millisecond; away < 13*time.Second; away += 610 * time.Millisecond {
		synctest.Test(t, func(t *testing.T) {
			l := newLosing(t)
			ids := []string{"a", "b", "c", "d", "e", "f"}
			l.connect(1, ids...)
			l.publish("1")
			for _, id := range ids {
				l.gets(id, "1")
			}
			time.Sleep(8500 * time.Millisecond) // so that their leases are soon due
			l.SetAvailable(false)
			time.Sleep(away)
			l.Empty(faultyHub)
			l.ChangeRun()
			l.SetAvailable(true)
			time.Sleep(3 * time.Second)
			if ends := l.lasts(ids...); ends[1] == ends[len(ends)-1] {
				t.Errorf("after %v they end together", away)
			}
		})
	}
}

// An attach waits until the tail has reached what the log was when the record was read. That may be lost before the tail has read it, and the
// log that is left may not come so far for long.
func TestAttachDoesNotWaitForWhatIsLost(t *testing.T) {
	t.Parallel()
	for name, waits := range map[string]bool{"lost before it waits": false, "lost while it waits": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l := newLosing(t)
				l.connect(1, "a")
				owner := l.node.NewOwner()
				opened, err := l.node.Open(l.ctx, faultyHub, streams.OpenRequest{
					Mode: streams.OpenWebSocket, ID: "c", Owner: owner, Lease: 30 * time.Second, NewLease: 15 * time.Second,
					CreateUntil: time.Now().Add(time.Minute).UnixMilli(),
				})
				l.must(err)
				opened.Last = streams.NewPosition(uint64(time.Now().Add(time.Hour).UnixMilli()), 0)
				result := make(chan error, 1)
				attach := func() {
					_, err := l.node.Attach(l.ctx, faultyHub, opened, owner, 30*time.Second, func() {})
					result <- err
				}
				empty := func() { l.lose("between", func() { l.Empty(faultyHub) }) }
				if waits {
					go attach()
					empty()
				} else {
					empty()
					go attach()
				}
				synctest.Wait()
				select {
				case err := <-result:
					l.refused(err, streams.ErrGone)
				default:
					t.Error("it waits")
				}
			})
		})
	}
}

// What its client was sent is not known then.
func TestClientsThatCountEndAtOnceWhenNothingIsLeft(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLosing(t)
		l.connect(1, "plain")
		l.connect(2, "stateful")
		l.publish("1")
		l.lose("between", func() { l.Empty(faultyHub) })
		if !l.ended("stateful") || l.ended("plain") {
			t.Error("want the stateful connection to end at once, the other one later")
		}
		l.lasts("plain")
	})
}
