package streamstest

import (
	"context"

	"hubstream/streams"
)

var availabilityTests = []func(*hub){
	nothingIsDoneForAContextThatHasEnded,
	aClosedStoreIsNotAvailable,
}

// calls are all of a store's methods that may fail, as closures over a hub.
func (h *hub) calls(ctx context.Context) map[string]func() error {
	s := h.store
	t := h.tail()
	bucket := streams.Bucket(h.name)
	return map[string]func() error{
		"Append": func() error { _, err := s.Append(ctx, h.name, message("x")); return err },
		"AppendAll": func() error {
			_, err := s.AppendAll(ctx, h.name, []streams.OnceRequest{{Entry: message("x")}})
			return err
		},
		"AppendOnce": func() error {
			_, _, err := s.AppendOnce(ctx, h.name, once("k", "s", "x"))
			return err
		},
		"Range":  func() error { _, err := s.Range(ctx, h.name, streams.Position{}, 1); return err },
		"Trim":   func() error { _, err := s.Trim(ctx, h.name, streams.NewPosition(1, 0)); return err },
		"Verify": func() error { _, err := s.Verify(ctx, h.name, streams.VerifyRequest{}); return err },
		"Read": func() error {
			_, err := t.Read(ctx, []streams.Cursor{h.cursor(streams.Position{})}, 1, patience)
			return err
		},
		"Open":   func() error { _, err := s.Open(ctx, h.name, request(streams.OpenPost, "new", "")); return err },
		"Lookup": func() error { _, err := s.Lookup(ctx, h.name, "c"); return err },
		"Handshake": func() error {
			_, err := s.Handshake(ctx, h.name, streams.HandshakeRequest{ID: "c", Reply: reply("c", "{}"), Lease: long})
			return err
		},
		"Answer": func() error {
			_, err := s.Answer(ctx, h.name, streams.AnswerRequest{ID: "c", Owner: "n1", Lease: long})
			return err
		},
		"Continue": func() error {
			_, err := s.Continue(ctx, h.name, streams.ContinueRequest{AnswerRequest: streams.AnswerRequest{ID: "c", Owner: "n1", Lease: long}})
			return err
		},
		"Abandon": func() error { return s.Abandon(ctx, h.name, "c", 1) },
		"Wrote":   func() error { return s.Wrote(ctx, h.name, "c", 1, true) },
		"Touch": func() error {
			_, err := s.Touch(ctx, h.name, []streams.TouchItem{{ID: "c", Owner: "n1", Lease: long}})
			return err
		},
		"Finish": func() error { _, err := s.Finish(ctx, h.name, finish("n1", 0, 1)); return err },
		"Join": func() error {
			_, err := s.Join(ctx, h.name, streams.JoinRequest{ID: "c", Verb: streams.VerbJoin, Groups: []string{"g"}, Entry: message("x")})
			return err
		},
		"CloseConnection": func() error { _, err := s.CloseConnection(ctx, h.name, "c", closed("c", "")); return err },
		"End": func() error {
			_, err := s.End(ctx, h.name, streams.EndRequest{ID: "c", Entry: ended("c"), Tombstone: long})
			return err
		},
		"Accept":     func() error { _, err := s.Accept(ctx, h.name, accept("w1", "t", "x")); return err },
		"NextWork":   func() error { _, err := s.NextWork(ctx, h.name, streams.NextRequest{ID: "c"}); return err },
		"Reply":      func() error { _, err := s.Reply(ctx, h.name, streams.ReplyRequest{ID: "c"}); return err },
		"Adopt":      func() error { _, err := s.Adopt(ctx, h.name, streams.AdoptRequest{Limit: 1}); return err },
		"KeepWorker": func() error { return s.KeepWorker(ctx, bucket, worker("w1")) },
		"Expired":    func() error { _, err := s.Expired(ctx, h.name, 1); return err },
		"List":       func() error { _, err := s.List(ctx, h.name, "", 1); return err },
		"Count":      func() error { _, err := s.Count(ctx, h.name, streams.HolderUser, "ann"); return err },
		"JoinUser": func() error {
			_, err := s.JoinUser(ctx, h.name, streams.UserJoinRequest{User: "ann", Group: "g", Entry: message("x")})
			return err
		},
		"LeaveUser": func() error {
			_, err := s.LeaveUser(ctx, h.name, streams.UserLeaveRequest{User: "ann", Verb: streams.VerbLeave, Group: "g", Entry: message("x")})
			return err
		},
		"UserGroups": func() error { _, err := s.UserGroups(ctx, h.name, "ann"); return err },
		"DueUsers":   func() error { _, err := s.DueUsers(ctx, h.name, 1); return err },
		"TidyUser":   func() error { return s.TidyUser(ctx, h.name, "ann") },
		"Members":    func() error { _, err := s.Members(ctx, h.name, streams.HolderUser, "ann", "", 1); return err },
		"Names":      func() error { _, err := s.Names(ctx, h.name, streams.HolderUser, "", 1); return err },
		"Restamp": func() error {
			return s.Restamp(ctx, h.name, restampNode, []streams.RestampItem{{ID: "c"}}, "gen", "next")
		},
		"Report": func() error { _, err := s.Report(ctx, "node", nil, short); return err },
		"Beat":   func() error { _, err := s.Beat(ctx, bucket, "node", short); return err },
		"Hubs":   func() error { _, err := s.Hubs(ctx, bucket); return err },
		"Secret": func() error { _, err := s.Secret(ctx, []byte("secret")); return err },
		"Ready":  func() error { return s.Ready(ctx) },
	}
}

func nothingIsDoneForAContextThatHasEnded(h *hub) {
	h.opens(request(streams.OpenWebSocket, "c", "n1"), streams.OpenCreated)
	ended, cancel := context.WithCancel(h.ctx)
	cancel()
	h.unchanged("c", func() {
		for name, call := range h.calls(ended) {
			h.want(name, call(), streams.ErrUnavailable)
		}
	})
	h.gone("new")
}

func aClosedStoreIsNotAvailable(h *hub) {
	p := h.send("1")
	blocked := h.blocked(h.ctx, h.tail(), h.cursor(p))
	calls := h.calls(h.ctx)
	h.must("close", h.store.Close())
	r := <-blocked
	h.want("a blocked read", r.err, streams.ErrUnavailable)
	h.check(r.after < patience/2, "the read returned only after %v", r.after)
	for name, call := range calls {
		h.want(name, call(), streams.ErrUnavailable)
	}
}
