package streams_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"hubstream/streams"
)

const twinsHub = "h"

// twin is one of two stores that must do the same. Its positions and generations are told by number, in the order in which they came up.
type twin struct {
	streams.Store
	t         *testing.T
	positions []streams.Position
	number    map[streams.Position]int
	gens      []string
	// inside are positions that Valkey may hold together with the next one, and so not trim without it.
	inside map[streams.Position]bool
}

func newTwin(t *testing.T, s streams.Store) *twin {
	return &twin{s, t, []streams.Position{{}}, map[streams.Position]int{{}: 0}, []string{""}, map[streams.Position]bool{}}
}

// did makes a call, and tells what it has done: what it returned, and what there is since.
func (w *twin) did(c twinsCall, ids []string) string {
	did, err := c.make(w)
	w.follow()
	if err != nil {
		did = "error: " + w.failure(err)
	}
	for p, n := range w.number { // those that came up with the call
		did = strings.ReplaceAll(did, unknown(p), fmt.Sprint(n))
	}
	return did + w.state(ids)
}

// follow numbers the positions that the log has more.
func (w *twin) follow() {
	reply, err := w.Range(w.t.Context(), twinsHub, w.positions[len(w.positions)-1], 1000)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range reply.Entries {
		w.number[e.Position] = len(w.positions)
		w.positions = append(w.positions, e.Position)
	}
}

func (w *twin) at(place int) streams.Position {
	if place >= len(w.positions) {
		return streams.NewPosition(1<<50, 0)
	}
	return w.positions[place]
}

func (w *twin) place(p streams.Position) string {
	if n, ok := w.number[p]; ok {
		return fmt.Sprint(n)
	}
	return unknown(p)
}

func unknown(p streams.Position) string { return "<" + p.String() + ">" }

func (w *twin) gen(gen string) int {
	n := slices.Index(w.gens, gen)
	if n < 0 {
		n = len(w.gens)
		w.gens = append(w.gens, gen)
	}
	return n
}

// failure is the error that the interface promises, or another.
func (w *twin) failure(err error) string {
	for _, known := range []error{
		streams.ErrUnavailable, streams.ErrOutcomeUnknown, streams.ErrFull, streams.ErrGone, streams.ErrTransport, streams.ErrConflict,
		streams.ErrOwner, streams.ErrGeneration, streams.ErrUnverified, streams.ErrUnheard, streams.ErrGap, streams.ErrBeyond,
		streams.ErrTooManyGroups, streams.ErrKeyReused, streams.ErrBusy, streams.ErrPosition,
	} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return err.Error()
}

// state is what the store has.
func (w *twin) state(ids []string) string {
	ctx := w.t.Context()
	var b strings.Builder
	for _, id := range ids {
		reply, err := w.Lookup(ctx, twinsHub, id)
		if err != nil {
			fmt.Fprintf(&b, "\n  %s: %s", id, w.failure(err))
		} else {
			fmt.Fprintf(&b, "\n  %s", w.opened(reply))
		}
	}
	for _, group := range []string{"g1", "g2", "g3"} {
		n, err := w.Count(ctx, twinsHub, streams.HolderGroup, group)
		fmt.Fprint(&b, "\n  ", group, " has ", n, err)
	}
	n, err := w.Count(ctx, twinsHub, streams.HolderUser, "u")
	fmt.Fprint(&b, "\n  u has ", n, err)
	list, err := w.List(ctx, twinsHub, "", 1000)
	slices.Sort(list.IDs)
	fmt.Fprint(&b, "\n  connections ", list.IDs, list.Total, err)
	expired, err := w.Expired(ctx, twinsHub, 1000)
	slices.Sort(expired)
	fmt.Fprint(&b, "\n  expired ", expired, err)
	log, err := w.Range(ctx, twinsHub, w.positions[max(0, len(w.positions)-6)], 100)
	fmt.Fprint(&b, "\n  log up to ", len(w.positions), err)
	for _, e := range log.Entries {
		fmt.Fprintf(&b, " %q", entryText(e.Data))
	}
	return b.String()
}

// entryText is an entry, but for the names of generations.
func entryText(data string) string {
	if e, err := streams.DecodeEntry(data); err == nil && e.Kind == streams.KindGen {
		return "gen"
	}
	return data
}

func (w *twin) opened(r streams.OpenReply) string {
	return fmt.Sprintf("outcome=%d displaced=%v gen=%d floor=%s last=%s due=%v record{%s}",
		r.Outcome, r.Displaced, w.gen(r.Gen), w.place(r.Floor), w.place(r.Last), r.Due, w.recordText(r.Record))
}

func (w *twin) recordText(r streams.Record) string {
	fields := []any{
		"id", r.ID, "user", r.User, "transport", r.Transport, "state", r.State, "gen", w.gen(r.Gen), "owner", r.Owner,
		"protocol", r.Protocol, "version", r.Version, "start", w.place(r.Start), "cursor", w.place(r.Cursor), "acked", r.Acked, "done", r.Done,
		"tickets", r.Tickets, "ticket", r.Ticket, "heard", r.Heard, "detached", r.Detached, "from", r.Return.From, "why", r.Return.Why, "silent", r.Silent,
		"sent", w.place(r.Sent), "mark", r.Mark, "answers", r.Answers, "wrote", r.Wrote, "failed", r.Failed, "works", r.Works,
		"membership", r.Membership, "userMembership", w.place(r.UserMembership), "groups", w.groups(r.Groups), "userGroups", w.groups(r.UserGroups),
		"polled", r.PollAt != 0, "answered", r.AnsweredAt != 0, "since", r.Since != 0, "returned", r.Return.At != 0,
	}
	var b strings.Builder
	for i := 0; i < len(fields); i += 2 {
		fmt.Fprintf(&b, "%v=%v ", fields[i], fields[i+1])
	}
	return b.String()
}

func (w *twin) groups(m streams.Memberships) string {
	if m == nil {
		return "unknown"
	}
	var list []string
	for group, intervals := range m {
		s := group
		for _, i := range intervals {
			s += " " + w.place(i.Join) + "-" + w.place(i.Leave)
		}
		list = append(list, s)
	}
	slices.Sort(list)
	return fmt.Sprint(list)
}
