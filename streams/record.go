package streams

import (
	"strings"
	"time"
)

// Transport is the kind of transport that a connection's first GET chose.
type Transport string

// The transports, as negotiate names them. TransportNone: nothing but a POST came yet.
const (
	TransportNone             Transport = ""
	TransportWebSockets       Transport = "WebSockets"
	TransportServerSentEvents Transport = "ServerSentEvents"
	TransportLongPolling      Transport = "LongPolling"
)

// State is where a connection is in its life.
type State string

// The states, in their order.
const (
	// StateNew: created, no handshake yet.
	StateNew State = "new"
	// StateOpen: the handshake is done.
	StateOpen State = "open"
	// StateClosing: its close entry is appended; it is still sent what comes before.
	StateClosing State = "closing"
	// StateDead: ended; what is left of the record is its tombstone.
	StateDead State = "dead"
)

// Interval is a membership: the connection is a member for the positions after Join
// and before Leave. A zero Leave is an interval that is still open.
type Interval struct {
	Join, Leave Position
}

// contains tells whether an entry at p is sent to a member of this interval.
func (i Interval) contains(p Position) bool {
	return p.After(i.Join) && (i.Leave.IsZero() || p.Before(i.Leave))
}

// Record is what the store keeps of a connection.
type Record struct {
	ID   string
	User string
	// Transport is fixed by the first GET.
	Transport Transport
	State     State
	// Gen is the generation of the log that the record belongs to.
	Gen string
	// Owner is a token of whoever serves the connection: the node's ID and a random
	// part for each attach, compared for equality only. Empty when nobody does.
	Owner string

	// Protocol and Version are the hub protocol's, as the handshake chose them; opaque
	// here but for Version 2, which is stateful.
	Protocol, Version uint8
	// Start is the position of the handshake's answer: no message at or before it matches.
	Start Position

	// Cursor is the position up to which every match is known to have arrived, Acked
	// the number of matches up to there (stateful connections). They change together.
	Cursor Position
	Acked  uint64
	// Done is the number of the client's messages that have been processed (stateful).
	Done uint64
	// Tickets counts the upgrades that were admitted; Ticket is the owner's.
	Tickets, Ticket uint64
	// Heard: something came from a stateful client after its handshake was answered.
	Heard bool
	// Detached is the owner that has left service since: it writes nothing more to the client.
	Detached string
	// Return is how the client came back last (stateful); the zero value if it never did, or is not known. Lookup fills it in.
	Return Return
	// Silent is the highest ticket of a socket that was abandoned; see Records.Abandon.
	Silent uint64

	// Long polling: Sent is where the last answer ended, Mark the "_" of its poll, PollAt
	// the time that poll came (the store's clock, ms), Answers the number of answers,
	// AnsweredAt the time of the last, Wrote and Failed the number of the last whose
	// bytes were written, or not.
	Sent                   Position
	Mark                   string
	PollAt, AnsweredAt     int64
	Answers, Wrote, Failed uint64

	// Since is the time of creation (the store's clock, ms).
	Since int64
	// Works: the connection has work, which began with the event "connected"; see Work.
	Works bool
	// Membership counts the changes of Groups, UserMembership is the position of the last change of UserGroups.
	Membership     uint64
	UserMembership Position
	// Groups are what the connection has joined on its own, UserGroups its user's memberships; see Users. Both are nil when the
	// caller knew them already.
	Groups, UserGroups Memberships
}

// Leaving is why a node let go of a stateful connection.
type Leaving string

// The reasons. LeavingNone: it did not let go; it had died, or did not know yet that the socket was dead.
const (
	LeavingNone Leaving = ""
	// LeavingSocket: the socket ended without a word. The network cut it, or the client did.
	LeavingSocket Leaving = "socket"
	// LeavingTimeout: the client had sent nothing for too long.
	LeavingTimeout Leaving = "timeout"
	// LeavingWrite: the client took nothing more, or its socket failed when it was written to.
	LeavingWrite Leaving = "write"
	// LeavingDrain: the node was about to stop.
	LeavingDrain Leaving = "drain"
	// LeavingDropped: the node cut the socket so that the client comes back; it could not take what came, as
	// when the store is away.
	LeavingDropped Leaving = "dropped"
)

// Return is how a stateful client came back to its connection.
type Return struct {
	// At is when (the store's clock, ms), From the node that had served the connection before, Why it had let go.
	At   int64
	From string
	Why  Leaving
}

// Node returns the name of the node that serves the connection, as its owner token tells; empty when none does.
func (r *Record) Node() string { return nodeOf(r.Owner) }

// nodeOf returns the name of the node that made an owner token.
func nodeOf(owner string) string {
	if i := strings.LastIndexByte(owner, '.'); i >= 0 {
		return owner[:i]
	}
	return ""
}

// abandoned tells whether the client has abandoned a socket since it last took the connection over; see Records.Abandon.
func (r *Record) abandoned() bool { return r.Silent > r.Ticket }

// abandonedTombstone is how long the tombstone of such a connection is kept, and again from each sign that it is still needed.
const abandonedTombstone = 24 * time.Hour

// Stateful tells whether the connection can be re-attached (hub protocol version 2).
func (r *Record) Stateful() bool { return r.Version == 2 }
