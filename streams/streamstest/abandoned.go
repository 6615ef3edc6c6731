package streamstest

import "hubstream/streams"

var abandonedTests = []func(*hub){
	anUpgradeAfterTheEndIsRefused,
	anAbandonedSocketMayBeOpenedAgain,
	anAbandonedSocketMayBeOpenedAgainAfterTheEnd,
	theTombstoneOutlivesOthers,
	whatWasLostMayBeAbandoned,
	whoTakesOverHasAbandonedNothing,
	whoHasSpokenIsRefused,
	whoHasSpokenInVainIsRefused,
	whoHasSpokenLastIsRefused,
	aNewConnectionHasAbandonedNothing,
	anotherUsersUpgradeIsRefused,
}

// reopened expects another upgrade of a connection to be accepted and told nothing, refused to be refused.
func (h *hub) reopened(id string) {
	h.Helper()
	h.opens(request(streams.OpenWebSocket, id, "again"), streams.OpenAbandoned)
}
func (h *hub) refused(id string, want error) {
	h.Helper()
	h.refuses(request(streams.OpenWebSocket, id, "again"), want)
}

// answers expects Open to return an error, whatever it changes.
func (h *hub) answers(r streams.OpenRequest, want error) {
	h.Helper()
	_, err := h.store.Open(h.ctx, h.name, r)
	h.want("open "+r.ID, err, want)
}

// abandons opens a socket and leaves it.
func (h *hub) abandons(id string) (ticket uint64) {
	h.Helper()
	ticket = h.upgrade(id)
	h.must("abandon", h.store.Abandon(h.ctx, h.name, id, ticket))
	return ticket
}

func anUpgradeAfterTheEndIsRefused(h *hub) {
	h.stateful("c", "n1")
	h.upgrade("c") // a client that was cut off before it spoke
	h.closing("c")
	h.refused("c", streams.ErrGone)
	h.end(streams.EndRequest{ID: "c", Tombstone: long})
	h.refused("c", streams.ErrGone)
}

func anAbandonedSocketMayBeOpenedAgain(h *hub) {
	h.stateful("c", "n1")
	h.abandons("c")
	h.unchanged("c", func() { h.reopened("c") })
	h.closing("c")
	h.unchanged("c", func() { h.reopened("c") })
	h.stateful("behind", "n1")
	h.abandons("behind")
	h.send("1")
	h.trim(h.send("2"))
	h.reopened("behind")
}

func anAbandonedSocketMayBeOpenedAgainAfterTheEnd(h *hub) {
	h.stateful("c", "n1")
	h.abandons("c")
	h.end(streams.EndRequest{ID: "c", Tombstone: short})
	h.stateful("late", "n1")
	ticket := h.upgrade("late")
	h.end(streams.EndRequest{ID: "late", Tombstone: long})
	h.refused("late", streams.ErrGone)
	h.must("abandon", h.store.Abandon(h.ctx, h.name, "late", ticket))
	for _, id := range []string{"c", "late"} {
		h.appends("nothing", nil, func() {
			r := h.open(request(streams.OpenWebSocket, id, "again"))
			equal(h, "outcome", r.Outcome, streams.OpenAbandoned)
			equal(h, "state", r.Record.State, streams.StateDead)
			equal(h, "version", r.Record.Version, 2)
		})
		h.refuses(request(streams.OpenPost, id, ""), streams.ErrGone)
		h.gone(id)
	}
	h.must("abandon nobody", h.store.Abandon(h.ctx, h.name, "nobody", 1))
	h.gone("nobody")
}

func theTombstoneOutlivesOthers(h *hub) {
	h.stateful("c", "n1")
	h.abandons("c")
	h.end(streams.EndRequest{ID: "c", Tombstone: short})
	h.stateful("other", "n1")
	h.end(streams.EndRequest{ID: "other", Tombstone: short})
	h.eventually("the other's tombstone passes", func() bool {
		_, err := h.store.Open(h.ctx, h.name, request(streams.OpenWebSocket, "other", "n1"))
		return err == nil
	})
	h.reopened("c")
}

// Nobody knows any more whose connection it was: it is told of as one without a user.
func whatWasLostMayBeAbandoned(h *hub) {
	h.send("the log") // without one a store need not know of the hub
	h.ends(streams.EndRequest{ID: "c", Token: "t", Bury: true, Tombstone: long}, streams.EndAlready)
	h.must("abandon", h.store.Abandon(h.ctx, h.name, "c", 1))
	h.answers(request(streams.OpenWebSocket, "c", "n1"), streams.ErrGone)
	r := request(streams.OpenWebSocket, "c", "n1")
	r.User = ""
	h.opens(r, streams.OpenAbandoned)
}

// Who has taken the connection over since has no socket that it abandoned.
func whoTakesOverHasAbandonedNothing(h *hub) {
	h.stateful("c", "n1")
	first := h.abandons("c")
	h.opens(reattach("c", "n2", first), streams.OpenAttached) // it was slow
	h.opens(reattach("c", "n3", h.upgrade("c")), streams.OpenAttached)
	h.must("abandon", h.store.Abandon(h.ctx, h.name, "c", first))
	h.upgrade("c")
}

// Its client is sent away, and must be refused when it asks once more.
func whoHasSpokenIsRefused(h *hub) {
	h.stateful("c", "n1")
	ticket := h.abandons("c")
	h.end(streams.EndRequest{ID: "c", Tombstone: long})
	h.reopened("c")
	h.answers(reattach("c", "n2", ticket), streams.ErrGone)
	h.refused("c", streams.ErrGone)
}

// So must one whose connection is closing, or has fallen behind.
func whoHasSpokenInVainIsRefused(h *hub) {
	for id, over := range map[string]struct {
		comes func()
		err   error
	}{
		"closing": {func() { h.closing("closing") }, streams.ErrGone},
		"behind":  {func() { h.send("1"); h.trim(h.send("2")) }, streams.ErrGap},
	} {
		h.stateful(id, "n1")
		ticket := h.abandons(id)
		over.comes()
		h.reopened(id)
		h.answers(reattach(id, "n2", ticket), over.err)
		h.refused(id, over.err)
	}
}

// An older socket of the same client may speak after it.
func whoHasSpokenLastIsRefused(h *hub) {
	h.stateful("c", "n1")
	first, second, third := h.upgrade("c"), h.upgrade("c"), h.upgrade("c")
	h.must("abandon", h.store.Abandon(h.ctx, h.name, "c", second))
	h.end(streams.EndRequest{ID: "c", Tombstone: long})
	h.reopened("c")
	h.answers(reattach("c", "n2", third), streams.ErrGone)
	h.answers(reattach("c", "n3", first), streams.ErrGone)
	h.refused("c", streams.ErrGone)
}

// The first socket of a connection that has shaken hands with nobody is opened again by whoever sent its request again.
func aNewConnectionHasAbandonedNothing(h *hub) {
	h.opens(request(streams.OpenWebSocket, "c", "n1"), streams.OpenCreated)
	h.must("abandon", h.store.Abandon(h.ctx, h.name, "c", 1))
	h.opens(request(streams.OpenWebSocket, "c", "n2"), streams.OpenAttached)
}

func anotherUsersUpgradeIsRefused(h *hub) {
	h.stateful("c", "n1")
	h.abandons("c")
	r := request(streams.OpenWebSocket, "c", "again")
	r.User = "somebody else"
	h.refuses(r, streams.ErrGone)
	h.end(streams.EndRequest{ID: "c", Tombstone: long})
	h.refuses(r, streams.ErrGone)
}
