package handlers_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"hubstream/handlers"
	"hubstream/streams"
)

type result struct {
	Status   int
	Position string
	Replayed bool
	Changed  bool
	Error    *refusal
}

// batch makes a batch of chat's, and fails unless it is answered with as many results.
func (f *fixture) batch(operations ...string) []result {
	f.t.Helper()
	w := f.do("POST", "/api/hubs/chat/batch", "["+strings.Join(operations, ",\n")+"]", "Content-Type", "application/json")
	var answer struct{ Results []result }
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != http.StatusOK || len(answer.Results) != len(operations) {
		f.t.Fatalf("got %d %s (%v), want %d results", w.Code, w.Body, err, len(operations))
	}
	return answer.Results
}

// logged returns what the entries of chat are, in short.
func (f *fixture) logged() (list []string) {
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
		switch e.Kind {
		case streams.KindMessage:
			var message struct{ Target string }
			_ = json.Unmarshal(e.Body[:len(e.Body)-1], &message)
			list = append(list, message.Target)
		case streams.KindControl:
			list = append(list, fmt.Sprint("control ", e.Verb, e.Connections, e.Users, e.Named))
		case streams.KindClose:
			whom := fmt.Sprint(e.Connections, e.Users, e.Groups)
			if e.Flags&streams.FlagAll != 0 {
				whom += " all"
			}
			if len(e.Excluded) > 0 {
				whom += fmt.Sprint(" but ", e.Excluded)
			}
			if e.Flags&streams.FlagReconnect != 0 {
				whom += ", may reconnect"
			}
			list = append(list, "close "+whom+": "+string(e.Body))
		}
	}
	return list
}

func TestABatchsOperationsTakeEffectInTheirOrder(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	f.connectAs("c", "ann")
	f.connectAs("d", "bob")
	results := f.batch(
		`{"target":"one"}`,
		`{"op":"send","target":"two","users":["ann"],"arguments":[1]}`,
		`{"op":"join","connection":"c","group":"g"}`,
		`{"target":"three","groups":["g"]}`,
		`{"op":"join","user":"ann","group":"h","ttl":60}`,
		`{"op":"join","connection":"c","group":"g"}`,
		`{"op":"leave","connection":"c","group":"g"}`,
		`{"op":"leaveAll","user":"ann"}`,
		`{"op":"close","connection":"d","reason":"bye"}`,
		`{"op":"close","user":"bob","reason":"all of bob's","allowReconnect":true}`,
		`{"op":"close","group":"g","reason":"a group","excluded":["c"]}`,
		`{"op":"closeAll","reason":"everybody"}`,
		`{"target":"last"}`,
	)
	for i, r := range results {
		if r.Status >= 300 || r.Error != nil {
			t.Errorf("operation %d: %+v", i, r)
		}
	}
	if results[1].Position <= results[0].Position || results[0].Status != http.StatusAccepted || !results[2].Changed || results[5].Changed {
		t.Errorf("results: %+v", results)
	}
	want := []string{
		"one", "two", "control 1 [c] [] [g]", "three", "control 1 [] [ann] [h]", "control 2 [c] [] [g]", "control 3 [] [ann] []", "close [d] [] []: bye",
		"close [] [bob] [], may reconnect: all of bob's", "close [] [] [g] but [c]: a group", "close [] [] [] all: everybody", "last",
	}
	if got := f.logged(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the log:\n got %q\nwant %q", got, want)
	}
}

// How long a user is to be in a group is said in seconds, or not: then it is for long; or is none at all: then only those connections join
// that there are.
func TestAUsersJoinInABatchHasItsTime(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	f.connectAs("c", "ann")
	f.batch(
		`{"op":"join","user":"ann","group":"a minute","ttl":60}`, `{"op":"join","user":"ann","group":"for long"}`,
		`{"op":"join","user":"ann","group":"now","ttl":0}`,
	)
	groups, err := f.node.UserGroups(t.Context(), "chat", "ann")
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range groups {
		left := time.Duration(g.Until-f.node.Now()) * time.Millisecond
		if soon := left < 2*time.Minute; soon != (g.Group == "a minute") || left < 0 {
			t.Errorf("the user is in group %q for %v more", g.Group, left)
		}
	}
	if len(groups) != 2 {
		t.Errorf("the user is in %v", groups)
	}
	if n, err := f.node.Count(t.Context(), "chat", streams.HolderGroup, "now"); n != 1 || err != nil {
		t.Errorf("%d connections are in the group that is for now (%v)", n, err)
	}
}

func TestEachOperationOfABatchHasItsOwnResult(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{MaxSendBytes: 3000})
	for _, test := range []struct {
		operation string
		status    int
		field     string
	}{
		{`1`, 400, ""}, {`null`, 400, ""}, {`[]`, 400, ""}, {`{}`, 400, "target"}, {`{"target":""}`, 400, "target"},
		{`{"target":"m","groups":[]}`, 400, "groups"}, {`{"target":"m","nothing":1}`, 400, "nothing"},
		{`{"target":"m","arguments":[1e999]}`, 400, "arguments[0]"}, {`{"op":1,"target":"m"}`, 400, "op"}, {`{"op":"fly"}`, 400, "op"},
		{`{"op":"send","op":"send","target":"m"}`, 400, "op"},
		{`{"op":"join","connection":"c"}`, 400, "group"}, {`{"op":"join","group":"g"}`, 400, "connection"},
		{`{"op":"join","group":"g","connection":"c","user":"u"}`, 400, "connection"}, {`{"op":"join","group":"g","user":5}`, 400, "user"},
		{`{"op":"join","group":"g","user":"u","ttl":-1}`, 400, "ttl"}, {`{"op":"join","group":"g","connection":"c","ttl":1}`, 400, "ttl"},
		{`{"op":"leaveAll","group":"g","connection":"c"}`, 400, "group"}, {`{"op":"close"}`, 400, "connection"},
		{`{"op":"closeAll","user":"u"}`, 400, "op"}, {`{"op":"close","user":"u","more":1}`, 400, ""},
		{`{"op":"close","user":"u","reason":"` + strings.Repeat("r", 1025) + `"}`, 400, "reason"},
		{`{"op":"close","user":"u","excluded":[""]}`, 400, "excluded[0]"},
		{`{"op":"join","group":"` + strings.Repeat("g", 1025) + `","connection":"c"}`, 400, "group"},
		{`{"target":"m","arguments":["` + strings.Repeat("x", 3000) + `"]}`, 413, ""},
		{`{"op":"join","group":"g","connection":"nobody"}`, 404, ""}, {`{"op":"close","connection":"nobody"}`, 404, ""},
	} {
		before := len(f.logged())
		results := f.batch(`{"target":"before"}`, test.operation, `{"target":"after"}`)
		if r := results[1]; r.Status != test.status || r.Error == nil || r.Error.Code == "" || r.Error.Message == "" || r.Error.Target != test.field {
			t.Errorf("%s: got %+v %+v, want %d, field %q", short(test.operation), r, r.Error, test.status, test.field)
		}
		if results[0].Status != 202 || results[2].Status != 202 || len(f.logged()) != before+2 {
			t.Errorf("%s: the others were not sent, or it was: %+v", short(test.operation), results)
		}
	}
}

func TestABatchsKeysMakeSendsSafeToRepeat(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	first := f.batch(`{"target":"a","id":"k1"}`, `{"target":"b","id":"k2"}`)
	again := f.batch(`{"target":"a","id":"k1"}`, `{"target":"c","id":"k2"}`, `{"target":"d"}`)
	if first[0].Replayed || !again[0].Replayed || again[0].Position != first[0].Position {
		t.Errorf("a repeat: %+v after %+v", again[0], first[0])
	}
	if again[1].Status != 422 || again[1].Error.Code != "key_reused" {
		t.Errorf("another body: %+v", again[1])
	}
	if got := f.logged(); fmt.Sprint(got) != "[a b d]" {
		t.Errorf("the log: %q", got)
	}
}

func TestWhatIsNoBatchIsRefusedAsAWhole(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	many := "[" + strings.Repeat(`{"target":"m"},`, 1000) + `{"target":"m"}]`
	for _, test := range []struct {
		body, contentType string
		status            int
	}{
		{"", "application/json", 400}, {"{}", "application/json", 400}, {"null", "application/json", 400}, {`[{"target":"m"}`, "application/json", 400},
		{`[{"target":"m"}]x`, "application/json", 400}, {`[{"target":"m"},]`, "application/json", 400}, {"[\"\xff\"]", "application/json", 400},
		{many, "application/json", 413}, {"[" + strings.Repeat(" ", 8<<20) + "]", "application/json", 413}, {"[]", "text/plain", 415},
	} {
		refused(t, f.do("POST", "/api/hubs/chat/batch", test.body, "Content-Type", test.contentType), test.status)
	}
	if got := f.logged(); len(got) > 0 {
		t.Errorf("the log has %d entries", len(got))
	}
	if got := f.batch(); len(got) != 0 {
		t.Errorf("an empty batch: %v", got)
	}
}

// Each line is answered while the next ones are not written yet.
func TestAStreamsLinesAreAnsweredAsTheyCome(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{MaxSendBytes: 1000})
	server := httptest.NewServer(f.Handler)
	defer server.Close()
	body, lines := io.Pipe()
	r, err := http.NewRequestWithContext(t.Context(), "POST", server.URL+"/api/hubs/chat/batch", body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-ndjson")
	write := func(text string) {
		if _, err := io.WriteString(lines, text); err != nil {
			t.Error(err)
		}
	}
	go write("{\"target\":\"1\"}\n")
	client := http.Client{Timeout: 20 * time.Second}
	defer client.CloseIdleConnections()
	answer, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	results := bufio.NewScanner(answer.Body)
	next := func() (r result) {
		t.Helper()
		if !results.Scan() {
			t.Fatalf("the results end: %v", results.Err())
		}
		if err := json.Unmarshal(results.Bytes(), &r); err != nil {
			t.Fatalf("%s: %v", results.Bytes(), err)
		}
		return r
	}
	if r := next(); r.Status != 202 || r.Position == "" {
		t.Errorf("the first: %+v", r)
	}
	write("\r\n \n{\"target\":\"2\"}\r\n{\"op\":\"fly\"}\n{\"target\":\"" + strings.Repeat("x", 5000) + "\"}\n{\"target\":\"3\"}\n")
	for _, want := range []int{202, 400, 413, 202} {
		if r := next(); r.Status != want {
			t.Errorf("got %+v, want %d", r, want)
		}
	}
	write(`{"target":"4"}`) // the last line may lack its end
	lines.Close()
	if r := next(); r.Status != 202 {
		t.Errorf("the last: %+v", r)
	}
	if results.Scan() {
		t.Errorf("more: %s", results.Bytes())
	}
	if got := f.logged(); fmt.Sprint(got) != "[1 2 3 4]" {
		t.Errorf("the log: %q", got)
	}
}

// A backend that is gone in the middle of a line leaves what is whole, and nothing else.
func TestAStreamThatBreaksOffLeavesWhatWasWhole(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	w := f.do("POST", "/api/hubs/chat/batch", "{\"target\":\"1\"}\n{\"targ", "Content-Type", "application/x-ndjson")
	lines := strings.Split(strings.TrimSpace(w.Body.String()), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], `"status":202`) || !strings.Contains(lines[1], `"status":400`) {
		t.Errorf("got %q", lines)
	}
	if got := f.logged(); fmt.Sprint(got) != "[1]" {
		t.Errorf("the log: %q", got)
	}
}

// Every array is taken apart as encoding/json does it.
func FuzzArraysAreTakenApart(f *testing.F) {
	for _, text := range []string{
		"[]", " [ ] ", "[1]", "[1,2]", `[ {"a":[1,{"b":","}]} , "]" ,null]`, `["\"","\\",",\\\"]"]`, `[[[]],{},[{}]]`, "[1,]", "[,1]", "[1 2]", "[", "]", "{}", "1", "", "null",
		`["a]`, `["a\"]`, "[1]x", "[\n1\t,\r2 ]", `["é","\u0022"]`, "[\"\xff\"]",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := handlers.SplitArray(raw)
		var want []json.RawMessage
		wrong := json.Unmarshal(raw, &want)
		if !utf8.Valid(raw) || wrong == nil && bytes.TrimLeft(raw, " \t\r\n")[0] != '[' {
			wrong = errors.New("no array")
		}
		if (err != nil) != (wrong != nil) {
			t.Fatalf("%q: got %v, want %v", raw, err, wrong)
		}
		if err != nil {
			return
		}
		if len(got) != len(want) {
			t.Fatalf("%q: got %q, want %q", raw, got, want)
		}
		for i := range got {
			if !bytes.Equal(got[i], want[i]) {
				t.Errorf("%q: element %d: got %q, want %q", raw, i, got[i], want[i])
			}
		}
	})
}

// batchOf is an array of as many sends.
func batchOf(sends int) string {
	return "[" + strings.TrimSuffix(strings.Repeat(`{"target":"message","arguments":["`+strings.Repeat("x", 100)+`"],"groups":["red"]},`, sends), ",") + "]"
}

func TestBatchAllocatesLittle(t *testing.T) {
	const sends = 100
	s := newSender(newFixture(t, handlers.Config{}), []byte(batchOf(sends)))
	s.request.URL.Path = "/api/hubs/chat/batch"
	got := testing.AllocsPerRun(20, s.send) / sends
	if s.status != http.StatusOK {
		t.Fatalf("got %d", s.status)
	}
	t.Logf("%v allocations for a send of a batch", got)
	if got > 4 && !raceEnabled { // the race detector's pools forget at random
		t.Errorf("%v allocations for a send of a batch", got)
	}
}

// A batch of 100 sends, as one request.
func BenchmarkBatch(b *testing.B) {
	f := newFixture(b, handlers.Config{})
	body := batchOf(100)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		w := f.do("POST", "/api/hubs/chat/batch", body)
		if w.Code != 200 {
			b.Fatalf("got %d %s", w.Code, w.Body)
		}
		if n++; n%1000 == 0 {
			reply, err := f.store.Range(b.Context(), "chat", streams.Position{}, 1)
			if err == nil {
				_, err = f.store.Trim(b.Context(), "chat", reply.Last)
			}
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(100*n)/b.Elapsed().Seconds(), "sends/s")
}

// allocatedBy is how many bytes f allocates.
func allocatedBy(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// What a batch is taken apart into takes more memory than its text: one that is refused for its number is not taken apart as a whole, and
// where something is wrong is not said at any length.
func TestABadBatchAllocatesLittle(t *testing.T) {
	for _, test := range []struct {
		what, body, want string
	}{
		{"a million operations", "[" + strings.Repeat("1,", 1<<20) + "1]", "more than 1000"},
		{"a million operations, and no end", "[" + strings.Repeat("1,", 1<<20), "more than 1000"},
		{"an operation that is deep and not whole", "[" + strings.Repeat(`{"`+strings.Repeat("k", 40)+`":`, 9_000), "[0].kkk"},
	} {
		var err error
		took := allocatedBy(func() { _, err = handlers.SplitArray([]byte(test.body)) }) - uint64(len(test.body)) // the copy is the test's
		if err == nil || !strings.Contains(err.Error(), test.want) || len(err.Error()) > 4<<10 {
			t.Errorf("%s: got %.200v, want %q", test.what, err, test.want)
		}
		if took > 40<<20 {
			t.Errorf("%s: %d bytes allocated", test.what, took)
		}
	}
}
