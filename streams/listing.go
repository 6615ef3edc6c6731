package streams

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// Listing is a part of a hub's connections, with their groups, in order of their IDs.
type Listing struct {
	Records []Record
	Next    string // where to go on; empty at the end
	Total   int64  // connections of the hub
}

// lookups bounds what one caller asks of the store at once.
const lookups = 16

// Connections returns about limit connections of a hub from a cursor on; an empty one is the beginning. See Records.List.
// It reads each record, so it is for people, not for programs.
func (n *Node) Connections(ctx context.Context, hubName, cursor string, limit int) (Listing, error) {
	reply, err := n.store.List(ctx, hubName, cursor, limit)
	if err != nil {
		return Listing{}, err
	}
	slices.Sort(reply.IDs)
	records, err := n.Records(ctx, hubName, slices.Compact(reply.IDs))
	if err != nil {
		return Listing{}, err
	}
	return Listing{Records: records, Next: reply.Next, Total: reply.Total}, nil
}

// Records returns the records of connections, with their groups, in the order of ids, but for those that have ended.
func (n *Node) Records(ctx context.Context, hubName string, ids []string) ([]Record, error) {
	found := make([]*Record, len(ids))
	err := each(len(ids), func(i int) error {
		one, err := n.store.Lookup(ctx, hubName, ids[i])
		if errors.Is(err, ErrGone) {
			return nil // it may end meanwhile
		}
		found[i] = &one.Record
		return err
	})
	if err != nil {
		return nil, err
	}
	var records []Record
	for _, r := range found {
		if r != nil {
			records = append(records, *r)
		}
	}
	return records, nil
}

// each calls f with the numbers below n, several at once, and returns one of its errors.
func each(n int, f func(int) error) error {
	failed := make([]error, n)
	places := make(chan struct{}, lookups)
	var wg sync.WaitGroup
	for i := range n {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			failed[i] = f(i)
		})
	}
	wg.Wait()
	for _, err := range failed {
		if err != nil {
			return err
		}
	}
	return nil
}

// CountEach returns how many connections each of some users or groups has; see Records.Count.
func (n *Node) CountEach(ctx context.Context, hubName string, of Holder, names []string) ([]int64, error) {
	counts := make([]int64, len(names))
	err := each(len(names), func(i int) (err error) {
		counts[i], err = n.store.Count(ctx, hubName, of, names[i])
		return err
	})
	return counts, err
}

// Lag is the age of the oldest entry that is buffered for a connection, by the store's clock; zero if there is none. known is false
// for a connection for which nothing is buffered.
func (n *Node) Lag(ctx context.Context, hubName string, reply *OpenReply) (lag time.Duration, known bool) {
	r := &reply.Record
	if r.Transport != TransportLongPolling && !r.Stateful() {
		return 0, false
	}
	_, err := n.Pending(ctx, hubName, r.ID, func(oldest *Item) bool {
		lag = max(0, time.Duration(reply.Now-int64(oldest.Position.ms))*time.Millisecond)
		return false
	})
	return lag, err == nil
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
