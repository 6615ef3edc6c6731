package streamstest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"hubstream/streams"
)

var clusterTests = []func(*hub){
	nodesAreCounted,
	theClockGoesOn,
	hubsAreListedByBucket,
	theFirstSecretWins,
	reportsAreShared,
	connectionsAreListed,
	theStoreIsReady,
}

func (h *hub) beat(node string, lease time.Duration) streams.BeatReply {
	h.Helper()
	r, err := h.store.Beat(h.ctx, streams.Bucket(h.name), node, lease)
	h.must("beat", err)
	return r
}

// Other tests' nodes may be in the bucket, with leases that pass soon: so it asks
// until the count is right.
func nodesAreCounted(h *hub) {
	r := h.beat("one", long)
	h.check(r.Run != "", "no run")
	counts := func(what string, want int) {
		h.Helper()
		h.eventually(what, func() bool { return h.beat("one", long).Nodes == want })
	}
	counts("a node counts itself, once", 1)
	h.beat("two", long)
	counts("another node is counted", 2)
	h.beat("two", short)
	counts("it is not when its lease has passed", 1)
	equal(h, "run", h.beat("one", short).Run, r.Run)
}

func theClockGoesOn(h *hub) {
	first := h.beat("node", short).Now
	time.Sleep(20 * time.Millisecond)
	second := h.beat("node", short).Now
	if took := second - first; took < 15 || took > patience.Milliseconds() {
		h.Errorf("in 20 ms the store's clock went on by %d ms", took)
	}
}

func hubsAreListedByBucket(h *hub) {
	list := func() []string {
		h.Helper()
		hubs, err := h.store.Hubs(h.ctx, streams.Bucket(h.name))
		h.must("hubs", err)
		return hubs
	}
	h.check(!slices.Contains(list(), h.name), "a hub is listed that has no log")
	h.ends(streams.EndRequest{ID: "nobody"}, streams.EndAlready)
	h.refuses(reattach("nobody", "n1", 1), streams.ErrGone)
	h.check(!slices.Contains(list(), h.name), "a hub is listed for what was refused there")
	other := h.sibling()
	p := h.send("1")
	other.opens(request(streams.OpenPost, "c", ""), streams.OpenCreated)
	h.check(slices.Contains(list(), h.name), "a hub is not listed that has a log")
	h.check(slices.Contains(list(), other.name), "a hub is not listed that has a connection")
	h.trim(p)
	h.check(slices.Contains(list(), h.name), "a hub is not listed whose log is trimmed")

	elsewhere, err := h.store.Hubs(h.ctx, (streams.Bucket(h.name)+1)%streams.Buckets)
	h.must("hubs of another bucket", err)
	h.check(!slices.Contains(elsewhere, h.name), "a hub is listed in another bucket")
}

// Reports are the whole store's, and other tests' nodes may be among them.
func reportsAreShared(h *hub) {
	one, two := "one-"+h.name, "two-"+h.name
	report := func(node, data string, keep time.Duration) map[string]string {
		h.Helper()
		all, err := h.store.Report(h.ctx, node, []byte(data), keep)
		h.must("report", err)
		h.check(slices.IsSortedFunc(all, func(a, b streams.NodeReport) int { return strings.Compare(a.Node, b.Node) }), "not sorted: %v", all)
		found := map[string]string{}
		for _, r := range all {
			h.check(r.Age >= 0 && r.Age <= keep, "%s has the age %v", r.Node, r.Age)
			found[r.Node] = string(r.Data)
		}
		return found
	}
	first := report(one, "a:1\x00\xff", long)
	equal(h, "what it told itself", first[one], "a:1\x00\xff")
	_, known := first[two]
	h.check(!known, "a node is known that has told nothing")
	both := report(two, "", long)
	equal(h, "what the other told", both[one], "a:1\x00\xff")
	_, known = both[two]
	h.check(known, "a node that tells nothing is not known")
	equal(h, "what it told last", report(one, "b", long)[one], "b")
	h.eventually("what is too old is forgotten", func() bool {
		_, known := report(one, "c", 50*time.Millisecond)[two]
		return !known
	})
	_, known = report(one, "d", long)[two]
	h.check(!known, "what was forgotten is back")
}

// In pieces everybody is found who is there all the while, and nobody who has ended or is another hub's.
func connectionsAreListed(h *hub) {
	list := func(limit int) (ids map[string]bool, total int64) {
		h.Helper()
		ids = map[string]bool{}
		for cursor := ""; ; {
			reply, err := h.store.List(h.ctx, h.name, cursor, limit)
			h.must("list", err)
			for _, id := range reply.IDs {
				ids[id] = true
			}
			if cursor = reply.Next; cursor == "" {
				return ids, reply.Total
			}
		}
	}
	ids, total := list(10)
	h.check(len(ids) == 0 && total == 0, "an unused hub has %v, %d in all", ids, total)
	const all = 300 // more than Valkey keeps in one piece
	for i := range all {
		h.opens(request(streams.OpenWebSocket, fmt.Sprint("c-", i), "n1"), streams.OpenCreated)
	}
	other := h.sibling()
	other.opens(request(streams.OpenWebSocket, "other", "n1"), streams.OpenCreated)
	h.ends(streams.EndRequest{ID: "c-7", Entry: ended("c-7"), Tombstone: long}, streams.EndDone)
	for _, limit := range []int{7, 1000} {
		ids, total = list(limit)
		h.check(len(ids) == all-1 && total == all-1 && !ids["c-7"] && ids["c-8"] && !ids["other"], "by %d: %d listed, %d in all", limit, len(ids), total)
	}
}

func theFirstSecretWins(h *hub) {
	secrets := make([][]byte, 8)
	var wg sync.WaitGroup
	for i := range secrets {
		wg.Go(func() {
			var err error
			secrets[i], err = h.store.Secret(h.ctx, bytes.Repeat([]byte{byte(i), 0, 0xff}, 11))
			if err != nil {
				h.Errorf("secret: %v", err)
			}
		})
	}
	wg.Wait()
	first, err := h.store.Secret(h.ctx, []byte("too late"))
	h.must("secret", err)
	h.check(len(first) > 0, "the secret is empty")
	for _, s := range secrets {
		h.check(bytes.Equal(s, first), "two nodes have other secrets: %x and %x", s, first)
	}
}

func theStoreIsReady(h *hub) { h.must("ready", h.store.Ready(h.ctx)) }
