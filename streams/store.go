package streams

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Errors of a Store. Each may be wrapped.
var (
	// ErrUnavailable says that the store could not be asked; nothing was changed.
	ErrUnavailable = errors.New("the store is not reachable")
	// ErrRefused is an ErrUnavailable that may be of what was asked for alone: the store answers, and may serve others.
	ErrRefused = fmt.Errorf("%w: it refuses", ErrUnavailable)
	// ErrOutcomeUnknown says that a change was sent and its answer lost: it may have
	// been made. Only appends and Continue return it; every other change is safe to repeat.
	ErrOutcomeUnknown = errors.New("the outcome is unknown")
	// ErrFull says that the store has no room (memory limit reached); nothing was changed.
	ErrFull = errors.New("the store is full")
	// ErrLogFull is the ErrFull of a hub's log that is over Config.RetentionBytes although it is as short as it may be.
	ErrLogFull = fmt.Errorf("%w: the hub's log is at its limit", ErrFull)
	// ErrGone says that the connection does not exist, has ended, or is closing.
	ErrGone = errors.New("no such connection")
	// ErrTransport says that the connection already uses another transport.
	ErrTransport = errors.New("the connection uses another transport")
	// ErrConflict says that the connection is being served, and cannot be taken over.
	ErrConflict = errors.New("the connection is being served already")
	// ErrOwner says that another attach owns the connection now.
	ErrOwner = errors.New("the connection is owned by another attach")
	// ErrGeneration says that the record belongs to another generation of the log.
	ErrGeneration = errors.New("the connection belongs to another generation of the log")
	// ErrUnverified says that the store's process changed since the log's generation was
	// made: Verify first, then repeat.
	ErrUnverified = errors.New("the log's generation is not verified")
	// ErrUnheard says that it is not known whether the client has seen the answer to its handshake.
	ErrUnheard = errors.New("nothing was heard of the client since its handshake")
	// ErrGap says that the log no longer reaches back to the cursor.
	ErrGap = errors.New("the log no longer reaches back to the cursor")
	// ErrBeyond says that a position is beyond the log's end: a tail was lost.
	ErrBeyond = errors.New("the position is beyond the end of the log")
	// ErrTooManyGroups says that a connection would be in more than MaxGroups groups.
	ErrTooManyGroups = errors.New("too many groups for one connection")
	// ErrKeyReused says that an idempotency key came with another body.
	ErrKeyReused = errors.New("the idempotency key was used with another body")
)

// MaxGroups limits the groups of one connection.
const MaxGroups = 1000

// Buckets is the number of buckets that hubs are spread over; all keys of a hub
// carry its bucket as Valkey's hash tag, and a node tails a bucket with one reader.
const Buckets = 64

// Store keeps hubs' logs and connections' records. Every method is one atomic step
// of the hub (or bucket) that it names, safe for concurrent use from any number of
// nodes; steps of one hub are totally ordered. All times that decide anything are the
// store's own clock. Every method returns ErrUnavailable when the store cannot be
// asked or ctx ends first. Hub names are taken as they are: the edge lower-cases them.
type Store interface {
	Log
	Records
	Work
	Users
	Cluster
	// Close releases what the store holds on this node. Blocked reads return.
	Close() error
}

// Log is the hubs' logs.
type Log interface {
	// Append adds an encoded entry, which nobody may write to any more, and returns its position, which is after all earlier
	// positions of the hub. It makes the log with a first KindGen entry if there is none.
	// Never repeated on its own: ErrOutcomeUnknown when its answer was lost.
	Append(ctx context.Context, hub string, entry []byte) (Position, error)
	// AppendOnce appends once per key for as long as keep (at least): the same key with the same sum
	// again returns the first position and replayed = true; with another sum ErrKeyReused. Repeated until ctx ends when its answer
	// was lost; ErrOutcomeUnknown if none came.
	AppendOnce(ctx context.Context, hub string, r OnceRequest) (p Position, replayed bool, err error)
	// AppendAll appends entries in their order, with nothing between them: those with a key as AppendOnce does, each with its
	// own result. Never repeated on its own: ErrOutcomeUnknown when its answer was lost.
	AppendAll(ctx context.Context, hub string, items []OnceRequest) ([]AppendResult, error)
	// Range returns entries after a position, in order: those that at most limit of the store's hold.
	// The reply's Floor tells whether something is missing: it is a gap if, and only if, after < Floor.
	Range(ctx context.Context, hub string, after Position, limit int) (RangeReply, error)
	// Trim raises the floor to the last entry at or before upTo, or to one before that where the store holds it together with
	// later ones, and drops the entries at or before the floor. The floor never falls. An empty log is left as it is.
	Trim(ctx context.Context, hub string, upTo Position) (TrimReply, error)
	// Verify proves that the log is still the one that the caller knew; see VerifyRequest.
	Verify(ctx context.Context, hub string, r VerifyRequest) (VerifyReply, error)
	// Tail returns a reader of a bucket's hubs.
	Tail(bucket int) Tail
}

// OnceRequest is a keyed append.
type OnceRequest struct {
	Key   string        // in AppendAll none if empty: it is appended in any case
	Sum   string        // of what the producer sent
	Entry []byte        // nobody may write to it any more
	Keep  time.Duration // how long the key is remembered, at least
}

// AppendResult is what became of one entry of an AppendAll.
type AppendResult struct {
	Position Position
	Replayed bool
	// KeyReused: its key came with another sum before, and it was not appended.
	KeyReused bool
}

// RawEntry is an entry as it is in the log.
type RawEntry struct {
	Position Position
	Data     string // see DecodeEntry
}

// RangeReply is a slice of the log.
type RangeReply struct {
	Gen     string
	Floor   Position
	Last    Position // the log's last position ever given, zero without a log
	Entries []RawEntry
	// Stored is how many of the store's entries these were in: one may hold several that were appended together.
	Stored int
}

// TrimReply is the log after a trim.
type TrimReply struct {
	Floor Position
	// Entries is the log's length, in entries of the store, Bytes about what it takes in the store.
	Entries, Bytes int64
}

// VerifyRequest asks whether the log still holds what this node has seen of it.
type VerifyRequest struct {
	// Last is the last position that the node has processed; if the log's last position
	// is before it, the log is raised so that no position is ever given twice.
	Last Position
	// Proof is the newest position whose entry the node has read, ProofEntry that entry's
	// bytes. A zero Proof proves itself. An append proves nothing: it may have been made after the fault.
	Proof      Position
	ProofEntry string
	// Gen is the generation that the node knows; empty if it knows none, and then nothing it served can be lost.
	Gen string
}

// VerifyReply is the log's identity.
type VerifyReply struct {
	// Gen is the generation, random; a new one is made (and a KindGen entry appended)
	// when there was no log, or when Run has changed since the generation was made. Also when a node finds out that
	// what it knows of the log is gone: that entry has FlagLost, and no generation before it can be continued.
	Gen string
	// Run identifies the store's process.
	Run         string
	Floor, Last Position
	// Proven: the entry at Proof is there with equal bytes, or Proof <= Floor <= the last
	// position (before raising); everything before Proof is then there too. And nobody else has found a loss
	// since the request's Gen.
	Proven bool
}

// Tail reads the ends of several hubs' logs of one bucket. It is used by one
// goroutine at a time, except Wake and Close.
type Tail interface {
	// Read returns, for each hub that has entries after its cursor, those that at most limit of
	// the store's hold, in order. It blocks until there is one, for at most block, and returns nothing
	// on time-out or Wake. A hub without a log is waited for. ErrUnavailable after the
	// connection was lost: the caller verifies its hubs before it reads on. What it returns is overwritten by the next Read.
	Read(ctx context.Context, after []Cursor, limit int, block time.Duration) ([]Batch, error)
	// Wake makes the blocked Read, or else the next one, return.
	Wake()
	// Close ends the tail; a blocked Read returns ErrUnavailable.
	Close()
}

// PromptTail is a Tail that can be read by whoever appends. Read and Take are used by one goroutine at a time, and Wait by one, which may be
// another. A Read that does not block leaves a Wake to Wait.
type PromptTail interface {
	Tail
	// OnAppend has f called with the hub's name after each Append, AppendOnce and AppendAll, before they return. It must not wait. The tail
	// is woken then only if f returns false.
	OnAppend(f func(hub string) bool)
	// Take returns what there is, as Read does, and does not wait. It returns false where Read would return an error. What it returns is
	// overwritten by the next Take or Read.
	Take(after []Cursor, limit int) ([]Batch, bool)
	// Wait returns when there may be something to Read, if only an error, after Wake, and after block at the latest.
	Wait(block time.Duration)
}

// Cursor is a position in a hub's log.
type Cursor struct {
	Hub   string
	After Position
}

// Batch is what a tail read of one hub.
type Batch struct {
	Hub     string
	Entries []RawEntry
	Stored  int // as in RangeReply
}

// Records is the connections' records.
type Records interface {
	// Open admits a request of a connection: creation, poll, upgrade, re-attach.
	// See OpenRequest for what each mode does and returns.
	Open(ctx context.Context, hub string, r OpenRequest) (OpenReply, error)
	// Lookup returns a record in state new, open or closing with all its groups, and the
	// log's last position and floor. Else ErrGone.
	Lookup(ctx context.Context, hub, id string) (OpenReply, error)
	// Handshake records the handshake of a connection in state new; see HandshakeRequest.
	Handshake(ctx context.Context, hub string, r HandshakeRequest) (HandshakeReply, error)
	// Answer commits a poll's answer before its bytes are written, and gives the owner up.
	// Returns the answer's number. ErrOwner if another owns the connection, ErrGone if it
	// has ended, ErrBeyond if Sent is beyond the log's end. Repeating it with
	// the same owner returns the same number. ErrOwner, too, if the owner's Open was an OpenRepeated, maybe one that came late, and
	// Sent is not the record's.
	Answer(ctx context.Context, hub string, r AnswerRequest) (uint64, error)
	// Continue is Open and Answer of a poll in one step, for a caller that committed the answer before it and knows the
	// log from there; see ContinueRequest. It returns the answer's number, or 0 when it has changed nothing: the poll
	// must be opened. Repeating it with the same owner returns the same number. Never repeated on its own: ErrOutcomeUnknown when its
	// answer was lost; the poll is opened then, too, see OpenRequest.Continued.
	Continue(ctx context.Context, hub string, r ContinueRequest) (uint64, error)
	// Wrote tells that answer n's bytes were written, or (ok false) not. It only ever
	// raises Wrote and Failed, and changes nothing for a connection that has ended, or if there is no such answer. Nor does it that
	// the answer to an OpenRepeated was not written: the client may have it already.
	Wrote(ctx context.Context, hub, id string, n uint64, ok bool) error
	// Abandon notes that the socket with a ticket is open and its client silent: a JavaScript client that has another
	// connection by now. When that socket ends the client opens this connection again, as if it were for its new one: refused, it takes
	// the new one for ended without closing it, and taken over it would mix the two. A connection that has ended is
	// remembered for a day from the call. Nothing happens if it is forgotten already, or if a newer ticket is the owner's.
	Abandon(ctx context.Context, hub, id string, ticket uint64) error
	// Touch extends the leases of connections and saves cursors, each only if its owner
	// is the one named. It returns the IDs of those refused: ended, owned by another, or
	// with a cursor beyond the log's end. After an item that is Detached the same owner's others change nothing: they were sent before it.
	Touch(ctx context.Context, hub string, items []TouchItem) (refused []string, err error)
	// Finish records that Count more of a stateful connection's messages have been
	// processed and appends Entries (replies), in one step. Done must be the record's,
	// and Owner its owner: else ErrOwner (ErrGone if it has ended). Repeating a Finish
	// that was made (Done+Count is the record's Done, same owner) changes nothing.
	Finish(ctx context.Context, hub string, r FinishRequest) (Position, error)
	// Join changes memberships; see JoinRequest.
	Join(ctx context.Context, hub string, r JoinRequest) (JoinReply, error)
	// CloseConnection moves a connection to state closing and appends entry, a KindClose.
	// ErrGone if it does not exist, is closing, or has ended.
	CloseConnection(ctx context.Context, hub, id string, entry []byte) (Position, error)
	// End ends a connection exactly once; see EndRequest.
	End(ctx context.Context, hub string, r EndRequest) (EndReply, error)
	// Expired returns at most limit IDs of connections whose lease has passed.
	Expired(ctx context.Context, hub string, limit int) ([]string, error)
	// List returns about limit IDs of connections in states new, open and closing, in no order, and where to go on:
	// an empty Next is the end, an empty cursor the beginning. Who is there from the first call to the last is
	// returned, maybe more than once.
	List(ctx context.Context, hub, cursor string, limit int) (ListReply, error)
	// Count returns how many connections (states new, open and closing) a user or a group has now. A group has those that are in it
	// on their own, and those whose users are.
	Count(ctx context.Context, hub string, of Holder, name string) (int64, error)
	// Restamp moves records from generation from to generation to, if node served them
	// last: an owner token of its own (node, or what begins with node and ".") owns the
	// record or, if nobody does, committed its last answer; or nobody has served it yet.
	// Others are left alone. A record that is older than what the node knows of it (see RestampItem) is not moved:
	// the log may be whole, and yet what the node wrote after its last entry be lost. One that names the item's Owner is as new
	// as that attach: it is moved from every generation that to continues.
	Restamp(ctx context.Context, hub, node string, items []RestampItem, from, to string) error
}

// RestampItem is a connection that a node served.
type RestampItem struct {
	ID string
	// Owner is the token of the attach that serves it now; empty if none does. The record must name it: as its owner or, if
	// nobody is, as who committed its last answer, which the node may not know yet.
	Owner string
	// Answers is the number of the last answer to a poll that the node committed, 0 if it knows of none. A record
	// with fewer answers would repeat one: it is taken out of every generation.
	Answers uint64
}

// OpenMode says which request opens the connection.
type OpenMode uint8

const (
	// OpenWebSocket is an upgrade. Without a record: creates it (OpenCreated). State
	// new, same transport or none: takes it over, the newest wins (OpenAttached). State open
	// and stateful: counts a ticket and leaves the owner alone (OpenTicket); ErrUnheard if nothing was heard of the client
	// since its handshake was answered (see TouchItem; a saved cursor counts, too). State open,
	// not stateful: ErrConflict. State closing: ErrGone. A connection of
	// which a socket was abandoned, in whatever state: OpenAbandoned.
	OpenWebSocket OpenMode = iota + 1
	// OpenEvents is the GET of an event stream. Without a record: creates. No transport yet (POST came
	// first), or state new and the same transport: takes over (OpenAttached). Otherwise ErrConflict; closing: ErrGone.
	OpenEvents
	// OpenPoll is a poll. Without a record, or with no transport yet: the first
	// poll (OpenFirstPoll), which is answered with nothing at once: the answer is committed (Answers = 1,
	// Mark, PollAt, AnsweredAt, Sent = Cursor) and there is no owner. Otherwise it decides whether the answer before
	// has arrived:
	//   - it was the first poll's (Answers = 1), and both marks are not empty and differ: yes, for who has not had it sends no other;
	//   - Failed = Answers: no;
	//   - equal non-empty Mark, which was Unique: no;
	//   - equal non-empty Mark: if the answer was 1 s old or older when this poll came, no; else if Wrote = Answers, yes; else
	//     OpenUndecided, with nothing changed, unless Force: then no;
	//   - the poll before (PollAt) had come 95 s before this one or earlier: no;
	//   - else yes.
	// Yes: Cursor = Sent. No: Sent = Cursor, and if the answer in question was the first poll's
	// (Answers = 1) this is OpenFirstPoll again: Mark, PollAt and AnsweredAt become this poll's, Wrote and Failed 0,
	// so that the next poll is not taken for a loss for the same reason again. Else the poll owns the connection
	// (OpenAttached). No, of a poll with the same Mark, which is that poll again: Cursor and Sent stay,
	// and the outcome is OpenRepeated. For it may be late, and its client have the answer already, from the same poll that a proxy sent again: the next poll then
	// confirms what was answered, no more and no less, whether it comes before this one's answer or after.
	//
	// If another poll owned the connection, a KindMoved entry is appended, or ErrOwner returned if that one was this one again (equal
	// non-empty Mark, Unique), and came later. It has decided already, unless it was OpenRepeated: then this one decides, as above. If Owner owned it, nothing
	// changes. A poll whose Mark is a time in milliseconds before that of the last answered, or of the owner's,
	// seems late, its client to be gone on: OpenUndecided, unless Force. States new, open and closing pass.
	OpenPoll
	// OpenPost is a POST. Without a record: creates it with no transport and no owner.
	// Otherwise changes nothing (OpenFound). ErrTransport for WebSockets.
	// States closing: ErrGone. With a Handshake, and the connection then in state new: that is recorded in the same step
	// (OpenHandshake).
	OpenPost
	// OpenReattach is the Sequence of a returning stateful WebSocket: takes the
	// connection over (OpenAttached) if Ticket is above the owner's, else ErrOwner. Appends KindMoved. Only
	// state open; else ErrGone, and (as with ErrGap) the ticket counts as the owner's, so that no socket is abandoned.
	OpenReattach
)

// OpenRequest asks to serve a connection.
type OpenRequest struct {
	Mode OpenMode
	ID   string
	User string // whom the connection was created for; a record of another is ErrGone. See HandshakeRequest for its user.
	// Owner is the new owner's token.
	Owner string
	// CreateUntil is the time until which the connection may be created (the store's
	// clock, ms); later, and without a record, ErrGone.
	CreateUntil int64
	// Lease is how long the connection lives from now without a sign of life.
	// NewLease is the same for a connection in state new, counted from its creation or
	// take-over.
	Lease, NewLease time.Duration
	// Mark, Unique and Force are for OpenPoll, Ticket for OpenReattach. Unique is as in AnswerRequest, for the first poll's answer.
	Mark   string
	Unique bool
	Force  bool
	Ticket uint64
	// Arrived is when a poll came, by the clock of this process; zero means now. The store may have been away since, and
	// what the rules compare is when the client sent it.
	Arrived time.Time
	// Continued, for OpenPoll: there was a Continue by Owner whose outcome is not known. If it was made: OpenUndecided, with nothing
	// changed (Force or not), for this Open may be late, and the answer have been given; the Continue, repeated, tells which it is. Or
	// ErrOwner if another poll owns the connection or was answered since. If it comes after this Open, it is not made.
	Continued bool
	// Membership and UserMembership are the versions of Groups and UserGroups that the caller has; if both are still
	// the record's (and one is not zero), the reply's Groups and UserGroups are nil.
	Membership     uint64
	UserMembership Position
	// Moved is the KindMoved entry that is appended when a live owner is displaced.
	Moved []byte
	// Handshake, if not nil, is for OpenPost.
	Handshake *PostedHandshake
}

// PostedHandshake is a handshake that is accepted, of a connection without work; see HandshakeRequest. Its lease is the OpenRequest's.
type PostedHandshake struct {
	Protocol, Version uint8
	Reply             []byte
	// Token tells a repetition of the request, whose outcome is the same, from another POST.
	Token string
}

// OpenOutcome says what Open did.
type OpenOutcome uint8

// The outcomes; see OpenMode.
const (
	OpenCreated OpenOutcome = iota + 1
	OpenAttached
	OpenTicket
	OpenFirstPoll
	OpenUndecided
	OpenFound
	// OpenAbandoned: the client has left the connection, and has a socket of it that it abandoned; see Abandon. The socket
	// is accepted, and told nothing.
	OpenAbandoned
	OpenHandshake
	// OpenRepeated: the poll owns the connection, and is one again that was answered: with what is after the record's Cursor up to
	// its Sent, and so it must be answered, at once and with nothing else.
	OpenRepeated
)

// OpenReply is a record as it is after Open, and the log at that moment.
//
// Errors of Open besides those named with the modes, in the order they are checked:
// ErrUnverified (Run changed), ErrGone (tombstone, other user, no record and too late),
// ErrGeneration (record of another generation), ErrTransport (other transport),
// ErrGap (for OpenPoll, OpenTicket, OpenReattach: the cursor is below the floor).
type OpenReply struct {
	Outcome OpenOutcome
	Record  Record
	// Displaced: there was another owner, which may still write to the client until it has read of this in the log.
	Displaced   bool
	Gen         string
	Floor, Last Position
	// Now is the store's clock, ms.
	Now int64
	// Due are those of UserGroups whose time has passed and that no entry has ended yet.
	Due []string
}

// newRecord is the record of a connection that Open makes, as it is without a first poll or a handshake.
func (r *OpenRequest) newRecord(gen string, last Position, now int64) Record {
	rec := Record{ID: r.ID, User: r.User, State: StateNew, Gen: gen, Cursor: last, Since: now}
	switch r.Mode {
	case OpenWebSocket:
		rec.Transport, rec.Owner = TransportWebSockets, r.Owner
	case OpenEvents:
		rec.Transport, rec.Owner = TransportServerSentEvents, r.Owner
	case OpenPoll:
		rec.Transport = TransportLongPolling
	}
	return rec
}

// knows tells whether the caller has the record's groups.
func (r *OpenRequest) knows(rec *Record) bool {
	return r.Membership == rec.Membership && r.UserMembership == rec.UserMembership &&
		(r.Membership != 0 || !r.UserMembership.IsZero())
}

// HandshakeRequest is a handshake. The connection must be in state new (else ErrGone)
// and, if Owner is not empty, owned by it (else ErrOwner).
type HandshakeRequest struct {
	ID, Owner         string
	Protocol, Version uint8
	// Reply is the handshake's answer for the log, for transports that carry it there;
	// Start is then its position. Without it Start is the log's last position.
	Reply []byte
	// Refused: the handshake failed. The record goes to state closing, and Reply tells why.
	Refused bool
	Lease   time.Duration
	// Connected: unless it is refused, the connection has work, which begins with the event "connected"; Context is kept
	// for whoever executes it, and Worker gets the list. See Work.
	Connected bool
	Context   string
	Worker    Worker
	// Rename: the connection is User's from Start on, whoever it was opened for: with its groups, and in its audience. Its requests go
	// on to name whom it was opened for. Reply then has User as its Named.
	Rename bool
	User   string
}

// HandshakeReply is where the connection starts. The cursor stays where it was: a
// close since the creation still counts.
type HandshakeReply struct {
	Start Position
	// Run: the connection's work is the request's worker's.
	Run bool
}

// AnswerRequest commits a poll's answer.
type AnswerRequest struct {
	ID, Owner string
	Sent      Position // where the answer ends
	Mark      string   // the poll's "_"
	// Unique: no other poll of the client has this Mark. One that has is this poll again, which was not answered.
	Unique bool
	// Arrived is as in OpenRequest.
	Arrived time.Time
	Lease   time.Duration
}

// ContinueRequest commits a poll's answer, which follows on the last one: the record's last answer must be that of Answers, From and
// Last, and nobody may own the record. It must be in state open and of the log's generation, which must be Gen and verified; From
// must not be before the floor, nor Sent beyond the log's end. And the last answer must have arrived, by the rules of OpenPoll: what
// is undecided is not continued. Then the record is as after an Open and an Answer.
type ContinueRequest struct {
	AnswerRequest
	Gen     string
	Last    string   // the owner that committed the last answer
	Answers uint64   // its number
	From    Position // where it ended
}

// TouchItem is one connection's sign of life.
type TouchItem struct {
	ID, Owner string
	Lease     time.Duration
	// Save: Cursor and Acked replace the record's pair.
	Save bool
	// Heard: something came from the client since its handshake was answered.
	Heard bool
	// Detached: the owner has left service, and why.
	Detached bool
	Leaving  Leaving
	Cursor   Position
	Acked    uint64
}

// FinishRequest counts processed messages of a client.
type FinishRequest struct {
	ID, Owner string
	Done      uint64
	Count     uint64
	Entries   [][]byte
}

// JoinRequest changes the memberships of one connection (states new and open; else
// ErrGone). A join of groups it is in, and a leave of groups it is not in, change
// nothing; if nothing changes nothing is appended, and the reply has the position of the newest
// change that made it so (zero if there is none). Otherwise Entry, a KindControl
// naming the same groups, is appended, and the changed intervals begin or end there.
// Intervals that ended at or before the floor are dropped. ErrTooManyGroups beyond MaxGroups open memberships.
type JoinRequest struct {
	ID     string
	Verb   Verb
	Groups []string // empty for VerbLeaveAll
	Entry  []byte
}

// JoinReply is the result of a change of memberships.
type JoinReply struct {
	Position Position
	Changed  bool
}

// EndRequest ends a connection: in one step the record becomes a tombstone, Entry (a
// KindClose with FlagEnded) is appended, and the connection leaves all sets.
type EndRequest struct {
	ID string
	// Owner, if not empty, must still own the connection: else EndRefused.
	Owner string
	// OnlyExpired ends it only if its lease has passed: else EndAlive.
	OnlyExpired bool
	// Token is random: repeating the End that ended the connection returns EndDone again.
	Token string
	Entry []byte
	// Tombstone is how long the record's tombstone refuses a new creation.
	Tombstone time.Duration
	// Bury leaves a tombstone without a record, too: it was lost with the log's tail, and the client still has the token that may
	// create the connection.
	Bury bool
	// If the connection has work, the event "disconnected" with Reason is its last. Worker gets the list if no other has
	// it; Bell is for the one that has. See Work.
	Reason string
	Worker Worker
	Bell   []byte
}

// ListReply is a part of a hub's connections.
type ListReply struct {
	IDs   []string
	Next  string
	Total int64 // connections of the hub
}

// Holder is what holds connections: see Records.Count.
type Holder uint8

// The holders.
const (
	HolderUser Holder = iota + 1
	HolderGroup
)

// EndOutcome says what End did.
type EndOutcome uint8

const (
	// EndDone: this call ended the connection.
	EndDone EndOutcome = iota + 1
	// EndAlready: it had ended, or never was.
	EndAlready
	// EndAlive: its lease has not passed.
	EndAlive
	// EndRefused: another attach owns it.
	EndRefused
)

// EndReply is the result of an End.
type EndReply struct {
	Outcome EndOutcome
	// Position is that of the close entry (EndDone).
	Position Position
	// Record is the record as it was, without groups (EndDone).
	Record Record
	// Run: the connection's work is the request's worker's (EndDone).
	Run bool
}

// Cluster is what nodes share beside the hubs.
type Cluster interface {
	// Beat renews a node's lease in a bucket and tells what the store's process and clock are.
	Beat(ctx context.Context, bucket int, node string, lease time.Duration) (BeatReply, error)
	// Hubs returns the hubs of a bucket that have, or had, a log.
	Hubs(ctx context.Context, bucket int) ([]string, error)
	// Report replaces what a node tells the others of itself, and returns what every node has told that did so
	// within keep, sorted by name; what is older is forgotten. It belongs to no bucket.
	Report(ctx context.Context, node string, data []byte, keep time.Duration) ([]NodeReport, error)
	// Secret returns the cluster's shared secret; the first caller's proposal becomes it.
	Secret(ctx context.Context, proposal []byte) ([]byte, error)
	// Ready returns nil if the store can be used safely: it answers, takes writes, and
	// does not evict keys. The error tells the operator what to change.
	Ready(ctx context.Context) error
}

// BeatReply is the store's identity and clock.
type BeatReply struct {
	Run   string
	Now   int64 // ms
	Nodes int   // nodes whose lease in the bucket has not passed
}

// NodeReport is what a node has told of itself; see Cluster.Report.
type NodeReport struct {
	Node string
	Data []byte        // opaque here
	Age  time.Duration // since it was told, by the store's clock
}

// Bucket returns the bucket of a hub: CRC16 (XMODEM, as Valkey's) of its name modulo Buckets.
func Bucket(hub string) int { return int(crc16(hub)) % Buckets }

func crc16(s string) uint16 {
	var crc uint16
	for i := 0; i < len(s); i++ {
		crc ^= uint16(s[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return crc
}
