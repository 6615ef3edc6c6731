package streams_test

import (
	"testing"
	"time"

	"hubstream/integration/valkeytest"
	"hubstream/streams"
)

// A poll continues only in the generation that its node knows and its record is of, and only while the store's process is the
// one that the generation was verified with: what the node has of the log may be lost otherwise.
func TestPollContinuesOnlyInAVerifiedGeneration(t *testing.T) {
	t.Run("memory", func(t *testing.T) {
		f := newFaulty(t)
		continuesVerified(t, f.FaultyMemory, f.ChangeRun)
	})
	t.Run("Valkey", func(t *testing.T) {
		server := valkeytest.Start(t, valkeytest.AppendOnly())
		continuesVerified(t, openValkey(t, streams.ValkeyConfig{Addresses: []string{server.Addr}}), func() {
			server.Kill()
			server.Start()
		})
	})
}

func continuesVerified(t *testing.T, s streams.Store, failover func()) {
	ctx := t.Context()
	_, err := s.Open(ctx, hub, request(streams.OpenPoll, "c", "n1.a"))
	must(t, "first poll", err)
	_, err = s.Handshake(ctx, hub, streams.HandshakeRequest{ID: "c", Protocol: 1, Version: 1, Reply: message("{}"), Lease: time.Minute})
	must(t, "handshake", err)
	opened, err := s.Open(ctx, hub, request(streams.OpenPoll, "c", "n1.b"))
	must(t, "poll", err)
	n, err := s.Answer(ctx, hub, streams.AnswerRequest{ID: "c", Owner: "n1.b", Sent: opened.Last, Lease: time.Minute})
	must(t, "answer", err)
	continues := func(what, gen string, want uint64) {
		t.Helper()
		r := streams.ContinueRequest{
			AnswerRequest: streams.AnswerRequest{ID: "c", Owner: "n1.c", Sent: opened.Last, Lease: time.Minute},
			Gen:           gen, Last: "n1.b", Answers: n, From: opened.Last,
		}
		eventually(t, what, func() error { // the first calls may go to the connection that is gone
			got, err := s.Continue(ctx, hub, r)
			if err == nil && got != want {
				t.Errorf("%s: answer number %d, want %d", what, got, want)
			}
			return err
		})
	}
	failover()
	continues("unverified", opened.Gen, 0)
	after, err := s.Verify(ctx, hub, streams.VerifyRequest{Gen: opened.Gen})
	must(t, "verify", err)
	continues("a node of the old generation", opened.Gen, 0)
	continues("a record of the old generation", after.Gen, 0)
	must(t, "restamp", s.Restamp(ctx, hub, "n1", []streams.RestampItem{{ID: "c", Answers: n}}, opened.Gen, after.Gen))
	continues("a node that does not know yet", opened.Gen, 0)
	continues("all in the new generation", after.Gen, n+1)
}
