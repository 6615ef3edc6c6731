package streams

import (
	"context"
	"testing"
	"time"
)

// What comes for a connection while it is taken out of service, when nothing wakes it any more and its cursor is not saved yet, is for whoever
// serves it next.
func TestWhatComesWhileAConnectionIsDetachedIsNotPassed(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	store := NewMemory(MemoryConfig{})
	n := NewNode(store, Config{Name: "n"})
	if err := n.Start(ctx); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cancel()
		n.Wait()
		store.Close()
	}()
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
