package streams_test

import (
	"fmt"
	"testing"

	"hubstream/integration/valkeytest"
	"hubstream/streams"
)

// ofTheHub is the name of one of the hub's keys; see the prefix of the tests.
func ofTheHub(key string) string {
	return fmt.Sprintf("{gens:%d}:%s:%s", streams.Bucket(hub), hub, key)
}

// TestValkeyRemembersTheGenerationsThatContinue: a node that was away while Valkey restarted several times, and lost nothing, goes on.
func TestValkeyRemembersTheGenerationsThatContinue(t *testing.T) {
	t.Parallel()
	server := valkeytest.Start(t, valkeytest.Args())
	u := use(t, streams.ValkeyConfig{Addresses: []string{server.Addr}, Prefix: "gens"})
	p := u.send("1")
	u.stateful("c", "n1.a")
	u.stateful("d", "n1.a")
	first := u.verify(streams.VerifyRequest{}).Gen
	known := streams.VerifyRequest{Last: p, Proof: p, ProofEntry: string(message("1"))}
	verify := func(gen string) streams.VerifyReply {
		known.Gen = gen
		return u.verify(known)
	}
	const kept = 16 // see generationsKept
	for gen, n := first, 1; n <= kept+1; n++ {
		server.Do("HSET", ofTheHub("meta"), "run", "another")
		now := verify(gen)
		if !now.Proven || now.Gen == gen {
			t.Fatalf("restart %d: got %+v, want a proven new generation", n, now)
		}
		if gen = now.Gen; verify(first).Proven != (n <= kept) {
			t.Errorf("restart %d: the first generation continues: %v", n, n > kept)
		}
		if n == kept || n == kept+1 {
			id := map[bool]string{true: "c", false: "d"}[n == kept]
			must(t, "restamp", u.Restamp(t.Context(), hub, "n1", []streams.RestampItem{{ID: id, Owner: "n1.a"}}, gen, gen))
			_, err := u.Open(t.Context(), hub, request(streams.OpenWebSocket, id, "n2"))
			if n == kept {
				must(t, "an upgrade to what was moved to the new generation", err)
			} else {
				want(t, "an upgrade to what is of a generation that may be lost", err, streams.ErrGeneration)
			}
		}
	}
}

// TestValkeyTellsOfALossThatOnlyTheGenerationShows: who has no proof to give may have been told of one that is lost with what came after it.
func TestValkeyTellsOfALossThatOnlyTheGenerationShows(t *testing.T) {
	t.Parallel()
	server := valkeytest.Start(t, valkeytest.Args())
	u := use(t, streams.ValkeyConfig{Addresses: []string{server.Addr}, Prefix: "gens"})
	u.send("1")
	for _, lost := range []bool{false, true} {
		gen := u.verify(streams.VerifyRequest{}).Gen
		if lost {
			gen = "lost"
		}
		server.Do("HSET", ofTheHub("meta"), "run", "another")
		v := u.verify(streams.VerifyRequest{Gen: gen})
		slice, err := u.Range(t.Context(), hub, streams.Position{}, 100)
		must(t, "range", err)
		last := slice.Entries[len(slice.Entries)-1]
		e, err := streams.DecodeEntry(last.Data)
		must(t, "decode", err)
		if v.Proven == lost || e.Kind != streams.KindGen || (e.Flags&streams.FlagLost != 0) != lost {
			t.Errorf("lost: %v; proven: %v, and the log tells %+v", lost, v.Proven, e)
		}
	}
}

// TestValkeyLogWithoutItsFloorBeginsAtItsEnd: nothing is known of what was trimmed.
func TestValkeyLogWithoutItsFloorBeginsAtItsEnd(t *testing.T) {
	t.Parallel()
	server := valkeytest.Start(t, valkeytest.Args())
	u := use(t, streams.ValkeyConfig{Addresses: []string{server.Addr}, Prefix: "gens"})
	u.send("1")
	p := u.send("2")
	server.Do("DEL", ofTheHub("meta"))
	if v := u.verify(streams.VerifyRequest{}); v.Floor != p {
		t.Errorf("floor %v, want the end %v", v.Floor, p)
	}
}
