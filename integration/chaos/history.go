package chaos

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Position is the place of an entry in its hub's log.
type Position struct{ MS, Seq uint64 }

// ParsePosition reads the position in an answer of the service, "<generation>.<ms>-<seq>".
func ParsePosition(s string) (p Position, err error) {
	_, text, ok := strings.Cut(s, ".")
	ms, seq, both := strings.Cut(text, "-")
	if !ok || !both {
		return p, fmt.Errorf("not a position: %q", s)
	}
	if p.MS, err = strconv.ParseUint(ms, 10, 64); err == nil {
		p.Seq, err = strconv.ParseUint(seq, 10, 64)
	}
	return p, err
}

// Before tells whether p comes before q.
func (p Position) Before(q Position) bool { return p.MS < q.MS || p.MS == q.MS && p.Seq < q.Seq }

func (p Position) String() string { return fmt.Sprintf("%d-%d", p.MS, p.Seq) }

// end is beyond every position.
var end = Position{1<<64 - 1, 1<<64 - 1}

// Message identifies a message by its publisher and the number that the publisher gave it, from 1.
type Message struct{ Publisher, Number uint32 }

func (m Message) String() string { return fmt.Sprintf("%d/%d", m.Publisher, m.Number) }

// Audience is whom a message is for, in one hub.
type Audience struct {
	All                                  bool
	Groups, Users, Connections, Excluded []string
}

// Outcome is what the publisher was told.
type Outcome uint8

const (
	// Unknown: the answer was lost, or said so. The message may have been sent, even later.
	Unknown Outcome = iota
	// Accepted: it was sent.
	Accepted
	// Refused: it was not sent.
	Refused
)

// Send is one attempt to send one message. Times are since the run's start.
type Send struct {
	Hub               int
	Audience          Audience
	Invoked, Answered time.Duration
	Outcome           Outcome
	Position          Position // if accepted
}

// Membership is one connection in one group.
type Membership struct {
	Hub               int
	Connection, Group string
}

// Change is a join or a leave.
type Change struct {
	Join bool
	// Position is where it holds from; of one whose outcome nobody learned, zero: it may hold anywhere after the
	// change before, or nowhere.
	Position Position
}

// Kind is how a client is connected.
type Kind string

const (
	Stateful Kind = "stateful WebSocket"
	Polling  Kind = "long polling"
	Socket   Kind = "WebSocket"
	Events   Kind = "server-sent events"
	Plain    Kind = "plain event stream"
)

// Kinds are all kinds.
var Kinds = []Kind{Stateful, Polling, Socket, Events, Plain}

// End is how a session ended.
type End uint8

const (
	// Alive: it had not ended when the run did.
	Alive End = iota
	// Closed: by a Close message, or an event gap of a plain event stream.
	Closed
	// Gone: a request to continue it was answered with 404, or a poll with 204.
	Gone
	// Broken: its transport broke and it could not be, or was not, continued.
	Broken
)

func (e End) String() string { return [...]string{"alive", "closed", "gone", "broken"}[e] }

// Session is a connection as its client saw it.
type Session struct {
	Client     string
	Kind       Kind
	Official   bool
	Hub        int
	Connection string // empty for plain event streams
	User       string
	Groups     []string // of a plain event stream, for as long as it lasts

	// Opening is before the first request, Opened after the client knew that it was connected.
	Opening, Opened, Ended time.Duration

	Received []Message
	End      End
	Reason   string
	Closes   int // Close messages
	// Resumed counts how often it was continued on another connection or with another event stream.
	Resumed int

	// Invocations are numbered from 1; Completions are the answers in the order in which they came.
	Invocations int
	Completions []int

	marked bool // the final message has come
}

func (s *Session) String() string {
	return fmt.Sprintf("%s (%s, hub %d, connection %s, %v to %v, %s %q)", s.Client, s.Kind, s.Hub, s.Connection,
		s.Opened.Round(time.Millisecond), s.Ended.Round(time.Millisecond), s.End, s.Reason)
}

// Close is a backend's call to close a connection.
type Close struct {
	Hub               int
	Connection        string
	Invoked, Answered time.Duration
	Outcome           Outcome
}

// CloseReason is what the client of a connection that a backend closed is told.
const CloseReason = "closed by chaos"

// History is a whole run.
type History struct {
	Sends    [][]Send // by publisher and number
	Changes  map[Membership][]Change
	Closes   []Close
	Sessions []*Session
	// Final is the position of each hub's last message, to everybody, sent when all faults were over.
	Final []Position
	// LostTails are when what was written was lost in a failover, whatever was accepted.
	LostTails []LostTail
}

// LostTail is a time in which what Valkey's primary accepted was lost with it.
type LostTail struct{ From, To time.Duration }

// mayHaveLost tells whether what was accepted between two times may be lost.
func (h *History) mayHaveLost(invoked, answered time.Duration) bool {
	return slices.ContainsFunc(h.LostTails, func(l LostTail) bool { return invoked <= l.To && answered >= l.From })
}

// send returns what was sent as m, or nil.
func (h *History) send(m Message) *Send {
	if int(m.Publisher) >= len(h.Sends) || m.Number == 0 || int(m.Number) > len(h.Sends[m.Publisher]) {
		return nil
	}
	return &h.Sends[m.Publisher][m.Number-1]
}
