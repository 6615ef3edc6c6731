package streams

import (
	"context"
	"slices"
	"strings"
	"time"
)

// LookBack asks what a hub's log has. Every filter that is not empty must match.
type LookBack struct {
	// After is where to go on; a zero After begins where the log was Since ago, by the store's clock, or at the
	// log's beginning if Since is zero too.
	After Position
	Since time.Duration
	// Connection: what the connection is sent, and what names it. ErrGone if there is no such connection.
	Connection string
	// User and Group: what names them.
	User, Group string
	// Broadcasts: what is for all.
	Broadcasts bool
	// Body tells whether a message's body is wanted; nil wants all entries. With it there are messages only.
	Body func(body []byte) bool
	// Limit bounds the entries that are returned.
	Limit int
}

// LookBackReply is a part of a hub's log.
type LookBackReply struct {
	Gen         string
	Floor, Last Position
	Entries     []LookBackEntry
	// Gap: of what is after After, or after an entry that was returned, some was trimmed before it could be read.
	Gap bool
	// Next is where to go on; the log's end unless More.
	Next Position
	More bool
}

// LookBackEntry is an entry as it is looked back at.
type LookBackEntry struct {
	*Item
	Size int
	// At is when the store took it, by its clock. It is for people: nothing is decided by it.
	At time.Time
	// Sent: it is for the connection that was asked about. Acknowledged: its client is known to have received it.
	Sent, Acknowledged bool
}

// lookBackScan bounds the entries that one LookBack reads: it must not keep Valkey from its work.
const lookBackScan = 10_000

// LookBack reads a hub's log. It reads past this node's window, so it is for people, not for programs.
func (n *Node) LookBack(ctx context.Context, hubName string, r LookBack) (LookBackReply, error) {
	var connection *filter
	var acknowledged Position
	if r.Connection != "" {
		reply, err := n.store.Lookup(ctx, hubName, r.Connection)
		if err != nil {
			return LookBackReply{}, err
		}
		f := newFilter(&reply.Record, reply.Record.Owner, reply.Last)
		connection = &f
		if reply.Record.Transport == TransportLongPolling || reply.Record.Stateful() {
			acknowledged = reply.Record.Cursor
		}
	}
	at := r.After
	if at.IsZero() && r.Since > 0 {
		at = NewPosition(uint64(max(n.Now()-r.Since.Milliseconds(), 0)), 0)
	}
	var back LookBackReply
	reached := r.After // up to where nothing is missing; zero: nothing was asked to be there
	read, held := reading{most: n.pageEntries}, 0
	for scanned := 0; ; {
		slice, err := n.store.Range(ctx, hubName, at, read.size())
		if err != nil {
			return LookBackReply{}, err
		}
		back.Gen, back.Floor, back.Last = slice.Gen, slice.Floor, slice.Last
		back.Gap = back.Gap || !reached.IsZero() && reached.Before(slice.Floor)
		back.Next = at
		if len(slice.Entries) == 0 {
			return back, nil
		}
		read.note(&slice)
		for _, raw := range slice.Entries {
			if len(back.Entries) >= r.Limit || scanned >= lookBackScan || held >= pageBytes {
				back.More = true
				return back, nil
			}
			scanned++
			at, reached = raw.Position, raw.Position
			back.Next = at
			item, _ := newItem(raw) // what cannot be read names nobody
			e := LookBackEntry{Item: item, Size: len(raw.Data), At: time.UnixMilli(int64(at.ms))}
			if connection != nil {
				e.Sent = connection.step(at, &item.Entry) == deliver
				e.Acknowledged = e.Sent && !at.After(acknowledged)
			}
			if r.matches(&e) {
				back.Entries = append(back.Entries, e)
				held += e.Size
			}
		}
	}
}

func (r *LookBack) matches(e *LookBackEntry) bool {
	switch {
	case e.Kind == KindBlank:
		return false
	case r.Connection != "" && !e.Sent && !slices.Contains(e.Connections, r.Connection) && !slices.Contains(e.Excluded, r.Connection):
		return false
	case r.User != "" && !slices.Contains(e.Users, r.User):
		return false
	case r.Group != "" && !slices.Contains(e.Groups, r.Group) && !slices.Contains(e.Named, r.Group):
		return false
	case r.Broadcasts && e.Flags&FlagAll == 0:
		return false
	case r.Body != nil && (e.Kind != KindMessage || !r.Body(e.Body)):
		return false
	}
	return true
}

// HubNames returns the hubs that have, or had, a log, sorted.
func (n *Node) HubNames(ctx context.Context) ([]string, error) {
	var all []string
	for bucket := range Buckets {
		names, err := n.store.Hubs(ctx, bucket)
		if err != nil {
			return nil, err
		}
		all = append(all, names...)
	}
	slices.SortFunc(all, strings.Compare)
	return all, nil
}

// OpenGroups are the groups that the connection is in, be it on its own or through its user.
func (r *Record) OpenGroups() []string {
	var open []string
	for _, groups := range []Memberships{r.Groups, r.UserGroups} {
		for group := range groups {
			if groups.member(group) {
				open = append(open, group)
			}
		}
	}
	slices.Sort(open)
	return slices.Compact(open)
}

// reading says how many of the store's entries are read at a time by who goes through a log: about pageBytes and most entries at the
// most, if the next are as large as those before and hold as many.
type reading struct{ most, next int }

func (r *reading) size() int { return min(r.most, max(fewEntries, r.next)) }

// note takes what was read, which is at least one entry.
func (r *reading) note(slice *RangeReply) {
	r.next = min(pageBytes/max(1, meanSize(slice.Entries, slice.Stored)), r.most*slice.Stored/len(slice.Entries))
}
