package streamstest

import (
	"sync"

	"hubstream/streams"
)

var countTests = []func(*hub){
	usersAndGroupsAreCounted,
	nobodyIsCountedAsNone,
	namesAreCountedAsTheyAre,
	concurrentChangesAreAllCounted,
}

// counts fails the test unless a user or group has so many connections.
func (h *hub) counts(what string, of streams.Holder, name string, want int64) {
	h.Helper()
	n, err := h.store.Count(h.ctx, h.name, of, name)
	h.must("count", err)
	equal(h, what, n, want)
}

func usersAndGroupsAreCounted(h *hub) {
	for _, id := range []string{"a", "b"} {
		r := request(streams.OpenWebSocket, id, "n1")
		r.User = "ann"
		h.opens(r, streams.OpenCreated)
		h.join(id, "g", "both")
	}
	h.counts("connections of the user", streams.HolderUser, "ann", 2)
	h.counts("members", streams.HolderGroup, "g", 2)
	h.counts("users with the group's name", streams.HolderUser, "g", 0)
	h.counts("groups with the user's name", streams.HolderGroup, "ann", 0)
	h.leave("a", "g")
	h.counts("members after a leave", streams.HolderGroup, "g", 1)
	h.closing("b")
	h.counts("members with one that is closing", streams.HolderGroup, "both", 2)
	h.ends(streams.EndRequest{ID: "b"}, streams.EndDone)
	h.counts("connections of the user after an end", streams.HolderUser, "ann", 1)
	h.counts("members of the ended one's group", streams.HolderGroup, "g", 0)
	h.counts("members of the other group", streams.HolderGroup, "both", 1)
	h.change("a", streams.VerbLeaveAll)
	h.counts("members after leaving all", streams.HolderGroup, "both", 0)
	h.counts("connections of the user at the end", streams.HolderUser, "ann", 1)
}

func nobodyIsCountedAsNone(h *hub) {
	h.counts("in a hub without a log", streams.HolderGroup, "g", 0)
	h.opens(request(streams.OpenWebSocket, "c", "n1"), streams.OpenCreated)
	h.counts("group", streams.HolderGroup, "g", 0)
	h.counts("user", streams.HolderUser, "nobody", 0)
}

func namesAreCountedAsTheyAre(h *hub) {
	names := []string{"a:b", "a%3Ab", "{a}", "A", "ü", " "}
	for _, name := range names {
		r := request(streams.OpenWebSocket, "of "+name, "n1")
		r.User = name
		h.opens(r, streams.OpenCreated)
		h.join("of "+name, name)
	}
	for _, name := range names {
		h.counts("user "+name, streams.HolderUser, name, 1)
		h.counts("group "+name, streams.HolderGroup, name, 1)
	}
	h.counts("another case", streams.HolderGroup, "a", 0)
}

func concurrentChangesAreAllCounted(h *hub) {
	ids := []string{"a", "b", "c", "d", "e", "f"}
	for _, id := range ids {
		h.opens(request(streams.OpenWebSocket, id, "n1"), streams.OpenCreated)
	}
	var changes sync.WaitGroup
	for i, id := range ids {
		changes.Go(func() {
			h.join(id, "g")
			if i%2 == 0 {
				h.leave(id, "g")
			}
		})
	}
	changes.Wait()
	h.counts("members", streams.HolderGroup, "g", 3)
}
