package handlers_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"hubstream/handlers"
	"hubstream/streams"
	"hubstream/transports/hubprotocol"
)

// answered asks a connection, and answers for it in a protocol: makes gets the call's ID.
func (f *fixture) answered(id string, p hubprotocol.Protocol, makes func(callID string) []byte) *httptest.ResponseRecorder {
	f.t.Helper()
	before := f.entries()
	done := make(chan *httptest.ResponseRecorder, 1)
	go func() {
		done <- f.do("POST", "/api/hubs/chat/connections/"+id+"/:invoke", `{"target":"ask","arguments":[1]}`)
	}()
	for f.entries() == before {
		time.Sleep(time.Millisecond)
	}
	var call struct {
		InvocationID, Target string
		Arguments            []int
	}
	last := f.last()
	if err := json.Unmarshal([]byte(strings.TrimSuffix(string(last.Body), "\x1e")), &call); err != nil || call.Target != "ask" || len(last.Connections) != 1 {
		f.t.Fatalf("asked: %+v %v", last, err)
	}
	answer := &streams.Entry{
		Kind: streams.KindResult, Connections: []string{id}, Named: []string{call.InvocationID}, Protocol: uint8(p), Body: makes(call.InvocationID),
	}
	if _, err := f.node.Publish(f.t.Context(), "chat", answer); err != nil {
		f.t.Fatal(err)
	}
	return <-done
}

func (f *fixture) wantAnswer(what string, w *httptest.ResponseRecorder, status int, body, azure string) {
	f.t.Helper()
	if w.Code != status || w.Body.String() != body || w.Header().Get("X-Ms-Error-Code") != azure {
		f.t.Errorf("%s: got %d %s %q, want %d %s %q", what, w.Code, w.Body, w.Header().Get("X-Ms-Error-Code"), status, body, azure)
	}
}

// A client's result, its error, its silence and its end are four different answers.
func TestInvokeTellsWhatBecameOfIt(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	f.connect("c1", streams.OpenWebSocket, 1)
	const json, binary = hubprotocol.JSON, hubprotocol.MessagePack
	f.wantAnswer("a result", f.answered("c1", json, func(id string) []byte {
		return []byte(`{"type":3,"invocationId":"` + id + `","result":{"a":[1,null]}}` + "\x1e")
	}), 200, `{"result":{"a":[1,null]}}`, "")
	f.wantAnswer("no result", f.answered("c1", json, func(id string) []byte {
		return hubprotocol.AppendCompletionVoid(nil, json, id)
	}), 200, `{}`, "")
	f.wantAnswer("a MessagePack result", f.answered("c1", binary, func(id string) []byte {
		b, err := hubprotocol.AppendMessagePackResult(nil, id, []byte{0x92, 1, 0xa1, 'x'})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}), 200, `{"result":[1,"x"]}`, "")
	f.wantAnswer("an error", f.answered("c1", binary, func(id string) []byte {
		return hubprotocol.AppendCompletionError(nil, binary, id, "not now")
	}), 400, `{"code":"client_error","message":"not now"}`, "Error.Client.InvocationFailed")

	const path = "/api/hubs/chat/connections/c1/:invoke"
	f.wantAnswer("silence", f.do("POST", path+"?timeout=10ms", `{"target":"ask"}`), 504,
		`{"code":"client_timeout","message":"the client did not answer within 10ms"}`, "client_timeout")
	f.wantAnswer("an end", f.answered("c1", json, func(string) []byte {
		if _, err := f.node.End(t.Context(), "chat", "c1", ""); err != nil {
			t.Fatal(err)
		}
		return nil
	}), 404, `{"code":"not_found","message":"there is no such connection"}`, "Warning.Connection.NotExisted")
	f.wantAnswer("nobody", f.do("POST", path, `{"target":"ask"}`), 404,
		`{"code":"not_found","message":"there is no such connection"}`, "Warning.Connection.NotExisted")
	for _, timeout := range []string{"x", "0s", "-1s", "2m", "5"} {
		if w := f.do("POST", path+"?timeout="+timeout, `{"target":"ask"}`); w.Code != 400 || !strings.Contains(w.Body.String(), `"target":"timeout"`) {
			t.Errorf("timeout %s: got %d %s", timeout, w.Code, w.Body)
		}
	}
}

// A store that does not answer in time is not a client that does not.
func TestInvokeTellsAStoreFromAClient(t *testing.T) {
	t.Parallel()
	store := &failing{Store: streams.NewMemory(streams.MemoryConfig{})}
	f := newFixtureOn(t, store, handlers.Config{})
	f.connect("c1", streams.OpenWebSocket, 1)
	for err, want := range map[error]string{
		streams.ErrUnavailable:    `"code":"unavailable","message":"the store is not reachable; nothing was changed"`,
		streams.ErrOutcomeUnknown: `"outcome":"unknown"`,
	} {
		store.err = fmt.Errorf("%w: %w", err, context.DeadlineExceeded) // of the step
		if w := f.do("POST", "/api/hubs/chat/connections/c1/:invoke", `{"target":"ask"}`); w.Code != 503 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%v: got %d %s", err, w.Code, w.Body)
		}
	}
}
