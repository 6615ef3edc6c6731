package handlers

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"hubstream/streams"
	"hubstream/transports/hubprotocol"
)

// forConsole gives a route of the console what it works with, if the request may see the console's data.
func (h *Handler) forConsole(serve func(echo.Context, *Services) error) echo.HandlerFunc {
	return h.with(func(c echo.Context, s *Services) error {
		if !h.console.Allowed(c.Request()) {
			return errAdmin
		}
		return serve(c, s)
	})
}

// Limits of one look back.
const (
	defaultLookBack = 100 // entries
	maxLookBack     = 500
)

// logAnswer is a part of a hub's log, oldest first.
type logAnswer struct {
	Next    string     `json:"next"` // where to go on
	More    bool       `json:"more"` // there is more already
	Gap     bool       `json:"gap"`  // some of what follows after, or one of the entries, is no longer kept
	Entries []logEntry `json:"entries"`
}

type logEntry struct {
	Position string    `json:"position"`
	At       time.Time `json:"at"`
	Kind     string    `json:"kind"`
	Bytes    int       `json:"bytes"`

	All         bool     `json:"all,omitempty"`
	Groups      []string `json:"groups,omitempty"`
	Users       []string `json:"users,omitempty"`
	Connections []string `json:"connections,omitempty"`
	Excluded    []string `json:"excluded,omitempty"`
	Verb        string   `json:"verb,omitempty"`
	Named       []string `json:"named,omitempty"`

	Target string `json:"target,omitempty"` // of a message
	// Message is the whole message, and a close's reason; only where payloads may be shown.
	Message json.RawMessage `json:"message,omitempty"`
	Reason  string          `json:"reason,omitempty"`

	// Sent and Acknowledged are for the connection that was asked about.
	Sent         bool `json:"sent,omitempty"`
	Acknowledged bool `json:"acknowledged,omitempty"`
}

// showLog shows a hub's log as the query's filters say: after, since (seconds), connection, user, group, broadcasts, target, limit.
func (h *Handler) showLog(c echo.Context, s *Services) error {
	hub, err := hubOf(c)
	if err != nil {
		return err
	}
	r, err := lookBackOf(c, s)
	if err != nil {
		return err
	}
	back, err := s.Streams.LookBack(c.Request().Context(), hub, r)
	if err != nil {
		return err
	}
	answer := logAnswer{
		Next: back.Next.String(), More: back.More, Entries: make([]logEntry, 0, len(back.Entries)), Gap: back.Gap,
	}
	for i := range back.Entries {
		answer.Entries = append(answer.Entries, logEntryOf(&back.Entries[i], back.Gen, h.console.Payloads()))
	}
	return writeJSON(c, http.StatusOK, answer)
}

func lookBackOf(c echo.Context, s *Services) (r streams.LookBack, err error) {
	r = streams.LookBack{
		Limit: defaultLookBack, User: c.QueryParam("user"), Group: c.QueryParam("group"), Broadcasts: c.QueryParam("broadcasts") == "true",
	}
	if target := c.QueryParam("target"); target != "" {
		r.Body = func(body []byte) bool { return targetOf(body) == target }
	}
	if id := c.QueryParam("connection"); id != "" {
		if r.Connection = s.Keyring.ConnectionID(id); r.Connection == "" || len(r.Connection) > streams.MaxIDBytes {
			return r, streams.ErrGone
		}
	}
	if raw := c.QueryParam("limit"); raw != "" {
		if r.Limit, err = strconv.Atoi(raw); err != nil || r.Limit < 1 || r.Limit > maxLookBack {
			return r, invalid("limit", fmt.Sprintf("must be a number from 1 to %d", maxLookBack))
		}
	}
	if raw := c.QueryParam("since"); raw != "" {
		seconds, err := strconv.ParseUint(raw, 10, 31)
		if err != nil {
			return r, invalid("since", "must be a number of seconds")
		}
		r.Since = time.Duration(seconds) * time.Second
	}
	if raw := c.QueryParam("after"); raw != "" {
		if r.After, err = streams.ParsePosition(raw); err != nil {
			return r, invalid("after", "is not what next was")
		}
	}
	return r, nil
}

var kindNames = map[streams.Kind]string{
	streams.KindMessage: "message", streams.KindControl: "groups", streams.KindClose: "close", streams.KindReply: "reply",
	streams.KindResult: "result", streams.KindMoved: "moved", streams.KindGen: "generation",
	streams.KindWork: "work",
}

var verbNames = map[streams.Verb]string{streams.VerbJoin: "join", streams.VerbLeave: "leave", streams.VerbLeaveAll: "leave all", streams.VerbRenew: "renew"}

func logEntryOf(e *streams.LookBackEntry, gen string, payloads bool) logEntry {
	kind := kindNames[e.Kind]
	if kind == "" {
		kind = "unknown"
	}
	if e.Kind == streams.KindClose && e.Flags&streams.FlagEnded != 0 {
		kind = "ended"
	}
	shown := logEntry{
		Position: streams.Receipt{Gen: gen, Position: e.Position}.String(), At: e.At.UTC(), Kind: kind, Bytes: e.Size,
		All: e.Flags&streams.FlagAll != 0, Groups: e.Groups, Users: e.Users, Connections: e.Connections, Excluded: e.Excluded,
		Verb: verbNames[e.Verb], Named: e.Named, Sent: e.Sent, Acknowledged: e.Acknowledged,
	}
	if e.Kind == streams.KindGen {
		shown.Named = nil
	}
	body := bytes.TrimSuffix(e.Body, []byte{hubprotocol.RecordSeparator})
	if e.Kind == streams.KindMessage {
		shown.Target = targetOf(e.Body)
	}
	if payloads && e.Kind == streams.KindClose {
		shown.Reason = string(body)
	} else if payloads && json.Valid(body) {
		shown.Message = body
	}
	return shown
}

// targetOf returns the method of the clients that a message calls; empty if it calls none.
func targetOf(body []byte) string {
	var message struct {
		Target string `json:"target"`
	}
	_ = json.Unmarshal(bytes.TrimSuffix(body, []byte{hubprotocol.RecordSeparator}), &message) // then it has none
	return message.Target
}

// connectionPage is all that is known of one connection.
type connectionPage struct {
	connectionAnswer
	Cursor string `json:"cursor"` // what is known to have arrived; empty where nothing is kept
	Last   string `json:"last"`   // the log's end
	Behind int    `json:"behind"` // messages after the cursor, at most maxPending
	// Resumed counts the upgrades after the first: how often the client came back.
	Resumed uint64      `json:"resumed"`
	Return  *lastReturn `json:"return,omitempty"` // the last time
	Answers uint64      `json:"answers"`          // of polls
}

// lastReturn is how a stateful client came back last.
type lastReturn struct {
	At   time.Time       `json:"at"`
	From string          `json:"from"` // the node that had served it
	Why  streams.Leaving `json:"why"`  // that had let go; empty: it had not
}

func showConnectionPage(c echo.Context, s *Services) error {
	hub, id, err := connectionOf(c, s)
	if err != nil {
		return err
	}
	ctx := c.Request().Context()
	reply, err := s.Streams.Lookup(ctx, hub, id)
	if err != nil {
		return err
	}
	r := &reply.Record
	page := connectionPage{
		connectionAnswer: describe(ctx, s.Streams, hub, &reply), Last: reply.Last.String(), Resumed: r.Tickets, Answers: r.Answers,
	}
	if r.Return.At != 0 {
		page.Return = &lastReturn{time.UnixMilli(r.Return.At).UTC(), r.Return.From, r.Return.Why}
	}
	if r.Transport == streams.TransportLongPolling || r.Stateful() {
		page.Cursor = r.Cursor.String()
		behind := 0
		if _, err := s.Streams.Pending(ctx, hub, id, func(*streams.Item) bool { behind++; return behind < maxPending }); err == nil {
			page.Behind = behind
		}
	}
	return writeJSON(c, http.StatusOK, page)
}
