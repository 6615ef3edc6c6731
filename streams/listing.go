package streams

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// Listing is a part of a hub's connections, with their groups, in order of their IDs.
type Listing struct {
	Records []Record
	Next    string // where to go on; empty at the end
	Total   int64  // connections of the hub
}

// lookups bounds the records that one listing reads at once.
const lookups = 16

// Connections returns about limit connections of a hub from a cursor on; an empty one is the beginning. See Records.List.
// It reads each record, so it is for people, not for programs.
func (n *Node) Connections(ctx context.Context, hubName, cursor string, limit int) (Listing, error) {
	reply, err := n.store.List(ctx, hubName, cursor, limit)
	if err != nil {
		return Listing{}, err
	}
	slices.Sort(reply.IDs)
	ids := slices.Compact(reply.IDs)
	found := make([]*Record, len(ids))
	failed := make([]error, len(ids))
	places := make(chan struct{}, lookups)
	var wg sync.WaitGroup
	for i, id := range ids {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			one, err := n.store.Lookup(ctx, hubName, id)
			switch {
			case err == nil:
				found[i] = &one.Record
			case !errors.Is(err, ErrGone): // it may end meanwhile
				failed[i] = err
			}
		})
	}
	wg.Wait()
	listing := Listing{Next: reply.Next, Total: reply.Total}
	for i, r := range found {
		if failed[i] != nil {
			return Listing{}, failed[i]
		}
		if r != nil {
			listing.Records = append(listing.Records, *r)
		}
	}
	return listing, nil
}

// CountConnections returns how many connections a hub has.
func (n *Node) CountConnections(ctx context.Context, hubName string) (int64, error) {
	reply, err := n.store.List(ctx, hubName, "", 1)
	return reply.Total, err
}

// Count returns how many connections a user or a group has, on all nodes. See Records.Count.
func (n *Node) Count(ctx context.Context, hubName string, of Holder, name string) (int64, error) {
	return n.store.Count(ctx, hubName, of, name)
}
