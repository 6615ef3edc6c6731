package streams

import (
	"strconv"
	"strings"

	"github.com/valkey-io/valkey-go"
)

// A connection's record is a hash. Its fields are short, because every connection
// has them. A script that returns a record returns a small one whole, each field with its value; of
// another these fields' values, in this order, which is record.lua's, too. Beside them there are:
//
//	g:<group>   the group's intervals, "join,leave;join,"
//	go, ci      groups it is in; intervals that have ended
//	of          the user that it was opened for, if the handshake has changed the user
//	ao          the owner that committed the last answer
//	um          its poll's mark, if that is unique
//	om, oc      the owner's poll's, if that is, and when that came
//	ct          the owner that committed the last answer of a Continue, and its number, "owner number"
//	dp          where the last Finish ended
//	fp          token of the Open that was the first poll
//	lw          why the owner that let go last did, and its token, "why owner"
//	ty, cp      token of the Handshake or CloseConnection that made the state, and the close entry's position
//	x, xs, xp   of a tombstone: token of the End, the state before it, the close entry's position
var recordFields = [...]string{
	"u", "t", "s", "g", "o", "p", "v", "st", "c", "a", "d", "k", "tk",
	"sn", "m", "pa", "aa", "n", "w", "f", "si", "ms", "fp", "ab", "ev", "he", "dt", "of", "lr",
}

// Fields and their values are an even number: the number of these, which is odd, tells the one answer from the other.
var _ [len(recordFields)%2 - 1]struct{}

// read sets what a field holds, which is the next text.
func (r *Record) read(field string, a *texts) {
	switch field {
	case "u":
		r.User = strings.Clone(a.text()) // the connection keeps it, and need not keep all that was packed with it
	case "t":
		r.Transport = storedTransports[a.text()]
	case "s":
		r.State = storedStates[a.text()]
	case "g":
		r.Gen = a.text()
	case "o":
		r.Owner = a.text()
	case "p":
		r.Protocol = uint8(a.int())
	case "v":
		r.Version = uint8(a.int())
	case "st":
		r.Start = a.position()
	case "c":
		r.Cursor = a.position()
	case "a":
		r.Acked = a.uint()
	case "d":
		r.Done = a.uint()
	case "k":
		r.Tickets = a.uint()
	case "tk":
		r.Ticket = a.uint()
	case "sn":
		r.Sent = a.position()
	case "m":
		r.Mark = a.text()
	case "pa":
		r.PollAt = a.int()
	case "aa":
		r.AnsweredAt = a.int()
	case "n":
		r.Answers = a.uint()
	case "w":
		r.Wrote = a.uint()
	case "f":
		r.Failed = a.uint()
	case "si":
		r.Since = a.int()
	case "he":
		r.Heard = a.text() == "1"
	case "dt":
		r.Detached = a.text()
	case "lr":
		r.readReturn(a.text())
	case "ab":
		r.Silent = a.uint()
	case "ms":
		r.Membership = a.uint()
	case "ev":
		r.Works = a.text() != ""
	default:
		a.text()
	}
}

// readReturn reads how the client came back, "ticket time why owner", if that was its last return: the ticket must have been read. A
// node of an earlier version notes none.
func (r *Record) readReturn(text string) {
	parts := strings.SplitN(text, " ", 4)
	if len(parts) < 4 || parts[0] != uintArg(r.Ticket) {
		return
	}
	at, _ := strconv.ParseInt(parts[1], 10, 64) // the script's own clock
	r.Return = Return{At: at, Why: Leaving(parts[2]), From: nodeOf(parts[3])}
}

// The transports and states as they are stored.
var (
	storedTransports = map[string]Transport{
		"": TransportNone, "w": TransportWebSockets, "s": TransportServerSentEvents, "l": TransportLongPolling,
	}
	storedStates = map[string]State{"n": StateNew, "o": StateOpen, "c": StateClosing, "d": StateDead}
)

// parseOpen reads what open.lua answers, and lookup.lua, which sets nothing.
func parseOpen(r *OpenRequest, reply []valkey.ValkeyMessage) (OpenReply, error) {
	a := answer{rest: reply}
	open := OpenReply{
		Outcome: OpenOutcome(a.int()),
		Now:     a.int(),
		Gen:     a.text(),
		Floor:   a.position(),
		Last:    a.position(),
	}
	if len(a.rest) == 0 { // there was none, and it is what was asked for
		open.Record = r.newRecord(open.Gen, open.Last, open.Now)
		open.Record.Groups, open.Record.UserGroups = Memberships{}, Memberships{}
		return open, a.err
	}
	fields, set := a.packed()
	open.Record = parseRecord(r.ID, fields, &a)
	switch own := a.next(); {
	case own.IsNil(): // known
	case own.IsInt64():
		open.Record.Groups = parseGroups(fields, &a)
	default:
		open.Record.Groups = parseGroups(a.unpack(own), &a)
	}
	if users := a.next(); !users.IsNil() {
		flat := a.unpack(users)
		open.Record.UserGroups = parseGroups(flat, &a)
		open.Due = parseDue(flat, open.Now)
	}
	open.Record.UserMembership = a.position()
	changed := texts{rest: set, err: a.err}
	for len(changed.rest) > 0 && changed.err == nil {
		open.Record.read(changed.text(), &changed)
	}
	a.err = changed.err
	if len(a.rest) > 0 {
		open.Displaced = a.int() == 1
	}
	return open, a.err
}

// parseRecord reads the fields of a record; there are none when there was no record.
func parseRecord(id string, fields []string, in *answer) Record {
	t := texts{rest: fields, err: in.err}
	r, returned := Record{ID: id}, ""
	for i := 0; len(t.rest) > 0 && t.err == nil; i++ {
		var field string
		if len(fields) == len(recordFields) {
			field = recordFields[i]
		} else {
			field = t.text()
		}
		if field == "lr" {
			returned = t.text() // for the end: a hash has no order
			continue
		}
		r.read(field, &t)
	}
	r.readReturn(returned)
	in.err = t.err
	return r
}

// parseGroups reads the groups among a hash's fields and values.
func parseGroups(flat []string, a *answer) Memberships {
	groups := Memberships{}
	if len(flat)%2 != 0 {
		a.err = errAnswer
		return groups
	}
	for i := 0; i < len(flat); i += 2 {
		if name, ok := strings.CutPrefix(flat[i], "g:"); ok {
			groups[name] = parseIntervals(flat[i+1], a)
		}
	}
	return groups
}

// parseDue returns the groups of a user whose time has passed; see users.lua.
func parseDue(flat []string, now int64) (due []string) {
	for i := 0; i+1 < len(flat); i += 2 {
		group, ok := strings.CutPrefix(flat[i], "e:")
		at, err := strconv.ParseInt(strings.TrimPrefix(flat[i+1], "+"), 10, 64)
		if ok && err == nil && at <= now {
			due = append(due, group)
		}
	}
	return due
}

func parseIntervals(text string, a *answer) []Interval {
	list := make([]Interval, 0, 1+strings.Count(text, ";"))
	for part := range strings.SplitSeq(text, ";") {
		join, leave, ok := strings.Cut(part, ",")
		if !ok {
			a.err = errAnswer
		}
		list = append(list, Interval{Join: a.parse(join), Leave: a.parse(leave)})
	}
	return list
}
