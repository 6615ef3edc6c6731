package streamstest

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"hubstream/streams"
)

var userTests = []func(*hub){
	aUsersJoinHoldsForItsConnections,
	aUsersJoinHoldsForLaterConnections,
	aUsersLeaveEndsIt,
	aUsersRepeatedChangesChangeNothing,
	aUserLeavesAll,
	theOwnAndTheUsersMembershipsAreTwo,
	aUsersTimePasses,
	aRenewedTimeDoesNotPass,
	onlyTheNewestAreKeptWithoutALimit,
	aUserHasAtMostSoManyGroups,
	knownGroupsOfUsersAreNotToldAgain,
	usersMembershipsBelowTheFloorAreDropped,
	usersEndedMembershipsDoNotPileUp,
	membersAreListedInOrder,
	aUserWithManyConnectionsIsCounted,
	namesAreListedInOrder,
	nothingIsKnownOfAHubWithoutALog,
	aUsersJoinMakesTheLog,
	usersAreToldApart,
	concurrentChangesOfUsersAreOneAfterTheOther,
}

func userControl(user string, verb streams.Verb, groups ...string) []byte {
	return encode(streams.Entry{Kind: streams.KindControl, Verb: verb, Users: []string{user}, Named: groups})
}

func (h *hub) userJoin(user, group string, keep time.Duration) streams.UserJoinReply {
	h.Helper()
	r, err := h.store.JoinUser(h.ctx, h.name, streams.UserJoinRequest{
		User: user, Group: group, Keep: keep, Entry: userControl(user, streams.VerbJoin, group),
	})
	h.must("a user's join", err)
	return r
}

func (h *hub) userLeave(user, group string) streams.JoinReply {
	h.Helper()
	return h.userLeaves(streams.UserLeaveRequest{
		User: user, Verb: streams.VerbLeave, Group: group, Entry: userControl(user, streams.VerbLeave, group),
	})
}

// passes ends a membership if its time has passed.
func (h *hub) passes(user, group string) bool {
	h.Helper()
	return h.userLeaves(streams.UserLeaveRequest{
		User: user, Verb: streams.VerbLeave, Group: group, OnlyDue: true, Entry: userControl(user, streams.VerbLeave, group),
	}).Changed
}

func (h *hub) userLeaves(r streams.UserLeaveRequest) streams.JoinReply {
	h.Helper()
	reply, err := h.store.LeaveUser(h.ctx, h.name, r)
	h.must("a user's leave", err)
	return reply
}

func (h *hub) due() streams.DueReply {
	h.Helper()
	reply, err := h.store.DueUsers(h.ctx, h.name, 1000)
	h.must("due", err)
	return reply
}

// userIntervals fails the test unless the connection has these through its user.
func (h *hub) userIntervals(id, group string, want ...streams.Interval) {
	h.Helper()
	got := h.record(id).UserGroups[group]
	if fmt.Sprint(got) != fmt.Sprint(want) {
		h.Errorf("intervals of %s through the user: got %v, want %v", group, got, want)
	}
}

// inGroups fails the test unless the user is in these.
func (h *hub) inGroups(user string, want ...string) {
	h.Helper()
	list, err := h.store.UserGroups(h.ctx, h.name, user)
	h.must("groups of "+user, err)
	var got []string
	for _, g := range list {
		got = append(got, g.Group)
	}
	equal(h, "groups of "+user, fmt.Sprint(got), fmt.Sprint(want))
}

// creates is a new connection of a user.
func (h *hub) creates(id, user string) streams.OpenReply {
	h.Helper()
	r := request(streams.OpenWebSocket, id, "n1")
	r.User = user
	return h.opens(r, streams.OpenCreated)
}

func aUsersJoinHoldsForItsConnections(h *hub) {
	h.creates("a", "ann")
	h.creates("b", "bob")
	h.creates("none", "")
	var joined streams.UserJoinReply
	h.appends("a user's join", [][]byte{userControl("ann", streams.VerbJoin, "g\x00 ü")}, func() { joined = h.userJoin("ann", "g\x00 ü", 0) })
	h.check(joined.Changed, "the join changed nothing")
	equal(h, "position of the join", joined.Position, h.last())
	h.userIntervals("a", "g\x00 ü", since(joined.Position))
	h.userIntervals("b", "g\x00 ü")
	h.userIntervals("none", "g\x00 ü")
	equal(h, "version", h.record("a").UserMembership, joined.Position)
	h.intervals("a", "g\x00 ü")
	h.counts("members", streams.HolderGroup, "g\x00 ü", 1)
	h.inGroups("ann", "g\x00 ü")
	h.inGroups("bob")
}

func aUsersJoinHoldsForLaterConnections(h *hub) {
	joined := h.userJoin("ann", "g", time.Hour) // in a hub that has no log yet
	h.counts("members without a connection", streams.HolderGroup, "g", 0)
	reply := h.creates("a", "ann")
	equal(h, "groups at creation", fmt.Sprint(reply.Record.UserGroups["g"]), fmt.Sprint([]streams.Interval{since(joined.Position)}))
	equal(h, "due at creation", len(reply.Due), 0)
	h.counts("members", streams.HolderGroup, "g", 1)
	h.ends(streams.EndRequest{ID: "a"}, streams.EndDone)
	h.counts("members after the end", streams.HolderGroup, "g", 0)
	h.pollingAs("b", "ann")
	h.counts("members again", streams.HolderGroup, "g", 1)
}

// pollingAs is a first poll of a user.
func (h *hub) pollingAs(id, user string) {
	h.Helper()
	r := poll(id, "", "first")
	r.User = user
	h.opens(r, streams.OpenFirstPoll)
}

func aUsersLeaveEndsIt(h *hub) {
	h.creates("a", "ann")
	joined := h.userJoin("ann", "g", 0)
	other := h.userJoin("ann", "other", 0)
	var left streams.JoinReply
	h.appends("a user's leave", [][]byte{userControl("ann", streams.VerbLeave, "g")}, func() { left = h.userLeave("ann", "g") })
	h.check(left.Changed, "the leave changed nothing")
	h.userIntervals("a", "g", during(joined.Position, left.Position))
	h.userIntervals("a", "other", since(other.Position))
	equal(h, "version", h.record("a").UserMembership, left.Position)
	h.counts("members", streams.HolderGroup, "g", 0)
	h.inGroups("ann", "other")
	again := h.userJoin("ann", "g", 0)
	h.userIntervals("a", "g", during(joined.Position, left.Position), since(again.Position))
	h.counts("members again", streams.HolderGroup, "g", 1)
}

func aUsersRepeatedChangesChangeNothing(h *hub) {
	h.creates("a", "ann")
	h.unchanged("a", func() { equal(h, "position of nothing", h.userLeave("ann", "g"), streams.JoinReply{}) })
	joined := h.userJoin("ann", "g", 0)
	h.unchanged("a", func() {
		equal(h, "repeated join", h.userJoin("ann", "g", 0), streams.UserJoinReply{JoinReply: streams.JoinReply{Position: joined.Position}})
	})
	left := h.userLeave("ann", "g")
	h.unchanged("a", func() {
		equal(h, "repeated leave", h.userLeave("ann", "g"), streams.JoinReply{Position: left.Position})
	})
}

func aUserLeavesAll(h *hub) {
	h.creates("a", "ann")
	one, two := h.userJoin("ann", "one", 0), h.userJoin("ann", "two", time.Hour)
	three := h.userJoin("ann", "three", 0)
	left := h.userLeave("ann", "three")
	all := streams.UserLeaveRequest{User: "ann", Verb: streams.VerbLeaveAll, Entry: userControl("ann", streams.VerbLeaveAll)}
	var reply streams.JoinReply
	h.appends("leave of all", [][]byte{all.Entry}, func() { reply = h.userLeaves(all) })
	h.userIntervals("a", "one", during(one.Position, reply.Position))
	h.userIntervals("a", "two", during(two.Position, reply.Position))
	h.userIntervals("a", "three", during(three.Position, left.Position))
	h.inGroups("ann")
	h.counts("members", streams.HolderGroup, "one", 0)
	equal(h, "memberships that are due some time", len(h.due().Passed), 0)
	h.unchanged("a", func() {
		equal(h, "repeated leave of all", h.userLeaves(all), streams.JoinReply{Position: reply.Position})
	})
}

func theOwnAndTheUsersMembershipsAreTwo(h *hub) {
	h.creates("a", "ann")
	h.creates("b", "ann")
	own := h.join("a", "g")
	user := h.userJoin("ann", "g", 0)
	h.counts("members", streams.HolderGroup, "g", 2)
	left := h.leave("a", "g")
	h.intervals("a", "g", during(own, left))
	h.userIntervals("a", "g", since(user.Position))
	h.counts("members after an own leave", streams.HolderGroup, "g", 2)
	again := h.join("a", "g")
	h.userLeave("ann", "g")
	h.intervals("a", "g", during(own, left), since(again))
	h.counts("members after the user's leave", streams.HolderGroup, "g", 1)
	h.userJoin("ann", "g", 0)
	h.ends(streams.EndRequest{ID: "a"}, streams.EndDone)
	h.counts("members after an end", streams.HolderGroup, "g", 1)
	h.ends(streams.EndRequest{ID: "b"}, streams.EndDone)
	h.counts("members after all ends", streams.HolderGroup, "g", 0)
}

func aUsersTimePasses(h *hub) {
	const kept = time.Second // longer than a busy machine takes for what is asked before
	joined := h.userJoin("ann", "g", kept)
	h.check(!h.passes("ann", "g"), "a membership was ended before its time")
	next := h.due().Next
	h.check(next >= 0 && next <= kept, "more is due in %v, want %v at most", next, kept)
	h.eventually("the time passes", func() bool { return slices.Contains(h.due().Passed, streams.DueMembership{User: "ann", Group: "g"}) })
	h.inGroups("ann") // whoever asks is told at once
	reply := h.creates("late", "ann")
	equal(h, "groups that a new connection has to end", fmt.Sprint(reply.Due), "[g]")
	h.userIntervals("late", "g", since(joined.Position)) // but for filters it holds until the entry
	h.appends("the end of its time", [][]byte{userControl("ann", streams.VerbLeave, "g")}, func() {
		h.check(h.passes("ann", "g"), "a membership whose time has passed was not ended")
	})
	h.unchanged("late", func() { h.check(!h.passes("ann", "g"), "a membership was ended twice") })
	equal(h, "due", len(h.due().Passed), 0)
	h.counts("members", streams.HolderGroup, "g", 0)
	h.check(!h.passes("ann", "never"), "a membership that never was has ended")
}

func aRenewedTimeDoesNotPass(h *hub) {
	h.creates("a", "ann")
	joined := h.userJoin("ann", "g", 20*time.Millisecond)
	h.eventually("the time passes", func() bool { return len(h.due().Passed) == 1 })
	renewed := h.userJoin("ann", "g", time.Hour)
	h.check(!renewed.Changed, "a renewal is a join")
	h.check(!h.passes("ann", "g"), "a renewed membership was ended")
	h.userIntervals("a", "g", since(joined.Position))
	h.inGroups("ann", "g")
	h.userJoin("ann", "g", time.Millisecond)
	h.eventually("the new time passes", func() bool { return h.passes("ann", "g") })
}

func onlyTheNewestAreKeptWithoutALimit(h *hub) {
	h.userJoin("ann", "limited", time.Hour)
	for i := range streams.MaxKeptGroups {
		equal(h, "evicted", h.userJoin("ann", fmt.Sprint("g", i), 0).Evicted, "")
	}
	h.userJoin("ann", "g0", 0) // which is the newest then
	equal(h, "evicted", h.userJoin("ann", "one more", 0).Evicted, "g1")
	equal(h, "due", fmt.Sprint(h.due().Passed), "[{ann g1}]")
	h.check(h.passes("ann", "g1"), "what was evicted is not due")
	equal(h, "evicted by another with a limit", h.userJoin("ann", "two more", time.Hour).Evicted, "")
	equal(h, "evicted", h.userJoin("ann", "limited", 0).Evicted, "g2") // its limit is gone
}

func aUserHasAtMostSoManyGroups(h *hub) {
	for i := range streams.MaxGroups {
		h.userJoin("ann", fmt.Sprint("g", i), time.Hour)
	}
	last := h.last()
	_, err := h.store.JoinUser(h.ctx, h.name, streams.UserJoinRequest{
		User: "ann", Group: "one more", Entry: userControl("ann", streams.VerbJoin, "one more"),
	})
	h.want("one group more", err, streams.ErrTooManyGroups)
	equal(h, "the log's last position", h.last(), last)
	h.userLeave("ann", "g7")
	h.userJoin("ann", "one more", 0)
}

func knownGroupsOfUsersAreNotToldAgain(h *hub) {
	h.pollingAs("c", "ann")
	ask := request(streams.OpenPost, "c", "")
	h.userJoin("ann", "g", 0)
	told := h.open(ask)
	equal(h, "groups", len(told.Record.UserGroups), 1)
	ask.UserMembership = told.Record.UserMembership
	known := h.open(ask)
	h.check(known.Record.UserGroups == nil && known.Record.Groups == nil, "groups that are known were told again")
	own := h.join("c", "g")
	told = h.open(ask)
	equal(h, "the user's groups after an own join", len(told.Record.UserGroups), 1)
	equal(h, "own groups", fmt.Sprint(told.Record.Groups["g"]), fmt.Sprint([]streams.Interval{since(own)}))
	ask.Membership = told.Record.Membership
	h.check(h.open(ask).Record.Groups == nil, "groups that are known were told again")
	h.userLeave("ann", "g")
	told = h.open(ask)
	equal(h, "own groups after a user's leave", len(told.Record.Groups), 1)
	h.check(!told.Record.UserGroups["g"][0].Leave.IsZero(), "the user's leave was not told")
}

func usersMembershipsBelowTheFloorAreDropped(h *hub) {
	h.creates("a", "ann")
	first := h.userJoin("ann", "stays", 0)
	h.userJoin("ann", "gone", 0)
	gone := h.userLeave("ann", "gone")
	later := h.userJoin("ann", "later", 0)
	left := h.userLeave("ann", "later")
	h.trim(gone.Position)
	h.must("tidy", h.store.TidyUser(h.ctx, h.name, "ann"))
	h.userIntervals("a", "gone")
	h.userIntervals("a", "stays", since(first.Position))
	h.userIntervals("a", "later", during(later.Position, left.Position))
	h.tidyLater()
	h.userLeave("ann", "stays")
	h.append(message("end"))
	h.trim(h.last())
	h.must("tidy", h.store.TidyUser(h.ctx, h.name, "ann"))
	equal(h, "groups when nothing is left", len(h.record("a").UserGroups), 0)
	h.check(h.record("a").UserMembership.IsZero(), "a user of whom nothing is left has a version")
	h.check(h.due().Next < 0, "a user of whom nothing is left is to be tidied up")
	h.must("tidy of nobody", h.store.TidyUser(h.ctx, h.name, "nobody"))
}

// tidyLater fails the test unless there is a user to be tidied up, but not yet.
func (h *hub) tidyLater() {
	h.Helper()
	due := h.due()
	equal(h, "users to tidy up at once", len(due.Untidy), 0)
	h.check(due.Next > 0 && due.Next <= 10*time.Minute, "a user is to be tidied up in %v, want 10 minutes at most", due.Next)
}

// A user may come and go for as long as there are entries: what ended below the floor is dropped by each step.
func usersEndedMembershipsDoNotPileUp(h *hub) {
	h.creates("a", "ann")
	h.userJoin("ann", "other", 0)
	h.userJoin("ann", "again", 0)
	left := h.userLeave("ann", "again")
	h.tidyLater()
	again := h.userJoin("ann", "again", 0)
	h.trim(left.Position)
	h.must("tidy", h.store.TidyUser(h.ctx, h.name, "ann"))
	h.userIntervals("a", "again", since(again.Position))
	left = h.userLeave("ann", "again")
	h.userIntervals("a", "again", during(again.Position, left.Position))
	h.trim(left.Position)
	h.userLeave("ann", "other")
	h.userIntervals("a", "again")
}

func (h *hub) members(of streams.Holder, name, after string, limit int, want ...string) {
	h.Helper()
	ids, err := h.store.Members(h.ctx, h.name, of, name, after, limit)
	h.must("members", err)
	equal(h, fmt.Sprintf("%d members of %s after %q", limit, name, after), fmt.Sprint(ids), fmt.Sprint(want))
}

func membersAreListedInOrder(h *hub) {
	h.members(streams.HolderGroup, "g", "", 10)
	for _, id := range []string{"d", "a", "c", "b"} {
		h.creates(id, "ann")
	}
	h.creates("0", "bob")
	h.join("0", "g")
	h.userJoin("ann", "g", 0)
	h.join("a", "g") // in both ways, and once
	h.members(streams.HolderGroup, "g", "", 2, "0", "a")
	h.members(streams.HolderGroup, "g", "a", 2, "b", "c")
	h.members(streams.HolderGroup, "g", "bb", 10, "c", "d")
	h.members(streams.HolderGroup, "g", "d", 10)
	h.members(streams.HolderUser, "ann", "", 3, "a", "b", "c")
	h.members(streams.HolderUser, "nobody", "", 3)
}

// More than one script looks at: see users.lua.
func aUserWithManyConnectionsIsCounted(h *hub) {
	const many = 1500
	ids := make([]string, many)
	for i := range ids {
		ids[i] = fmt.Sprintf("c%04d", i)
		h.creates(ids[i], "ann")
	}
	h.join(ids[7], "g")
	h.userJoin("ann", "g", 0)
	h.counts("members", streams.HolderGroup, "g", many)
	h.members(streams.HolderGroup, "g", ids[many-2], 10, ids[many-1])
	h.userLeave("ann", "g")
	h.counts("members after the leave", streams.HolderGroup, "g", 1)
	h.userJoin("ann", "one", 0)
	h.userJoin("ann", "two", 0)
	h.userLeaves(streams.UserLeaveRequest{User: "ann", Verb: streams.VerbLeaveAll, Entry: userControl("ann", streams.VerbLeaveAll)})
	h.counts("members after leaving all", streams.HolderGroup, "two", 0)
	equal(h, "users to tidy up at once", len(h.due().Untidy), 0)
}

func (h *hub) names(of streams.Holder, after string, limit int, total int64, want ...string) {
	h.Helper()
	reply, err := h.store.Names(h.ctx, h.name, of, after, limit)
	h.must("names", err)
	equal(h, "total", reply.Total, total)
	equal(h, fmt.Sprintf("%d names after %q", limit, after), fmt.Sprint(reply.Names), fmt.Sprint(want))
}

func nothingIsKnownOfAHubWithoutALog(h *hub) {
	h.inGroups("ann")
	h.members(streams.HolderUser, "ann", "", 10)
	h.names(streams.HolderUser, "", 10, 0)
	h.names(streams.HolderGroup, "", 10, 0)
	if due := h.due(); len(due.Passed)+len(due.Untidy) > 0 || due.Next >= 0 {
		h.Errorf("due: got %+v, want nothing", due)
	}
	h.must("tidy", h.store.TidyUser(h.ctx, h.name, "ann"))
	h.check(!h.userLeave("ann", "g").Changed, "a leave changed something")
	h.gone("a")
}

// As an append does: the position would be given again by whoever makes the log later.
func aUsersJoinMakesTheLog(h *hub) {
	joined := h.userJoin("ann", "g", 0)
	entries := h.log()
	if len(entries) != 2 {
		h.Fatalf("got %d entries, want what begins the log, and the join", len(entries))
	}
	equal(h, "position of the join", entries[1].Position, joined.Position)
	h.check(h.verify(streams.VerifyRequest{}).Gen != "", "the log has no generation")
	equal(h, "entries after a verify", len(h.log()), 2)
}

func namesAreListedInOrder(h *hub) {
	h.names(streams.HolderUser, "", 10, 0)
	for i, user := range []string{"bob", "ann", "cy:d", "ann", ""} {
		h.creates(fmt.Sprint("c", i), user)
	}
	h.names(streams.HolderUser, "", 2, 3, "ann", "bob")
	h.names(streams.HolderUser, "bob", 10, 3, "cy:d")
	h.join("c0", "red", "blue")
	h.join("c4", "red")
	h.userJoin("ann", "green", 0)
	h.userJoin("nobody", "empty", 0) // a group has a connection, or is not there
	h.names(streams.HolderGroup, "", 10, 3, "blue", "green", "red")
	h.leave("c0", "blue")
	h.userLeave("ann", "green")
	h.names(streams.HolderGroup, "", 10, 1, "red")
	h.ends(streams.EndRequest{ID: "c0"}, streams.EndDone)
	h.names(streams.HolderGroup, "", 10, 1, "red")
	h.names(streams.HolderUser, "", 10, 2, "ann", "cy:d")
	h.ends(streams.EndRequest{ID: "c1"}, streams.EndDone)
	h.ends(streams.EndRequest{ID: "c4"}, streams.EndDone)
	h.names(streams.HolderUser, "", 10, 2, "ann", "cy:d")
	h.names(streams.HolderGroup, "", 10, 0)
}

func usersAreToldApart(h *hub) {
	names := []string{"1:a", "1", "a", "a:b", "{x}", "%41", "A", "\x00", "ü"}
	for _, user := range names {
		for _, group := range names {
			h.userJoin(user, group, 15*time.Millisecond)
		}
	}
	h.eventually("all times pass", func() bool { return len(h.due().Passed) == len(names)*len(names) })
	for _, due := range h.due().Passed {
		h.check(h.passes(due.User, due.Group), "%v is due, but was not ended", due)
	}
	equal(h, "due", len(h.due().Passed), 0)
}

func concurrentChangesOfUsersAreOneAfterTheOther(h *hub) {
	h.creates("a", "ann")
	var changes sync.WaitGroup
	for i := range 8 {
		changes.Go(func() {
			for range 20 {
				if i%2 == 0 {
					h.userJoin("ann", "g", 0)
				} else {
					h.userLeave("ann", "g")
				}
			}
		})
	}
	changes.Wait()
	h.userJoin("ann", "g", 0)
	h.counts("members", streams.HolderGroup, "g", 1)
	intervals := h.record("a").UserGroups["g"]
	for i, interval := range intervals {
		h.check(interval.Leave.IsZero() == (i == len(intervals)-1), "interval %d of %d is %v", i, len(intervals), interval)
		h.check(i == 0 || intervals[i-1].Leave.Before(interval.Join), "interval %d overlaps: %v", i, intervals)
	}
}
