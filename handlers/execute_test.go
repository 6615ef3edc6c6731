package handlers_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"hubstream/handlers"
	"hubstream/streams"
)

// execute does commands with the connections that a filter selects.
func (f *fixture) execute(filter, commands string) {
	f.t.Helper()
	query := url.Values{"api-version": {"2024-12-01"}}
	if filter != "" {
		query.Set("filter", filter)
	}
	if w := f.do("POST", "/api/hubs/chat/:execute?"+query.Encode(), commands); w.Code != http.StatusAccepted || w.Body.Len() > 0 {
		f.t.Errorf("%s: got %d %s", filter, w.Code, w.Body)
	}
}

// Each filter is tried by what its connections are sent.
func TestExecuteIsForWhomTheFilterSelects(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	f.connectAs("c1", "ann")
	f.connectAs("c2", "Bob's")
	f.connectAs("c3", "")
	f.member("PUT", "red", "c2")
	f.member("PUT", "blue", "c3")
	f.member("PUT", "gone", "c1")
	f.member("DELETE", "gone", "c1")
	for filter, want := range map[string]string{
		"userId eq 'ann'":                                 "c1",
		"userId ne 'ann'":                                 "c2 c3",
		"userId eq null":                                  "c3",
		"not (userId eq null)":                            "c1 c2",
		"userId eq 'Bob''s'":                              "c2",
		"startswith(userId, 'Bo')":                        "c2",
		"endswith( connectionId ,'3')":                    "c3",
		"contains(userId,'n') or connectionId eq 'c3'":    "c1 c3",
		"'red' in groups":                                 "c2",
		"'gone' in groups":                                "",
		"'red' in groups or 'blue' in groups":             "c2 c3",
		"not ('red' in groups) and userId ne null":        "c1",
		"userId eq null or userId eq 'ann' and false":     "c3", // and binds more
		"(userId eq null or userId eq 'ann') and false":   "",
		"tolower(userId) eq 'bob''s'":                     "c2",
		"toupper(trim(concat(' ', userId))) eq 'ANN'":     "c1",
		"length(userId) gt 3":                             "c2",
		"length(userId) le 3":                             "c1",
		"connectionId ge 'c2' and connectionId lt 'c3'":   "c2",
		"userId gt 1":                                     "",
		"groups eq groups":                                "",
		"userId in groups":                                "",
		"true":                                            "c1 c2 c3",
		"userId":                                          "",
		"length(userId) eq null and connectionId ne null": "c3",
	} {
		before := len(f.sent())
		f.execute(filter, `[{"type":"SendMessage","message":{"Target":"m","Arguments":[1]}}]`)
		sent := f.sent()[before:]
		var got []string
		for _, e := range sent {
			got = append(got, e.Connections...)
		}
		slices.Sort(got)
		if strings.Join(got, " ") != want || len(sent) > 1 {
			t.Errorf("%s: %q in %d sends, want %q", filter, got, len(sent), want)
		}
	}
	f.execute("", `[{"type":"SendMessage","message":{"target":"m"}}]`)
	if e := f.last(); e.Flags&streams.FlagAll == 0 || string(e.Body) != `{"type":1,"target":"m","arguments":[]}`+"\x1e" {
		t.Errorf("without a filter: %+v", e)
	}
}

// The commands take effect in their order, and none if one is bad.
func TestExecuteDoesItsCommandsInOrder(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	f.connectAs("c1", "ann")
	f.connectAs("c2", "bob")
	before := f.entries()
	f.execute("userId eq 'ann'", `[{"type":"JoinGroup","group":"g"},{"type":"SendMessage","message":{"target":"m"}},
		{"type":"LeaveGroup","group":"g"},{"type":"CloseConnection","reason":"bye"}]`)
	if n := f.entries() - before; n != 4 {
		t.Errorf("%d entries, want 4", n)
	}
	if e := f.last(); e.Kind != streams.KindClose || !slices.Equal(e.Connections, []string{"c1"}) || string(e.Body) != "bye" || e.Flags&streams.FlagReconnect == 0 {
		t.Errorf("the close is %+v", e)
	}
	f.execute("", `[{"type":"JoinGroup","group":"all"}]`)
	var members struct{ Total int }
	f.read("/api/hubs/chat/groups/all/connections", &members)
	if members.Total != 2 {
		t.Errorf("%d joined, want 2", members.Total)
	}
	before = f.entries()
	refused(t, f.do("POST", "/api/hubs/chat:execute", `[{"type":"SendMessage","message":{"target":"m"}},{"type":"x"}]`), http.StatusBadRequest)
	if f.entries() != before {
		t.Error("the good command was done")
	}
}

// sent are the messages of the hub's log.
func (f *fixture) sent() (list []streams.Entry) {
	f.t.Helper()
	reply, err := f.store.Range(f.t.Context(), "chat", streams.Position{}, 100_000)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, raw := range reply.Entries {
		e, err := streams.DecodeEntry(raw.Data)
		if err != nil {
			f.t.Fatal(err)
		}
		if e.Kind == streams.KindMessage {
			list = append(list, e)
		}
	}
	return list
}
