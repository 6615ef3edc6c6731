package streamstest

import (
	"fmt"
	"sync"

	"hubstream/streams"
)

var joinTests = []func(*hub){
	aJoinBeginsAMembership,
	aLeaveEndsAMembership,
	aRejoinBeginsAnother,
	aRepeatedJoinChangesNothing,
	aRepeatedLeaveChangesNothing,
	aJoinOfSeveralChangesTheRest,
	leaveAllLeavesAll,
	intervalsBelowTheFloorAreDropped,
	aConnectionHasAtMostSoManyGroups,
	theClosingDoNotJoin,
	changesOfMembershipAreCounted,
	concurrentJoinsAllCount,
}

func (h *hub) change(id string, verb streams.Verb, groups ...string) streams.JoinReply {
	h.Helper()
	r, err := h.store.Join(h.ctx, h.name, streams.JoinRequest{
		ID: id, Verb: verb, Groups: groups, Entry: control(id, verb, groups...),
	})
	h.must("change of memberships", err)
	return r
}

// join and leave fail the test unless they change something.
func (h *hub) join(id string, groups ...string) streams.Position {
	h.Helper()
	r := h.change(id, streams.VerbJoin, groups...)
	h.check(r.Changed, "join of %v changed nothing", groups)
	return r.Position
}

func (h *hub) leave(id string, groups ...string) streams.Position {
	h.Helper()
	r := h.change(id, streams.VerbLeave, groups...)
	h.check(r.Changed, "leave of %v changed nothing", groups)
	return r.Position
}

// kept fails the test if a change of memberships changes anything, and unless it
// tells the position.
func (h *hub) kept(want streams.Position, id string, verb streams.Verb, groups ...string) {
	h.Helper()
	h.unchanged(id, func() {
		h.Helper()
		r := h.change(id, verb, groups...)
		h.check(!r.Changed, "a change of %v was told", groups)
		equal(h, "position of what made it so", r.Position, want)
	})
}

// intervals fails the test unless the group has these.
func (h *hub) intervals(id, group string, want ...streams.Interval) {
	h.Helper()
	got := h.record(id).Groups[group]
	if fmt.Sprint(got) != fmt.Sprint(want) {
		h.Errorf("intervals of %s: got %v, want %v", group, got, want)
	}
}

func since(join streams.Position) streams.Interval { return streams.Interval{Join: join} }

func during(join, leave streams.Position) streams.Interval {
	return streams.Interval{Join: join, Leave: leave}
}

func aJoinBeginsAMembership(h *hub) {
	h.opens(request(streams.OpenWebSocket, "c", "n1"), streams.OpenCreated) // new is early enough
	var p streams.Position
	h.appends("the join", [][]byte{control("c", streams.VerbJoin, "g", "other group \x00\xff")}, func() {
		p = h.join("c", "g", "other group \x00\xff")
	})
	equal(h, "position of the join", p, h.last())
	h.intervals("c", "g", since(p))
	h.intervals("c", "other group \x00\xff", since(p))
	h.handshake("c", "n1", 2)
	later := h.join("c", "later")
	h.intervals("c", "g", since(p))
	h.intervals("c", "later", since(later))
}

func aLeaveEndsAMembership(h *hub) {
	h.webSocket("c", "n1")
	joined := h.join("c", "g", "h")
	var left streams.Position
	h.appends("the leave", [][]byte{control("c", streams.VerbLeave, "g")}, func() { left = h.leave("c", "g") })
	h.intervals("c", "g", during(joined, left))
	h.intervals("c", "h", since(joined))
}

func aRejoinBeginsAnother(h *hub) {
	h.webSocket("c", "n1")
	a, b := h.join("c", "g"), h.leave("c", "g")
	c, d := h.join("c", "g"), h.leave("c", "g")
	e := h.join("c", "g")
	h.intervals("c", "g", during(a, b), during(c, d), since(e))
}

func aRepeatedJoinChangesNothing(h *hub) {
	h.webSocket("c", "n1")
	g, i := h.join("c", "g"), h.join("c", "i")
	h.kept(g, "c", streams.VerbJoin, "g")
	h.kept(i, "c", streams.VerbJoin, "g", "i")
	h.kept(i, "c", streams.VerbJoin, "i", "g", "i")
	h.leave("c", "g")
	g = h.join("c", "g")
	h.kept(g, "c", streams.VerbJoin, "g", "i")
}

func aRepeatedLeaveChangesNothing(h *hub) {
	h.webSocket("c", "n1")
	h.kept(streams.Position{}, "c", streams.VerbLeave, "g")
	h.join("c", "g", "i")
	g := h.leave("c", "g")
	h.kept(g, "c", streams.VerbLeave, "g")
	h.kept(g, "c", streams.VerbLeave, "never", "g")
	i := h.leave("c", "i")
	h.kept(i, "c", streams.VerbLeave, "g", "i")
}

func aJoinOfSeveralChangesTheRest(h *hub) {
	h.webSocket("c", "n1")
	g := h.join("c", "g")
	rest := h.join("c", "i", "g", "j", "i")
	h.intervals("c", "g", since(g))
	h.intervals("c", "i", since(rest))
	h.intervals("c", "j", since(rest))
	left := h.leave("c", "never", "j", "j", "g")
	h.intervals("c", "g", during(g, left))
	h.intervals("c", "i", since(rest))
	h.intervals("c", "j", during(rest, left))
	h.intervals("c", "never")
}

func leaveAllLeavesAll(h *hub) {
	h.webSocket("c", "n1")
	h.kept(streams.Position{}, "c", streams.VerbLeaveAll)
	ab := h.join("c", "a", "b")
	left := h.leave("c", "a")
	c := h.join("c", "c")
	var all streams.JoinReply
	h.appends("leave all", [][]byte{control("c", streams.VerbLeaveAll)}, func() { all = h.change("c", streams.VerbLeaveAll) })
	h.check(all.Changed, "leave all changed nothing")
	h.intervals("c", "a", during(ab, left))
	h.intervals("c", "b", during(ab, all.Position))
	h.intervals("c", "c", during(c, all.Position))
	h.kept(all.Position, "c", streams.VerbLeaveAll)
}

func intervalsBelowTheFloorAreDropped(h *hub) {
	h.webSocket("c", "n1")
	a := h.join("c", "gone", "rejoined", "stays", "ends later")
	h.leave("c", "gone")
	b := h.leave("c", "rejoined")
	c := h.join("c", "rejoined")
	d := h.leave("c", "ends later")
	equal(h, "floor", h.trim(b).Floor, b)
	p := h.join("c", "another") // whenever the memberships are written
	h.intervals("c", "gone")
	h.intervals("c", "rejoined", since(c))
	h.intervals("c", "stays", since(a))
	h.intervals("c", "ends later", during(a, d))
	h.intervals("c", "another", since(p))
	equal(h, "groups", len(h.record("c").Groups), 4)
}

func aConnectionHasAtMostSoManyGroups(h *hub) {
	h.webSocket("c", "n1")
	groups := make([]string, streams.MaxGroups)
	for i := range groups {
		groups[i] = fmt.Sprint("group ", i)
	}
	refused := func(groups ...string) {
		h.Helper()
		h.unchanged("c", func() {
			h.Helper()
			_, err := h.store.Join(h.ctx, h.name, streams.JoinRequest{
				ID: "c", Verb: streams.VerbJoin, Groups: groups, Entry: control("c", streams.VerbJoin),
			})
			h.want("join of too many groups", err, streams.ErrTooManyGroups)
		})
	}
	h.join("c", "first")
	refused(groups...)
	h.join("c", groups[1:]...)
	equal(h, "groups", len(h.record("c").Groups), streams.MaxGroups)
	refused("one more")
	refused("first", "one more")
	h.change("c", streams.VerbJoin, groups[1:]...) // those it is in count once
	h.leave("c", "first")
	h.join("c", "one more", groups[1]) // memberships that have ended do not count, nor those it has
}

func theClosingDoNotJoin(h *hub) {
	refused := func(id string, verb streams.Verb) {
		h.Helper()
		_, err := h.store.Join(h.ctx, h.name, streams.JoinRequest{
			ID: id, Verb: verb, Groups: []string{"g"}, Entry: control(id, verb, "g"),
		})
		h.want("change of memberships of "+id, err, streams.ErrGone)
	}
	refused("nobody", streams.VerbJoin)
	h.webSocket("c", "n1")
	h.join("c", "g")
	h.closing("c")
	h.unchanged("c", func() {
		refused("c", streams.VerbJoin)
		refused("c", streams.VerbLeave)
		refused("c", streams.VerbLeaveAll)
	})
	h.end(streams.EndRequest{ID: "c"})
	last := h.last()
	refused("c", streams.VerbJoin)
	equal(h, "last", h.last(), last)
}

func changesOfMembershipAreCounted(h *hub) {
	h.webSocket("c", "n1")
	versions := map[uint64]bool{h.record("c").Membership: true}
	for _, change := range []func(){
		func() { h.join("c", "g", "i") },
		func() { h.leave("c", "g") },
		func() { h.change("c", streams.VerbLeaveAll) },
	} {
		change()
		v := h.record("c").Membership
		h.check(v != 0, "the version of the groups is 0, which means that none is known")
		h.check(!versions[v], "a change of memberships left the version at %d", v)
		versions[v] = true
	}
}

func concurrentJoinsAllCount(h *hub) {
	h.webSocket("c", "n1")
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			group := fmt.Sprint(i)
			r, err := h.store.Join(h.ctx, h.name, streams.JoinRequest{
				ID: "c", Verb: streams.VerbJoin, Groups: []string{group, "all"}, Entry: control("c", streams.VerbJoin, group, "all"),
			})
			if err != nil || !r.Changed {
				h.Errorf("join: %v, %v", r, err)
			}
		})
	}
	wg.Wait()
	groups := h.record("c").Groups
	equal(h, "groups", len(groups), 21)
	equal(h, "memberships of the group that all joins name", len(groups["all"]), 1)
}
