package streams

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// memoryNode starts a node with a log in memory; it ends with the test.
func memoryNode(t *testing.T, cfg Config) (context.Context, *Node) {
	t.Helper()
	ctx, store := t.Context(), NewMemory(MemoryConfig{})
	n := NewNode(store, cfg)
	if err := n.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		n.Wait()
		_ = store.Close()
	})
	return ctx, n
}

// What comes for a connection while it is taken out of service, when nothing wakes it any more and its cursor is not saved yet, is for whoever
// serves it next.
func TestWhatComesWhileAConnectionIsDetachedIsNotPassed(t *testing.T) {
	t.Parallel()
	ctx, n := memoryNode(t, Config{Name: "n"})
	a := attachStateful(t, n, "c")
	if items, err := a.Next(ctx, nil, 1<<20); err != nil || len(items) > 0 {
		t.Fatalf("got %d messages and %v at first", len(items), err)
	}
	a.Heard()

	a.hub.leave(a) // which is what Detach begins with
	sent, err := n.Publish(ctx, "hub", &Entry{Kind: KindMessage, Connections: []string{"c"}, Body: []byte("1")})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.hub.wait(ctx, sent.Position, 0); err != nil {
		t.Fatal(err)
	}
	if err := a.Detach(ctx, time.Minute, LeavingSocket); err != nil {
		t.Fatal(err)
	}

	found, err := n.Lookup(ctx, "hub", "c")
	if err != nil {
		t.Fatal(err)
	}
	if c := found.Record.Cursor; !c.Before(sent.Position) {
		t.Errorf("the cursor that is saved, %v, has passed the message at %v", c, sent.Position)
	}
}

// attachStateful takes a connection into service whose client may come back.
func attachStateful(t *testing.T, n *Node, id string) *Attachment {
	t.Helper()
	ctx, owner := t.Context(), n.NewOwner()
	opened, err := n.Open(ctx, "hub", OpenRequest{
		Mode: OpenWebSocket, ID: id, Owner: owner, Lease: time.Minute, NewLease: time.Minute, CreateUntil: time.Now().Add(time.Minute).UnixMilli(),
	})
	if err != nil {
		t.Fatal(err)
	}
	a, err := n.Attach(ctx, "hub", opened, owner, time.Minute, func() {})
	if err != nil {
		t.Fatal(err)
	}
	reply, err := n.Handshake(ctx, "hub", HandshakeRequest{ID: id, Owner: owner, Version: 2, Lease: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	a.Start(reply.Start, true)
	return a
}

// The official client acknowledges at once what it had before it came back, which counts once it must have had what was sent again. It need
// say nothing more for a connection that is full until then to go on: a ping will do.
func TestAnAckThatWasHeldBackLetsTheConnectionGoOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newListeners(t, 64<<20)
		const large = maxUnackedBytes / 4
		for range 5 {
			l.append(broadcast(strings.Repeat("x", large)))
		}
		wakes := 0
		reply := OpenReply{Record: Record{ID: "c", Start: at(0), Cursor: at(0), Transport: TransportWebSockets, Version: 2}, Last: at(l.last)}
		a := newAttachment(l.hub, &reply, "owner", time.Minute, func() { wakes++ })
		if err := l.hub.enter(a, "", at(l.last)); err != nil {
			t.Fatal(err)
		}
		next := func(what string, want int) {
			t.Helper()
			items, err := a.Next(t.Context(), nil, 64<<20)
			if err != nil || len(items) != want {
				t.Fatalf("%s: got %d messages and %v, want %d", what, len(items), err, want)
			}
		}
		next("at first", 4)
		a.Ack(4)
		next("at once after the Ack", 0)
		time.Sleep(ackHold)
		wakes = 0
		a.Heard()
		if wakes != 1 {
			t.Errorf("it was woken %d times when its Ack took effect, want once", wakes)
		}
		next("then", 1)
		if a.Acked() != 4 {
			t.Errorf("%d are acknowledged, want 4", a.Acked())
		}
	})
}

// As many matches wait for the Ack of a connection that is behind the window as of one that is not.
func TestConnectionBehindTheWindowIsFullToo(t *testing.T) {
	t.Parallel()
	ctx, n := memoryNode(t, Config{Name: "n", WindowBytes: 1}) // all is read from pages
	a := attachStateful(t, n, "c")
	if _, err := a.Next(ctx, nil, 1<<20); err != nil {
		t.Fatal(err)
	}
	const messages = maxUnacked + 1500
	all := make([]Outgoing, messages)
	for i := range all {
		all[i].Entry = &Entry{Kind: KindMessage, Connections: []string{"c"}, Body: []byte(strconv.Itoa(i))}
	}
	sent := n.PublishAll(ctx, "hub", all)
	if err := a.hub.wait(ctx, sent[messages-1].Receipt.Position, 0); err != nil {
		t.Fatal(err)
	}
	got := 0
	next := func(want int) {
		t.Helper()
		for end := got + want; ; {
			items, err := a.Next(ctx, nil, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			for _, item := range items {
				if string(item.Body) != strconv.Itoa(got) {
					t.Fatalf("got message %s, want %d", item.Body, got)
				}
				got++
			}
			if len(items) == 0 && got == end {
				return
			}
			if len(items) == 0 || got > end {
				t.Fatalf("%d messages were sent, want %d", got, end)
			}
		}
	}
	next(maxUnacked)
	a.Ack(1)
	next(1)
	a.Ack(uint64(got))
	next(messages - got)
}

// The window may hold what follows a cursor that the floor has passed, but the record has forgotten the memberships of that time.
func TestConnectionBehindTheFloorIsNotServedFromTheWindow(t *testing.T) {
	t.Parallel()
	l := newListeners(t, 1<<20)
	l.append(broadcast("1"), broadcast("2"), broadcast("3"))
	for _, behind := range []bool{false, true} {
		reply := OpenReply{Record: Record{ID: "c", Start: at(1), Cursor: at(1), Transport: TransportServerSentEvents}, Last: at(l.last), Floor: at(1)}
		if behind {
			reply.Floor = at(2)
		}
		a := newAttachment(l.hub, &reply, "owner", time.Minute, func() {})
		if err := l.hub.enter(a, "", at(l.last)); err != nil {
			t.Fatal(err)
		}
		if taken := a.Take(l.joined, bracketed, 1<<10); taken == behind {
			t.Errorf("behind the floor: %v, and it takes something: %v", behind, taken)
		}
		if items, err := a.Next(t.Context(), nil, 1<<10); behind != errors.Is(err, ErrGap) || len(items) > 0 {
			t.Errorf("behind the floor: %v, and it gets %d messages and %v", behind, len(items), err)
		}
	}
}
