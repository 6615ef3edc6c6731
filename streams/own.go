package streams

import (
	"context"
	"slices"
)

// maxOwn bounds how many entries are remembered that the tail is still to read.
const maxOwn = 4096

// own are entries that this node appended, in the log's order, and that its tail is still to read. They must be in the
// log for it to be the same. None of them proves more than itself: it may have been appended to
// what is left after a failover, before anybody noticed. Guarded by the hub's mutex.
type own []RawEntry

// note remembers an entry that the store has acknowledged.
func (o *own) note(h *hub, e RawEntry) {
	if !h.tailing {
		if e.Position.After(h.proof.Position) {
			h.proof = e
		}
		return
	}
	if !e.Position.After(h.win.end) {
		return
	}
	i := len(*o)
	for i > 0 && (*o)[i-1].Position.After(e.Position) {
		i--
	}
	*o = slices.Insert(*o, i, e)
	if len(*o) > maxOwn {
		*o = slices.Delete(*o, 0, 1)
	}
}

// confirm forgets what has been read now. It returns false if something is missing there; the first that is left is
// then not in the log.
func (o *own) confirm(entries []RawEntry) bool {
	if len(*o) == 0 || len(entries) == 0 {
		return true
	}
	end := entries[len(entries)-1].Position
	n := 0
	for _, e := range *o {
		if e.Position.After(end) {
			break
		}
		for len(entries) > 0 && entries[0].Position.Before(e.Position) {
			entries = entries[1:]
		}
		if len(entries) == 0 || entries[0] != e {
			*o = slices.Delete(*o, 0, n)
			return false
		}
		n++
	}
	*o = slices.Delete(*o, 0, n)
	return true
}

// last is the newest of them; zero if there is none.
func (o own) last() Position {
	if len(o) == 0 {
		return Position{}
	}
	return o[len(o)-1].Position
}

// verifyRest looks, in a log that holds the newest entry that proves something, for what the tail has passed over since, up to end, and for
// this node's own entries. It verifies the log by one that is missing.
func (h *hub) verifyRest(ctx context.Context, r VerifyRequest, proven VerifyReply, mine own, end Position) (VerifyReply, error) {
	missing, err := h.replaced(ctx, r.Proof, end)
	if err == nil && missing == nil {
		missing, err = h.missing(ctx, mine)
	}
	if err != nil || missing == nil {
		return proven, err
	}
	r.Gen, r.Proof, r.ProofEntry = proven.Gen, missing.Position, missing.Data
	return h.node.store.Verify(ctx, h.name, r)
}

// missing returns one of the entries that the log does not hold and has not trimmed; nil if there is none.
func (h *hub) missing(ctx context.Context, mine own) (*RawEntry, error) {
	for len(mine) > 0 {
		reply, err := h.node.store.Range(ctx, h.name, mine[0].Position.previous(), h.node.pageEntries)
		if err != nil {
			return nil, err
		}
		for len(mine) > 0 && !mine[0].Position.After(reply.Floor) {
			mine = mine[1:]
		}
		if len(mine) > 0 && (len(reply.Entries) == 0 || !mine.confirm(reply.Entries)) {
			return &mine[0], nil
		}
	}
	return nil, nil
}

// replaced returns a blank entry in whose place the log has another, which the tail will not read: up to end there was nothing but blank
// entries after the proof. It returns nil if there is none; that a blank one is missing is no loss.
func (h *hub) replaced(ctx context.Context, proof, end Position) (*RawEntry, error) {
	if proof.IsZero() {
		return nil, nil
	}
	for at := proof; at.Before(end); {
		reply, err := h.node.store.Range(ctx, h.name, at, fewEntries)
		if err != nil || len(reply.Entries) == 0 {
			return nil, err
		}
		for _, e := range reply.Entries {
			if at = e.Position; !at.After(end) && !isKind(e.Data, KindBlank) {
				return &RawEntry{at, blankEntry}, nil
			}
		}
	}
	return nil, nil
}
