package streams

import (
	"strings"

	"github.com/valkey-io/valkey-go"
)

// A connection's record is a hash. Its fields are short, because every connection
// has them; parseRecord reads them in the order of record.lua. Beside them:
//
//	g:<group>   the group's intervals, "join,leave;join,"
//	go, ci      groups it is in; intervals that have ended
//	ao          the owner that committed the last answer
//	dp          where the last Finish ended
//	ty, cp      token of the Handshake or CloseConnection that made the state, and the close entry's position
//	x, xs, xp   of a tombstone: token of the End, the state before it, the close entry's position

// The transports and states as they are stored.
var (
	storedTransports = map[string]Transport{
		"": TransportNone, "w": TransportWebSockets, "s": TransportServerSentEvents, "l": TransportLongPolling,
	}
	storedStates = map[string]State{"n": StateNew, "o": StateOpen, "c": StateClosing, "d": StateDead}
)

func parseOpen(id string, reply []valkey.ValkeyMessage) (OpenReply, error) {
	a := answer{rest: reply}
	open := OpenReply{
		Outcome: OpenOutcome(a.int()),
		Now:     a.int(),
		Gen:     a.text(),
		Floor:   a.position(),
		Last:    a.position(),
		Record:  parseRecord(id, &a),
	}
	if groups := a.next(); !groups.IsNil() {
		open.Record.Groups = parseGroups(groups, &a)
	}
	return open, a.err
}

func parseRecord(id string, in *answer) Record {
	a := answer{rest: in.list(), err: in.err}
	r := Record{
		ID:        id,
		User:      a.text(),
		Transport: storedTransports[a.text()],
		State:     storedStates[a.text()],
		Gen:       a.text(),
		Owner:     a.text(),
		Protocol:  uint8(a.int()),
		Version:   uint8(a.int()),
		Start:     a.position(),
		Cursor:    a.position(),
		Acked:     a.uint(),
		Done:      a.uint(),
		Tickets:   a.uint(),
		Ticket:    a.uint(),
		Sent:      a.position(),
		Mark:      a.text(),
		PollAt:    a.int(),

		AnsweredAt: a.int(),
		Answers:    a.uint(),
		Wrote:      a.uint(),
		Failed:     a.uint(),
		Since:      a.int(),
		Membership: a.uint(),
	}
	in.err = a.err
	return r
}

// parseGroups reads the fields of groups from a hash's fields and values.
func parseGroups(m *valkey.ValkeyMessage, a *answer) map[string][]Interval {
	groups := map[string][]Interval{}
	flat, err := m.ToArray()
	if err != nil || len(flat)%2 != 0 {
		a.err = errAnswer
		return groups
	}
	for i := 0; i < len(flat); i += 2 {
		field, _ := flat[i].ToString()
		name, ok := strings.CutPrefix(field, "g:")
		if !ok {
			continue
		}
		text, _ := flat[i+1].ToString()
		groups[name] = parseIntervals(text, a)
	}
	return groups
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
