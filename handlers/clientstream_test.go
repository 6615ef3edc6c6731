package handlers_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"hubstream/handlers"
)

// A backend sends the items of a stream that a client waits for, and its end: each is one message for that connection.
func TestItemsOfAClientsStream(t *testing.T) {
	t.Parallel()
	const stream, version = "/api/hubs/chat/connections/c/streams/7%2F1/", "api-version=2024-12-01"
	item := func(value string) string { return `{"type":2,"invocationId":"7/1","item":` + value + "}\x1e" }
	end := func(rest string) string { return `{"type":3,"invocationId":"7/1"` + rest + "}\x1e" }
	for _, test := range []struct {
		what, path, body, contentType string
		want                          []string
	}{
		{"an item", ":send?" + version, ` {"a": 1.0} `, "application/json", []string{item(`{"a":1.0}`)}},
		{"null", ":send?" + version, "null", "application/json", []string{item("null")}},
		{"the last item", ":send?completed=true&" + version, "[2]", "application/json", []string{item("[2]"), end("")}},
		{"not the last", ":send?completed=false&" + version, "3", "application/json", []string{item("3")}},
		{"the end", ":complete?" + version, "", "", []string{end("")}},
		{"an error", ":complete?reason=no%20more&" + version, "", "", []string{end(`,"error":"no more"`)}},
		{"an error, as the SDK has it", ":complete?error=no&" + version, "", "", []string{end(`,"error":"no"`)}},
		{"an item by protocol", ":send?" + version, packed(t, "json", []byte(item("5"))), "application/octet-stream", []string{item("5")}},
		{"an item in MessagePack", ":send?" + version, packed(t, "messagepack", inMessagePack(t, item("[6,true]"))), "application/x-msgpack", []string{item("[6,true]")}},
	} {
		f := newFixture(t, handlers.Config{})
		f.connectAs("c", "ann")
		w := f.do("POST", stream+test.path, test.body, "Content-Type", test.contentType)
		if w.Code != http.StatusAccepted || !strings.Contains(w.Body.String(), `"position":"`) {
			t.Errorf("%s: got %d %s", test.what, w.Code, w.Body)
		}
		var got []string
		for _, e := range f.sent() {
			if !slices.Equal(e.Connections, []string{"c"}) {
				t.Errorf("%s: is for %v", test.what, e.Connections)
			}
			got = append(got, string(e.Body))
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: sent %q, want %q", test.what, got, test.want)
		}
	}
}

// A repeated item is sent once, with its end or without.
func TestItemsWithAKeyAreSentOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	for _, path := range []string{"a/:send", "b/:send?completed=true", "c/:complete"} {
		for n := range 2 {
			w := f.do("POST", "/api/hubs/chat/connections/c/streams/"+path, "1", "Idempotency-Key", path)
			if replayed := strings.Contains(w.Body.String(), `"replayed":true`); w.Code != http.StatusAccepted || replayed != (n == 1) {
				t.Errorf("%s, time %d: got %d %s", path, n+1, w.Code, w.Body)
			}
		}
		refused(t, f.do("POST", "/api/hubs/chat/connections/other/streams/"+path, "1", "Idempotency-Key", path), http.StatusUnprocessableEntity)
	}
	items := 0
	for _, e := range f.sent() {
		if strings.HasPrefix(string(e.Body), `{"type":2`) {
			items++
		}
	}
	if items != 2 {
		t.Errorf("%d items were sent, want 2", items)
	}
}

// An item that is refused does not end the stream: the backend, told of the refusal, goes on with it.
func TestARefusedItemIsNotTheLast(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	const path = "/api/hubs/chat/connections/c/streams/a/:send"
	f.do("POST", path, "1", "Idempotency-Key", "k")
	refused(t, f.do("POST", path+"?completed=true", "2", "Idempotency-Key", "k"), http.StatusUnprocessableEntity)
	if sent := f.sent(); len(sent) != 1 {
		t.Errorf("sent %q, want the first item alone", sent[len(sent)-1].Body)
	}
}
