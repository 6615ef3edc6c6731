package streams

import (
	"context"
	"errors"
	"time"
)

// ErrBusy says that a connection has more work waiting than a connection may have.
var ErrBusy = errors.New("too much of the connection's work is waiting")

// Work is what connections have sent and is to be executed, and the events of their lives: for each connection one list,
// in the order of arrival on whichever nodes. A worker is what executes them on a node; it has a token and a
// lease. At any time at most one worker has a connection's list, and only what it does counts: every step names the
// worker, and is ErrOwner if another one has the list by now.
//
// A list begins with the event "connected" (see HandshakeRequest.Connected) and ends with "disconnected" (EndRequest),
// each made in the step that makes it true, so once. The items between are the client's messages. What the list is
// made from lives for as long as its connection has one, and is gone when the event "disconnected" is finished.
type Work interface {
	// Accept adds what a client has sent to its connection's list; see AcceptRequest. run tells that the list is
	// the request's worker's to execute. ErrBusy if the list would grow over Limit, with nothing changed.
	Accept(ctx context.Context, hub string, r AcceptRequest) (run bool, err error)
	// NextWork finishes an item, if one is named, and returns the next.
	NextWork(ctx context.Context, hub string, r NextRequest) (NextReply, error)
	// Reply appends what a call in the background has to say; see ReplyRequest.
	Reply(ctx context.Context, hub string, r ReplyRequest) (ReplyReply, error)
	// Adopt gives the worker the lists of workers whose lease has passed, and those that were released, and names them with those
	// that it has: the one of connection ID, or of about Limit connections from Cursor on (empty: the beginning).
	Adopt(ctx context.Context, hub string, r AdoptRequest) (AdoptReply, error)
	// KeepWorker renews a worker's lease in a bucket.
	KeepWorker(ctx context.Context, bucket int, w Worker) error
}

// Worker executes connections' work on a node. An empty Token is none: what needs a worker waits for an Adopt.
type Worker struct {
	Token string
	Lease time.Duration
}

// AcceptRequest is what a client has sent at once.
type AcceptRequest struct {
	ID string
	// Owner, if not empty, must be the record's (else ErrOwner). Without it the state must be open (else ErrGone).
	Owner string
	// Numbered: the messages are a stateful client's, and count as Count after Done; see FinishRequest. Else Token, which
	// is random, tells a repetition of this call from another one.
	Numbered    bool
	Done, Count uint64
	Token       string
	// Items are added in their order; they may be fewer than Count.
	Items []string
	// Limit is how many items may wait, unless none does.
	Limit int
	// Worker gets the list if no other has it.
	Worker Worker
	// Bell is a KindWork entry, appended if another worker has the list and is waiting.
	Bell []byte
}

// NextRequest finishes an item and asks for the next.
type NextRequest struct {
	ID     string
	Worker string
	// Number is that of the item that is finished; 0: none. Repeating it changes nothing.
	Number uint64
	// Entries answer it, appended unless the connection has ended.
	Entries [][]byte
	// Call, if not empty, names a call that goes on in the background: the worker keeps the list until its
	// last Reply.
	Call string
	// Release gives the list up, for whoever adopts it; Bell is appended.
	Release bool
	Bell    []byte
}

// NextReply is the next item of a connection's work.
type NextReply struct {
	// Number is the item's, 0 if there is none. Then the list is nobody's any more, unless Calls are left.
	Number uint64
	Item   string
	// Calls are those that go on in the background, by name.
	Calls []string
	// Context is what the handshake gave with Connected; only if no item was finished.
	Context string
}

// ReplyRequest is what a call in the background says.
type ReplyRequest struct {
	ID, Worker, Call string
	// Number rises with every reply of the call, from 1. Repeating one changes nothing.
	Number  uint64
	Entries [][]byte
	// Final: the call is over.
	Final bool
}

// ReplyReply tells a call how its client keeps up.
type ReplyReply struct {
	// Ended: the connection has, and nothing was appended.
	Ended bool
	// Last is the position of the last entry appended.
	Last Position
	// Cursor is where the client is known to be; see Record.Cursor.
	Cursor Position
}

// AdoptRequest asks for lists that nobody executes.
type AdoptRequest struct {
	Worker Worker
	ID     string
	Cursor string
	Limit  int
}

// AdoptReply lists the connections whose work is the worker's now; an empty Next is the end.
type AdoptReply struct {
	IDs  []string
	Next string
}

// Items of a connection's work begin with one of these.
const (
	// WorkConnected is followed by the event's sequence number: the hub's events are counted from 1.
	WorkConnected = 'c'
	// WorkDisconnected is followed by the sequence number, a space and the reason, which may be empty.
	WorkDisconnected = 'd'
	// WorkMessage is followed by whatever Accept was given.
	WorkMessage = 'm'
)
