package handlers_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"hubstream/handlers"
	"hubstream/streams"
)

// console is a page with given rules.
type console struct {
	http.Handler
	payloads bool
}

func (console) Allowed(r *http.Request) bool { return r.Header.Get("Authorization") == "Bearer admin" }
func (c console) Payloads() bool             { return c.payloads }

func newConsole(t *testing.T, payloads bool) *fixture {
	return newFixture(t, handlers.Config{Console: console{http.NotFoundHandler(), payloads}})
}

type logAnswer struct {
	Next    string
	More    bool
	Entries []struct {
		Kind, Target, Verb         string
		All                        bool
		Groups, Users, Connections []string
		Named                      []string
		Message                    json.RawMessage
		Sent, Acknowledged         bool
	}
}

func (f *fixture) log(query string) (a logAnswer) {
	f.t.Helper()
	w := f.do("GET", "/console/api/hubs/chat/log?"+query, "", "Authorization", "Bearer admin")
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil || w.Code != http.StatusOK {
		f.t.Fatalf("log?%s: %d %s", query, w.Code, w.Body)
	}
	return a
}

// targets are the messages of an answer.
func (a logAnswer) targets() (all []string) {
	for _, e := range a.Entries {
		if e.Kind == "message" {
			all = append(all, e.Target)
		}
	}
	return all
}

func TestTheLogIsLookedBackAtByAudience(t *testing.T) {
	t.Parallel()
	f := newConsole(t, false)
	f.connect("c", streams.OpenPoll, 1)
	f.member("PUT", "g", "c")
	f.send(`{"target":"all","arguments":[]}`)
	f.send(`{"target":"group","arguments":[],"groups":["g"]}`)
	f.send(`{"target":"other group","arguments":[],"groups":["h"]}`)
	f.send(`{"target":"user","arguments":[],"users":["alice"]}`)
	f.send(`{"target":"other user","arguments":[],"users":["bob"]}`)
	f.send(`{"target":"connection","arguments":[],"connections":["c"]}`)
	for query, want := range map[string][]string{
		"":                {"all", "group", "other group", "user", "other user", "connection"},
		"broadcasts=true": {"all"},
		"group=g":         {"group"},
		"user=alice":      {"user"},
		"connection=c":    {"all", "group", "user", "connection"},
		"target=user":     {"user"},
		"target=us":       nil,
		"since=3600":      {"all", "group", "other group", "user", "other user", "connection"},
	} {
		if got := f.log(query).targets(); !slices.Equal(got, want) {
			t.Errorf("log?%s: got %q, want %q", query, got, want)
		}
	}
	// In pieces it is the same.
	var got []string
	for after := ""; ; {
		a := f.log("limit=1&after=" + after)
		got = append(got, a.targets()...)
		if after = a.Next; !a.More {
			break
		}
	}
	if want := f.log("").targets(); !slices.Equal(got, want) {
		t.Errorf("in pieces: got %q, want %q", got, want)
	}
}

// A client that has polled again has received what the poll before answered.
func TestTheLogTellsWhatWasAcknowledged(t *testing.T) {
	t.Parallel()
	f := newConsole(t, false)
	f.connect("c", streams.OpenPoll, 1)
	f.send(`{"target":"arrived","arguments":[]}`)
	owner := f.node.NewOwner()
	open := func(mark string) {
		t.Helper()
		if _, err := f.node.Open(t.Context(), "chat", streams.OpenRequest{Mode: streams.OpenPoll, ID: "c", User: "alice", Owner: owner, Mark: mark, Lease: 1e10, NewLease: 1e10}); err != nil {
			t.Fatal(err)
		}
	}
	open("1")
	reply, err := f.node.Lookup(t.Context(), "chat", "c")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.node.Answer(t.Context(), "chat", streams.AnswerRequest{ID: "c", Owner: owner, Sent: reply.Last, Mark: "1", Lease: 1e10}); err != nil {
		t.Fatal(err)
	}
	open("2")
	f.send(`{"target":"under way","arguments":[]}`)
	for _, e := range f.log("connection=c").Entries {
		if e.Kind == "message" && (!e.Sent || e.Acknowledged != (e.Target == "arrived")) {
			t.Errorf("%s: sent %v, acknowledged %v", e.Target, e.Sent, e.Acknowledged)
		}
	}
}

func TestPayloadsAreMaskedUnlessAllowed(t *testing.T) {
	t.Parallel()
	for _, payloads := range []bool{false, true} {
		f := newConsole(t, payloads)
		f.connect("c", streams.OpenPoll, 1)
		f.send(`{"target":"m","arguments":["hunter2"]}`)
		f.do("DELETE", "/api/hubs/chat/connections/c?reason=hunter2", "")
		w := f.do("GET", "/console/api/hubs/chat/log", "", "Authorization", "Bearer admin")
		if got := strings.Count(w.Body.String(), "hunter2"); got != 0 && !payloads || got != 2 && payloads {
			t.Errorf("payloads %v: %s", payloads, w.Body)
		}
	}
}

func TestTheConsolesDataNeedsItsRules(t *testing.T) {
	t.Parallel()
	f := newConsole(t, true)
	f.connect("c", streams.OpenPoll, 1)
	f.member("PUT", "g", "c")
	for path, want := range map[string]string{
		"/console/api/hubs":                    `{"hubs":[{"hub":"chat","connections":1}],"next":"","total":1}`,
		"/console/api/hubs/chat/log":           `"kind":"groups"`,
		"/console/api/hubs/chat/connections/c": `"groups":["g"],"stateful":false,`,
	} {
		if r := refused(t, f.do("GET", path, ""), http.StatusUnauthorized); r.Code != "unauthorized" {
			t.Errorf("%s: %+v", path, r)
		}
		if w := f.do("GET", path, "", "Authorization", "Bearer admin"); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d %s, want %s", path, w.Code, w.Body, want)
		}
	}
	for path, status := range map[string]int{
		"/console/api/hubs/chat/connections/nobody":    404,
		"/console/api/hubs/chat/log?connection=nobody": 404,
		"/console/api/hubs/chat/log?limit=0":           400,
		"/console/api/hubs/chat/log?limit=501":         400,
		"/console/api/hubs/chat/log?since=-1":          400,
		"/console/api/hubs/chat/log?after=yesterday":   400,
	} {
		refused(t, f.do("GET", path, "", "Authorization", "Bearer admin"), status)
	}
}
