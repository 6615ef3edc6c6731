package chaos_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"hubstream/integration/chaos"
)

// good is a history without an error. One publisher sends m1 to m9, a second apart, to hub 0:
//
//	m1 all   m2 group g   m3 user u   m4 connection a   m5 all but b   m6 group g   m7 all (outcome unknown)   m8 all (refused)   m9 all
//
// a (user u) joins g before m2 and leaves it before m6; b joins g between m2 and m6. A plain stream follows g from m2 on.
func good() *chaos.History {
	at := func(n int) chaos.Position { return chaos.Position{MS: uint64(1000 * n)} }
	audiences := []chaos.Audience{
		{All: true}, {Groups: []string{"g"}}, {Users: []string{"u"}}, {Connections: []string{"a"}},
		{All: true, Excluded: []string{"b"}}, {Groups: []string{"g"}}, {All: true}, {All: true}, {All: true},
	}
	h := &chaos.History{Sends: [][]chaos.Send{nil, nil}, Changes: map[chaos.Membership][]chaos.Change{}, Final: []chaos.Position{at(9)}}
	for i, audience := range audiences {
		n := i + 1
		h.Sends[1] = append(h.Sends[1], chaos.Send{
			Audience: audience, Invoked: time.Duration(n) * time.Second, Answered: time.Duration(n)*time.Second + time.Millisecond,
			Outcome: chaos.Accepted, Position: at(n),
		})
	}
	for n, outcome := range map[int]chaos.Outcome{7: chaos.Unknown, 8: chaos.Refused} {
		h.Sends[1][n-1].Outcome, h.Sends[1][n-1].Position = outcome, chaos.Position{}
	}
	h.Changes[chaos.Membership{Connection: "a", Group: "g"}] = []chaos.Change{{Join: true, Position: chaos.Position{MS: 1500}}, {Position: chaos.Position{MS: 5500}}}
	h.Changes[chaos.Membership{Connection: "b", Group: "g"}] = []chaos.Change{{Join: true, Position: chaos.Position{MS: 4500}}}
	h.Sessions = []*chaos.Session{
		{Client: "A", Kind: chaos.Stateful, Connection: "a", User: "u", Opening: 1, Opened: 2, Received: messages(1, 2, 3, 4, 5, 7, 9), Invocations: 2, Completions: []int{1, 2}},
		{Client: "B", Kind: chaos.Polling, Connection: "b", Opening: 1, Opened: 2, Received: messages(1, 6, 7, 9)},
		{Client: "P", Kind: chaos.Plain, Groups: []string{"g"}, Opening: 1200 * time.Millisecond, Opened: 1300 * time.Millisecond, Received: messages(2, 5, 6, 7, 9)},
	}
	return h
}

func messages(numbers ...uint32) (list []chaos.Message) {
	for _, n := range numbers {
		list = append(list, chaos.Message{Publisher: 1, Number: n})
	}
	return list
}

func TestCheckAcceptsWhatMayHappen(t *testing.T) {
	for name, change := range map[string]func(h *chaos.History, a, b, p *chaos.Session){
		"nothing special": func(h *chaos.History, a, b, p *chaos.Session) {},
		"a message with unknown outcome was not sent": func(h *chaos.History, a, b, p *chaos.Session) {
			a.Received, b.Received, p.Received = messages(1, 2, 3, 4, 5, 9), messages(1, 6, 9), messages(2, 5, 6, 9)
		},
		"one with unknown outcome came later, to all": func(h *chaos.History, a, b, p *chaos.Session) {
			a.Received, b.Received, p.Received = messages(1, 2, 3, 4, 5, 9, 7), messages(1, 6, 9, 7), messages(2, 5, 6, 9, 7)
		},
		"a closed session misses what came after its end": func(h *chaos.History, a, b, p *chaos.Session) {
			a.End, a.Received = chaos.Closed, messages(1, 2)
		},
		"a client misses what came between two sessions": func(h *chaos.History, a, b, p *chaos.Session) {
			b.End, b.Received = chaos.Gone, messages(1)
			h.Sessions = append(h.Sessions, &chaos.Session{Client: "B", Kind: chaos.Polling, Connection: "b2", Opening: 7 * time.Second, Opened: 8500 * time.Millisecond, Received: messages(9)})
		},
		"a message that was sent while the session began": func(h *chaos.History, a, b, p *chaos.Session) {
			a.Opening, a.Opened, a.Received = 900*time.Millisecond, 2100*time.Millisecond, messages(3, 4, 5, 7, 9)
		},
		"a join that may have happened": func(h *chaos.History, a, b, p *chaos.Session) {
			m := chaos.Membership{Connection: "b", Group: "g"}
			h.Changes[m] = []chaos.Change{{Join: true}}
			b.Received = messages(1, 9, 7)
			a.Received, p.Received = messages(1, 2, 3, 4, 5, 9, 7), messages(2, 5, 6, 9, 7)
		},
		"closed by a backend, in order": func(h *chaos.History, a, b, p *chaos.Session) {
			closeSession(h, a, 4500*time.Millisecond, chaos.Accepted, chaos.Refused)
			a.Received = messages(1, 2, 3, 4)
		},
		"a close that was lost with the log's tail, and made again": func(h *chaos.History, a, b, p *chaos.Session) {
			closeSession(h, a, 4500*time.Millisecond, chaos.Accepted)
			closeSession(h, a, 5200*time.Millisecond, chaos.Accepted)
			h.LostTails = []chaos.LostTail{{From: 4400 * time.Millisecond, To: 4600 * time.Millisecond}}
			a.Received = messages(1, 2, 3, 4, 5)
		},
		"a plain stream that announced a gap": func(h *chaos.History, a, b, p *chaos.Session) {
			p.Received, p.End = messages(2), chaos.Closed
			h.Sessions = append(h.Sessions, &chaos.Session{Client: "P", Kind: chaos.Plain, Groups: []string{"g"}, Opening: 5200 * time.Millisecond, Opened: 5500 * time.Millisecond, Received: messages(6, 7, 9)})
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := good()
			change(h, h.Sessions[0], h.Sessions[1], h.Sessions[2])
			if problems := chaos.Check(h); len(problems) > 0 {
				t.Errorf("got problems in a good history:\n%v", problems)
			}
		})
	}
}

func closeSession(h *chaos.History, s *chaos.Session, at time.Duration, outcomes ...chaos.Outcome) {
	s.End, s.Reason, s.Closes, s.Invocations, s.Completions = chaos.Closed, chaos.CloseReason, 1, 0, nil
	for _, outcome := range outcomes {
		h.Closes = append(h.Closes, chaos.Close{Connection: s.Connection, Invoked: at, Answered: at + time.Millisecond, Outcome: outcome})
	}
}

func TestCheckFinds(t *testing.T) {
	for _, broken := range []struct {
		name   string
		want   chaos.Fault
		of     string // the message or connection that is at fault
		change func(h *chaos.History, a, b, p *chaos.Session)
	}{
		{"a lost broadcast", chaos.Lost, "1/5", func(h *chaos.History, a, b, p *chaos.Session) { a.Received = messages(1, 2, 3, 4, 7, 9) }},
		{"a lost message to a group", chaos.Lost, "1/6", func(h *chaos.History, a, b, p *chaos.Session) { b.Received = messages(1, 7, 9) }},
		{"a lost message to a user", chaos.Lost, "1/3", func(h *chaos.History, a, b, p *chaos.Session) { a.Received = messages(1, 2, 4, 5, 7, 9) }},
		{"a lost message to a connection", chaos.Lost, "1/4", func(h *chaos.History, a, b, p *chaos.Session) { a.Received = messages(1, 2, 3, 5, 7, 9) }},
		{"a lost first message", chaos.Lost, "1/1", func(h *chaos.History, a, b, p *chaos.Session) { a.Received = messages(2, 3, 4, 5, 7, 9) }},
		{"a lost last message", chaos.Lost, "1/9", func(h *chaos.History, a, b, p *chaos.Session) { b.Received = messages(1, 6, 7) }},
		{"nothing received at all", chaos.Lost, "1/6", func(h *chaos.History, a, b, p *chaos.Session) { b.Received = nil }},
		{"a message lost by a plain stream", chaos.Lost, "1/6", func(h *chaos.History, a, b, p *chaos.Session) { p.Received = messages(2, 5, 7, 9) }},
		{"a loss in the middle of a session that has ended", chaos.Lost, "1/3", func(h *chaos.History, a, b, p *chaos.Session) {
			a.End, a.Received = chaos.Broken, messages(1, 2, 4)
		}},
		{"a loss before a close in order", chaos.Lost, "1/4", func(h *chaos.History, a, b, p *chaos.Session) {
			closeSession(h, a, 4500*time.Millisecond, chaos.Accepted)
			a.Received = messages(1, 2, 3)
		}},
		{"a lost completion", chaos.Lost, "completion", func(h *chaos.History, a, b, p *chaos.Session) { a.Completions = []int{2} }},
		{"a completion that never came", chaos.Lost, "completion", func(h *chaos.History, a, b, p *chaos.Session) { a.Completions = []int{1} }},
		{"a repeated message", chaos.Repeated, "1/3", func(h *chaos.History, a, b, p *chaos.Session) { a.Received = messages(1, 2, 3, 3, 4, 5, 7, 9) }},
		{"a message repeated later", chaos.Repeated, "1/3", func(h *chaos.History, a, b, p *chaos.Session) { a.Received = messages(1, 2, 3, 4, 5, 7, 9, 3) }},
		{"a repeated completion", chaos.Repeated, "completion", func(h *chaos.History, a, b, p *chaos.Session) { a.Completions = []int{1, 2, 2} }},
		{"two messages in the wrong order", chaos.Reordered, "1/3", func(h *chaos.History, a, b, p *chaos.Session) { a.Received = messages(1, 2, 4, 3, 5, 7, 9) }},
		{"two completions in the wrong order", chaos.Reordered, "completion", func(h *chaos.History, a, b, p *chaos.Session) { a.Completions = []int{2, 1} }},
		{"an unknown outcome in two places", chaos.Reordered, "1/7", func(h *chaos.History, a, b, p *chaos.Session) { b.Received = messages(1, 6, 9, 7) }},
		{"an unknown outcome before what it followed", chaos.Reordered, "1/7", func(h *chaos.History, a, b, p *chaos.Session) {
			a.Received, b.Received, p.Received = messages(1, 2, 3, 4, 7, 5, 9), messages(1, 6, 9), messages(2, 5, 6, 9)
		}},
		{"a message to another user", chaos.Misdelivered, "1/3", func(h *chaos.History, a, b, p *chaos.Session) { b.Received = messages(1, 3, 6, 7, 9) }},
		{"a message to another connection", chaos.Misdelivered, "1/4", func(h *chaos.History, a, b, p *chaos.Session) { b.Received = messages(1, 4, 6, 7, 9) }},
		{"a message before the join", chaos.Misdelivered, "1/2", func(h *chaos.History, a, b, p *chaos.Session) { b.Received = messages(1, 2, 6, 7, 9) }},
		{"a message to one who was excluded", chaos.Misdelivered, "1/5", func(h *chaos.History, a, b, p *chaos.Session) { b.Received = messages(1, 5, 6, 7, 9) }},
		{"a message to a user on a plain stream", chaos.Misdelivered, "1/3", func(h *chaos.History, a, b, p *chaos.Session) { p.Received = messages(2, 3, 5, 6, 7, 9) }},
		{"a message after leaving", chaos.AfterLeaving, "1/6", func(h *chaos.History, a, b, p *chaos.Session) { a.Received = messages(1, 2, 3, 4, 5, 6, 7, 9) }},
		{"a message after the close", chaos.AfterClose, "1/5", func(h *chaos.History, a, b, p *chaos.Session) {
			closeSession(h, a, 4500*time.Millisecond, chaos.Accepted)
			a.Received = messages(1, 2, 3, 4, 5)
		}},
		{"two accepted closes", chaos.EndedTwice, "connection a", func(h *chaos.History, a, b, p *chaos.Session) {
			closeSession(h, a, 4500*time.Millisecond, chaos.Accepted, chaos.Accepted)
			a.Received = messages(1, 2, 3, 4)
		}},
		{"two accepted closes when a tail was lost before", chaos.EndedTwice, "connection a", func(h *chaos.History, a, b, p *chaos.Session) {
			closeSession(h, a, 4500*time.Millisecond, chaos.Accepted, chaos.Accepted)
			h.LostTails = []chaos.LostTail{{From: 4200 * time.Millisecond, To: 4400 * time.Millisecond}}
			a.Received = messages(1, 2, 3, 4)
		}},
		{"two Close messages", chaos.EndedTwice, "connection a", func(h *chaos.History, a, b, p *chaos.Session) { a.End, a.Closes = chaos.Closed, 2 }},
		{"a connection that came back to life", chaos.EndedTwice, "connection b", func(h *chaos.History, a, b, p *chaos.Session) {
			b.End, b.Received = chaos.Gone, messages(1)
			h.Sessions = append(h.Sessions, &chaos.Session{Client: "B", Kind: chaos.Polling, Connection: "b", Opening: 7 * time.Second, Opened: 8500 * time.Millisecond, Received: messages(9)})
		}},
		{"a message that was refused", chaos.Invented, "1/8", func(h *chaos.History, a, b, p *chaos.Session) { a.Received = messages(1, 2, 3, 4, 5, 7, 8, 9) }},
		{"a message that nobody sent", chaos.Invented, "1/10", func(h *chaos.History, a, b, p *chaos.Session) { a.Received = messages(1, 2, 3, 4, 5, 7, 9, 10) }},
		{"a message of another hub", chaos.Invented, "1/9", func(h *chaos.History, a, b, p *chaos.Session) {
			h.Sends[1][8].Hub = 1
			h.Final = append(h.Final, h.Final[0])
		}},
		{"a message from before the session", chaos.Invented, "1/1", func(h *chaos.History, a, b, p *chaos.Session) { p.Received = messages(1, 2, 5, 6, 7, 9) }},
		{"positions against the order of the calls", chaos.LogOrder, "1/6", func(h *chaos.History, a, b, p *chaos.Session) {
			h.Sends[1][5].Position = chaos.Position{MS: 4700}
		}},
		{"one position twice", chaos.LogOrder, "1/6", func(h *chaos.History, a, b, p *chaos.Session) {
			h.Sends[1][5].Position = h.Sends[1][4].Position
		}},
	} {
		t.Run(broken.name, func(t *testing.T) {
			h := good()
			broken.change(h, h.Sessions[0], h.Sessions[1], h.Sessions[2])
			problems := chaos.Check(h)
			found := slices.ContainsFunc(problems[broken.want], func(text string) bool { return strings.Contains(text, broken.of) })
			if !found {
				t.Errorf("want %s of %s, got:\n%v", broken.want, broken.of, problems)
			}
		})
	}
}
